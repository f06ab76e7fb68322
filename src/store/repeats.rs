//! Which ids of senders are remembered, and where on disk it says what was said to them.
//!
//! Each group of a commit has one row with all that it remembers (`rows`), so that remembering costs no place of its
//! own in the tree. Here is, of each remembered id, a hash of 64 bits and where to look: the row then decides.

use super::{
    book,
    caps::Caps,
    rows::{Corrupt, Repeat, SenderBytes, repeats_of},
};
use crate::app::mail::MessageId;
use hashbrown::{HashTable, hash_table::Entry};
use slab::Slab;
use std::{
    collections::{VecDeque, hash_map::RandomState},
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

/// A sender and an id of it, hashed.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    sender: u64,
    id: u64,
}

#[derive(Default)]
pub struct Repeats {
    hasher: RandomState,
    ids: HashTable<Remembered>,
    /// Those that have ids here, and where each is by its hash.
    senders: Slab<Sender>,
    index: HashTable<u32>,
    /// Oldest first, and the number of that; the one that is being made comes behind the last.
    groups: VecDeque<Group>,
    first: u32,
    /// What is remembered of the group that is being made: hash and sender.
    forming: Vec<(u64, u32)>,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Remembered {
    hash: u64,
    group: u32,
    at: u32,
    /// The sender's how manieth.
    nth: u32,
}

struct Sender {
    bytes: SenderBytes,
    hash: u64,
    /// Ids so far, and when the last group that has any of them began.
    count: u32,
    before: u32,
    group: u32,
    /// Of those, in groups that are not forgotten.
    held: u32,
}

struct Group {
    id: MessageId,
    /// Of the server's clock, which does not jump.
    until_ms: u64,
    bytes: u64,
    ids: Box<[(u64, u32)]>,
}

impl Repeats {
    /// What it takes of `store_bytes`.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn name(&self, sender: &SenderBytes, re: &str) -> Name {
        let sender = book::hash(&self.hasher, sender);
        Name { sender, id: self.hasher.hash_one((sender, re)) }
    }

    /// Where it says what became of this id, if it is remembered.
    pub fn find(&self, caps: &Caps, name: &Name, sender: &SenderBytes) -> Option<Place> {
        let found = self.ids.find(name.id, |known| known.hash == name.id)?;
        let sender = self.senders.get(self.sender(name, sender)? as usize)?;
        let Some(group) = self.groups.get(found.group.wrapping_sub(self.first) as usize) else {
            return Some(Place::Forming(found.at));
        };
        // What is not committed yet pushes nothing out.
        let count = if sender.group == self.forming_group() { sender.before } else { sender.count };
        (count.wrapping_sub(found.nth) <= caps.repeat_ids).then_some(Place::Row(group.id, found.at))
    }

    /// What the next row has at `at`.
    pub fn form(&mut self, name: &Name, sender: &SenderBytes, at: u32) {
        let key = self.sender(name, sender).unwrap_or_else(|| self.make(name, sender));
        let group = self.forming_group();
        let Some(held) = self.senders.get_mut(key as usize) else { return };
        if held.group != group {
            (held.group, held.before) = (group, held.count);
        }
        let remembered = Remembered { hash: name.id, group, at, nth: held.count };
        held.count = held.count.wrapping_add(1);
        held.held += 1;
        match self.ids.entry(name.id, |known| known.hash == name.id, |known| known.hash) {
            Entry::Occupied(mut known) => *known.get_mut() = remembered,
            Entry::Vacant(place) => drop(place.insert(remembered)),
        }
        self.forming.push((name.id, key));
    }

    /// The group is committed: remembers what was formed, until then. The row has so many bytes.
    pub fn add_formed(&mut self, id: MessageId, row_bytes: usize, until_ms: u64) {
        let bytes = row_bytes as u64 + self.forming.len() as u64 * ENTRY_BYTES;
        self.bytes += bytes;
        // A clock that was set back makes older groups look younger than this one: they are not.
        for older in self.groups.iter_mut().rev().take_while(|older| older.until_ms > until_ms) {
            older.until_ms = until_ms;
        }
        let ids = self.forming.as_slice().into();
        self.forming.clear();
        self.groups.push_back(Group { id, until_ms, bytes, ids });
    }

    /// A row is read from disk: remembers what it has, until then.
    ///
    /// # Errors
    /// It is no such row.
    pub fn add(&mut self, id: MessageId, row: &[u8], until_ms: u64) -> Result<(), Corrupt> {
        let (_, mut at) = repeats_of(row)?;
        while at < row.len() {
            let (repeat, next) = Repeat::read(row, at)?;
            self.form(&self.name(&repeat.sender, repeat.re), &repeat.sender, at as u32);
            at = next;
        }
        self.add_formed(id, row.len(), until_ms);
        Ok(())
    }

