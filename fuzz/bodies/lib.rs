//! What each fuzz target does with one input: a `run` that returns, or panics because a promise is broken.
//!
//! Only what is public of the server is used, so that the same bodies run under the fuzzer and, over the
//! corpus, in the tests of the package.

pub mod decode;
pub mod frames;
mod input;
pub mod open;
mod proxy;
pub mod session;
pub mod upgrade;
