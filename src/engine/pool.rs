//! Storage for what comes and goes within a turn: one slab, the last free place first, so that what is hot stays
//! hot. Its memory goes when it is empty and has grown large. What stays for long is in `chunks`.

use slab::Slab;

/// Bytes that an empty pool keeps.
const KEEP_BYTES: usize = 256 * 1_024;

pub struct Pool<T>(Slab<T>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Slab::new())
    }
}

impl<T> Pool<T> {
    #[inline]
    pub fn insert(&mut self, value: T) -> u32 {
        self.0.insert(value) as u32
    }

    #[inline]
    pub fn get(&self, key: u32) -> Option<&T> {
        self.0.get(key as usize)
    }

    #[inline]
    pub fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.0.get_mut(key as usize)
    }

    #[inline]
    pub fn try_remove(&mut self, key: u32) -> Option<T> {
        self.0.try_remove(key as usize)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(key, value)| (key as u32, value))
    }

    /// Gives memory back if nothing is there and there was much.
    #[inline]
    pub fn rest(&mut self) {
        if self.0.is_empty() && self.0.capacity() > KEEP_BYTES / size_of::<T>().max(1) {
            self.0 = Slab::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_storm_needed_goes_and_what_a_turn_needs_stays() {
        let mut pool = Pool::default();
        let many = 2 * KEEP_BYTES as u64 / 8;
        for (values, keeps) in [(100, true), (many, false)] {
            let keys: Vec<_> = (0..values).map(|value| pool.insert(value)).collect();
            assert_eq!(pool.get(keys[7]), Some(&7));
            pool.rest();
            assert_eq!(pool.len() as u64, values);
            assert!(keys.iter().all(|key| pool.try_remove(*key).is_some()));
            pool.rest();
            assert_eq!((pool.is_empty(), pool.0.capacity() > 0), (true, keeps));
        }
    }
}
