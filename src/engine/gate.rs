//! What one address may hold and how often it may log in, over all reactors.
//!
//! Touched at accept, or when a proxy has named its client, at close and at login only. A connection keeps a
//! 4-byte handle; an address costs 16 bytes and its place in a table of 4-byte handles. One without connections
//! is remembered for as long as it owes for logins: who reconnects for each is held to the rate.

use super::{
    chunks::{Chunks, is_oversized},
    limits::Limits,
};
use hashbrown::{HashTable, hash_table};
use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
};

const SHARDS: usize = 64;
const ONE_CONNECTION: NonZeroU32 = NonZeroU32::new(2).unwrap();
/// A chunk of entries is 1 KiB: there is one in each shard.
const BITS: u32 = 6;

/// An address as limits count it: IPv4 whole, IPv6 by its /64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Network(u64);

impl Network {
    fn of(ip: IpAddr) -> Self {
        Self(match ip {
            // ff00::/8 is multicast (RFC 4291 section 2.7), so nobody connects from there.
            IpAddr::V4(ip) => 0xFF << 56 | u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        })
    }
}

#[derive(Debug)]
struct Entry {
    network: Network,
    /// Twice its connections, and one if it is among the shard's debtors.
    held: NonZeroU32,
    /// Until when logins are paid for (GCRA), in wrapping milliseconds; 0: there was none.
    logins_until_ms: u32,
}

impl Entry {
    fn connections(&self) -> u32 {
        self.held.get() / 2
    }

    fn is_debtor(&self) -> bool {
        self.held.get() & 1 != 0
    }

    fn owes(&self, now_ms: u64) -> bool {
        let ahead_ms = self.logins_until_ms.wrapping_sub(now_ms as u32);
        self.logins_until_ms != 0 && (1..1 << 31).contains(&ahead_ms)
    }
}

const _: () = assert!(Chunks::<Entry, BITS>::VALUE_BYTES == 16);

#[derive(Default)]
struct Shard {
    by_network: HashTable<u32>,
    entries: Chunks<Entry, BITS>,
    /// Entries that had no connection at some time but owed for logins, in that order.
    debtors: VecDeque<u32>,
}

/// The counters of all addresses that have a connection, or owe for logins.
pub struct Gate {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

impl Default for Gate {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: Default::default() }
    }
}

impl Gate {
    /// The handle of a connection that is not counted.
    pub const FREE: u32 = u32::MAX;

    /// Counts a connection from `peer`; none when its address holds its share already.
    pub fn enter(&self, peer: SocketAddr, now_ms: u64, limits: &Limits) -> Option<u32> {
        let ip = peer.ip().to_canonical();
        if ip.is_loopback() && limits.limit_loopback == 0 {
            return Some(Self::FREE);
        }
        let network = Network::of(ip);
        let hash = self.hasher.hash_one(network);
        let number = shard_of(hash);
        let mut shard = self.shard(number);
        self.forgive(&mut shard, now_ms);
        let Shard { by_network, entries, .. } = &mut *shard;
        let is_it = |index: &u32| entries.get(*index).is_some_and(|entry| entry.network == network);
        let index = match by_network.find(hash, is_it) {
            Some(&index) => {
                let entry = entries.get_mut(index)?;
                if entry.connections() >= limits.connections_per_address {
                    return None;
                }
                entry.held = entry.held.checked_add(2)?;
                index
            }
            None => {
                let entry = Entry { network, held: ONE_CONNECTION, logins_until_ms: 0 };
                let index = entries.insert(entry);
                by_network.insert_unique(hash, index, |index| self.hash_at(entries, *index));
                index
            }
        };
        Some(index * SHARDS as u32 + number as u32)
    }

    /// A connection that [`Gate::enter`] counted has ended.
    pub fn leave(&self, handle: u32, now_ms: u64) {
        if handle == Self::FREE {
            return;
        }
        let mut shard = self.shard(handle as usize % SHARDS);
        let index = handle / SHARDS as u32;
        let Some(entry) = shard.entries.get_mut(index) else { return };
        if let Some(left) = NonZeroU32::new(entry.held.get() - 2) {
            entry.held = left;
        } else if entry.owes(now_ms) {
            entry.held = NonZeroU32::MIN;
            shard.debtors.push_back(index);
        } else {
            self.forget(&mut shard, index);
        }
        self.forgive(&mut shard, now_ms);
    }

