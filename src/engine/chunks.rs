//! Storage by number that grows without copying and gives its memory back: a table of chunks of fixed size.
//!
//! A value never moves, and growing never takes longer than allocating one chunk. A new value goes to the
//! lowest chunk that has room, so that the higher ones run empty when there were many for a while; an empty
//! chunk is freed, but for one that is kept so that a single value that comes and goes allocates nothing.

use slab::Slab;

/// Whether a table with so much room has so little left in it that it should be made anew, of twice its
/// length.
pub const fn is_oversized(len: usize, capacity: usize) -> bool {
    capacity > 64 && len * 8 < capacity
}

/// As `slab` stores a value.
#[allow(dead_code)] // Only its size matters.
enum Entry<T> {
    Vacant(usize),
    Occupied(T),
}

/// No chunk.
const NIL: u32 = u32::MAX;

/// Values with keys from 0 on, in chunks of 2^`BITS`: choose a chunk of some 64 KiB. Keys are used again.
/// At most 2^32 - 2^`BITS` values.
#[derive(Debug)]
pub struct Chunks<T, const BITS: u32> {
    /// Each with a capacity of a whole chunk, or of nothing.
    chunks: Vec<Slab<T>>,
    /// The chunk that takes the next value; [`NIL`] when all are full.
    current: u32,
    /// Chunks with memory that have room.
    roomy: Bits,
    /// Chunks without memory.
    absent: Bits,
    /// An empty chunk that keeps its memory.
    spare: u32,
    len: u32,
}

impl<T, const BITS: u32> Default for Chunks<T, BITS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const BITS: u32> Chunks<T, BITS> {
    /// Bytes that a value takes: its own, if it has a niche (a field that is never 0) for one that is not there.
    pub const VALUE_BYTES: usize = size_of::<Entry<T>>();
    const SIZE: usize = 1 << BITS;
    const MASK: u32 = (1 << BITS) - 1;

    pub const fn new() -> Self {
        Self { chunks: Vec::new(), current: NIL, roomy: Bits::new(), absent: Bits::new(), spare: NIL, len: 0 }
    }

    /// Puts a value in and returns its key.
    #[inline]
    pub fn insert(&mut self, value: T) -> u32 {
        if self.current == NIL {
            self.add_chunk();
        }
        let number = self.current;
        // `add_chunk` saw to it that it is there.
        let chunk = &mut self.chunks[number as usize];
        let at = chunk.insert(value) as u32;
        let len = chunk.len();
        self.len += 1;
        if len == 1 && number == self.spare {
            self.spare = NIL;
        }
        if len == Self::SIZE {
            self.roomy.clear(number);
            self.current = self.roomy.first();
        }
        number << BITS | at
    }

    #[inline]
    pub fn get(&self, key: u32) -> Option<&T> {
        self.chunks.get((key >> BITS) as usize)?.get((key & Self::MASK) as usize)
    }

    #[inline]
    pub fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.chunks.get_mut((key >> BITS) as usize)?.get_mut((key & Self::MASK) as usize)
    }

    #[inline]
    pub fn try_remove(&mut self, key: u32) -> Option<T> {
        let number = key >> BITS;
        let chunk = self.chunks.get_mut(number as usize)?;
        let value = chunk.try_remove((key & Self::MASK) as usize)?;
        let len = chunk.len();
        self.len -= 1;
        if len == Self::SIZE - 1 {
            self.roomy.set(number);
            self.current = self.current.min(number);
        }
        if len == 0 {
            self.emptied(number);
        }
        Some(value)
    }

    pub const fn len(&self) -> usize {
        self.len as usize
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().enumerate().flat_map(|(number, chunk)| {
            chunk.iter().map(move |(at, value)| ((number as u32) << BITS | at as u32, value))
        })
    }

    /// One more than the highest key in use. Looks at most at one chunk's values.
    pub fn end(&self) -> u32 {
        let last = self.chunks.iter().enumerate().rev().find(|(_, chunk)| !chunk.is_empty());
        let end = |(number, chunk): (usize, &Slab<T>)| {
            Some(((number as u32) << BITS | chunk.iter().next_back()?.0 as u32) + 1)
        };
        last.and_then(end).unwrap_or(0)
    }

    /// Values that there is memory for.
    pub fn capacity(&self) -> usize {
        self.chunks.iter().map(Slab::capacity).sum()
    }

    #[cold]
    #[inline(never)]
    fn add_chunk(&mut self) {
        let mut number = self.absent.first();
        if number == NIL {
            number = self.chunks.len() as u32;
            assert!(number < 1 << (32 - BITS), "all keys are in use");
            self.chunks.push(Slab::new());
        }
        self.absent.clear(number);
        self.chunks[number as usize] = Slab::with_capacity(Self::SIZE);
        self.roomy.set(number);
        self.current = number;
    }

    /// Of two empty chunks the lower one stays, as the spare.
    fn emptied(&mut self, number: u32) {
        let other = self.spare;
        self.spare = number.min(other);
        if other == NIL {
            return;
        }
        let number = number.max(other);
        if let Some(chunk) = self.chunks.get_mut(number as usize) {
            *chunk = Slab::new();
        }
        self.roomy.clear(number);
        self.absent.set(number);
        self.current = self.roomy.first();
        while self.chunks.last().is_some_and(|chunk| chunk.capacity() == 0) {
            self.chunks.pop();
            self.absent.clear(self.chunks.len() as u32);
        }
        if self.chunks.capacity() > 4 * self.chunks.len() {
            self.chunks.shrink_to(2 * self.chunks.len());
            self.roomy.shrink(self.chunks.len());
            self.absent.shrink(self.chunks.len());
        }
    }
}

