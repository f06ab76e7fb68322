//! What a slot keeps of a connection for this backend, in the four bytes that it has for a socket: the place in the
//! ring's table, and how it waits for bytes. An idle connection costs nothing beyond them.

/// A place in the ring's table, below [`PLACES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u32);

const PLACE_BITS: u32 = 20;
/// As many as a ring's table has at most.
pub const PLACES: u32 = 1 << PLACE_BITS;

/// What the kernel holds for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Nothing,
    /// It is parked: a poll tells when there is something.
    Poll,
    /// One receive.
    Once,
    /// A receive that goes on by itself.
    GoesOn,
}

/// It waits for others: in the backlog, or in the list of those who close.
pub const WAITS: u32 = 1 << PLACE_BITS;
/// Bytes or an end are kept for it.
pub const KEPT: u32 = 1 << (PLACE_BITS + 1);
/// It is in the list of the busy.
pub const LISTED: u32 = 1 << (PLACE_BITS + 2);
const HOLDS_AT: u32 = PLACE_BITS + 3;
const HOLDS: u32 = 0b11 << HOLDS_AT;
/// The tick in which it last sent something, as far as there are bits for it.
const TICK_AT: u32 = PLACE_BITS + 5;
const TICK: u32 = u32::MAX << TICK_AT;
const TICKS: u8 = (TICK >> TICK_AT) as u8;

/// A connection's socket.
#[derive(Debug, PartialEq, Eq)]
pub struct Socket(u32);

impl Socket {
    /// A new one, for which the kernel holds nothing.
    pub fn new(place: Place) -> Self {
        debug_assert!(place.0 < PLACES);
        Self(place.0 & (PLACES - 1))
    }

    #[inline]
    pub fn place(&self) -> Place {
        Place(self.0 & (PLACES - 1))
    }

    #[inline]
    pub fn holds(&self) -> Holds {
        match (self.0 & HOLDS) >> HOLDS_AT {
            0 => Holds::Nothing,
            1 => Holds::Poll,
            2 => Holds::Once,
            _ => Holds::GoesOn,
        }
    }

    #[inline]
    pub fn hold(&mut self, what: Holds) {
        self.0 = self.0 & !HOLDS | (what as u32) << HOLDS_AT;
    }

    /// Whether one of these flags is set.
    #[inline]
    pub fn has(&self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    pub fn set(&mut self, flag: u32) {
        self.0 |= flag;
    }

    #[inline]
    pub fn clear(&mut self, flag: u32) {
        self.0 &= !flag;
    }

    /// It last sent something long ago.
    pub fn sent_long_before(&mut self, tick: u8) {
        self.sent_at(tick.wrapping_sub(TICKS / 2));
    }

    /// It has sent something in this tick.
    #[inline]
    pub fn sent_at(&mut self, tick: u8) {
        self.0 = self.0 & !TICK | u32::from(tick) << TICK_AT;
    }

    /// Ticks since it last sent something; who was silent for half a minute may count as if he had just spoken.
    #[inline]
    pub fn age(&self, tick: u8) -> u8 {
        tick.wrapping_sub(((self.0 & TICK) >> TICK_AT) as u8) & TICKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_keeps_its_own_and_leaves_the_others() {
        for number in [0, 1, 77, PLACES - 1] {
            let mut socket = Socket::new(Place(number));
            assert_eq!((socket.holds(), socket.age(0)), (Holds::Nothing, 0));
            for tick in (0..=u8::MAX).step_by(5) {
                socket.sent_at(tick);
                for holds in [Holds::GoesOn, Holds::Poll, Holds::Once, Holds::Nothing] {
                    socket.hold(holds);
                    for flag in [WAITS, KEPT, LISTED] {
                        assert!(!socket.has(WAITS | KEPT | LISTED));
                        socket.set(flag);
                        assert!(socket.has(flag) && !socket.has((WAITS | KEPT | LISTED) & !flag));
                        assert_eq!((socket.place(), socket.holds()), (Place(number), holds));
                        assert_eq!((socket.age(tick), socket.age(tick.wrapping_add(3))), (0, 3));
                        socket.clear(flag);
                    }
                }
            }
        }
    }
}
