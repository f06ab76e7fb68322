//! When questions are sent, and what time an answer is measured from.
//!
//! Closed loop: the next question leaves when an earlier one is answered, and is measured from there. Open
//! loop: each question is due at a time fixed beforehand and is measured from that, also if it left late
//! because the server, or this program, was behind: no coordinated omission.

use super::histogram::Histogram;
use std::collections::VecDeque;

/// The open loop's timetable for one thread of `threads`: message `m` of the run is due `m / rate` seconds
/// after the start, on connection `m % connections`. Connection `c` is the `c / threads`th of thread
/// `c % threads`, so that each thread's share is spread evenly too.
#[derive(Clone, Copy, Debug)]
pub struct Timetable {
    pub start_ns: u64,
    /// Questions a second, of all threads together.
    pub rate: f64,
    pub connections: u64,
    pub threads: u64,
    pub thread: u64,
}

impl Timetable {
    /// Connections of this thread.
    pub const fn own(&self) -> u64 {
        share(self.connections, self.threads, self.thread)
    }

    /// When this thread's question number `next` is due: its connections take turns.
    #[inline]
    pub fn next_due_ns(&self, next: u64) -> u64 {
        let own = self.own();
        self.due_ns(next % own, next / own)
    }

    /// Questions of this thread that are due before `until_ns`, from number `next` on.
    pub fn rest(&self, next: u64, until_ns: u64) -> u64 {
        // Due times only grow: the first one that is not before is found by halving.
        let most = self.rate * until_ns.saturating_sub(self.start_ns) as f64 / 1e9 + 2.0;
        let (mut from, mut to) = (next, next + most as u64);
        while from < to {
            let middle = from.midpoint(to);
            if self.next_due_ns(middle) < until_ns { from = middle + 1 } else { to = middle }
        }
        from - next
    }

    /// When the `nth` question of this thread's own connection `peer` is due.
    #[inline]
    pub fn due_ns(&self, peer: u64, nth: u64) -> u64 {
        let message = nth * self.connections + peer * self.threads + self.thread;
        self.start_ns + (message as f64 * 1e9 / self.rate) as u64
    }
}

/// How many of `connections` fall to this thread.
pub const fn share(connections: u64, threads: u64, thread: u64) -> u64 {
    connections.saturating_sub(thread).div_ceil(threads)
}

/// One connection's questions, sent and answered in order.
#[derive(Default)]
pub struct Ledger {
    pub sent: u64,
    pub answered: u64,
    /// Closed loop: when the unanswered ones left, and how many at once.
    left: VecDeque<(u64, u64)>,
}

impl Ledger {
    pub const fn outstanding(&self) -> u64 {
        self.sent - self.answered
    }

    /// `questions` leave at `now_ns`, to be measured from then.
    pub fn ask(&mut self, questions: u64, now_ns: u64) {
        self.sent += questions;
        self.left.push_back((now_ns, questions));
    }

    /// The oldest `answers` questions of a closed loop are answered; more than are open are not counted.
    pub fn answer(&mut self, answers: u64, now_ns: u64, latency: &mut Histogram) {
        let mut rest = answers.min(self.outstanding());
        self.answered += rest;
        while rest > 0 {
            let Some((at_ns, questions)) = self.left.front_mut() else { return };
            let these = rest.min(*questions);
            latency.record(now_ns.saturating_sub(*at_ns), these);
            rest -= these;
            *questions -= these;
            if *questions == 0 {
                self.left.pop_front();
            }
        }
    }

