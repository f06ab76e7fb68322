//! What a run counts.

use super::{
    beats::Beats,
    failure::{Failure, Failures},
    histogram::Histogram,
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// One thread's counts; added up, the run's.
#[derive(Default)]
pub struct Tally {
    /// Connections that got ready: upgraded, rules read, logged in if they are to.
    pub connected: u64,
    pub failures: Failures,
    /// From the dial until it is ready.
    pub connecting: Histogram,
    /// Storm: connections that came, got ready and went within the time measured.
    pub cycles: u64,
    /// Echo: questions that left.
    pub asked: u64,
    /// Echo: questions that should have left, but there was no connection, or this program was behind.
    pub unsent: u64,
    /// Echo: questions that were answered, errors included.
    pub answered: u64,
    /// Answers, or what was pushed, within the time measured; no errors.
    pub messages: u64,
    /// Echo: events that came unasked.
    pub pushed: u64,
    /// Echo: questions that were open when their connection failed.
    pub lost: u64,
    pub latency: Histogram,
    /// Open loop: how late questions left.
    pub late: Histogram,
    /// Errors of the server by code.
    pub errors: BTreeMap<&'static str, u64>,
    /// Messages that were opened and read whole.
    pub checked: u64,
    pub pings: u64,
    /// Those within the time measured.
    pub beats: Beats,
}

impl Tally {
    pub fn fail(&mut self, failure: Failure, connections: u64) {
        if connections > 0 {
            *self.failures.entry(failure).or_default() += connections;
        }
    }

    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        for (failure, connections) in &other.failures {
            self.fail(*failure, *connections);
        }
        self.connecting.add(&other.connecting);
        self.cycles += other.cycles;
        self.asked += other.asked;
        self.unsent += other.unsent;
        self.answered += other.answered;
        self.messages += other.messages;
        self.pushed += other.pushed;
        self.lost += other.lost;
        self.latency.add(&other.latency);
        self.late.add(&other.late);
        for (code, errors) in &other.errors {
            *self.errors.entry(code).or_default() += errors;
        }
        self.checked += other.checked;
        self.pings += other.pings;
        self.beats.add(&other.beats);
    }
}

/// What a thread shows while it works.
#[derive(Default)]
pub struct Board {
    open: AtomicU64,
    failed: AtomicU64,
    /// Messages, or the storm's cycles.
    done: AtomicU64,
}

/// What boards show together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub open: u64,
    pub failed: u64,
    pub done: u64,
}

impl Board {
    pub fn show(&self, shown: Shown) {
        self.open.store(shown.open, Relaxed);
        self.failed.store(shown.failed, Relaxed);
        self.done.store(shown.done, Relaxed);
    }

    pub fn sum<'a>(boards: impl Iterator<Item = &'a Self>) -> Shown {
        boards.fold(Shown::default(), |sum, board| Shown {
            open: sum.open + board.open.load(Relaxed),
            failed: sum.failed + board.failed.load(Relaxed),
            done: sum.done + board.done.load(Relaxed),
        })
    }
}