    /// Forgets addresses that have no connection and owe nothing any more, from the front.
    fn forgive(&self, shard: &mut Shard, now_ms: u64) {
        while let Some(&index) = shard.debtors.front() {
            let Some(entry) = shard.entries.get_mut(index).filter(|entry| entry.is_debtor()) else { break };
            if entry.connections() == 0 && entry.owes(now_ms) {
                break;
            }
            shard.debtors.pop_front();
            match NonZeroU32::new(entry.held.get() - 1) {
                Some(connections) => entry.held = connections,
                None => self.forget(shard, index),
            }
        }
    }

    fn forget(&self, shard: &mut Shard, index: u32) {
        let Shard { by_network, entries, debtors } = shard;
        let Some(entry) = entries.try_remove(index) else { return };
        let hash = self.hasher.hash_one(entry.network);
        if let Ok(place) = by_network.find_entry(hash, |other| *other == index) {
            hash_table::OccupiedEntry::remove(place);
        }
        if entries.is_empty() && debtors.is_empty() {
            // Shards are many and small: what each kept would keep a page each.
            *shard = Shard::default();
        } else if is_oversized(by_network.len(), by_network.capacity()) {
            by_network.shrink_to(2 * by_network.len(), |index| self.hash_at(entries, *index));
        }
    }

    /// Counts a login of the connection's address.
    ///
    /// # Errors
    /// The address is over its rate: milliseconds until it may try again.
    pub fn login(&self, handle: u32, now_ms: u64, limits: &Limits) -> Result<(), u64> {
        if handle == Self::FREE || limits.logins_per_address_per_s == u32::MAX {
            return Ok(());
        }
        let mut shard = self.shard(handle as usize % SHARDS);
        self.forgive(&mut shard, now_ms);
        let Some(entry) = shard.entries.get_mut(handle / SHARDS as u32) else { return Ok(()) };
        let now = now_ms as u32;
        let each_ms = 1_000 / limits.logins_per_address_per_s.clamp(1, 1_000);
        let burst_ms = each_ms.saturating_mul(limits.logins_per_address_burst).min(u32::MAX / 4);
        let mut ahead_ms = entry.logins_until_ms.wrapping_sub(now);
        if entry.logins_until_ms == 0 || ahead_ms > burst_ms {
            // Never, or long ago, seen through the wrap.
            ahead_ms = 0;
        }
        let ahead_ms = ahead_ms + each_ms;
        if ahead_ms > burst_ms {
            return Err(u64::from(ahead_ms - burst_ms));
        }
        entry.logins_until_ms = now.wrapping_add(ahead_ms).max(1);
        Ok(())
    }

    fn shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        self.shards[number % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash_at(&self, entries: &Chunks<Entry, BITS>, index: u32) -> u64 {
        entries.get(index).map_or(0, |entry| self.hasher.hash_one(entry.network))
    }
}

/// By bits that the table in the shard does not look at: it takes the lowest and the highest.
fn shard_of(hash: u64) -> usize {
    (hash >> 48) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let (gate, limits) = (Gate::default(), Limits { connections_per_address: 2, ..Limits::default() });
        let first = gate.enter(at("10.0.0.1:1"), 0, &limits).unwrap();
        gate.enter(at("10.0.0.1:2"), 0, &limits).unwrap();
        assert_eq!(gate.enter(at("10.0.0.1:3"), 0, &limits), None);
        assert_eq!(gate.enter(at("[::ffff:10.0.0.1]:3"), 0, &limits), None);
        assert!(gate.enter(at("10.0.0.2:3"), 0, &limits).is_some());
        gate.leave(first, 0);
        assert!(gate.enter(at("10.0.0.1:4"), 0, &limits).is_some());
    }

    #[test]
    fn ipv6_counts_by_64_and_loopback_is_free_unless_asked() {
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let gate = Gate::default();
        assert!(gate.enter(at("[2001:db8::1]:1"), 0, &limits).is_some());
        assert_eq!(gate.enter(at("[2001:db8::2]:1"), 0, &limits), None);
        assert!(gate.enter(at("[2001:db8:0:1::2]:1"), 0, &limits).is_some());
        assert_eq!(gate.enter(at("127.0.0.1:1"), 0, &limits), Some(Gate::FREE));
        let counted = Limits { limit_loopback: 1, ..limits };
        assert!(gate.enter(at("127.0.0.1:1"), 0, &counted).is_some_and(|handle| handle != Gate::FREE));
        assert_eq!(gate.enter(at("127.0.0.1:2"), 0, &counted), None);
    }

