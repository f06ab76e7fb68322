//! What one address may hold and how often it may log in, over all reactors.
//!
//! Touched at accept, at close and at login only. A connection keeps a 4-byte handle. An address without
//! connections is remembered for as long as it owes for logins: who reconnects for each is held to the rate.

use super::limits::Limits;
use slab::Slab;
use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

const SHARDS: usize = 64;

/// An address as limits count it: IPv4 whole, IPv6 by its /64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Network {
    V4(u32),
    V6(u64),
}

#[derive(Debug)]
struct Entry {
    network: Network,
    connections: u32,
    /// Until when logins are paid for (GCRA), in milliseconds.
    logins_until_ms: u64,
    /// It is among the shard's debtors.
    owes: bool,
}

#[derive(Default)]
struct Shard {
    by_network: HashMap<Network, u32>,
    entries: Slab<Entry>,
    /// Entries that had no connection at some time but owed for logins, in that order.
    debtors: VecDeque<u32>,
}

impl Shard {
    /// Forgets addresses that have no connection and owe nothing any more, from the front.
    fn forgive(&mut self, now_ms: u64) {
        while let Some(&index) = self.debtors.front() {
            let Some(entry) = self.entries.get_mut(index as usize) else { break };
            if entry.connections == 0 && entry.logins_until_ms > now_ms {
                break;
            }
            entry.owes = false;
            self.debtors.pop_front();
            if entry.connections == 0 {
                self.forget(index);
            }
        }
    }

    fn forget(&mut self, index: u32) {
        if let Some(entry) = self.entries.try_remove(index as usize) {
            self.by_network.remove(&entry.network);
        }
    }
}

/// The counters of all addresses that have a connection, or owe for logins.
pub struct Gate {
    shards: Vec<Mutex<Shard>>,
    hasher: std::hash::RandomState,
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
        let network = match ip {
            IpAddr::V4(ip) => Network::V4(ip.to_bits()),
            IpAddr::V6(ip) => Network::V6((ip.to_bits() >> 64) as u64),
        };
        let number = {
            use std::hash::BuildHasher;
            self.hasher.hash_one(network) as usize % SHARDS
        };
        let mut shard = self.shard(number);
        shard.forgive(now_ms);
        let Shard { by_network, entries, .. } = &mut *shard;
        let new = Entry { network, connections: 0, logins_until_ms: 0, owes: false };
        let index = *by_network.entry(network).or_insert_with(|| entries.insert(new) as u32);
        let entry = entries.get_mut(index as usize)?;
        if entry.connections >= limits.connections_per_address {
            return None;
        }
        entry.connections += 1;
        Some(index * SHARDS as u32 + number as u32)
    }

    /// A connection that [`Gate::enter`] counted has ended.
    pub fn leave(&self, handle: u32, now_ms: u64) {
        if handle == Self::FREE {
            return;
        }
        let mut shard = self.shard(handle as usize % SHARDS);
        let index = handle / SHARDS as u32;
        if let Some(entry) = shard.entries.get_mut(index as usize) {
            entry.connections -= 1;
            if entry.connections == 0 && !entry.owes {
                if entry.logins_until_ms > now_ms {
                    entry.owes = true;
                    shard.debtors.push_back(index);
                } else {
                    shard.forget(index);
                }
            }
        }
        shard.forgive(now_ms);
    }

    /// Counts a login of the connection's address.
    ///
    /// # Errors
    /// The address is over its rate: milliseconds until it may try again.
    pub fn login(&self, handle: u32, now_ms: u64, limits: &Limits) -> Result<(), u64> {
        if handle == Self::FREE {
            return Ok(());
        }
        let mut shard = self.shard(handle as usize % SHARDS);
        let Some(entry) = shard.entries.get_mut(handle as usize / SHARDS) else { return Ok(()) };
        let each_ms = 1_000 / u64::from(limits.logins_per_address_per_s).clamp(1, 1_000);
        let burst_ms = each_ms.saturating_mul(u64::from(limits.logins_per_address_burst));
        let until = entry.logins_until_ms.max(now_ms) + each_ms;
        match until.saturating_sub(now_ms.saturating_add(burst_ms)) {
            0 => {
                entry.logins_until_ms = until;
                Ok(())
            }
            wait_ms => Err(wait_ms),
        }
    }

    fn shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        self.shards[number % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
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
