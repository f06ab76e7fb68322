pub mod error;
pub mod limits;
pub mod timer;
