//! Stored messages that connections have been sent and have not acked, and how far each has got in its mailbox. A
//! connection that has acked all there is has no window.

use crate::{app::mail::MessageId, engine::chunks::is_oversized};
use std::collections::{HashMap, VecDeque};

/// Messages without an ack, and their bytes.
pub const MESSAGES_MAX: usize = 64;
pub const BYTES_MAX: usize = 128 * 1_024;

#[derive(Debug, Default)]
pub struct Windows {
    by_slot: HashMap<u32, Window>,
}

#[derive(Debug)]
struct Window {
    /// Sent and not acked, with their bytes.
    flying: VecDeque<(MessageId, usize)>,
    bytes: usize,
    /// The newest that was sent.
    cursor: MessageId,
    /// There is, or may be, more in the mailbox behind the cursor.
    is_behind: bool,
    /// The store was asked for it and has not answered.
    is_asked: bool,
    /// Something was committed since it was asked.
    has_missed: bool,
}

/// What to ask the store for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub after: MessageId,
    pub messages: u32,
    pub bytes: u32,
}

/// What becomes of a message that was just committed, on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is to be sent.
    Taken,
    /// It was sent already.
    Known,
    /// It comes from the mailbox later.
    Later,
}

impl Windows {
    pub fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// The connection in this slot has just logged in: what its mailbox holds comes first.
    pub fn open(&mut self, slot: u32) -> Wanted {
        let mut window = Window::new(MessageId::FIRST);
        window.is_behind = true;
        let wanted = window.ask();
        self.by_slot.insert(slot, window);
        wanted
    }

    /// A message for it was committed.
    pub fn offer(&mut self, slot: u32, id: MessageId, bytes: usize) -> Offer {
        let window = self.by_slot.entry(slot).or_insert_with(|| Window::new(MessageId::FIRST));
        if id <= window.cursor {
            return Offer::Known;
        }
        if window.is_behind || !window.has_room(bytes) {
            window.is_behind = true;
            window.has_missed |= window.is_asked;
            return Offer::Later;
        }
        window.send(id, bytes);
        Offer::Taken
    }

    /// The store's answer: ids and bytes, oldest first, and whether there is more. Returns how many of them are to be
    /// passed over, how many of the next are to be sent, and what to ask for then.
    pub fn fill(
        &mut self,
        slot: u32,
        messages: &[(MessageId, usize)],
        more: bool,
    ) -> (usize, usize, Option<Wanted>) {
        let Some(window) = self.by_slot.get_mut(&slot) else { return (messages.len(), 0, None) };
        window.is_asked = false;
        let known = messages.iter().take_while(|(id, _)| *id <= window.cursor).count();
        let mut sent = 0;
        for (id, bytes) in messages.iter().skip(known) {
            if !window.has_room(*bytes) {
                break;
            }
            window.send(*id, *bytes);
            sent += 1;
        }
        let has_missed = std::mem::take(&mut window.has_missed);
        window.is_behind = more || has_missed || known + sent < messages.len();
        // Not even one fits beside those that are not acked: the next ack asks again.
        let is_stuck = messages.is_empty() && more;
        (known, sent, if is_stuck { None } else { self.go_on(slot) })
    }

    /// These are acked, here or elsewhere. Returns what to ask for, now that there is room.
    pub fn acked(&mut self, slot: u32, ids: &[MessageId]) -> Option<Wanted> {
        let window = self.by_slot.get_mut(&slot)?;
        // In the order that they were sent, as a rule: each is then the first.
        for id in ids {
            if let Some(at) = window.flying.iter().position(|(flying, _)| flying == id)
                && let Some((_, bytes)) = window.flying.remove(at)
            {
                window.bytes -= bytes;
            }
        }
        self.go_on(slot)
    }

    /// The connection is gone.
    pub fn close(&mut self, slot: u32) {
        self.by_slot.remove(&slot);
        if is_oversized(self.by_slot.len(), self.by_slot.capacity()) {
            self.by_slot.shrink_to(2 * self.by_slot.len());
        }
    }

    /// Asks for more when half of the window is free; a window that nothing is to be remembered in goes.
    fn go_on(&mut self, slot: u32) -> Option<Wanted> {
        let window = self.by_slot.get_mut(&slot)?;
        if window.is_asked {
            return None;
        }
        if !window.is_behind {
            if window.flying.is_empty() {
                self.close(slot);
            }
            return None;
        }
        let has_half = window.flying.len() * 2 <= MESSAGES_MAX && window.bytes * 2 <= BYTES_MAX;
        has_half.then(|| window.ask())
    }
}

impl Window {
    fn new(cursor: MessageId) -> Self {
        Self {
            flying: VecDeque::new(),
            bytes: 0,
            cursor,
            is_behind: false,
            is_asked: false,
            has_missed: false,
        }
    }

    /// One message always has.
    fn has_room(&self, bytes: usize) -> bool {
        let fits = self.flying.len() < MESSAGES_MAX && self.bytes + bytes <= BYTES_MAX;
        fits || self.flying.is_empty()
    }

    fn send(&mut self, id: MessageId, bytes: usize) {
        self.flying.push_back((id, bytes));
        self.bytes += bytes;
        self.cursor = id;
    }

