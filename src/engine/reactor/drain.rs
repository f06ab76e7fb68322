//! The way out: everybody is told to go (close code 1001), evenly over a time. Whose turn it is follows from the
//! numbers of slots and the clock, so that no connection keeps anything for it.

use super::{
    Errand, Reactor, VISITS,
    core::{CLOSE_MS, Core},
};
use crate::engine::{
    app::App,
    error::Close,
    io::{Io, Token},
    slots::{HELD, State},
};

/// An empty reactor that may still be dealt connections looks again so soon.
const LOOK_AGAIN_MS: u64 = 5;

/// How a reactor is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Milliseconds over which connections are told; 0: all at once. Said again, the shorter time counts.
    pub over_ms: u64,
    /// Another process has the listeners and goes on accepting, from their queues too.
    pub passed: bool,
}

/// A reactor on its way out.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    tour: Option<Tour>,
    /// It has told the balance that nothing comes from it any more.
    has_retired: bool,
}

/// Where the last word has got to. A slot is asked for what has arrived, and told a turn later: what a client
/// sent before is answered before.
#[derive(Debug)]
struct Tour {
    begun_ms: u64,
    /// Slots that were in use when it began.
    slots: u32,
    /// Slots below this were told.
    told: u32,
    /// Slots below this were asked.
    asked: u32,
    /// The time is over: all slots once more, as whoever came meanwhile may have one that had its turn.
    is_last: bool,
}

impl Tour {
    /// Slots below this are to be asked by now.
    fn due(&self, now_ms: u64, leaves_ms: u64, end: u32) -> u32 {
        if self.is_last {
            return end;
        }
        let (elapsed_ms, over_ms) = (now_ms - self.begun_ms, leaves_ms - self.begun_ms);
        let due = u128::from(elapsed_ms) * u128::from(self.slots) / u128::from(over_ms.max(1)) + 1;
        u32::try_from(due).unwrap_or(u32::MAX).min(self.slots)
    }

    /// When the next slot is.
    fn next_ms(&self, leaves_ms: u64, end: u32) -> u64 {
        if self.told < self.asked || self.is_last && self.asked < end {
            return 0;
        }
        if self.is_last {
            return u64::MAX;
        }
        let over_ms = u128::from(leaves_ms - self.begun_ms);
        let wait_ms = (over_ms * u128::from(self.asked)).div_ceil(u128::from(self.slots.max(1)));
        (self.begun_ms + wait_ms as u64).min(leaves_ms)
    }
}

impl<S, C: Default> Core<S, C> {
    /// Whether everybody has been told by now that the server goes: nobody can come in any more.
    pub fn has_left(&self) -> bool {
        self.leaves_ms.is_some_and(|leaves_ms| leaves_ms <= self.now_ms)
    }

    /// A close frame to those who are open; in the `last` round a nearer deadline to those who aren't yet.
    fn sent_away(&mut self, index: u32, last: bool) {
        let Some(slot) = self.slots.at(index) else { return };
        match slot.state {
            State::Open => self.fail(index, Close::GoingAway),
            State::Upgrading if last => {
                let deadline_ms = slot.timer.deadline_ms().min(self.now_ms + CLOSE_MS);
                self.wheel.arm(&mut self.slots, index, deadline_ms);
            }
            _ => {}
        }
    }
}

impl<I: Io, A: App> Reactor<I, A> {
    /// Whether it was told to drain, the last connection has gone, and none is on its way.
    pub fn is_drained(&self) -> bool {
        let has_retired = self.leaving.as_ref().is_some_and(|leaving| leaving.has_retired);
        has_retired && self.core.slots.is_empty() && self.core.balance.is_done(self.core.number)
    }

    pub(super) fn begin_drain(&mut self, drain: Drain) {
        let leaves_ms = self.core.now_ms.saturating_add(drain.over_ms);
        self.core.leaves_ms =
            Some(self.core.leaves_ms.map_or(leaves_ms, |before_ms| before_ms.min(leaves_ms)));
        if self.leaving.is_none() {
            self.leaving = Some(Leaving::default());
            self.io.stop_listening(drain.passed);
            self.waiting.push(Errand::Drain);
        }
    }

    /// Every letter from before has been everywhere.
    pub(super) fn begin_tour(&mut self) {
        let (begun_ms, slots) = (self.core.now_ms, self.core.slots.end());
        if let Some(leaving) = &mut self.leaving {
            leaving.tour = Some(Tour { begun_ms, slots, told: 0, asked: 0, is_last: false });
        }
    }

    /// When the way out goes on; `u64::MAX`: not by itself.
    pub(super) fn drains_on_ms(&self) -> u64 {
        let Some((leaving, leaves_ms)) = self.leaving.as_ref().zip(self.core.leaves_ms) else {
            return u64::MAX;
        };
        if self.core.slots.is_empty() {
            return if self.is_drained() { u64::MAX } else { self.core.now_ms + LOOK_AGAIN_MS };
        }
        let end = self.core.slots.end();
        leaving.tour.as_ref().map_or(0, |tour| tour.next_ms(leaves_ms.max(tour.begun_ms), end))
    }

    /// The next steps on the way out.
    pub(super) fn drain_on(&mut self) {
        let Some((leaving, leaves_ms)) = self.leaving.as_mut().zip(self.core.leaves_ms) else { return };
        if !leaving.has_retired && !self.io.is_source() {
            leaving.has_retired = true;
            self.core.balance.retire();
        }
        let Some(Tour { told, asked, is_last, .. }) = leaving.tour else { return };
        for index in told..asked {
            self.core.sent_away(index, is_last);
            self.settle(false);
        }
        let Some(tour) = self.leaving.as_mut().and_then(|leaving| leaving.tour.as_mut()) else { return };
        tour.told = asked;
        let now_ms = self.core.now_ms;
        if !tour.is_last && leaves_ms <= now_ms {
            (tour.is_last, tour.told, tour.asked) = (true, 0, 0);
        }
        let due = tour.due(now_ms, leaves_ms.max(tour.begun_ms), self.core.slots.end());
        for index in tour.asked..due.min(tour.asked.saturating_add(VISITS)) {
            tour.asked = index + 1;
            if let Some(slot) = self.core.slots.at(index)
                && slot.state == State::Open
                && slot.flags & HELD == 0
            {
                let token = Token { index, generation: slot.generation };
                self.io.resume(token, &mut slot.socket);
            }
        }
    }
}
