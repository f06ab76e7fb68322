//! Connections with an accepted key, and which of them a key has.
//!
//! The index holds 4-byte handles and no keys: it compares with the key in the member's record. It is cut
//! into shards, so that no turn pays for more than one shard that grows. Its hash is keyed by a random seed,
//! because peers choose their keys. Members of the same key are a list through their records.

use super::crypto::{key::Identity, seal::Epoch};
use crate::engine::chunks::{Chunks, is_oversized};
use hashbrown::{HashTable, hash_table};
use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
};

const SHARDS: usize = 256;
/// A chunk of members is 80 KiB.
const BITS: u32 = 9;

const NIL: u32 = u32::MAX;
/// It is the first of its key: the one that the table points to.
const FIRST: NonZeroU32 = NonZeroU32::MAX;
/// It is not in the index.
const UNLISTED: NonZeroU32 = NonZeroU32::new(u32::MAX - 1).expect("it is not 0");

/// What a connection with an accepted key has.
pub struct Member {
    pub identity: Identity,
    /// Made with the answer to event 2, or when there is a budget for it.
    pub epoch: Option<Epoch>,
    /// The connection's slot, in little-endian order.
    connection: [u8; 3],
    /// In the index: the next member of the same key, or [`NIL`]. Else what is noted, or [`NIL`].
    next: u32,
    /// The handle before plus one, [`FIRST`], or [`UNLISTED`].
    prev: NonZeroU32,
}

// With its slot, its place in the index and an address of its own, a connection stays under 256 bytes.
const _: () = assert!(Chunks::<Member, BITS>::VALUE_BYTES == 152);

impl Member {
    /// The member behind slot number `connection`, below 2^24; the index does not know it yet.
    pub fn new(identity: Identity, connection: u32) -> Self {
        let [low, middle, high, over] = connection.to_le_bytes();
        debug_assert!(over == 0);
        Self { identity, epoch: None, connection: [low, middle, high], next: NIL, prev: UNLISTED }
    }

    /// The number of its slot in the reactor.
    pub fn connection(&self) -> u32 {
        let [low, middle, high] = self.connection;
        u32::from_le_bytes([low, middle, high, 0])
    }

    fn is_listed(&self) -> bool {
        self.prev != UNLISTED
    }

    /// What [`Member::note`] noted: a handle of the session's.
    pub fn noted(&self) -> Option<u32> {
        (!self.is_listed() && self.next != NIL).then_some(self.next)
    }

    /// Notes a handle until the index knows the member: it takes its place.
    pub fn note(&mut self, handle: u32) {
        if !self.is_listed() {
            self.next = handle;
        }
    }

    /// Takes what is noted.
    pub fn take_note(&mut self) -> Option<u32> {
        let noted = self.noted()?;
        self.next = NIL;
        Some(noted)
    }
}

/// The members of one core.
pub struct Members {
    records: Chunks<Member, BITS>,
    /// For each key the first of its members.
    shards: Box<[HashTable<u32>]>,
    hasher: RandomState,
    keys: usize,
}

impl Default for Members {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { records: Chunks::new(), shards, hasher: RandomState::new(), keys: 0 }
    }
}

impl Members {
    /// Takes a member in and returns its handle. The index does not know it before [`Members::list`].
    pub fn insert(&mut self, member: Member) -> u32 {
        self.records.insert(member)
    }

    /// Forgets a member, and erases its epoch.
    pub fn remove(&mut self, handle: u32) {
        self.unlist(handle);
        // In its place: a member that is moved out leaves its bytes behind.
        if let Some(member) = self.records.get_mut(handle) {
            member.epoch = None;
        }
        self.records.try_remove(handle);
    }

    #[inline]
    pub fn get(&self, handle: u32) -> Option<&Member> {
        self.records.get(handle)
    }

