//! How long a reactor's turns take, from the end of a wait to the start of the next one: while a turn lasts,
//! everybody else on that core waits.

/// The shortest bound that is told apart.
pub const LEAST_NS: u64 = 50_000;
/// Bounds, each twice the one before: to 0.82 s.
pub const BOUNDS: usize = 15;
/// Parts of each, so that a percentile is within an eighth.
const PARTS: usize = 8;
/// And one for all that took longer.
const BUCKETS: usize = BOUNDS * PARTS + 1;

/// A histogram of one reactor, or of several together.
#[derive(Clone, Debug)]
pub struct Turns {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Turns {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_ns: 0, max_ns: 0 }
    }
}

impl Turns {
    /// Counts a turn.
    #[inline]
    pub fn add(&mut self, turn_ns: u64) {
        // A bound counts with what is below it.
        let part = turn_ns.saturating_sub(1) / (LEAST_NS / PARTS as u64);
        let doubled = (part | 7).ilog2() as usize - 2;
        let bucket =
            if part < 8 { part as usize } else { doubled * PARTS + (part >> (doubled - 1)) as usize % 8 };
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.sum_ns += turn_ns;
        self.max_ns = self.max_ns.max(turn_ns);
    }

    /// Adds those of another reactor.
    pub fn merge(&mut self, other: &Turns) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(own, other)| *own += other);
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Each bound in nanoseconds, with how many turns took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut count = 0;
        self.buckets.chunks_exact(PARTS).enumerate().map(move |(nth, parts)| {
            count += parts.iter().sum::<u64>();
            (LEAST_NS << nth, count)
        })
    }

    /// What so many turns in a thousand did not exceed, to an eighth.
    pub fn per_mille_ns(&self, per_mille: u64) -> u64 {
        let rank = (self.count() * per_mille).div_ceil(1_000);
        let mut count = 0;
        for (bucket, turns) in self.buckets.iter().enumerate() {
            count += turns;
            if count >= rank {
                return upper_ns(bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// Every figure, always in the same order.
    pub fn each(&mut self, mut visit: impl FnMut(&mut u64)) {
        let Self { buckets, sum_ns, max_ns } = self;
        buckets.iter_mut().chain([sum_ns, max_ns]).for_each(&mut visit);
    }
}

/// The longest turn that this bucket counts.
fn upper_ns(bucket: usize) -> u64 {
    if bucket + 1 >= BUCKETS {
        return u64::MAX;
    }
    let (doubled, part) = (bucket / PARTS, bucket % PARTS);
    let part_ns = LEAST_NS / PARTS as u64;
    match doubled {
        0 => part_ns * (part as u64 + 1),
        _ => (LEAST_NS << (doubled - 1)) + (part_ns << (doubled - 1)) * (part as u64 + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_counts_under_every_bound_that_it_does_not_exceed() {
        for turn_ns in
            [0, 1, 49_999, 50_000, 50_001, 99_999, 100_000, 100_001, 819_200_000, 819_200_001, u64::MAX]
        {
            let mut turns = Turns::default();
            turns.add(turn_ns);
            for (bound_ns, count) in turns.cumulative() {
                assert_eq!(count, u64::from(turn_ns <= bound_ns), "{turn_ns} under {bound_ns}");
            }
            assert_eq!((turns.cumulative().count(), turns.count(), turns.max_ns()), (BOUNDS, 1, turn_ns));
        }
    }

    #[test]
    fn a_percentile_is_within_an_eighth_and_never_above_the_longest() {
        let mut turns = Turns::default();
        (1..=1_000u64).for_each(|nth| turns.add(nth * nth * 700));
        for per_mille in [1, 100, 500, 900, 999] {
            let (true_ns, told_ns) = (per_mille * per_mille * 700, turns.per_mille_ns(per_mille));
            assert!(told_ns >= true_ns && told_ns <= true_ns + true_ns / 8 + 6_250, "{per_mille}: {told_ns}");
        }
        assert_eq!(turns.per_mille_ns(1_000), turns.max_ns());
        let mut slow = Turns::default();
        slow.add(5_000_000_000);
        turns.merge(&slow);
        assert_eq!((turns.count(), turns.per_mille_ns(1_000)), (1_001, 5_000_000_000));
        assert_eq!(Turns::default().per_mille_ns(999), 0);
    }
}
