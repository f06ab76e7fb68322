pub mod crypto;
pub mod protocol;
