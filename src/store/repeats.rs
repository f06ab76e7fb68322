//! Which ids of senders are remembered, and where on disk it says what was said to them.
//!
//! Each group of a commit has one row with all that it remembers (`rows`), so that remembering costs no place of its
//! own in the tree. Here is, of each remembered id, a hash of 64 bits and where to look: the row then decides.

use super::{
    caps::Caps,
    rows::{Corrupt, Repeat, SenderBytes, repeats_of},
};
use crate::app::mail::MessageId;
use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
};

/// What an id takes of `store_bytes` besides its entry on disk.
const ENTRY_BYTES: u64 = 96;

/// Where it says what became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the row of this group, at this byte.
    Row(MessageId, u32),
    /// In the row that is being written.
    Forming(u32),
}

#[derive(Default)]
pub struct Repeats {
    hasher: RandomState,
    ids: HashMap<u64, Remembered>,
    /// Of each sender that has ids here.
    senders: HashMap<SenderBytes, Sender>,
    /// Oldest first.
    groups: VecDeque<Group>,
    /// Of the group that is being made.
    forming: HashMap<u64, u32>,
    /// The same, in its order.
    formed: Vec<(u64, SenderBytes, u32)>,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Remembered {
    group: MessageId,
    at: u32,
    /// The sender's how manieth.
    nth: u32,
}

#[derive(Default)]
struct Sender {
    /// Ids so far.
    count: u32,
    /// Of those, in `ids`.
    held: u32,
}

struct Group {
    id: MessageId,
    /// Of the server's clock, which does not jump.
    until_ms: u64,
    bytes: u64,
    ids: Vec<(u64, SenderBytes)>,
}

impl Repeats {
    /// What it takes of `store_bytes`.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it says what became of this id, if it is remembered.
    pub fn find(&self, caps: &Caps, sender: &SenderBytes, re: &str) -> Option<Place> {
        let hash = self.hash(sender, re);
        if let Some(at) = self.forming.get(&hash) {
            return Some(Place::Forming(*at));
        }
        let found = self.ids.get(&hash)?;
        let count = self.senders.get(sender)?.count;
        (count.wrapping_sub(found.nth) <= caps.repeat_ids).then_some(Place::Row(found.group, found.at))
    }

    /// What the next row has at `at`.
    pub fn form(&mut self, sender: &SenderBytes, re: &str, at: u32) {
        let hash = self.hash(sender, re);
        self.forming.insert(hash, at);
        self.formed.push((hash, *sender, at));
    }

    /// The group is committed: remembers what was formed, until then. The row has so many bytes.
    pub fn add_formed(&mut self, id: MessageId, row_bytes: usize, until_ms: u64) {
        self.forming.clear();
        let formed = std::mem::take(&mut self.formed);
        self.add_all(id, row_bytes, until_ms, &formed);
    }

    /// A row is read from disk: remembers what it has, until then.
    ///
    /// # Errors
    /// It is no such row.
    pub fn add(&mut self, id: MessageId, row: &[u8], until_ms: u64) -> Result<(), Corrupt> {
        let (_, mut at) = repeats_of(row)?;
        let mut read = Vec::new();
        while at < row.len() {
            let (repeat, next) = Repeat::read(row, at)?;
            read.push((self.hash(&repeat.sender, repeat.re), repeat.sender, at as u32));
            at = next;
        }
        self.add_all(id, row.len(), until_ms, &read);
        Ok(())
    }

    fn add_all(&mut self, id: MessageId, row_bytes: usize, until_ms: u64, all: &[(u64, SenderBytes, u32)]) {
        let ids = all.iter().map(|(hash, sender, _)| (*hash, *sender)).collect();
        let bytes = row_bytes as u64 + all.len() as u64 * ENTRY_BYTES;
        for (hash, sender, at) in all {
            let sender = self.senders.entry(*sender).or_default();
            self.ids.insert(*hash, Remembered { group: id, at: *at, nth: sender.count });
            sender.count = sender.count.wrapping_add(1);
            sender.held += 1;
        }
        self.bytes += bytes;
        // A clock that was set back makes older groups look younger than this one: they are not.
        for older in self.groups.iter_mut().rev().take_while(|older| older.until_ms > until_ms) {
            older.until_ms = until_ms;
        }
        self.groups.push_back(Group { id, until_ms, bytes, ids });
    }