    /// The same for an open loop: `each` messages make one question of the timetable.
    pub fn answer_due(
        &mut self,
        answers: u64,
        now_ns: u64,
        (timetable, peer, each): (&Timetable, u64, u64),
        latency: &mut Histogram,
    ) {
        for _ in 0..answers.min(self.outstanding()) {
            let due_ns = timetable.due_ns(peer, self.answered / each);
            latency.record(now_ns.saturating_sub(due_ns), 1);
            self.answered += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn threads_together_ask_everything_once_and_evenly() {
        for (connections, threads) in [(10, 1), (10, 3), (3, 3), (7, 4), (1, 1)] {
            let mut due = Vec::new();
            let mut own = 0;
            for thread in 0..threads {
                let timetable = Timetable { start_ns: 500, rate: 1_000.0, connections, threads, thread };
                own += timetable.own();
                for nth in 0..20 {
                    due.extend((0..timetable.own()).map(|peer| timetable.due_ns(peer, nth)));
                }
            }
            due.sort_unstable();
            assert_eq!(own, connections);
            let expected: Vec<u64> = (0..20 * connections).map(|message| 500 + message * MS).collect();
            assert_eq!(due, expected, "{connections} connections on {threads} threads");
            let rest = |thread, next| {
                Timetable { start_ns: 500, rate: 1_000.0, connections, threads, thread }
                    .rest(next, 500 + 33 * MS)
            };
            assert_eq!((0..threads).map(|thread| rest(thread, 0)).sum::<u64>(), 33);
            assert_eq!((rest(0, 3), rest(0, 1_000)), (rest(0, 0) - 3, 0));
        }
    }

    /// A server that answers at once, but for half a second does nothing; the generator is stuck with it.
    /// Returns how the 2,000 questions of two seconds were measured.
    fn stalled(each: u64) -> (Ledger, Histogram) {
        let timetable =
            Timetable { start_ns: 0, rate: 1_000.0 / each as f64, connections: 1, threads: 1, thread: 0 };
        let (mut ledger, mut latency) = (Ledger::default(), Histogram::default());
        for now_ms in (0..2_000).filter(|ms| !(500..1_000).contains(ms)).chain([2_000]) {
            while timetable.due_ns(0, ledger.sent / each) <= now_ms * MS && ledger.sent < 2_000 {
                ledger.sent += each;
            }
            ledger.answer_due(ledger.sent, now_ms * MS, (&timetable, 0, each), &mut latency);
        }
        (ledger, latency)
    }

    #[test]
    fn a_stall_counts_for_every_question_that_was_due_in_it() {
        let (ledger, latency) = stalled(1);
        assert_eq!((ledger.sent, ledger.answered, latency.total()), (2_000, 2_000, 2_000));
        // Due at 500, 501, … 999 ms, answered at 1,000.
        assert_eq!(latency.max_ns(), 500 * MS);
        assert_eq!(latency.quantile_ns(0.7), 0);
        for (part, ms) in [(0.875, 250), (0.95, 400)] {
            let found = latency.quantile_ns(part) / MS;
            assert!(found.abs_diff(ms) <= ms / 50, "{part}: {found} ms for {ms}");
        }
    }

    #[test]
    fn all_messages_of_a_batch_are_due_together() {
        let (ledger, latency) = stalled(8);
        assert_eq!((ledger.sent, ledger.answered, latency.total()), (2_000, 2_000, 2_000));
        assert_eq!(latency.max_ns(), 496 * MS, "the first batch due in the stall: at 504 ms");
    }

    #[test]
    fn a_closed_loop_measures_from_leaving_and_in_order() {
        let (mut ledger, mut latency) = (Ledger::default(), Histogram::default());
        ledger.ask(8, 100);
        ledger.ask(2, 150);
        ledger.answer(5, 200, &mut latency);
        assert_eq!((ledger.outstanding(), latency.total(), latency.max_ns()), (5, 5, 100));
        ledger.answer(4, 210, &mut latency);
        assert_eq!((ledger.outstanding(), latency.max_ns(), latency.quantile_ns(0.1)), (1, 110, 60));
        // A push that looks like an answer is none.
        ledger.answer(3, 250, &mut latency);
        assert_eq!((ledger.outstanding(), ledger.answered, latency.total()), (0, 10, 10));
    }
}