    #[inline]
    pub fn get_mut(&mut self, handle: u32) -> Option<&mut Member> {
        self.records.get_mut(handle)
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keys in the index.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// From now on the member is found by its key; true: it is the first of it.
    pub fn list(&mut self, handle: u32) -> bool {
        let Self { records, shards, hasher, keys } = self;
        let Some(member) = records.get(handle).filter(|member| !member.is_listed()) else { return false };
        let hash = hash(hasher, &member.identity);
        let has_key = |other: &u32| records.get(*other).is_some_and(|it| it.identity == member.identity);
        let Some(shard) = shards.get_mut(shard_of(hash)) else { return false };
        let first = shard.find(hash, has_key).copied();
        let mut next = NIL;
        match first {
            None => {
                shard.insert_unique(hash, handle, |handle| hash_at(hasher, records, *handle));
                *keys += 1;
            }
            // The first stays the first, so that the table is left alone.
            Some(first) => {
                if let Some(first) = records.get_mut(first) {
                    next = std::mem::replace(&mut first.next, handle);
                }
                if let Some(second) = records.get_mut(next) {
                    second.prev = before(handle);
                }
            }
        }
        if let Some(member) = records.get_mut(handle) {
            (member.next, member.prev) = (next, first.map_or(FIRST, before));
        }
        first.is_none()
    }

    /// From now on the member is not found by its key, if it was; the key, if it was the last of it.
    pub fn unlist(&mut self, handle: u32) -> Option<Identity> {
        let Self { records, shards, hasher, keys } = self;
        let member = records.get_mut(handle).filter(|member| member.is_listed())?;
        let prev = std::mem::replace(&mut member.prev, UNLISTED);
        let next = std::mem::replace(&mut member.next, NIL);
        let identity = member.identity;
        if let Some(next) = records.get_mut(next) {
            next.prev = prev;
        }
        if prev != FIRST {
            if let Some(prev) = records.get_mut(prev.get() - 1) {
                prev.next = next;
            }
            return None;
        }
        let hash = hash(hasher, &identity);
        let shard = shards.get_mut(shard_of(hash))?;
        let mut place = shard.find_entry(hash, |other| *other == handle).ok()?;
        if next != NIL {
            *place.get_mut() = next;
            return None;
        }
        hash_table::OccupiedEntry::remove(place);
        *keys -= 1;
        if shard.is_empty() {
            // Shards are many and small: what each kept would keep a page each.
            *shard = HashTable::new();
        } else if is_oversized(shard.len(), shard.capacity()) {
            shard.shrink_to(2 * shard.len(), |handle| hash_at(hasher, records, *handle));
        }
        Some(identity)
    }

    /// Handles of the members with this key that the index knows, in no order.
    pub fn of(&self, identity: &Identity) -> impl Iterator<Item = u32> {
        let hash = hash(&self.hasher, identity);
        let has_key = |other: &u32| self.records.get(*other).is_some_and(|it| it.identity == *identity);
        let first = self.shards.get(shard_of(hash)).and_then(|shard| shard.find(hash, has_key)).copied();
        std::iter::successors(first, |handle| {
            self.records.get(*handle).map(|member| member.next).filter(|next| *next != NIL)
        })
    }

    /// The key with these 33 bytes, if the index knows it: then they need not be checked.
    pub fn known(&self, bytes: &[u8; 33]) -> Option<Identity> {
        let hash = hash_bytes(&self.hasher, bytes);
        let handle = self.shards.get(shard_of(hash))?.find(hash, |other| {
            self.records.get(*other).is_some_and(|member| member.identity.as_bytes() == bytes)
        })?;
        self.records.get(*handle).map(|member| member.identity)
    }

    /// Slots of the connections that have proven this key, in no order.
    pub fn connections_of(&self, identity: &Identity) -> impl Iterator<Item = u32> {
        self.of(identity).filter_map(|handle| self.get(handle).map(Member::connection))
    }
}

/// `handle` as it stands in `prev`.
fn before(handle: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(handle)
}

fn hash(hasher: &RandomState, identity: &Identity) -> u64 {
    hash_bytes(hasher, identity.as_bytes())
}

fn hash_bytes(hasher: &RandomState, bytes: &[u8; 33]) -> u64 {
    hasher.hash_one(bytes)
}

fn hash_at(hasher: &RandomState, records: &Chunks<Member, BITS>, handle: u32) -> u64 {
    records.get(handle).map_or(0, |member| hash(hasher, &member.identity))
}

/// By bits that the table in the shard does not look at: it takes the lowest and the highest.
fn shard_of(hash: u64) -> usize {
    (hash >> 48) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::crypto::{key::SecretKey, rng::Rng};
    use proptest::prelude::*;
    use std::{
        collections::{BTreeSet, HashMap},
        sync::LazyLock,
    };

    static KEYS: LazyLock<Vec<Identity>> = LazyLock::new(|| {
        let mut rng = Rng::from_seed([5; 32]);
        (0..300).map(|_| SecretKey::generate(&mut rng).identity()).collect()
    });

    #[derive(Clone, Debug)]
    enum Step {
        /// A member with this key comes; whether it is listed at once.
        Come(usize, bool),
        List(usize),
        Unlist(usize),
        Leave(usize),
    }

    fn step(keys: usize) -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..keys, any::<bool>()).prop_map(|(key, listed)| Step::Come(key, listed)),
            1 => any::<usize>().prop_map(Step::List),
            1 => any::<usize>().prop_map(Step::Unlist),
            2 => any::<usize>().prop_map(Step::Leave),
        ]
    }

    /// Each member's handle with its connection and key, and those listed of each key.
    #[derive(Default)]
    struct Model {
        members: Vec<(u32, u32, usize)>,
        listed: HashMap<Identity, Vec<u32>>,
    }

    impl Model {
        fn nth(&self, n: usize) -> Option<(usize, (u32, u32, usize))> {
            let at = n.checked_rem(self.members.len())?;
            Some((at, self.members[at]))
        }

        fn list(&mut self, (_, connection, key): (u32, u32, usize)) {
            let listed = self.listed.entry(KEYS[key]).or_default();
            if !listed.contains(&connection) {
                listed.push(connection);
            }
        }

        fn unlist(&mut self, (_, connection, key): (u32, u32, usize)) {
            if let Some(listed) = self.listed.get_mut(&KEYS[key]) {
                listed.retain(|other| *other != connection);
                if listed.is_empty() {
                    self.listed.remove(&KEYS[key]);
                }
            }
        }
    }

    fn run(steps: Vec<Step>) -> (Members, Model) {
        let (mut members, mut model) = (Members::default(), Model::default());
        for (connection, step) in (1000u32..).zip(steps) {
            match step {
                Step::Come(key, listed) => {
                    let handle = members.insert(Member::new(KEYS[key], connection));
                    let member = (handle, connection, key);
                    model.members.push(member);
                    if listed {
                        members.list(handle);
                        model.list(member);
                    }
                }
                Step::List(n) => {
                    if let Some((_, member)) = model.nth(n) {
                        members.list(member.0);
                        model.list(member);
                    }
                }
                Step::Unlist(n) => {
                    if let Some((_, member)) = model.nth(n) {
                        members.unlist(member.0);
                        model.unlist(member);
                    }
                }
                Step::Leave(n) => {
                    if let Some((at, member)) = model.nth(n) {
                        members.remove(member.0);
                        model.unlist(member);
                        model.members.swap_remove(at);
                    }
                }
            }
            assert_eq!((members.len(), members.keys()), (model.members.len(), model.listed.len()));
        }
        (members, model)
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(3),
            failure_persistence: None, ..Default::default() })]

        #[test]
        fn it_finds_what_a_map_from_keys_to_connections_finds(
            steps in (1usize..300).prop_flat_map(|keys| prop::collection::vec(step(keys), 1..400)),
        ) {
            let (members, model) = run(steps);
            for key in KEYS.iter() {
                let found: Vec<u32> = members.connections_of(key).collect();
                let expected = model.listed.get(key).cloned().unwrap_or_default();
                prop_assert_eq!(found.len(), expected.len());
                prop_assert_eq!(BTreeSet::from_iter(found), BTreeSet::from_iter(expected));
            }
        }
    }

    #[test]
    fn many_keys_that_came_and_went_leave_nothing() {
        let mut members = Members::default();
        let mut rng = Rng::from_seed([6; 32]);
        let point = KEYS[0].point();
        let handles: Vec<u32> = (0..10_000)
            .map(|connection| {
                let mut member = Member::new(SecretKey::generate(&mut rng).identity(), connection);
                if connection == 0 {
                    member.epoch = Some(Epoch::derive(&point, 0, &mut rng));
                }
                let handle = members.insert(member);
                members.list(handle);
                handle
            })
            .collect();
        assert_eq!(members.keys(), 10_000);
        let most = members.shards.iter().map(HashTable::len).max();
        assert!(most.is_some_and(|most| most < 100), "{most:?} of 39 on average in one shard");
        handles.into_iter().for_each(|handle| members.remove(handle));
        assert_eq!((members.len(), members.keys()), (0, 0));
        assert!(members.shards.iter().all(|shard| shard.capacity() == 0));
        assert!(members.records.capacity() <= 1 << BITS);
    }
}
