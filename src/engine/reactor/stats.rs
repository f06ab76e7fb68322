//! What a reactor counts: plain integers of its own, read between two turns.

use crate::engine::{
    error::{Close, Refusal},
    slots::State,
};

/// Counters of one reactor, from its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub accepted: u64,
    /// Of those, dealt to other reactors.
    pub dealt: u64,
    /// Dealt here by others.
    pub taken_over: u64,
    /// Dealt here too, and lost for want of descriptors.
    pub lost: u64,
    pub accept_failures: u64,
    /// Calls of the application that panicked.
    pub panics: u64,
    /// Bytes that peers sent, upgrade requests included; a backend may drop what one that closes sends.
    pub received_bytes: u64,
    /// Whole WebSocket messages from peers.
    pub messages: u64,
    /// Timers that fired, and how late they were in all and at most.
    pub timers: u64,
    pub timer_lag_ms: u64,
    pub timer_lag_max_ms: u64,
    /// Connections there are, in the order of [`State::ALL`].
    pub connections: [u64; State::ALL.len()],
    /// Connections that the server closed, in the order of [`Close::ALL`].
    pub closes: [u64; Close::ALL.len()],
    /// Connections that their peers closed, in the order of [`FAREWELLS`].
    pub farewells: [u64; FAREWELLS.len()],
    /// Open connections that ended without a close frame of either side.
    pub broken: u64,
    /// Connections that were reset, since they had not ended in time after their close frame.
    pub cut: u64,
    /// Refused upgrades, in the order of [`Refusal::ALL`].
    pub refusals: [u64; Refusal::ALL.len()],
}

/// Codes of close frames from peers; the last stands for all others. 1005 is a frame without one (RFC 6455
/// section 7.4.1).
pub const FAREWELLS: [&str; 4] = ["1000", "1001", "1005", "other"];

impl Stats {
    /// A connection has come, or gone.
    pub fn enter(&mut self, state: State) {
        self.connections[state as usize] += 1;
    }

    pub fn leave(&mut self, state: State) {
        self.connections[state as usize] -= 1;
    }

    /// A connection's state changes.
    pub fn pass(&mut self, state: &mut State, to: State) {
        self.leave(*state);
        self.enter(to);
        *state = to;
    }

    /// A peer has sent its close frame.
    pub fn farewell(&mut self, code: Option<u16>) {
        let place = match code {
            Some(1000) => 0,
            Some(1001) => 1,
            None => 2,
            Some(_) => 3,
        };
        self.farewells[place] += 1;
    }

    pub fn fired(&mut self, late_ms: u64) {
        self.timers += 1;
        self.timer_lag_ms += late_ms;
        self.timer_lag_max_ms = self.timer_lag_max_ms.max(late_ms);
    }

    /// Every figure, always in the same order.
    pub fn each(&mut self, mut visit: impl FnMut(&mut u64)) {
        let Self {
            accepted,
            dealt,
            taken_over,
            lost,
            accept_failures,
            panics,
            received_bytes,
            messages,
            timers,
            timer_lag_ms,
            timer_lag_max_ms,
            connections,
            closes,
            farewells,
            broken,
            cut,
            refusals,
        } = self;
        let single = [accepted, dealt, taken_over, lost, accept_failures, panics, received_bytes, messages];
        single.into_iter().for_each(&mut visit);
        [timers, timer_lag_ms, timer_lag_max_ms, broken, cut].into_iter().for_each(&mut visit);
        connections.iter_mut().chain(closes).chain(farewells).chain(refusals).for_each(visit);
    }
}
