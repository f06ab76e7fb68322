//! In which order a turn looks at the answers that are there: what is of connections that have been here for a while
//! comes first, and is sent an answer before others are looked at (see `standing`).

use super::request::{TICK, Tag};
use crate::engine::io::{Token, standing::Standing};
use io_uring::cqueue::Entry;
use std::collections::VecDeque;

/// Lists keep room for so many answers.
const KEEP: usize = 1_024;
/// Ticks of a period.
const PERIOD: u32 = (Standing::PERIOD.as_millis() / TICK.as_millis()) as u32;

/// The answers of a turn that were not looked at yet.
#[derive(Default)]
pub struct Order {
    standing: Standing,
    /// Ticks since its period began.
    ticks: u32,
    first: VecDeque<Entry>,
    behind: VecDeque<Entry>,
    /// Bytes of those who come first were brought, and nothing is sent yet.
    owes: bool,
    has_paused: bool,
}

impl Order {
    /// A turn begins; nothing is left of the last one.
    pub fn begin(&mut self) {
        (self.owes, self.has_paused) = (false, false);
        if self.ticks >= PERIOD {
            self.ticks = 0;
            self.standing.period_ends();
        }
        self.first.shrink_to(KEEP);
        self.behind.shrink_to(KEEP);
    }

    /// A connection has just come.
    pub fn opened(&mut self, token: Token) {
        self.standing.opened(token);
    }

    /// It is time again.
    pub fn tick(&mut self) {
        self.ticks += 1;
    }

    /// An answer is there. Those of one connection stay in their order: within a turn it can only fall behind.
    #[inline]
    pub fn add(&mut self, answer: Entry) {
        let waits = match Tag::of(answer.user_data()) {
            Tag::Receive(token) => self.is_behind(token),
            Tag::Accept(_) => true,
            _ => false,
        };
        if waits { self.behind.push_back(answer) } else { self.first.push_back(answer) }
    }

    /// The next of those who come first.
    #[inline]
    pub fn next(&mut self) -> Option<Entry> {
        self.first.pop_front()
    }

    /// The next of the others, once there are none of those who come first.
    #[inline]
    pub fn next_behind(&mut self) -> Option<Entry> {
        self.behind.pop_front()
    }

    /// Bytes of this connection are brought, as many as one receive can bring (`is_full`) or all that there were.
    #[inline]
    pub fn brings(&mut self, token: Token, is_full: bool) {
        self.owes = self.owes || !self.is_behind(token);
        if is_full {
            self.standing.sent_much(token);
        }
    }

    /// Whether what was brought is to be answered before the others are looked at. At most once in a turn.
    #[inline]
    pub fn pauses(&mut self) -> bool {
        let pauses = self.owes && !self.has_paused && !self.behind.is_empty();
        self.has_paused |= pauses;
        pauses
    }

    /// Whether the last turn had something to do for those who come first, and for others.
    pub fn is_shared(&self) -> bool {
        self.has_paused
    }

    #[inline]
    fn is_behind(&self, token: Token) -> bool {
        self.standing.is_young(token) || self.standing.is_heavy(token)
    }
}
