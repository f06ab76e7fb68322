//! How many authenticated connections there are over all cores.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
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
