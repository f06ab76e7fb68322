//! When connections began, to about a second, without a word in their slots: generations are given in order,
//! so it is enough to know which was the last of a second.

use std::num::NonZeroU32;

/// Periods that are told apart; then two that are close become one.
const PERIODS: usize = 1_024;

/// A time in which connections began, from its first to its last.
struct Period {
    from_ms: u64,
    last: NonZeroU32,
}

/// The periods of one reactor, in order.
pub struct Ages {
    periods: Vec<Period>,
    each_ms: u64,
}

impl Default for Ages {
    fn default() -> Self {
        Self { periods: Vec::new(), each_ms: 1_000 }
    }
}

impl Ages {
    /// A connection of this generation begins. After the last generation all before it count as new.
    pub fn begin(&mut self, generation: NonZeroU32, now_ms: u64) {
        if let Some(period) = self.periods.last_mut() {
            if period.last > generation {
                self.periods.clear();
            } else if now_ms.saturating_sub(period.from_ms) < self.each_ms {
                period.last = generation;
                return;
            }
        }
        if self.periods.len() == PERIODS {
            self.join();
        }
        self.periods.push(Period { from_ms: now_ms, last: generation });
    }

    /// When a connection of this generation began; not later than it did.
    pub fn since_ms(&self, generation: NonZeroU32) -> u64 {
        let at = self.periods.partition_point(|period| period.last < generation);
        self.periods.get(at).or(self.periods.last()).map_or(0, |period| period.from_ms)
    }

    /// Makes room: longer periods, until there are half as many.
    fn join(&mut self) {
        while self.periods.len() > PERIODS / 2 {
            self.each_ms *= 2;
            let each_ms = self.each_ms;
            self.periods.dedup_by(|next, period| {
                let is_close = next.from_ms - period.from_ms < each_ms;
                if is_close {
                    period.last = next.last;
                }
                is_close
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn a_beginning_is_known_to_the_second_however_long_nobody_came() {
        let mut ages = Ages::default();
        let begins = [(1, 10), (2, 900), (3, 1_010), (4, 3_600_000), (7, 3_600_999)];
        begins.iter().for_each(|(number, at_ms)| ages.begin(generation(*number), *at_ms));
        for (number, at_ms) in begins {
            let since_ms = ages.since_ms(generation(number));
            assert!(since_ms <= at_ms && at_ms - since_ms < 1_000, "{number}: {since_ms}");
        }
    }

    #[test]
    fn a_year_of_connections_takes_a_bounded_number_of_periods() {
        let mut ages = Ages::default();
        let at_ms = |number: u32| u64::from(number) * 1_500;
        for number in 1..200_000 {
            ages.begin(generation(number), at_ms(number));
            assert!(ages.periods.len() <= PERIODS);
        }
        for number in [1, 77, 5_000, 199_999] {
            let since_ms = ages.since_ms(generation(number));
            assert!(since_ms <= at_ms(number) && at_ms(number) - since_ms < ages.each_ms, "{number}");
        }
        assert!(ages.each_ms < at_ms(200_000) / 256);
        // Generations begin again.
        ages.begin(generation(1), 400_000_000);
        assert_eq!(ages.since_ms(generation(1)), 400_000_000);
    }
}
