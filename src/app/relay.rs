//! Who else hears of something: how many are there over all cores, and what everybody is told.

use super::{config::Config, crypto::key::Identity, protocol::encode};
use crate::engine::{app::About, outbox::Shared, wire::Opcode};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::Sender,
};

/// Authenticated connections, counted by each core for itself and added up by whoever asks.
#[derive(Clone)]
pub struct Online {
    cores: Arc<[Count]>,
    own: usize,
}

/// A cache line of its own, so that cores counting don't slow each other down.
#[repr(align(64))]
#[derive(Default)]
struct Count(AtomicU64);

impl Online {
    /// Counters for so many cores; each core gets its own from [`Online::of`].
    pub fn new(cores: usize) -> Self {
        Self { cores: (0..cores.max(1)).map(|_| Count::default()).collect(), own: 0 }
    }

    /// As core number `own` counts.
    pub fn of(&self, own: usize) -> Self {
        Self { cores: self.cores.clone(), own: own % self.cores.len() }
    }

    pub fn enter(&self) {
        self.cores[self.own].0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn leave(&self) {
        self.cores[self.own].0.fetch_sub(1, Ordering::Relaxed);
    }

    /// On this core.
    pub fn own(&self) -> u64 {
        self.cores[self.own].0.load(Ordering::Relaxed)
    }

    /// Over all cores, as of now.
    pub fn total(&self) -> u64 {
        self.cores.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }
}

/// What the server tells every core.
#[derive(Clone)]
pub enum Command {
    Reload(Reload),
    Find(Find),
}

/// Somebody asks which connections a key has.
#[derive(Clone)]
pub struct Find {
    pub identity: Identity,
    /// Who asks gets each; when all copies of this are gone the reactors have answered.
    pub found: Sender<Found>,
    /// Told with each, so that who asks knows which reactor it was.
    pub reactor: usize,
}

/// A connection that has proven a key, or named it where that is enough.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub reactor: usize,
    pub about: About,
    pub is_proven: bool,
}

/// So many connections of a key are told on each core.
pub const FOUND: usize = 256;

/// A new configuration holds, and those connected hear of what changed for them.
#[derive(Clone)]
pub struct Reload {
    pub config: Arc<Config>,
    /// Event 1, encoded once for all, if it says something else now.
    pub metadata: Option<Arc<Shared>>,
    /// Whether event 0 says something else now.
    pub rules: bool,
}

impl Reload {
    /// From the configuration `before` to `config`, at `now_ms` of server time.
    pub fn new(before: &Config, config: Arc<Config>, online: &Online, now_ms: u64) -> Self {
        let metadata = config.tells_other_than(before).then(|| {
            let metadata = config.metadata(online.total(), now_ms);
            Shared::new(Opcode::Text, |text| encode::metadata(text, &metadata))
        });
        Self { metadata, rules: config.rules_other_than(before), config }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_sees_the_sum() {
        let all = Online::new(3);
        let (first, last) = (all.of(0), all.of(2));
        first.enter();
        last.enter();
        last.enter();
        assert_eq!((first.total(), all.total()), (3, 3));
        last.leave();
        assert_eq!(first.total(), 2);
    }
}
