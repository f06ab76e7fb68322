//! Which reactor of a server gets a new connection: who accepts it deals it on before its first byte is read.
//!
//! The only thing that reactors share about their load are these counters; a connection holds a seat from
//! its accept to its end, so a reactor is never dealt more than it has room for.

use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

/// A core deals to others when it is this close to its room.
const NEAR: u32 = 500;
/// And when it is so much above the mean, in percent and connections.
const ABOVE_PERCENT: u64 = 5;
const ABOVE: u64 = 32;

/// Seats taken and seats there are, on a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Seats {
    taken: AtomicU32,
    room: AtomicU32,
}

impl Seats {
    fn free(&self) -> u32 {
        self.room.load(Relaxed).saturating_sub(self.taken.load(Relaxed))
    }
}

/// The seats of all reactors of a server. Reactor `n` runs on core `n / per_core`.
pub struct Balance {
    reactors: Vec<Seats>,
    /// Sums over each core's reactors.
    cores: Vec<Seats>,
    per_core: usize,
    most: AtomicU32,
    /// Reactors that may still accept and deal.
    sources: AtomicU32,
    /// Set when somebody found no seat, cleared under 90 % of what there are.
    full: AtomicBool,
}

/// The server has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// It had some until now.
    pub is_news: bool,
}

impl Balance {
    /// `per_core` reactors on each of `cores` cores, without room yet, for at most `most` connections.
    pub fn new(cores: usize, per_core: usize, most: u32) -> Self {
        let seats = |count| (0..count).map(|_| Seats::default()).collect();
        Self {
            reactors: seats(cores * per_core),
            cores: seats(cores),
            per_core,
            most: AtomicU32::new(most),
            sources: AtomicU32::new((cores * per_core) as u32),
            full: AtomicBool::new(false),
        }
    }

    /// One reactor with room for so many, on its own.
    pub fn alone(room: u32) -> Self {
        let alone = Self::new(1, 1, u32::MAX);
        alone.set_room(0, room);
        alone
    }

    /// A seat for a connection that reactor `own` has accepted: whose it is.
    ///
    /// # Errors
    /// [`Full`]; from then on, until a tenth of the seats is free again.
    pub fn place(&self, own: usize) -> Result<usize, Full> {
        let (taken, most) = (self.taken(), self.most());
        let enough = if self.is_full() { most - most / 10 } else { most };
        if taken >= u64::from(enough) {
            return Err(self.fill());
        }
        let core = self.core(own / self.per_core, taken);
        // Somebody else may take the last seat in between; then the next best, and in the end none.
        for _ in 0..self.reactors.len() {
            let found = self.emptiest(core).or_else(|| self.emptiest(self.emptiest_core()));
            let Some(reactor) = found else { break };
            let seats = &self.reactors[reactor];
            if seats.taken.fetch_add(1, Relaxed) < seats.room.load(Relaxed) {
                self.cores[reactor / self.per_core].taken.fetch_add(1, Relaxed);
                self.full.store(false, Relaxed);
                return Ok(reactor);
            }
            seats.taken.fetch_sub(1, Relaxed);
        }
        Err(self.fill())
    }

    fn fill(&self) -> Full {
        Full { is_news: !self.full.swap(true, Relaxed) }
    }

    /// A connection that had a seat at `reactor` has ended.
    pub fn leave(&self, reactor: usize) {
        self.reactors[reactor].taken.fetch_sub(1, Relaxed);
        self.cores[reactor / self.per_core].taken.fetch_sub(1, Relaxed);
    }

    /// Another reactor will not give out seats any more: it has stopped accepting, for good.
    pub fn retire(&self) {
        self.sources.fetch_sub(1, Release);
    }

    /// Whether `reactor` has no connection, not even one on its way, and will be given none.
    pub fn is_done(&self, reactor: usize) -> bool {
        self.sources.load(Acquire) == 0 && self.reactors[reactor].taken.load(Relaxed) == 0
    }

    /// How many connections `reactor` has room for.
    pub fn set_room(&self, reactor: usize, room: u32) {
        let before = self.reactors[reactor].room.swap(room, Relaxed);
        // Wraps to the right sum either way.
        self.cores[reactor / self.per_core].room.fetch_add(room.wrapping_sub(before), Relaxed);
    }

    /// How many connections the server takes in all.
    pub fn set_most(&self, most: u32) {
        self.most.store(most, Relaxed);
    }

    /// Connections that the server takes: what it was told, or what its reactors have room for.
    pub fn most(&self) -> u32 {
        let room: u64 = self.cores.iter().map(|core| u64::from(core.room.load(Relaxed))).sum();
        self.most.load(Relaxed).min(u32::try_from(room).unwrap_or(u32::MAX))
    }

    /// Connections that have a seat.
    pub fn taken(&self) -> u64 {
        self.cores.iter().map(|core| u64::from(core.taken.load(Relaxed))).sum()
    }

