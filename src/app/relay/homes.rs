//! Which reactor is home of a key or a topic.

use crate::app::{
    crypto::key::Identity,
    mail::{From, Word},
};
use std::hash::{DefaultHasher, Hasher};

/// The same on all reactors of a server. The hash is keyed, because peers choose their keys and topics.
#[derive(Clone, Debug)]
pub struct Homes {
    seed: [u8; 16],
    reactors: u16,
}

impl Default for Homes {
    /// Of a server with one reactor.
    fn default() -> Self {
        Self::new([0; 16], 1)
    }
}

impl Homes {
    /// `seed` is random, and nobody's but the server's.
    pub fn new(seed: [u8; 16], reactors: usize) -> Self {
        Self { seed, reactors: u16::try_from(reactors.max(1)).unwrap_or(u16::MAX) }
    }

    pub fn reactors(&self) -> usize {
        self.reactors.into()
    }

    pub fn of_key(&self, identity: &Identity) -> u16 {
        if self.reactors == 1 { 0 } else { self.place(self.hash(identity)) }
    }

    pub fn of_topic(&self, topic: &str) -> u16 {
        if self.reactors == 1 { 0 } else { self.place(self.hash_bytes(topic.as_bytes())) }
    }

    /// The reactor that a word of the store is for.
    pub fn of_word(&self, word: &Word) -> u16 {
        match word {
            Word::Account { at, .. } | Word::Backlog { at, .. } => at.reactor,
            Word::Receipt { from: From::Member { at, .. }, .. } => at.reactor,
            Word::Receipt { from: From::Operator { .. }, .. } => 0,
            Word::Committed(committed) => self.of_key(&committed.to),
            Word::Acked { identity, .. } => self.of_key(identity),
        }
    }

    /// Of the key; the highest 24 bits decide on the home.
    pub fn hash(&self, identity: &Identity) -> u64 {
        self.hash_bytes(identity.as_bytes())
    }

    fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.seed);
        hasher.write(bytes);
        hasher.finish()
    }

    fn place(&self, hash: u64) -> u16 {
        (((hash >> 40) * u64::from(self.reactors)) >> 24) as u16
    }
}