/// A set of small numbers that knows its least.
#[derive(Debug)]
struct Bits {
    words: Vec<u64>,
    /// All words before it are 0.
    from: usize,
}

impl Bits {
    const fn new() -> Self {
        Self { words: Vec::new(), from: 0 }
    }

    fn set(&mut self, number: u32) {
        let word = number as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (number % 64);
        self.from = self.from.min(word);
    }

    fn clear(&mut self, number: u32) {
        if let Some(word) = self.words.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    /// The least, or [`NIL`].
    fn first(&mut self) -> u32 {
        while let Some(word) = self.words.get(self.from) {
            if *word != 0 {
                return self.from as u32 * 64 + word.trailing_zeros();
            }
            self.from += 1;
        }
        NIL
    }

    /// Numbers from `end` on are not in it.
    fn shrink(&mut self, end: usize) {
        self.words.truncate(end.div_ceil(64));
        self.words.shrink_to_fit();
        self.from = self.from.min(self.words.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Small = Chunks<u64, 2>;

    #[derive(Clone, Debug)]
    enum Step {
        Insert,
        /// Of the keys in use, the nth modulo their number.
        Remove(usize),
        /// Whatever the key is.
        RemoveKey(u32),
        /// All but each nth.
        Thin(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => Just(Step::Insert),
            5 => any::<usize>().prop_map(Step::Remove),
            1 => (0u32..200).prop_map(Step::RemoveKey),
            1 => (1usize..40).prop_map(Step::Thin),
        ]
    }

    /// What must hold after every step.
    fn check(chunks: &mut Small, model: &BTreeMap<u32, u64>) {
        assert_eq!((chunks.len(), chunks.is_empty()), (model.len(), model.is_empty()));
        let entries: Vec<_> = chunks.iter().map(|(key, value)| (key, *value)).collect();
        assert_eq!(entries, model.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
        assert_eq!(chunks.end(), model.last_key_value().map_or(0, |(key, _)| key + 1));
        let used: std::collections::BTreeSet<_> = model.keys().map(|key| key >> 2).collect();
        let kept: Vec<u32> =
            (0..chunks.chunks.len() as u32).filter(|at| chunks.chunks[*at as usize].capacity() > 0).collect();
        assert!(used.iter().all(|number| kept.contains(number)));
        assert!(kept.len() <= used.len() + 1, "one spare at most: {kept:?} for {used:?}");
        assert_eq!(chunks.capacity(), kept.len() * 4, "no chunk grows");
        assert!(kept.last().is_none_or(|last| *last as usize == chunks.chunks.len() - 1));
        let full = |number: &u32| chunks.chunks[*number as usize].len() == 4;
        let expected = kept.iter().copied().find(|number| !full(number)).unwrap_or(NIL);
        assert_eq!((chunks.current, chunks.roomy.first()), (expected, expected));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(9),
            failure_persistence: None, ..Default::default() })]

        #[test]
        fn it_does_what_a_map_does_in_the_lowest_chunk_with_room(steps in prop::collection::vec(step(), 1..300)) {
            let (mut chunks, mut model) = (Small::new(), BTreeMap::new());
            for (nth, step) in (0u64..).zip(steps) {
                let keys: Vec<u32> = model.keys().copied().collect();
                match step {
                    Step::Insert => {
                        let lowest = chunks.current;
                        let key = chunks.insert(nth);
                        prop_assert!(lowest == NIL || key >> 2 == lowest);
                        prop_assert_eq!(model.insert(key, nth), None);
                    }
                    Step::Remove(n) if !keys.is_empty() => {
                        let key = keys[n % keys.len()];
                        prop_assert_eq!(chunks.try_remove(key), model.remove(&key));
                    }
                    Step::Remove(_) => {}
                    Step::RemoveKey(key) => {
                        prop_assert_eq!(chunks.get(key), model.get(&key));
                        prop_assert_eq!(chunks.get_mut(key), model.get_mut(&key));
                        prop_assert_eq!(chunks.try_remove(key), model.remove(&key));
                    }
                    Step::Thin(each) => {
                        for key in keys.iter().enumerate().filter(|(n, _)| n % each != 0).map(|(_, key)| key) {
                            prop_assert_eq!(chunks.try_remove(*key), model.remove(key));
                        }
                    }
                }
                check(&mut chunks, &model);
            }
        }
    }

    #[test]
    fn a_storm_leaves_nothing_but_one_spare_chunk() {
        let mut chunks: Chunks<u64, 4> = Chunks::new();
        let stays = chunks.insert(0);
        let keys: Vec<u32> = (1..100_000).map(|n| chunks.insert(n)).collect();
        assert!(chunks.capacity() < 100_000 + 16);
        for key in keys {
            assert!(chunks.try_remove(key).is_some());
        }
        assert_eq!((chunks.len(), chunks.end(), chunks.get(stays)), (1, 1, Some(&0)));
        assert_eq!(chunks.capacity(), 32);
        assert!(chunks.chunks.capacity() <= 16 && chunks.roomy.words.capacity() <= 4);
        assert!(chunks.absent.words.capacity() <= 4);
    }

    #[test]
    fn one_that_comes_and_goes_keeps_its_chunk() {
        let mut chunks = Small::new();
        for n in 0..100 {
            let key = chunks.insert(n);
            assert_eq!((key, chunks.try_remove(key), chunks.capacity()), (0, Some(n), 4));
        }
        assert_eq!((chunks.try_remove(0), chunks.get(u32::MAX)), (None, None));
    }
}
