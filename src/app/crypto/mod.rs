//! Who a client is, how it proves it, and how what it is sent is sealed to it.
//!
//! Nothing here keeps a connection, a clock or a socket: the caller brings `now` and an [`rng::Rng`].
//! Each thread that verifies or derives keeps one libsecp256k1 context, made at its first use.

pub mod challenge;
pub mod hex;
pub mod key;
pub mod rng;
pub mod seal;

#[cfg(test)]
mod tests;
