//! Times in fixed buckets, as HdrHistogram has them: exact below 256 ns, within 1 % above.

/// Buckets an octave has above the exact ones.
const PER_OCTAVE: usize = 128;
const EXACT: u64 = 2 * PER_OCTAVE as u64;
/// Longer times, 18 minutes, count as this.
const LONGEST_NS: u64 = (1 << 40) - 1;
const BUCKETS: usize = bucket(LONGEST_NS) + 1;

/// How often which time was measured, in nanoseconds.
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts the same time `times` times.
    #[inline]
    pub fn record(&mut self, ns: u64, times: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ns.min(LONGEST_NS))) {
            *count += times;
        }
        self.total += times;
        if times > 0 {
            self.max_ns = self.max_ns.max(ns);
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            *own += others;
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Exact.
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The time that `part` of all times, 0 to 1, do not pass: the end of its bucket, so never too short.
    pub fn quantile_ns(&self, part: f64) -> u64 {
        let rank = ((self.total as f64 * part).ceil() as u64).clamp(1, self.total.max(1));
        let mut passed = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            passed += count;
            if passed >= rank {
                return last_of(bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

const fn bucket(ns: u64) -> usize {
    if ns < EXACT {
        return ns as usize;
    }
    let shift = ns.ilog2() - EXACT.ilog2() + 1;
    shift as usize * PER_OCTAVE + (ns >> shift) as usize
}

/// The longest time in a bucket.
const fn last_of(bucket: usize) -> u64 {
    if bucket < EXACT as usize {
        return bucket as u64;
    }
    let shift = bucket / PER_OCTAVE - 1;
    let first = (bucket - shift * PER_OCTAVE) as u64;
    ((first + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_within_one_percent() {
        let edges = (0..40).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for ns in (0..100_000).chain(edges) {
            let bucket = bucket(ns);
            assert!(bucket < BUCKETS && last_of(bucket) >= ns, "{ns}");
            assert!((last_of(bucket) - ns) as f64 <= ns as f64 / 100.0, "{ns} in {}", last_of(bucket));
        }
        assert!((1..100_000).all(|ns| bucket(ns) - bucket(ns - 1) <= 1));
        assert_eq!((bucket(LONGEST_NS), last_of(BUCKETS - 1)), (BUCKETS - 1, LONGEST_NS));
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let mut histogram = Histogram::default();
        let mut list: Vec<u64> = (0..10_000u64).map(|n| n * n % 7_919 * 1_000 + n).collect();
        list.iter().for_each(|ns| histogram.record(*ns, 1));
        list.sort_unstable();
        for part in [0.0, 0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = list[((10_000.0 * part) as usize).clamp(1, 10_000) - 1];
            let found = histogram.quantile_ns(part);
            assert!(found >= exact && found - exact <= exact / 100, "{part}: {found} for {exact}");
        }
        assert_eq!((histogram.max_ns(), histogram.quantile_ns(1.0)), (list[9_999], list[9_999]));
    }

    #[test]
    fn many_at_once_and_sums_are_the_same_as_one_by_one() {
        let (mut one, mut other, mut all) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        for n in 0..1_000 {
            one.record(n * 500, 3);
            other.record(n * 900, 1);
            (0..3).for_each(|_| all.record(n * 500, 1));
            all.record(n * 900, 1);
        }
        one.add(&other);
        assert_eq!((one.total(), one.max_ns()), (4_000, all.max_ns()));
        assert_eq!(one.counts, all.counts);
    }

    #[test]
    fn nothing_and_too_much_can_be_asked_for() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_ns(0.5), histogram.max_ns()), (0, 0));
        histogram.record(7, 0);
        assert_eq!((histogram.total(), histogram.max_ns()), (0, 0));
        histogram.record(u64::MAX, 1);
        assert_eq!((histogram.quantile_ns(0.5), histogram.max_ns()), (LONGEST_NS, u64::MAX));
    }
}