    /// Forgets what is due, of at most so many groups, and says which rows may go. The newest row stays: ids of
    /// messages go on behind it.
    pub fn forget(&mut self, now_ms: u64, groups: usize, mut gone: impl FnMut(MessageId)) {
        for _ in 0..groups {
            let Some(group) = self.groups.front_mut().filter(|group| group.until_ms <= now_ms) else {
                return;
            };
            let id = group.id;
            let ids = std::mem::take(&mut group.ids);
            self.bytes -= std::mem::take(&mut group.bytes);
            if self.groups.len() > 1 {
                self.groups.pop_front();
                gone(id);
            } else if ids.is_empty() {
                return;
            }
            for (hash, sender) in ids {
                // It may stand for a later one by now.
                if self.ids.get(&hash).is_some_and(|found| found.group == id) {
                    self.ids.remove(&hash);
                }
                if let Some(held) = self.senders.get_mut(&sender) {
                    held.held -= 1;
                    if held.held == 0 {
                        self.senders.remove(&sender);
                    }
                }
            }
            if self.ids.is_empty() {
                (self.ids, self.senders) = (HashMap::new(), HashMap::new());
            }
        }
    }

    /// When the next is due.
    pub fn next_ms(&self) -> Option<u64> {
        let is_kept_for_its_name = self.groups.len() == 1 && self.groups[0].ids.is_empty();
        self.groups.front().filter(|_| !is_kept_for_its_name).map(|group| group.until_ms)
    }

    fn hash(&self, sender: &SenderBytes, re: &str) -> u64 {
        self.hasher.hash_one((sender, re))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rows, *};

    fn row(ids: &[&str]) -> Vec<u8> {
        let mut row = rows::begin_repeats(0);
        for re in ids {
            Repeat { sender: [2; 33], re, content: [0; 16], receipts: Vec::new() }.write(&mut row);
        }
        row
    }

    #[test]
    fn an_id_is_known_until_its_time_or_until_there_are_too_many_behind_it() {
        let caps = Caps { repeat_ids: 3, ..Caps::default() };
        let mut repeats = Repeats::default();
        let known = |repeats: &Repeats, re| repeats.find(&caps, &[2; 33], re).is_some();
        repeats.form(&[2; 33], "a", 8);
        assert_eq!(repeats.find(&caps, &[2; 33], "a"), Some(Place::Forming(8)));
        repeats.form(&[2; 33], "b", 70);
        repeats.add_formed(MessageId([1; 16]), 140, 10);
        assert_eq!(repeats.find(&caps, &[2; 33], "a"), Some(Place::Row(MessageId([1; 16]), 8)));
        assert_eq!(repeats.find(&caps, &[3; 33], "a"), None);
        repeats.add(MessageId([2; 16]), &row(&["c", "d"]), 20).unwrap();
        assert_eq!(["a", "b", "c", "d"].map(|re| known(&repeats, re)), [false, true, true, true]);
        // It stands for something new.
        repeats.add(MessageId([3; 16]), &row(&["b"]), 30).unwrap();
        let mut gone = Vec::new();
        repeats.forget(10, 9, |id| gone.push(id));
        assert_eq!(repeats.find(&caps, &[2; 33], "b"), Some(Place::Row(MessageId([3; 16]), 8)));
        repeats.forget(99, 9, |id| gone.push(id));
        assert_eq!(gone, [MessageId([1; 16]), MessageId([2; 16])]);
        assert_eq!((repeats.bytes(), repeats.next_ms()), (0, None));
        assert!(repeats.ids.is_empty() && repeats.senders.is_empty());
    }
}
