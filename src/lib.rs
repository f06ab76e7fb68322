pub mod engine;
pub mod server;
