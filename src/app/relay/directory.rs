//! On which reactors the keys of one home have connections, in 4 bytes for each.
//!
//! An entry is the reactor's number and as many bits of the key's hash as fit. Two keys that agree in them are one to
//! it: a message then goes to a reactor that finds nobody, and says so.

use crate::engine::chunks::is_oversized;
use hashbrown::{HashTable, hash_table};

/// So that no turn pays for more than one shard that grows.
const SHARDS: usize = 256;

pub struct Directory {
    /// By the lowest bits of the hash.
    shards: Box<[HashTable<u32>]>,
    /// Bits of an entry that are the reactor's number.
    number_bits: u32,
    len: usize,
}

impl Directory {
    /// Of a home in a server of so many reactors, at most 2^16; alone it has none.
    pub fn new(reactors: usize) -> Self {
        let shards = if reactors > 1 { SHARDS } else { 0 };
        Self {
            shards: (0..shards).map(|_| HashTable::new()).collect(),
            number_bits: reactors.next_power_of_two().trailing_zeros().min(16),
            len: 0,
        }
    }

    /// Keys, once for each reactor.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The reactor has connections of the key with this hash.
    pub fn enter(&mut self, hash: u64, reactor: u16) {
        let (entry, bits) = (self.entry(hash, reactor), self.number_bits);
        let Some(shard) = shard(&mut self.shards, hash) else { return };
        // The like of it may be there: another key.
        shard.insert_unique(spread(entry >> bits), entry, |entry| spread(entry >> bits));
        self.len += 1;
    }

    /// It has none any more.
    pub fn leave(&mut self, hash: u64, reactor: u16) {
        let (entry, bits) = (self.entry(hash, reactor), self.number_bits);
        let Some(shard) = shard(&mut self.shards, hash) else { return };
        let Ok(place) = shard.find_entry(spread(entry >> bits), |other| *other == entry) else { return };
        hash_table::OccupiedEntry::remove(place);
        self.len -= 1;
        if shard.is_empty() {
            *shard = HashTable::new();
        } else if is_oversized(shard.len(), shard.capacity()) {
            shard.shrink_to(2 * shard.len(), |entry| spread(entry >> bits));
        }
    }

    /// Adds the reactors that may have connections of the key, each once.
    pub fn find(&self, hash: u64, reactors: &mut Vec<u16>) {
        let bits = self.number_bits;
        let wanted = self.entry(hash, 0) >> bits;
        let Some(shard) = self.shards.get(hash as usize % SHARDS) else { return };
        for entry in shard.iter_hash(spread(wanted)).filter(|entry| **entry >> bits == wanted) {
            let reactor = (entry & ((1 << bits) - 1)) as u16;
            if !reactors.contains(&reactor) {
                reactors.push(reactor);
            }
        }
    }

    fn entry(&self, hash: u64, reactor: u16) -> u32 {
        // The shard says the lowest eight.
        ((hash >> 8) as u32) << self.number_bits | u32::from(reactor)
    }
}

fn shard(shards: &mut [HashTable<u32>], hash: u64) -> Option<&mut HashTable<u32>> {
    shards.get_mut(hash as usize % SHARDS)
}

/// What the table wants of an entry: its lowest and its highest bits are to differ.
fn spread(bits: u32) -> u64 {
    u64::from(bits).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn mix(seed: u64) -> u64 {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^ (x >> 31)
    }

    #[test]
    fn it_finds_each_reactor_once_whatever_came_and_went() {
        for (seed, reactors) in [(1, 2), (2, 3), (3, 16), (4, 1_024), (5, 65_536)] {
            let mut directory = Directory::new(reactors);
            let mut model: BTreeMap<u64, BTreeSet<u16>> = BTreeMap::new();
            for step in 0..20_000u64 {
                let throw = mix(seed << 32 | step);
                let hash = mix(throw % 700);
                let reactor = ((throw >> 20) % reactors as u64) as u16;
                let has = model.entry(hash).or_default();
                if has.insert(reactor) {
                    directory.enter(hash, reactor);
                } else {
                    has.remove(&reactor);
                    directory.leave(hash, reactor);
                }
            }
            // 700 of 2^24 and more: none agree.
            for (hash, has) in &model {
                let mut found = Vec::new();
                directory.find(*hash, &mut found);
                assert_eq!(found.len(), has.len());
                assert_eq!(BTreeSet::from_iter(found), *has);
            }
            assert_eq!(directory.len(), model.values().map(BTreeSet::len).sum::<usize>());
            for (hash, has) in model {
                has.into_iter().for_each(|reactor| directory.leave(hash, reactor));
            }
            assert_eq!(directory.len(), 0);
            assert!(directory.shards.iter().all(|shard| shard.capacity() == 0));
        }
    }

    #[test]
    fn keys_that_agree_are_told_apart_by_how_many_they_are() {
        let mut directory = Directory::new(1_024);
        let (one, other) = (mix(7) & 0x3FFF_FFFF, mix(7) & 0x3FFF_FFFF | 1 << 63);
        directory.enter(one, 5);
        directory.enter(other, 5);
        directory.leave(one, 5);
        let mut found = Vec::new();
        directory.find(other, &mut found);
        assert_eq!(found, [5]);
    }

    #[test]
    fn an_entry_takes_at_most_twelve_bytes() {
        let mut directory = Directory::new(2);
        (0..200_000).for_each(|n| directory.enter(mix(n), 1));
        let slots: usize = directory.shards.iter().map(|shard| shard.capacity() * 8 / 7).sum();
        // Four bytes and one of the table's own for each place.
        assert!(slots * 5 <= 200_000 * 12, "{slots} places");
    }
}
