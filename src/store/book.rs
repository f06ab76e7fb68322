//! Who has what in its mailbox: the rules of mailboxes, without a disk or a clock.
//!
//! It holds of each message its id, sender and length, so that no cap has to be counted on disk; it is made of the
//! rows when a store is opened. A message takes 24 to 48 bytes here, a key that has sent or has got one about 200 with its first.

use super::caps::Caps;
use crate::app::{
    crypto::key::Identity,
    mail::{Look, MessageId, Refused},
};
use hashbrown::HashTable;
use slab::Slab;
use std::{
    collections::{VecDeque, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
};

/// What a message takes of `store_bytes` besides its body: its row, its place in the tree, and here.
pub const MESSAGE_BYTES: u64 = 256;
const OPERATOR: u32 = u32::MAX;

#[derive(Default)]
pub struct Book {
    keys: Slab<Key>,
    index: HashTable<u32>,
    hasher: RandomState,
    messages: u64,
    /// Of `store_bytes`.
    bytes: u64,
    /// The next key that [`Book::expire`] looks at.
    cursor: usize,
}

struct Key {
    identity: Identity,
    has_account: bool,
    /// Oldest first.
    letters: VecDeque<Letter>,
    letter_bytes: u64,
    /// What it has sent and nobody has acked: messages, and bytes.
    sent: u32,
    sent_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Letter {
    id: MessageId,
    from: u32,
    bytes: u32,
}

/// Room for one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seat {
    to: Option<u32>,
    from: Option<u32>,
    is_seen: bool,
}

impl Book {
    /// All messages.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// What they take of `store_bytes`.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn unread(&self, identity: &Identity) -> u64 {
        self.find(identity).map_or(0, |key| self.keys[key as usize].letters.len() as u64)
    }

    /// What is in the mailbox of this key; it does not know accounts.
    pub fn look(&self, identity: &Identity) -> Look {
        let Some(key) = self.find(identity).map(|key| &self.keys[key as usize]) else {
            return Look::default();
        };
        Look {
            account: None,
            unread_messages: key.letters.len() as u64,
            unread_bytes: key.letter_bytes,
            oldest: key.letters.front().map(|letter| letter.id),
        }
    }

    /// Whether one more message may come; `others_bytes` is what else is counted in `store_bytes`, and `has_account`
    /// is asked at the first message to a key only.
    ///
    /// # Errors
    /// Why not; or what `has_account` failed with.
    pub fn check<E>(
        &mut self,
        caps: &Caps,
        to: &Identity,
        from: Option<&Identity>,
        bytes: u32,
        others_bytes: u64,
        has_account: impl FnOnce() -> Result<bool, E>,
    ) -> Result<Result<Seat, Refused>, E> {
        let to_key = self.find(to);
        let known = to_key.map(|key| &self.keys[key as usize]);
        let (letters, letter_bytes) = known.map_or((0, 0), |key| (key.letters.len(), key.letter_bytes));
        let is_seen = match known {
            Some(key) if key.has_account => true,
            // A key may be known as a sender only: it is asked about until there is something in its mailbox.
            Some(key) if !key.letters.is_empty() => false,
            _ => has_account()?,
        };
        let (messages_most, bytes_most) = match is_seen {
            true => (caps.mailbox_messages, caps.mailbox_bytes),
            false => (caps.unseen_messages, caps.unseen_bytes),
        };
        let sender = from.and_then(|from| self.find(from));
        let of_sender = |key: u32| {
            let letters = known.into_iter().flat_map(|to| &to.letters);
            letters.filter(|letter| letter.from == key).count() as u32
        };
        let is_mailbox_full = letters as u64 >= u64::from(messages_most)
            || letter_bytes + u64::from(bytes) > bytes_most
            || sender.is_some_and(|sender| {
                let crowd = letters as u64 >= u64::from(caps.sender_mailbox_messages);
                crowd && of_sender(sender) >= caps.sender_mailbox_messages
            })
            || from.is_some() && self.sent_bytes(sender) + u64::from(bytes) > caps.sender_bytes;
        if is_mailbox_full {
            return Ok(Err(Refused::MailboxFull));
        }
        if self.bytes + others_bytes + u64::from(bytes) + MESSAGE_BYTES > caps.store_bytes {
            return Ok(Err(Refused::StoreFull));
        }
        Ok(Ok(Seat { to: to_key, from: sender, is_seen }))
    }

    /// Adds a message, whose id is above all others in its mailbox, where [`Book::check`] found room just now.
    pub fn add(&mut self, seat: Seat, id: MessageId, to: &Identity, from: Option<&Identity>, bytes: u32) {
        let from = from.map_or(OPERATOR, |from| seat.from.unwrap_or_else(|| self.make(from)));
        if let Some(sender) = self.keys.get_mut(from as usize) {
            sender.sent += 1;
            sender.sent_bytes += u64::from(bytes);
        }
        let to = seat.to.unwrap_or_else(|| self.make(to)) as usize;
        self.keys[to].has_account |= seat.is_seen;
        self.keys[to].letters.push_back(Letter { id, from, bytes });
        self.keys[to].letter_bytes += u64::from(bytes);
        self.messages += 1;
        self.bytes += u64::from(bytes) + MESSAGE_BYTES;
    }

    /// Adds a message that was there before; they come in the order of their ids.
    pub fn put_back(&mut self, id: MessageId, to: &Identity, from: Option<&Identity>, bytes: u32) {
        self.add(Seat::default(), id, to, from, bytes);
    }

    /// Takes a message out of a mailbox; false if it is not there.
    pub fn remove(&mut self, identity: &Identity, id: MessageId) -> bool {
        let Some(key) = self.find(identity) else { return false };
        let letters = &self.keys[key as usize].letters;
        let Ok(at) = letters.binary_search_by_key(&id, |letter| letter.id) else { return false };
        self.remove_at(key, at);
        self.drop_if_empty(key);
        true
    }

    /// From now on this key has an account.
    pub fn is_seen(&mut self, identity: &Identity) {
        if let Some(key) = self.find(identity) {
            self.keys[key as usize].has_account = true;
        }
    }

    /// The oldest messages behind `after`, at most so many and of so many bytes, each with `around` more; and whether
    /// there are others behind them.
    pub fn fetch(
        &self,
        identity: &Identity,
        after: MessageId,
        messages: u32,
        bytes: u32,
        around: u32,
    ) -> (Vec<MessageId>, bool) {
        let Some(key) = self.find(identity) else { return (Vec::new(), false) };
        let letters = &self.keys[key as usize].letters;
        let start = letters.partition_point(|letter| letter.id <= after);
        let mut room = bytes;
        let fits = |letter: &&Letter| {
            let left = room.checked_sub(letter.bytes.saturating_add(around));
            room = left.unwrap_or(room);
            left.is_some()
        };
        let found: Vec<_> =
            letters.range(start..).take(messages as usize).take_while(fits).map(|letter| letter.id).collect();
        let more = start + found.len() < letters.len();
        (found, more)
    }

    /// Takes out what is too old, of the next `keys` keys and at most about `messages` messages; whether it came to
    /// the end of all keys, where it begins anew.
    pub fn expire(
        &mut self,
        caps: &Caps,
        unix_ms: u64,
        keys: usize,
        messages: usize,
        mut gone: impl FnMut(&Identity, &[MessageId]),
    ) -> bool {
        let mut left = messages;
        for _ in 0..keys {
            if self.cursor >= self.keys.capacity() {
                self.cursor = 0;
                return true;
            }
            if left == 0 {
                return false;
            }
            let at = self.cursor;
            self.cursor += 1;
            let Some(key) = self.keys.get(at) else { continue };
            let keep_ms = if key.has_account { caps.keep_ms } else { caps.unseen_keep_ms };
            let is_due = |letter: &&Letter| letter.id.unix_ms().saturating_add(keep_ms) <= unix_ms;
            let ids: Vec<_> =
                key.letters.iter().take_while(is_due).take(left).map(|letter| letter.id).collect();
            if ids.is_empty() {
                continue;
            }
            gone(&key.identity, &ids);
            left -= ids.len();
            // The rest of this mailbox is for the next time.
            if left == 0 {
                self.cursor = at;
            }
            for _ in 0..ids.len() {
                self.remove_at(at as u32, 0);
            }
            self.drop_if_empty(at as u32);
        }
        false
    }

    fn remove_at(&mut self, key: u32, at: usize) {
        let owner = &mut self.keys[key as usize];
        let Some(letter) = owner.letters.remove(at) else { return };
        owner.letter_bytes -= u64::from(letter.bytes);
        if owner.letters.capacity() > 16 && owner.letters.len() < owner.letters.capacity() / 4 {
            owner.letters.shrink_to(owner.letters.len() * 2);
        }
        self.messages -= 1;
        self.bytes -= u64::from(letter.bytes) + MESSAGE_BYTES;
        if let Some(sender) = self.keys.get_mut(letter.from as usize) {
            sender.sent -= 1;
            sender.sent_bytes -= u64::from(letter.bytes);
        }
        if letter.from != OPERATOR && letter.from != key {
            self.drop_if_empty(letter.from);
        }
    }

    fn sent_bytes(&self, key: Option<u32>) -> u64 {
        key.map_or(0, |key| self.keys[key as usize].sent_bytes)
    }

    fn find(&self, identity: &Identity) -> Option<u32> {
        let hash = hash(&self.hasher, identity.as_bytes());
        self.index.find(hash, |key| self.keys[*key as usize].identity == *identity).copied()
    }

    fn make(&mut self, identity: &Identity) -> u32 {
        if let Some(key) = self.find(identity) {
            return key;
        }
        let key = self.keys.insert(Key {
            identity: *identity,
            has_account: false,
            letters: VecDeque::new(),
            letter_bytes: 0,
            sent: 0,
            sent_bytes: 0,
        }) as u32;
        let (hasher, keys) = (&self.hasher, &self.keys);
        let rehash = |key: &u32| hash(hasher, keys[*key as usize].identity.as_bytes());
        self.index.insert_unique(hash(hasher, identity.as_bytes()), key, rehash);
        key
    }

    fn drop_if_empty(&mut self, key: u32) {
        let Some(held) = self.keys.get(key as usize) else { return };
        if held.letters.is_empty() && held.sent == 0 {
            let hash = hash(&self.hasher, held.identity.as_bytes());
            if let Ok(entry) = self.index.find_entry(hash, |other| *other == key) {
                entry.remove();
            }
            self.keys.remove(key as usize);
            if self.keys.is_empty() {
                (self.keys, self.index) = (Slab::new(), HashTable::new());
            }
        }
    }
}

/// Of a whole key: anybody may write to keys that agree in parts of their choice.
pub fn hash(hasher: &RandomState, key: &[u8; 33]) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write(key);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_agree_in_any_half_are_apart() {
        let hasher = RandomState::new();
        let key = [7; 33];
        for differs in 0..33 {
            let mut other = key;
            other[differs] ^= 1;
            assert_ne!(hash(&hasher, &key), hash(&hasher, &other), "{differs}");
        }
    }
}
