//! What the benches that run a server and its clients have in common.

#![allow(dead_code)] // Each bench uses its part.

pub mod log_in;
pub mod pairs;
pub mod process;
pub mod served;
