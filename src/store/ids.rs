//! The ids of messages: each above the one before, whatever the clock does.

use crate::app::{crypto::rng::Rng, mail::MessageId};

/// Bits below the milliseconds.
const UNIQUE_BITS: u32 = 80;
/// Ids of one millisecond are less than this apart, so that they stay unguessable, and far from the next one.
const STEP: u64 = 1 << 32;

pub struct Ids {
    last: u128,
    rng: Rng,
}

impl Ids {
    /// Goes on behind `last`.
    pub fn new(last: MessageId, rng: Rng) -> Self {
        Self { last: u128::from_be_bytes(last.0), rng }
    }

    /// The next one; `unix_ms` is the clock, which counts only if it is ahead of the last id.
    pub fn next(&mut self, unix_ms: u64) -> MessageId {
        let ms = u128::from(unix_ms & ((1 << 48) - 1));
        if ms > self.last >> UNIQUE_BITS {
            // The highest bit is left clear: room to count up.
            let unique = u128::from(self.rng.next_u32()) << 64 | u128::from(self.rng.next_u64());
            self.last = ms << UNIQUE_BITS | unique & ((1 << (UNIQUE_BITS - 1)) - 1);
        } else {
            self.last = self.last.saturating_add(1 + u128::from(self.rng.next_u64() % STEP));
        }
        MessageId(self.last.to_be_bytes())
    }

    pub fn last(&self) -> MessageId {
        MessageId(self.last.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_also_within_a_millisecond_over_a_restart_and_when_the_clock_jumps_back() {
        let mut ids = Ids::new(MessageId::FIRST, Rng::from_seed([1; 32]));
        let mut before = MessageId::FIRST;
        for ms in [1_000, 1_000, 1_000, 2_000, 500, 500, 2_000, 2_001, 0, u64::MAX >> 16, 7] {
            let id = ids.next(ms);
            assert!(id > before, "{before} then {id} at {ms}");
            assert!(id.unix_ms() >= ms && id.unix_ms() >= before.unix_ms());
            before = id;
            ids = Ids::new(ids.last(), Rng::from_seed([2; 32]));
        }
        let mut ids = Ids::new(MessageId::FIRST, Rng::from_seed([1; 32]));
        assert_eq!([5_000, 5_000].map(|ms| ids.next(ms).unix_ms()), [5_000, 5_000]);
    }
}
