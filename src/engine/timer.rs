//! A hierarchical timer wheel whose links live in the connections' slots: arming, disarming and firing
//! are a few loads and stores, and the wheel itself is one kilobyte however many timers are armed.
//!
//! Time is milliseconds since the reactor started; a tick is one millisecond. Four levels of 64 slots
//! reach 4.6 hours; a deadline beyond that waits in the last slot and is placed anew when it comes up.

/// No slot: the end of a list.
const NIL: u32 = u32::MAX;
/// Set in `prev` when the neighbour is a list head and not a slot, so that disarming never searches.
const HEAD: u32 = 1 << 31;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 4;
/// The list of those whose time has come, behind the heads of the wheel.
const DUE: usize = LEVELS * SLOTS;

/// What the wheel keeps in each connection's slot. Not armed is [`Link::default`].
#[derive(Clone, Copy, Debug)]
pub struct Link {
    deadline_ms: u64,
    next: u32,
    prev: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { deadline_ms: u64::MAX, next: NIL, prev: NIL }
    }
}

impl Link {
    /// When it fires, in milliseconds; `u64::MAX` when it is not armed.
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    fn is_armed(&self) -> bool {
        self.prev != NIL
    }
}

/// Where the links are: the reactor's slots. Indexes are below 2^31.
pub trait Links {
    /// The link of a slot that is in the wheel or being put there.
    fn link(&mut self, index: u32) -> &mut Link;
}

/// The wheel of one reactor.
pub struct Wheel {
    now_ms: u64,
    heads: [u32; DUE + 1],
    /// A bit for each slot of a level that is not empty.
    occupied: [u64; LEVELS],
}

impl Default for Wheel {
    fn default() -> Self {
        Self { now_ms: 0, heads: [NIL; DUE + 1], occupied: [0; LEVELS] }
    }
}

impl Wheel {
    /// Fires `index` at `deadline_ms`, or at the next [`Wheel::pop`] if that has passed. An earlier
    /// deadline of the same slot is replaced; `u64::MAX` disarms.
    pub fn arm(&mut self, links: &mut impl Links, index: u32, deadline_ms: u64) {
        let link = links.link(index);
        if link.deadline_ms == deadline_ms {
            return;
        }
        if link.is_armed() {
            self.unlink(links, index);
        }
        if deadline_ms != u64::MAX {
            links.link(index).deadline_ms = deadline_ms;
            self.place(links, index, deadline_ms);
        }
    }

    /// Takes `index` out, if it is in.
    pub fn disarm(&mut self, links: &mut impl Links, index: u32) {
        if links.link(index).is_armed() {
            self.unlink(links, index);
        }
    }

    /// The next slot whose deadline is at or before `now_ms`, disarmed, and that deadline; none when all came.
    /// Within a millisecond the order is not defined. A clock that went back changes nothing.
    pub fn pop(&mut self, links: &mut impl Links, now_ms: u64) -> Option<(u32, u64)> {
        loop {
            let first = self.heads[DUE];
            if first != NIL {
                let deadline_ms = links.link(first).deadline_ms;
                self.unlink(links, first);
                return Some((first, deadline_ms));
            }
            let (level, slot, starts_ms) = self.earliest()?;
            if starts_ms > now_ms {
                self.now_ms = self.now_ms.max(now_ms);
                return None;
            }
            self.now_ms = self.now_ms.max(starts_ms);
            self.open(links, level, slot);
        }
    }

    /// A time before which nothing fires, or none when nothing is armed: how long the reactor may sleep.
    /// It may be early, never late.
    pub fn next_ms(&self) -> Option<u64> {
        if self.heads[DUE] != NIL {
            return Some(self.now_ms);
        }
        self.earliest().map(|(_, _, starts_ms)| starts_ms)
    }

    /// Takes the list of a slot whose time has come: what is due goes to the due list, the rest moves to
    /// a finer level. Every entry moves down at least one level, so this ends.
    fn open(&mut self, links: &mut impl Links, level: usize, slot: usize) {
        let mut index = std::mem::replace(&mut self.heads[level * SLOTS + slot], NIL);
        self.occupied[level] &= !(1 << slot);
        while index != NIL {
            let link = links.link(index);
            let (next, deadline_ms) = (link.next, link.deadline_ms);
            self.place(links, index, deadline_ms);
            index = next;
        }
    }

    /// The first occupied slot in time, and when it starts.
    fn earliest(&self) -> Option<(usize, usize, u64)> {
        (0..LEVELS).find_map(|level| {
            let shift = BITS * level as u32;
            let here = (self.now_ms >> shift) as u32 % SLOTS as u32;
            let ahead = self.occupied[level].rotate_right(here);
            if ahead == 0 {
                return None;
            }
            let slot = (here + ahead.trailing_zeros()) as usize % SLOTS;
            let turn = self.now_ms >> (shift + BITS) << (shift + BITS);
            let wrapped = if slot < here as usize { 1u64 << (shift + BITS) } else { 0 };
            Some((level, slot, turn + wrapped + ((slot as u64) << shift)))
        })
    }

