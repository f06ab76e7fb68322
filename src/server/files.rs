//! The limit on open files, which bounds the connections.

use crate::engine::reactor::RESERVE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// In every table: 3 streams, 2 of signals, 1 while they are counted, and 2 that may be inherited.
const FIRST: u64 = 8;
/// In every table, for each of all reactors: its waker, and both ends of its desk.
const SHARED: u64 = 3;
/// Descriptors kept back in a table: for logs, configuration and the runtime.
const OTHERS: u64 = 64;
/// Connections of one reactor, whatever the limit.
pub const ROOM_MAX: usize = 1 << 23;
/// And for each reactor in it: listeners, epoll, and connections that are taken only to be refused.
const EACH: u64 = 16 + RESERVE as u64;

/// Raises the limit on open files to the hard one and returns it; `u64::MAX` is no limit.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let got = if setrlimit(Resource::Nofile, hard).is_ok() { limit.maximum } else { limit.current };
    got.unwrap_or(u64::MAX)
}

/// Files that are no connections: what is open before `reactors` reactors start, and what is kept back for so
/// many of them as `have` it. 1 of them has a table of its own; all of them have one that they share.
pub fn kept(reactors: u64, have: u64) -> u64 {
    FIRST + SHARED * reactors + OTHERS + EACH * have
}

/// How many connections each of `reactors` reactors has room for, in one file table of at most `limit` files of
/// which `taken` are open.
pub fn room(limit: u64, taken: u64, reactors: usize) -> usize {
    let reactors = reactors as u64;
    let free = limit.saturating_sub(taken + OTHERS + reactors * EACH);
    usize::try_from(free / reactors.max(1)).unwrap_or(usize::MAX).clamp(1, ROOM_MAX)
}
