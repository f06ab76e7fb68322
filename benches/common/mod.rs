//! What the benches that run a server and its clients have in common.

// Each bench uses its part, and the load generator and the tests use more of what is theirs.
#![allow(dead_code, unused_imports)]

#[path = "../../tests/common/frames.rs"]
pub mod frames;
pub mod log_in;
#[path = "../../src/cli/load/login.rs"]
pub mod login;
#[path = "../../src/cli/load/opener.rs"]
pub mod opener;
pub mod pairs;
pub mod process;
pub mod served;
#[path = "../../src/cli/load/stream.rs"]
pub mod stream;