    /// Whether new connections are being refused.
    pub fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// The core that a connection accepted on core `own` goes to, with `taken` in the whole server.
    fn core(&self, own: usize, taken: u64) -> usize {
        if self.cores.len() == 1 {
            return own;
        }
        let seats = &self.cores[own];
        let mean = taken / self.cores.len() as u64;
        let above = u64::from(seats.taken.load(Relaxed)) > mean + (mean * ABOVE_PERCENT / 100).max(ABOVE);
        if above || seats.free() < NEAR { self.emptiest_core() } else { own }
    }

    fn emptiest_core(&self) -> usize {
        (0..self.cores.len()).max_by_key(|core| self.cores[*core].free()).unwrap_or(0)
    }

    /// The reactor of a core with the most free seats, the first of equals; none when it has none.
    fn emptiest(&self, core: usize) -> Option<usize> {
        let own = core * self.per_core..(core + 1) * self.per_core;
        own.rev()
            .max_by_key(|reactor| self.reactors[*reactor].free())
            .filter(|at| self.reactors[*at].free() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(cores: usize, per_core: usize, room: u32, most: u32) -> Balance {
        let balance = Balance::new(cores, per_core, most);
        (0..cores * per_core).for_each(|reactor| balance.set_room(reactor, room));
        balance
    }

    fn taken(balance: &Balance) -> Vec<u32> {
        balance.reactors.iter().map(|seats| seats.taken.load(Relaxed)).collect()
    }

    #[test]
    fn a_core_fills_its_reactors_evenly_and_stays_within_five_percent_of_the_mean() {
        let balance = balance(2, 3, 10_000, u32::MAX);
        // The kernel gives nearly everything to the first core.
        for nth in 0..12_000 {
            let own = if nth % 10 == 0 { 3 } else { 0 };
            assert!(balance.place(own).is_ok());
        }
        let taken = taken(&balance);
        let (first, second): (u32, u32) = (taken[..3].iter().sum(), taken[3..].iter().sum());
        assert_eq!(first + second, 12_000);
        assert!(first <= 6_301 && first > 6_200, "{taken:?}");
        assert!(taken[..3].iter().all(|one| one.abs_diff(first / 3) <= 1), "{taken:?}");
        assert!(taken[3..].iter().all(|one| one.abs_diff(second / 3) <= 1), "{taken:?}");
    }

    #[test]
    fn every_seat_is_given_once_and_then_none_until_a_tenth_is_free() {
        for (most, seats) in [(u32::MAX, 4_000), (1_000, 1_000)] {
            let balance = balance(2, 2, 1_000, most);
            let placed: Vec<_> = std::iter::from_fn(|| balance.place(0).ok()).collect();
            assert_eq!((placed.len(), balance.taken()), (seats, seats as u64));
            assert!(taken(&balance).iter().all(|taken| *taken <= 1_000));
            assert!(balance.is_full());
            for (nth, reactor) in placed[..seats / 10 + 1].iter().enumerate() {
                assert_eq!(balance.place(1), Err(Full { is_news: false }), "after {nth}");
                balance.leave(*reactor);
            }
            assert!(balance.place(1).is_ok() && !balance.is_full());
        }
    }

    #[test]
    fn a_reactor_is_done_when_nobody_can_deal_to_it_and_nothing_is_on_its_way() {
        let balance = balance(1, 2, 10, u32::MAX);
        assert_eq!(balance.place(0), Ok(0));
        assert_eq!(balance.place(0), Ok(1));
        balance.retire();
        assert!(!balance.is_done(0) && !balance.is_done(1));
        balance.leave(0);
        assert!(!balance.is_done(0), "the other may still deal");
        balance.retire();
        assert!(balance.is_done(0) && !balance.is_done(1));
        balance.leave(1);
        assert!(balance.is_done(1));
    }

    #[test]
    fn a_full_core_deals_to_the_other_and_room_can_change() {
        let balance = balance(2, 1, 600, u32::MAX);
        balance.set_room(0, 0);
        assert_eq!(balance.most(), 600);
        assert!((0..600).all(|_| balance.place(0) == Ok(1)));
        assert_eq!(balance.place(0), Err(Full { is_news: true }));
        balance.set_room(0, 700);
        assert_eq!((balance.most(), balance.place(1)), (1_300, Ok(0)));
        balance.set_most(500);
        assert!(balance.place(0).is_err());
    }

    #[test]
    fn threads_that_place_and_leave_at_once_never_pass_the_room() {
        let balance = balance(2, 2, 50, u32::MAX);
        std::thread::scope(|scope| {
            for own in 0..4 {
                let balance = &balance;
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let placed: Vec<_> = (0..70).filter_map(|_| balance.place(own).ok()).collect();
                        placed.iter().for_each(|reactor| balance.leave(*reactor));
                    }
                });
            }
        });
        assert_eq!((balance.taken(), taken(&balance)), (0, vec![0; 4]));
    }
}
