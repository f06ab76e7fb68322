//! One generator a thread: a system call at its birth, none after.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

/// A cryptographic generator: ChaCha20 under a key from the kernel. Neither copied nor printed.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// A generator no other one agrees with, its key from the kernel.
    ///
    /// # Errors
    /// What getrandom(2) gives where it is missing or forbidden.
    pub fn from_os() -> std::io::Result<Rng> {
        let mut seed = Zeroizing::new([0; 32]);
        loop {
            match getrandom(&mut seed[..], GetRandomFlags::empty()) {
                Ok(32) => return Ok(Rng::from_seed(*seed)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The same bytes for the same seed, in this version of the program: for tests and simulations.
    pub fn from_seed(seed: [u8; 32]) -> Rng {
        Rng(ChaCha20Rng::from_seed(seed))
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`, 0 for a `bound` of 0; off uniform by less than `bound` in 2^64.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u32
    }

    /// Takes the next output as the new key. A secret drawn before cannot be computed from the state
    /// after, which a ChaCha stream, its counter wound back, would otherwise allow.
    pub fn forget(&mut self) {
        let mut seed = Zeroizing::new([0; 32]);
        self.fill(&mut seed[..]);
        self.0 = ChaCha20Rng::from_seed(*seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(rng: &mut Rng) -> [u8; 32] {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_seed_repeats_and_the_kernel_does_not() {
        assert_eq!(draw(&mut Rng::from_seed([7; 32])), draw(&mut Rng::from_seed([7; 32])));
        assert_ne!(draw(&mut Rng::from_seed([7; 32])), draw(&mut Rng::from_seed([8; 32])));
        assert_ne!(draw(&mut Rng::from_os().unwrap()), draw(&mut Rng::from_os().unwrap()));
    }

    #[test]
    fn below_reaches_both_ends_and_not_the_bound() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut seen = [0; 5];
        (0..1000).for_each(|_| seen[rng.below(5) as usize] += 1);
        assert!(seen.iter().all(|n| (100..300).contains(n)), "{seen:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
    }

    #[test]
    fn what_was_drawn_is_not_in_the_state_after_forget() {
        let mut rng = Rng::from_seed([1; 32]);
        let before = draw(&mut rng);
        rng.forget();
        let seed = rng.0.get_seed();
        assert_ne!(seed, [1; 32]);
        rng.0.set_word_pos(0);
        assert_ne!(draw(&mut rng), before);
    }
}
