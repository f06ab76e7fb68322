//! A recount of what a reactor holds, for tests that run it in virtual time.

use super::{Holdings, Reactor};
use crate::engine::{app::App, io::Io, outbox::Outbox, slots::NO_TAIL};

/// What was found, connection by connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub connections: usize,
    /// What [`Reactor::holdings`] must say.
    pub holdings: Holdings,
    /// Connections without a timer, or with one that should have fired.
    pub untimed: usize,
    /// Queues that nobody will flush, and lists of the turn that it did not work off.
    pub undone: usize,
}

impl<I: Io, A: App> Reactor<I, A> {
    /// Visits every slot; to be called between two turns.
    pub fn audit(&mut self) -> Audit {
        let core = &mut self.core;
        let mut found = Audit {
            undone: core.dirty.len() + core.condemned.len() + core.outbox.arena_bytes(),
            ..Audit::default()
        };
        // Timers that wait are due.
        let fired_ms = if self.late_until_ms > core.now_ms { 0 } else { core.now_ms };
        for index in 0..core.slots.end() {
            let Some(slot) = core.slots.at(index) else { continue };
            found.connections += 1;
            let deadline_ms = slot.timer.deadline_ms();
            found.untimed += usize::from(deadline_ms == u64::MAX || deadline_ms <= fired_ms);
            if slot.queue != Outbox::NONE {
                found.holdings.queues += 1;
                match core.outbox.get(slot.queue) {
                    Some(queue) if !queue.dirty && !queue.is_drained() => {
                        found.holdings.queue_bytes += u64::from(queue.bytes());
                    }
                    _ => found.undone += 1,
                }
            }
            if slot.tail != NO_TAIL {
                found.holdings.tails += 1;
                let bytes = core.tails.get(slot.tail).map_or(0, |tail| tail.bytes());
                found.holdings.tail_bytes += bytes as u64;
            }
        }
        found
    }
}
