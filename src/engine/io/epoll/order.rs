//! Who is read from next. Three lanes: those who have been here for a while, in the order of their events; those who
//! have just come; and those who have sent more than one receive brings, now or a moment ago. A turn reads from all of
//! the first, and from the others for as long as it stays short: however many come, or however much they send,
//! whoever was there before waits for one short turn. On the way out, a turn first reads from all who are asked for the
//! last time.

use crate::engine::io::{Token, standing::Standing};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// A turn goes on to those who have just come, and to those who have sent more than one receive brings, until it is
/// this long, and in any case to one of each.
const SHORT: Duration = Duration::from_micros(100);
/// After a longer one, those who have just come have this part of its time: without it each of a hundred waits for a
/// hundred turns of a busy server.
const YOUNG_PART: u32 = 4;
/// Receives of one turn from those who have sent more than one brings, all of them together.
pub const BACKLOG_RECEIVES: usize = 8;
/// A turn that is this long leaves what others have sent for the next.
const LONG: Duration = Duration::from_millis(1);
/// Receives between two looks at the clock.
const LOOK_EVERY: usize = 4;
/// Lists keep room for so many entries when they are empty.
const KEEP: usize = 256;

/// A connection to read from.
#[derive(Debug, PartialEq, Eq)]
pub struct Readable {
    pub token: Token,
    /// The peer has closed or reset: read to the end, since no further edge comes.
    pub to_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Settled,
    Young,
    Backlog,
}

/// The lanes of one reactor.
pub struct Order {
    /// Those who are asked for the last time.
    asked: VecDeque<Token>,
    settled: VecDeque<Readable>,
    young: VecDeque<Token>,
    backlog: VecDeque<Token>,
    /// Who is in one of these two, and whether [`Readable::to_end`]: no event brings them forward.
    waiting: HashMap<Token, bool>,
    /// Those in it whose peer has reset the connection.
    broken: Vec<Token>,
    standing: Standing,
    /// When its period began.
    marked: Instant,
    /// What may still be read in this turn: of the settled, also before the clock is looked at; and of the backlog.
    settled_left: usize,
    before_look: usize,
    backlog_left: usize,
    /// Until when those who have just come are read from in this turn, once the first of them is.
    young_until: Option<Instant>,
    began: Instant,
}

impl Order {
    pub fn new(now: Instant) -> Self {
        Self {
            asked: VecDeque::new(),
            settled: VecDeque::new(),
            young: VecDeque::new(),
            backlog: VecDeque::new(),
            waiting: HashMap::new(),
            broken: Vec::new(),
            standing: Standing::default(),
            marked: now,
            settled_left: 0,
            before_look: 0,
            young_until: None,
            backlog_left: 0,
            began: now,
        }
    }

    /// A connection has just come.
    pub fn opened(&mut self, token: Token) {
        self.standing.opened(token);
    }

    /// There is something to read.
    #[inline]
    pub fn add(&mut self, readable: Readable) {
        if self.standing.is_young(readable.token) {
            self.wait_as(readable, Lane::Young);
        } else if self.standing.is_heavy(readable.token) {
            self.wait_as(readable, Lane::Backlog);
        } else {
            self.settled.push_back(readable);
        }
    }

    /// The kernel says that there is something to read, or that the peer has ended (`to_end`), by a reset (`error`).
    #[inline]
    pub fn event(&mut self, readable: Readable, error: bool) {
        let waits = if self.waiting.is_empty() { None } else { self.waiting.get_mut(&readable.token) };
        match waits {
            Some(to_end) => {
                *to_end |= readable.to_end;
                if error {
                    self.broken.push(readable.token);
                }
            }
            None => self.add(readable),
        }
    }

    /// It is read from before all others, however long that makes the turn.
    pub fn ask(&mut self, token: Token) {
        self.asked.push_back(token);
    }

    /// There is more to receive than one receive has brought.
    pub fn put_back(&mut self, readable: Readable) {
        self.standing.sent_much(readable.token);
        self.wait_as(readable, Lane::Backlog);
    }

