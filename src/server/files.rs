//! The limit on open files, which bounds the connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept back: for refusals, logs, configuration and the runtime.
pub const RESERVE: u64 = 128;

/// Raises the limit on open files to the hard one and returns it; `u64::MAX` is no limit.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let got = if setrlimit(Resource::Nofile, hard).is_ok() { limit.maximum } else { limit.current };
    got.unwrap_or(u64::MAX)
}

/// How many connections a process with this limit can hold on `reactors` reactors.
pub fn capacity(open_files: u64, reactors: usize) -> usize {
    // Listeners, epoll and eventfd of each reactor, and the connections it takes only to refuse them.
    let own = RESERVE + reactors as u64 * (16 + crate::engine::reactor::RESERVE as u64);
    usize::try_from(open_files.saturating_sub(own)).unwrap_or(usize::MAX).clamp(1, 1 << 24)
}
