//! How figures leave a reactor: it counts in plain integers, and copies them now and then to a board of atomics
//! where anybody may read.

use super::turns::Turns;
use crate::engine::{
    app::{App, FIGURES},
    io::Io,
    reactor::{Holdings, Reactor, Stats},
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// All figures of one reactor, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub stats: Stats,
    pub stale: u64,
    /// Messages that the application queued, and bytes that the kernel took.
    pub sent_messages: u64,
    pub sent_bytes: u64,
    pub queues: u64,
    pub queue_bytes: u64,
    pub tails: u64,
    pub tail_bytes: u64,
    pub turns: Turns,
    /// The application's own.
    pub app: [u64; FIGURES],
    /// The thread that the reactor runs on, as the kernel numbers it.
    pub thread: u64,
}

impl Figures {
    /// Those of this reactor, between two of its turns.
    pub fn of<I: Io, A: App>(reactor: &Reactor<I, A>, turns: &Turns) -> Self {
        let Holdings { queues, queue_bytes, tails, tail_bytes } = reactor.holdings();
        let (sent_messages, sent_bytes) = reactor.sent();
        Self {
            stats: *reactor.stats(),
            stale: reactor.stale(),
            sent_messages,
            sent_bytes,
            queues: queues as u64,
            queue_bytes,
            tails: tails as u64,
            tail_bytes,
            turns: turns.clone(),
            app: reactor.app().figures(),
            thread: rustix::thread::gettid().as_raw_nonzero().get() as u64,
        }
    }

    /// Every figure, always in the same order.
    fn each(&mut self, mut visit: impl FnMut(&mut u64)) {
        let Self {
            stats,
            stale,
            sent_messages,
            sent_bytes,
            queues,
            queue_bytes,
            tails,
            tail_bytes,
            turns,
            app,
            thread,
        } = self;
        stats.each(&mut visit);
        turns.each(&mut visit);
        let single = [stale, sent_messages, sent_bytes, queues, queue_bytes, tails, tail_bytes, thread];
        single.into_iter().chain(app).for_each(visit);
    }
}

/// Where one reactor publishes.
pub struct Board(Box<[AtomicU64]>);

impl Default for Board {
    fn default() -> Self {
        let mut count = 0;
        Figures::default().each(|_| count += 1);
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Board {
    /// By the reactor's thread alone.
    pub fn publish(&self, mut figures: Figures) {
        let mut cells = self.0.iter();
        figures.each(|figure| {
            if let Some(cell) = cells.next() {
                cell.store(*figure, Relaxed);
            }
        });
    }

    /// What was published last. While the reactor publishes, some figures may be newer than others.
    pub fn read(&self) -> Figures {
        let mut figures = Figures::default();
        let mut cells = self.0.iter();
        figures.each(|figure| *figure = cells.next().map_or(0, |cell| cell.load(Relaxed)));
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_read_as_it_was_published() {
        let (mut figures, mut next) = (Figures::default(), 0);
        figures.each(|figure| {
            next += 1;
            *figure = next;
        });
        let board = Board::default();
        board.publish(figures.clone());
        assert_eq!(format!("{:?}", board.read()), format!("{figures:?}"));
        assert!(figures.app.iter().all(|figure| *figure > 0) && !format!("{figures:?}").contains(": 0,"));
    }
}
