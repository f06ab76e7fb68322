//! How evenly pings come: counts of each tenth of a second.

use std::collections::BTreeMap;

const WINDOW_NS: u64 = 100_000_000;

/// Pings by the tenth of a second that they came in.
#[derive(Default)]
pub struct Beats(BTreeMap<u64, u64>);

/// What they say of the whole windows within the time measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub windows: u64,
    /// Pings a window.
    pub mean: f64,
    pub peak: u64,
}

impl Beats {
    /// So many came at `now_ns` of a clock that all threads share.
    pub fn record(&mut self, now_ns: u64, pings: u64) {
        *self.0.entry(now_ns / WINDOW_NS).or_default() += pings;
    }

    pub fn add(&mut self, other: &Self) {
        for (window, pings) in &other.0 {
            *self.0.entry(*window).or_default() += pings;
        }
    }

    /// None for less than ten whole windows. The first and the last were not measured whole.
    pub fn spread(&self) -> Option<Spread> {
        let (first, last) = (*self.0.first_key_value()?.0, *self.0.last_key_value()?.0);
        let windows = (last - first).saturating_sub(1);
        if windows < 10 {
            return None;
        }
        let whole = || self.0.range(first + 1..last).map(|(_, pings)| *pings);
        Some(Spread {
            windows,
            mean: whole().sum::<u64>() as f64 / windows as f64,
            peak: whole().max().unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_counted_whole_also_those_without_a_ping() {
        let (mut one, mut other) = (Beats::default(), Beats::default());
        for window in 20..=31 {
            if window != 25 {
                one.record(window * WINDOW_NS + 7, 10);
            }
        }
        other.record(26 * WINDOW_NS, 3);
        one.record(31 * WINDOW_NS, 100);
        one.add(&other);
        assert_eq!(one.spread(), Some(Spread { windows: 10, mean: 9.3, peak: 13 }));
        assert_eq!(other.spread(), None);
    }
}