    /// Forgets what is due, of at most so many groups, and says which rows may go. The newest row stays: ids of
    /// messages go on behind it.
    pub fn forget(&mut self, now_ms: u64, groups: usize, mut gone: impl FnMut(MessageId)) {
        for _ in 0..groups {
            let Some(group) = self.groups.front_mut().filter(|group| group.until_ms <= now_ms) else {
                return;
            };
            let (id, number) = (group.id, self.first);
            let ids = std::mem::take(&mut group.ids);
            self.bytes -= std::mem::take(&mut group.bytes);
            if self.groups.len() > 1 {
                self.groups.pop_front();
                self.first = self.first.wrapping_add(1);
                gone(id);
            } else if ids.is_empty() {
                return;
            }
            for (hash, key) in ids {
                // It may stand for a later one by now.
                let is_it = |known: &Remembered| known.hash == hash && known.group == number;
                if let Ok(known) = self.ids.find_entry(hash, is_it) {
                    known.remove();
                }
                self.let_go(key);
            }
            if self.ids.is_empty() {
                (self.ids, self.senders, self.index) = (HashTable::new(), Slab::new(), HashTable::new());
            }
        }
    }

    /// When the next is due.
    pub fn next_ms(&self) -> Option<u64> {
        let is_kept_for_its_name = self.groups.len() == 1 && self.groups[0].ids.is_empty();
        self.groups.front().filter(|_| !is_kept_for_its_name).map(|group| group.until_ms)
    }

    fn forming_group(&self) -> u32 {
        self.first.wrapping_add(self.groups.len() as u32)
    }

    fn sender(&self, name: &Name, bytes: &SenderBytes) -> Option<u32> {
        self.index.find(name.sender, |key| self.senders[*key as usize].bytes == *bytes).copied()
    }

    fn make(&mut self, name: &Name, bytes: &SenderBytes) -> u32 {
        let (hash, group) = (name.sender, self.forming_group());
        let sender = Sender { bytes: *bytes, hash, count: 0, before: 0, group, held: 0 };
        let key = self.senders.insert(sender) as u32;
        let senders = &self.senders;
        self.index.insert_unique(name.sender, key, |key| senders[*key as usize].hash);
        key
    }

    /// One id less of this sender is held.
    fn let_go(&mut self, key: u32) {
        let Some(sender) = self.senders.get_mut(key as usize) else { return };
        sender.held -= 1;
        if sender.held == 0 {
            if let Ok(place) = self.index.find_entry(sender.hash, |other| *other == key) {
                place.remove();
            }
            self.senders.remove(key as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rows, *};

    fn row(ids: &[&str]) -> Vec<u8> {
        let mut row = Vec::new();
        rows::begin_repeats(&mut row, 0);
        for re in ids {
            Repeat::begin(&mut row, &[2; 33], re, &[0; 16], 0);
        }
        row
    }

    #[test]
    fn an_id_is_known_until_its_time_or_until_there_are_too_many_behind_it() {
        let caps = Caps { repeat_ids: 3, ..Caps::default() };
        let mut repeats = Repeats::default();
        let find = |repeats: &Repeats, sender: u8, re| {
            let sender = [sender; 33];
            repeats.find(&caps, &repeats.name(&sender, re), &sender)
        };
        let known = |repeats: &Repeats, re| find(repeats, 2, re).is_some();
        let form = |repeats: &mut Repeats, re, at| repeats.form(&repeats.name(&[2; 33], re), &[2; 33], at);
        form(&mut repeats, "a", 8);
        assert_eq!(find(&repeats, 2, "a"), Some(Place::Forming(8)));
        form(&mut repeats, "b", 70);
        repeats.add_formed(MessageId([1; 16]), 140, 10);
        assert_eq!(find(&repeats, 2, "a"), Some(Place::Row(MessageId([1; 16]), 8)));
        assert_eq!(find(&repeats, 3, "a"), None);
        repeats.add(MessageId([2; 16]), &row(&["c", "d"]), 20).unwrap();
        assert_eq!(["a", "b", "c", "d"].map(|re| known(&repeats, re)), [false, true, true, true]);
        // It stands for something new.
        repeats.add(MessageId([3; 16]), &row(&["b"]), 30).unwrap();
        let mut gone = Vec::new();
        repeats.forget(10, 9, |id| gone.push(id));
        assert_eq!(find(&repeats, 2, "b"), Some(Place::Row(MessageId([3; 16]), 8)));
        repeats.forget(99, 9, |id| gone.push(id));
        assert_eq!(gone, [MessageId([1; 16]), MessageId([2; 16])]);
        assert_eq!((repeats.bytes(), repeats.next_ms()), (0, None));
        assert!(repeats.ids.is_empty() && repeats.senders.is_empty() && repeats.index.is_empty());
    }
}
