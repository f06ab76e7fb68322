//! What chance decides: throws by seed, and how often what goes wrong.

/// SplitMix64: the same throws for the same seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number in `0..end`; 0 for an `end` of 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.throw().checked_rem(end).unwrap_or(0)
    }

    /// True once in `n` throws; never for 0.
    pub fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.below(n.into()) == 0
    }

    /// One of these.
    pub fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[self.below(N as u64) as usize]
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// How often what goes wrong: once in so many times, 0 for never.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A send is kept and not tried before the next turn, as io_uring does it.
    pub untried: u32,
    /// The kernel takes a part of a send only.
    pub cut_send: u32,
    /// A receive brings a part of what is there.
    pub cut_receive: u32,
    /// What is in flight at a close comes back later, when its slot may be another's.
    pub late_sent: u32,
    /// Bytes and ends are reported of connections that were closed.
    pub stale: u32,
    pub accept_fails: u32,
    pub open_fails: u32,
    /// A sleep ends early, without anything to do.
    pub early: u32,
    /// A sleep lasts up to `late_ms` longer.
    pub late: u32,
    pub late_ms: u64,
    /// Completions that one turn brings; the others wait.
    pub events: usize,
    /// Sockets that there is room for.
    pub descriptors: usize,
}

impl Faults {
    /// A kernel that does all at once.
    pub const NONE: Self = Self {
        untried: 0,
        cut_send: 0,
        cut_receive: 0,
        late_sent: 0,
        stale: 0,
        accept_fails: 0,
        open_fails: 0,
        early: 0,
        late: 0,
        late_ms: 0,
        events: usize::MAX,
        descriptors: usize::MAX,
    };
}
