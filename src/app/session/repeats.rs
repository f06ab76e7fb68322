//! The ids of passing messages that a connection has sent lately, so that one sent again is not brought again
//! (PROTOCOL.md, "Sending again"). What is stored has its ids remembered by the store.

use crate::{
    app::{crypto::key::Identity, mail::MessageId},
    engine::chunks::is_oversized,
};
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
};

/// Ids of one connection.
pub const IDS_MAX: usize = 64;
/// A connection that sends nothing for so long is forgotten.
const KEEP_MS: u64 = 10 * 60 * 1_000;
const SWEEP_MS: u64 = 60 * 1_000;

#[derive(Default)]
pub struct Repeats {
    /// By the connection's number.
    rings: HashMap<u64, Ring>,
    hasher: RandomState,
    sweep_ms: u64,
}

#[derive(Default)]
struct Ring {
    /// Hashes of ids, oldest first, and what is known of each.
    ids: VecDeque<u64>,
    known: VecDeque<Known>,
    /// The mark of the first.
    first: u32,
    used_ms: u64,
}

/// What became of a message. Recipients are bits, in the order of `to`, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    content: u64,
    pub message: MessageId,
    answered: u64,
    delivered: u64,
}

impl Known {
    /// Whether the recipient at this place got it; none: its receipt is still to come.
    pub fn delivered(&self, place: u8) -> Option<bool> {
        let bit = 1u64.checked_shl(place.into()).unwrap_or(0);
        (self.answered & bit != 0).then_some(self.delivered & bit != 0)
    }
}

/// Whether a message was sent before.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// It was not; by this mark it is to be answered.
    New(u32),
    Same(Known),
    /// Its id stands for another.
    Other,
}

impl Repeats {
    /// Connection `number` sends a message that gets this id if it is new. `to` is a key for each recipient, or none
    /// and a topic.
    pub fn look(
        &mut self,
        number: u64,
        id: &str,
        content: (&[Identity], Option<&str>, &[u8]),
        message: MessageId,
        now_ms: u64,
    ) -> Look {
        let (to, topic, body) = content;
        let id = self.hasher.hash_one(id);
        let content = self.hasher.hash_one(Content { to, topic, body });
        let ring = self.rings.entry(number).or_default();
        ring.used_ms = now_ms;
        if let Some(at) = ring.ids.iter().position(|known| *known == id)
            && let Some(known) = ring.known.get(at)
        {
            return if known.content == content { Look::Same(*known) } else { Look::Other };
        }
        if ring.ids.len() == IDS_MAX {
            ring.ids.pop_front();
            ring.known.pop_front();
            ring.first = ring.first.wrapping_add(1);
        }
        let mark = ring.first.wrapping_add(ring.ids.len() as u32);
        ring.ids.push_back(id);
        ring.known.push_back(Known { content, message, answered: 0, delivered: 0 });
        Look::New(mark)
    }

    /// What became of the message with this mark, for the recipient at this place.
    pub fn answer(&mut self, number: u64, mark: u32, place: u8, delivered: bool) {
        let Some(ring) = self.rings.get_mut(&number) else { return };
        let at = mark.wrapping_sub(ring.first) as usize;
        if let Some(known) = ring.known.get_mut(at) {
            let bit = 1u64.checked_shl(place.into()).unwrap_or(0);
            known.answered |= bit;
            known.delivered |= if delivered { bit } else { 0 };
        }
    }

    /// The connection is gone.
    pub fn close(&mut self, number: u64) {
        if self.rings.remove(&number).is_some() {
            self.shrink();
        }
    }

    /// Forgets those who have sent nothing for long.
    pub fn turn(&mut self, now_ms: u64) {
        if self.rings.is_empty() || now_ms < self.sweep_ms {
            return;
        }
        self.sweep_ms = now_ms + SWEEP_MS;
        self.rings.retain(|_, ring| ring.used_ms + KEEP_MS > now_ms);
        self.shrink();
    }

    fn shrink(&mut self) {
        if is_oversized(self.rings.len(), self.rings.capacity()) {
            self.rings.shrink_to(2 * self.rings.len());
        }
    }
}

#[derive(Hash)]
struct Content<'a> {
    to: &'a [Identity],
    topic: Option<&'a str>,
    body: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(repeats: &mut Repeats, number: u64, id: &str, body: &str) -> Look {
        repeats.look(number, id, (&[], Some("t"), body.as_bytes()), MessageId([7; 16]), 1_000)
    }

    #[test]
    fn the_last_64_ids_of_a_connection_are_known_with_their_answers() {
        let mut repeats = Repeats::default();
        let Look::New(mark) = look(&mut repeats, 1, "a", "x") else { panic!("it is new") };
        assert_eq!(look(&mut repeats, 2, "a", "y"), Look::New(0));
        assert_eq!(look(&mut repeats, 1, "a", "y"), Look::Other);
        repeats.answer(1, mark, 0, true);
        repeats.answer(1, mark, 63, false);
        let Look::Same(known) = look(&mut repeats, 1, "a", "x") else { panic!("it is known") };
        let answers = [0, 1, 63].map(|place| known.delivered(place));
        assert_eq!((answers, known.message), ([Some(true), None, Some(false)], MessageId([7; 16])));
        for n in 0..63 {
            assert!(matches!(look(&mut repeats, 1, &n.to_string(), "x"), Look::New(_)));
        }
        assert!(matches!(look(&mut repeats, 1, "a", "x"), Look::Same(_)));
        let Look::New(last) = look(&mut repeats, 1, "last", "x") else { panic!("it is new") };
        // The oldest is gone, and what is said of it now is of nobody.
        repeats.answer(1, mark, 0, true);
        repeats.answer(1, last, 0, true);
        assert!(matches!(look(&mut repeats, 1, "a", "y"), Look::New(_)));
        let Look::Same(known) = look(&mut repeats, 1, "last", "x") else { panic!("it is known") };
        assert_eq!(known.delivered(0), Some(true));
        repeats.close(1);
        repeats.turn(1_000 + KEEP_MS);
        assert_eq!(repeats.rings.len(), 0);
    }
}