    fn ask(&mut self) -> Wanted {
        self.is_asked = true;
        Wanted {
            after: self.cursor,
            messages: (MESSAGES_MAX - self.flying.len()) as u32,
            bytes: (BYTES_MAX - self.bytes) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn id(n: u64) -> MessageId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        MessageId(bytes)
    }

    /// What a store would answer.
    fn answer(mailbox: &BTreeMap<MessageId, usize>, wanted: Wanted) -> (Vec<(MessageId, usize)>, bool) {
        let mut bytes = 0;
        let behind = || mailbox.iter().filter(|(id, _)| **id > wanted.after);
        let fits = |(_, size): &(&MessageId, &usize)| {
            bytes += **size;
            bytes <= wanted.bytes as usize || bytes == **size
        };
        let messages: Vec<_> =
            behind().take(wanted.messages as usize).take_while(fits).map(|(id, size)| (*id, *size)).collect();
        let more = behind().count() > messages.len();
        (messages, more)
    }

    /// Commits, acks, the store's answers and commits that are told late, in any order by seed: everything comes,
    /// in order but for repeats, and never more than the window holds.
    #[test]
    fn every_message_comes_whatever_the_order_of_commits_acks_and_answers() {
        for seed in 0..300u64 {
            let mut state = seed + 1;
            let mut dice = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut windows = Windows::default();
            let mut mailbox = BTreeMap::new();
            let (mut told, mut out) = (VecDeque::new(), None);
            let mut wanted = Some(windows.open(1));
            let (mut seen, mut unacked, mut next) = (BTreeSet::new(), Vec::new(), 0);
            let mut newest = MessageId::FIRST;
            let mut see = |id: MessageId, unacked: &mut Vec<MessageId>, seen: &mut BTreeSet<MessageId>| {
                if seen.insert(id) {
                    assert!(id > newest, "seed {seed}: out of order");
                    newest = id;
                }
                unacked.push(id);
            };
            for step in 0.. {
                let is_ending = step > 1_000;
                if is_ending && mailbox.is_empty() && windows.len() == 0 && told.is_empty() {
                    break;
                }
                assert!(step < 200_000, "seed {seed}: it stands still: {windows:?}");
                match dice(8) {
                    0..=2 if !is_ending => {
                        next += 1;
                        let bytes = [10, 500, 40_000, 200_000][dice(4) as usize];
                        mailbox.insert(id(next), bytes);
                        told.push_back((id(next), bytes));
                    }
                    3 | 4 => {
                        if let Some((id, bytes)) = told.pop_front()
                            && windows.offer(1, id, bytes) == Offer::Taken
                        {
                            see(id, &mut unacked, &mut seen);
                        }
                    }
                    5 => {
                        if let Some(wanted) = wanted.take() {
                            assert!(out.is_none(), "seed {seed}: asked twice");
                            out = Some(answer(&mailbox, wanted));
                        }
                    }
                    6 => {
                        if let Some((messages, more)) = out.take() {
                            let (known, sent, then) = windows.fill(1, &messages, more);
                            wanted = then;
                            for (id, _) in &messages[known..known + sent] {
                                see(*id, &mut unacked, &mut seen);
                            }
                        }
                    }
                    _ if !unacked.is_empty() => {
                        let count = 1 + dice(unacked.len() as u64) as usize;
                        let ids: Vec<_> = unacked.drain(..count).collect();
                        mailbox.retain(|id, _| !ids.contains(id));
                        let then = windows.acked(1, &ids);
                        assert!(then.is_none() || wanted.is_none(), "seed {seed}");
                        wanted = wanted.or(then);
                    }
                    _ => {}
                }
                if let Some(window) = windows.by_slot.get(&1) {
                    assert!(window.flying.len() <= MESSAGES_MAX);
                    assert!(window.bytes <= BYTES_MAX || window.flying.len() == 1);
                    assert_eq!(window.bytes, window.flying.iter().map(|(_, bytes)| bytes).sum::<usize>());
                }
            }
            assert_eq!(seen.len() as u64, next, "seed {seed}: some did not come");
            assert!(mailbox.is_empty() && windows.len() == 0, "seed {seed}: {windows:?}");
        }
    }

    #[test]
    fn a_connection_that_never_acks_gets_no_more_than_a_window() {
        let mut windows = Windows::default();
        assert_eq!(windows.open(1).messages as usize, MESSAGES_MAX);
        assert_eq!(windows.fill(1, &[], false), (0, 0, None));
        assert_eq!(windows.len(), 0);
        for n in 1..=100 {
            let offer = windows.offer(1, id(n), 10);
            assert_eq!(offer, if n <= 64 { Offer::Taken } else { Offer::Later });
        }
        let acked: Vec<_> = (1..=32).map(id).collect();
        assert_eq!(windows.acked(1, &acked[..31]), None);
        let wanted = Wanted { after: id(64), messages: 32, bytes: (BYTES_MAX - 320) as u32 };
        assert_eq!(windows.acked(1, &acked[31..]), Some(wanted));
        windows.close(1);
        assert_eq!(windows.len(), 0);
    }
}
