//! RFC 6455 and its HTTP/1.1 upgrade, without sockets: bytes and a `now` in, events and bytes out.
//!
//! The way of a byte. A new connection's bytes go to [`upgrade::feed`] until the head of its request is
//! whole, those of a proxy to [`proxy::parse`] before; the application looks at the [`upgrade::Request`], and [`upgrade::accept`] or
//! [`upgrade::refuse`] writes the answer. From then on each read is lent to a [`Reader`], which unmasks
//! it in place and hands out messages and control frames, mostly as slices of the read itself. Only what
//! the end of a read cuts in two is copied, into a [`Partial`] that lives until it is whole. On the way
//! out, [`frame::write_header`] and [`frame::prepend_header`] put a header before a payload.

pub mod frame;
pub mod message;
pub mod proxy;
pub mod upgrade;

pub use frame::Opcode;
pub use message::{Kind, Partial, Reader, Received};

#[cfg(test)]
pub(in crate::engine) mod tests {
    use proptest::test_runner::{Config, RngSeed};

    /// Properties run with a fixed seed, so that a failure is there again at the next run.
    pub fn config(cases: u32) -> Config {
        Config { cases, rng_seed: RngSeed::Fixed(6455), failure_persistence: None, ..Config::default() }
    }
}