    /// A turn begins.
    pub fn begin(&mut self, now: Instant) {
        self.began = now;
        self.settled_left = self.settled.len();
        self.before_look = LOOK_EVERY;
        self.young_until = None;
        self.backlog_left = BACKLOG_RECEIVES;
        if now - self.marked >= Standing::PERIOD {
            self.marked = now;
            self.standing.period_ends();
        }
    }

    /// Who is read from next in this turn; `now` is asked now and then.
    #[inline]
    pub fn next(&mut self, now: impl Fn() -> Instant) -> Option<(Readable, Lane)> {
        if let Some(token) = self.asked.pop_front() {
            self.waiting.remove(&token);
            return Some((Readable { token, to_end: true }, Lane::Settled));
        }
        if self.settled_left > 0 {
            if self.before_look == 0 {
                self.before_look = LOOK_EVERY;
                if now() - self.began >= LONG {
                    self.settled_left = 0;
                }
            }
            self.before_look -= 1;
        }
        if self.settled_left > 0 {
            self.settled_left -= 1;
            if let Some(readable) = self.settled.pop_front() {
                return Some((readable, Lane::Settled));
            }
        }
        while !self.young.is_empty() {
            if !self.has_time_for_young(now()) {
                break;
            }
            if let Some(readable) = pop(&mut self.young, &mut self.waiting) {
                return Some((readable, Lane::Young));
            }
        }
        if self.backlog_left == BACKLOG_RECEIVES || self.backlog_left > 0 && self.is_short(now()) {
            return Some((pop(&mut self.backlog, &mut self.waiting)?, Lane::Backlog));
        }
        None
    }

    /// Whether nobody is left of those who are read from first.
    #[inline]
    pub fn is_past_settled(&self) -> bool {
        self.settled_left == 0 && self.asked.is_empty()
    }

    /// A receive of the backlog was made, and not in vain.
    pub fn count(&mut self, lane: Lane) {
        self.backlog_left -= usize::from(lane == Lane::Backlog);
    }

    /// In any case for the first.
    fn has_time_for_young(&mut self, now: Instant) -> bool {
        let Self { began, young_until, .. } = self;
        now < *young_until.get_or_insert_with(|| (*began + SHORT).max(now + (now - *began) / YOUNG_PART))
    }

    /// Whether this turn has been short up to now.
    pub fn is_short(&self, now: Instant) -> bool {
        now - self.began < SHORT
    }

    /// One that waits and whose peer has reset it; it waits on unless [`Order::forget`] is called.
    pub fn broken(&mut self) -> Option<Token> {
        self.broken.pop()
    }

    /// It waits no more; whether it did.
    pub fn forget(&mut self, token: Token) -> bool {
        self.waiting.remove(&token).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.settled.is_empty() && self.young.is_empty() && self.backlog.is_empty()
    }

    /// What a storm needed goes.
    pub fn shrink(&mut self) {
        if self.settled.is_empty() {
            self.settled.shrink_to(KEEP);
        }
        if self.young.is_empty() && self.backlog.is_empty() {
            self.young.shrink_to(KEEP);
            self.backlog.shrink_to(KEEP);
            self.waiting.shrink_to(KEEP);
        }
    }

    fn wait_as(&mut self, Readable { token, to_end }: Readable, lane: Lane) {
        if self.waiting.insert(token, to_end).is_none() {
            match lane {
                Lane::Young => self.young.push_back(token),
                Lane::Settled | Lane::Backlog => self.backlog.push_back(token),
            }
        }
    }
}

/// The first who still waits.
fn pop(lane: &mut VecDeque<Token>, waiting: &mut HashMap<Token, bool>) -> Option<Readable> {
    loop {
        let token = lane.pop_front()?;
        if let Some(to_end) = waiting.remove(&token) {
            return Some(Readable { token, to_end });
        }
    }
}

#[cfg(test)]
mod tests;