    #[test]
    fn addresses_that_came_and_went_leave_nothing() {
        let limits = Limits::default();
        let gate = Gate::default();
        let address = |n: u32| SocketAddr::new(IpAddr::V4((0x0A00_0000 + n).into()), 1);
        let handles: Vec<_> = (0..20_000).map(|n| gate.enter(address(n), 0, &limits).unwrap()).collect();
        let again: Vec<_> = (0..20_000).map(|n| gate.enter(address(n), 0, &limits).unwrap()).collect();
        assert_eq!(handles, again);
        handles.iter().chain(&again).for_each(|handle| gate.leave(*handle, 0));
        for shard in &gate.shards {
            let shard = shard.lock().unwrap();
            assert_eq!((shard.entries.len(), shard.entries.capacity()), (0, 0));
            assert_eq!((shard.by_network.len(), shard.by_network.capacity()), (0, 0));
        }
    }

    #[test]
    fn logins_are_counted_through_the_wrap_of_the_clock() {
        let limits =
            Limits { logins_per_address_per_s: 10, logins_per_address_burst: 1, ..Limits::default() };
        let gate = Gate::default();
        let handle = gate.enter(at("10.0.0.1:1"), 0, &limits).unwrap();
        let wrap_ms = 1 << 32;
        assert_eq!(gate.login(handle, wrap_ms - 50, &limits), Ok(()));
        assert_eq!(gate.login(handle, wrap_ms - 1, &limits), Err(51));
        assert_eq!(gate.login(handle, wrap_ms + 49, &limits), Err(1));
        assert_eq!(gate.login(handle, wrap_ms + 50, &limits), Ok(()));
        let free = Limits { logins_per_address_per_s: u32::MAX, ..limits };
        assert_eq!(gate.login(handle, wrap_ms + 50, &free), Ok(()));
    }

    #[test]
    fn logins_have_a_burst_and_then_a_rate() {
        let limits =
            Limits { logins_per_address_per_s: 10, logins_per_address_burst: 3, ..Limits::default() };
        let gate = Gate::default();
        let handle = gate.enter(at("10.0.0.1:1"), 0, &limits).unwrap();
        for _ in 0..3 {
            assert_eq!(gate.login(handle, 5_000, &limits), Ok(()));
        }
        assert_eq!(gate.login(handle, 5_000, &limits), Err(100));
        assert_eq!(gate.login(handle, 5_099, &limits), Err(1));
        assert_eq!(gate.login(handle, 5_100, &limits), Ok(()));
    }

    #[test]
    fn reconnecting_pays_no_logins_and_who_owes_none_is_forgotten() {
        let limits =
            Limits { logins_per_address_per_s: 10, logins_per_address_burst: 3, ..Limits::default() };
        let gate = Gate::default();
        let remembered =
            || gate.shards.iter().map(|shard| shard.lock().unwrap().entries.len()).sum::<usize>();
        let login = |now_ms| {
            let handle = gate.enter(at("10.0.0.1:1"), now_ms, &limits).unwrap();
            let done = gate.login(handle, now_ms, &limits);
            gate.leave(handle, now_ms);
            done
        };
        assert_eq!([login(0), login(0), login(0), login(0)], [Ok(()), Ok(()), Ok(()), Err(100)]);
        assert_eq!([login(99), login(100), login(101)], [Err(1), Ok(()), Err(99)]);
        assert_eq!(remembered(), 1);
        // Back and gone again while it owes, it is one debtor still.
        let handle = gate.enter(at("10.0.0.1:1"), 399, &limits).unwrap();
        gate.leave(handle, 400);
        assert_eq!(remembered(), 0);
        // Who never logged in is forgotten at once, and who is there is not.
        let stays = gate.enter(at("10.0.0.1:1"), 500, &limits).unwrap();
        gate.leave(gate.enter(at("10.0.0.2:1"), 500, &limits).unwrap(), 500);
        assert_eq!(remembered(), 1);
        gate.login(stays, 500, &limits).unwrap();
        gate.leave(stays, 500);
        assert_eq!((remembered(), login(700)), (1, Ok(())));
    }
}