    fn place(&mut self, links: &mut impl Links, index: u32, deadline_ms: u64) {
        let head = if deadline_ms <= self.now_ms {
            DUE
        } else {
            // The highest bit in which the deadline differs from now names the level.
            let differs = (deadline_ms ^ self.now_ms) | (SLOTS as u64 - 1);
            let level = ((63 - differs.leading_zeros()) / BITS) as usize;
            let level = level.min(LEVELS - 1);
            let shift = BITS * level as u32;
            // The last level is a ring: what it can't reach waits in its farthest slot.
            let ahead = ((deadline_ms >> shift) - (self.now_ms >> shift)).min(SLOTS as u64 - 1);
            let slot = ((self.now_ms >> shift) + ahead) as usize % SLOTS;
            self.occupied[level] |= 1 << slot;
            level * SLOTS + slot
        };
        let next = std::mem::replace(&mut self.heads[head], index);
        let link = links.link(index);
        link.next = next;
        link.prev = HEAD | head as u32;
        if next != NIL {
            links.link(next).prev = index;
        }
    }

    fn unlink(&mut self, links: &mut impl Links, index: u32) {
        let Link { next, prev, .. } = std::mem::take(links.link(index));
        if prev & HEAD == 0 {
            links.link(prev).next = next;
        } else {
            let head = (prev & !HEAD) as usize;
            self.heads[head] = next;
            if next == NIL && head < DUE {
                self.occupied[head / SLOTS] &= !(1 << (head % SLOTS));
            }
        }
        if next != NIL {
            links.link(next).prev = prev;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Links for Vec<Link> {
        fn link(&mut self, index: u32) -> &mut Link {
            &mut self[index as usize]
        }
    }

    fn drain(wheel: &mut Wheel, links: &mut Vec<Link>, now_ms: u64) -> Vec<u32> {
        let mut fired: Vec<_> =
            std::iter::from_fn(|| wheel.pop(links, now_ms)).map(|(index, _)| index).collect();
        fired.sort_unstable();
        fired
    }

    #[test]
    fn a_timer_fires_at_its_deadline_and_not_before() {
        for deadline_ms in [1, 63, 64, 65, 4_095, 4_096, 262_144, 16_777_215, 16_777_216, 90_000_000] {
            let (mut wheel, mut links) = (Wheel::default(), vec![Link::default()]);
            wheel.arm(&mut links, 0, deadline_ms);
            assert!(wheel.next_ms().is_some_and(|at| at <= deadline_ms));
            assert_eq!(wheel.pop(&mut links, deadline_ms - 1), None, "{deadline_ms}");
            assert_eq!(wheel.pop(&mut links, deadline_ms), Some((0, deadline_ms)), "{deadline_ms}");
            assert_eq!((wheel.pop(&mut links, u64::MAX >> 1), wheel.next_ms()), (None, None));
        }
    }

    #[test]
    fn sleeping_until_the_told_time_meets_every_deadline() {
        let (mut wheel, mut links) = (Wheel::default(), vec![Link::default(); 500]);
        for index in 0..500u32 {
            wheel.arm(&mut links, index, 1 + u64::from(index) * 7_919 % 300_000);
        }
        let mut fired = 0;
        while let Some(at) = wheel.next_ms() {
            while let Some((index, _)) = wheel.pop(&mut links, at) {
                assert_eq!(at, 1 + u64::from(index) * 7_919 % 300_000);
                fired += 1;
            }
        }
        assert_eq!(fired, 500);
    }

    #[test]
    fn a_clock_that_jumps_back_or_an_hour_ahead_loses_nothing() {
        let (mut wheel, mut links) = (Wheel::default(), vec![Link::default(); 2]);
        assert_eq!(wheel.pop(&mut links, 5_000), None);
        wheel.arm(&mut links, 0, 5_100);
        wheel.arm(&mut links, 1, 8_000_000);
        assert_eq!(wheel.pop(&mut links, 10), None);
        assert_eq!(drain(&mut wheel, &mut links, 3_605_000), [0]);
        assert_eq!(drain(&mut wheel, &mut links, 8_000_000), [1]);
    }

    proptest! {
        /// Against a sorted map: the same timers at the same times, whatever the order of calls.
        #[test]
        fn it_agrees_with_a_sorted_map(
            steps in prop::collection::vec((0u8..4, 0u32..40, 0u64..400_000, 0u64..70_000), 1..300),
            jump in 0u64..20_000_000,
        ) {
            let (mut wheel, mut links) = (Wheel::default(), vec![Link::default(); 40]);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = jump;
            for (what, index, ahead, step) in steps {
                match what {
                    0 | 1 => {
                        // Now and then in the past, now and then beyond the wheel's reach.
                        let at = if ahead % 13 == 0 { now / 2 } else { now + ahead * (1 + ahead % 90) };
                        wheel.arm(&mut links, index, at);
                        model.insert(index, at);
                    }
                    2 => {
                        wheel.disarm(&mut links, index);
                        model.remove(&index);
                    }
                    _ => {
                        now += step;
                        let want: Vec<_> = model.iter().filter(|(_, at)| **at <= now).map(|(i, _)| *i).collect();
                        model.retain(|_, at| *at > now);
                        prop_assert_eq!(drain(&mut wheel, &mut links, now), want);
                    }
                }
                if let Some(first) = model.values().min() {
                    prop_assert!(wheel.next_ms().is_some_and(|at| at <= (*first).max(now)));
                } else {
                    prop_assert_eq!(wheel.next_ms(), None);
                }
            }
        }
    }
}
