//! Inputs that take turns, so that branch predictors and caches can't learn one by heart.

use mida::app::crypto::{key::SecretKey, rng::Rng};

/// How many there are of what is small.
pub const MANY: usize = 64;
/// What large inputs take together: a first-level cache has room for them, as for what was just received.
const CACHED_BYTES: usize = 16_384;

/// One input after the other, and over again.
pub struct Rotation<T> {
    inputs: Vec<T>,
    at: usize,
}

impl<T> Rotation<T> {
    pub fn new(inputs: impl IntoIterator<Item = T>) -> Self {
        let inputs: Vec<T> = inputs.into_iter().collect();
        assert!(!inputs.is_empty());
        Self { inputs, at: 0 }
    }

    /// The next one.
    #[inline]
    pub fn turn(&mut self) -> &mut T {
        self.at = if self.at + 1 < self.inputs.len() { self.at + 1 } else { 0 };
        &mut self.inputs[self.at]
    }

    /// The one that had its turn last.
    pub fn current(&self) -> &T {
        &self.inputs[self.at]
    }

    pub fn all(&mut self) -> &mut [T] {
        &mut self.inputs
    }
}

/// How many inputs of so many bytes a rotation has.
pub fn count(bytes: usize) -> usize {
    (CACHED_BYTES / bytes).clamp(4, MANY)
}

/// The same numbers in each run.
pub fn rng() -> Rng {
    Rng::from_seed([7; 32])
}

/// The secrets of so many clients.
pub fn secrets(rng: &mut Rng, count: usize) -> Vec<SecretKey> {
    (0..count).map(|_| SecretKey::generate(rng)).collect()
}

/// Words of no meaning, so many bytes of them, with nothing in them that JSON escapes.
pub fn words(rng: &mut Rng, bytes: usize) -> String {
    let letter = |rng: &mut Rng| if rng.below(6) == 0 { ' ' } else { char::from(b'a' + rng.below(26) as u8) };
    (0..bytes).map(|_| letter(rng)).collect()
}

/// What `write` makes around words, exactly so many bytes.
pub fn padded(rng: &mut Rng, bytes: usize, write: impl Fn(&str) -> String) -> String {
    let words = words(rng, bytes.checked_sub(write("").len()).expect("room for what is written"));
    write(&words)
}

/// Hex digits, so many of them.
pub fn digits(rng: &mut Rng, count: usize) -> String {
    (0..count).map(|_| char::from(b"0123456789abcdef"[rng.below(16) as usize])).collect()
}
