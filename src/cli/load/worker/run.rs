//! What a thread does when: orders, phases, and the questions of an echo run.

use super::{
    Doing, Failure, GRACE, Ledger, Mode, Order, Seat, Stage, Tally, Timetable, Told, Worker, outbound, share,
};
use crate::cli::load::script::Pace;

/// Questions of a timetable that are sent before the sockets are looked at again.
const QUESTIONS_AT_ONCE: u64 = 4_096;

impl Worker {
    pub(super) fn order(&mut self, order: Order) {
        match order {
            Order::Grow { upto, until } => {
                let upto = share(upto, self.place.threads, self.place.thread) as usize;
                self.sit(upto);
                self.doing = Doing::Growing { until_ns: self.ns(until) };
            }
            Order::Run { until } => {
                self.doing = Doing::Running { until_ns: self.ns(until) };
                let _ = self.lines.told.send(Told::Running);
                match self.script.mode {
                    Mode::Echo => self.start_asking(),
                    Mode::Storm => {
                        let own = share(self.place.connections, self.place.threads, self.place.thread);
                        self.sit(own as usize);
                    }
                    Mode::Idle | Mode::Broadcast => {}
                }
            }
            Order::Stop if self.has_told => {}
            Order::Stop => self.tell_counts(),
            Order::Leave => {
                self.doing = Doing::Leaving { until_ns: self.now_ns() + GRACE.as_nanos() as u64 };
                self.leave();
            }
        }
    }

    /// Has seats up to this number, the new ones to be dialled from.
    fn sit(&mut self, upto: usize) {
        let from = self.seats.len();
        self.seats.resize_with(upto.max(from), Seat::default);
        self.ready.extend(from..self.seats.len());
    }

    /// Goes on with what is being done.
    pub(super) fn step(&mut self) {
        let now_ns = self.now_ns();
        self.lose_patience(now_ns);
        match self.doing {
            Doing::Growing { until_ns } => {
                self.dial();
                if now_ns >= until_ns {
                    self.give_up_dialling(Failure::TimedOut);
                }
                if self.ready.is_empty() && self.in_progress == 0 {
                    self.doing = Doing::Holding;
                    self.show();
                    let _ = self.lines.told.send(Told::Grown);
                }
            }
            Doing::Running { until_ns } if now_ns < until_ns => match self.script.mode {
                Mode::Storm => self.dial(),
                Mode::Echo => self.ask_what_is_due(now_ns, until_ns),
                Mode::Idle | Mode::Broadcast => {}
            },
            Doing::Running { until_ns } => {
                self.ready.clear();
                self.resting.clear();
                // What was due at the very end still leaves; more than that shows that this thread was behind.
                self.ask_what_is_due(now_ns, until_ns);
                if let Some(timetable) = &self.timetable {
                    self.tally.unsent += timetable.rest(self.next, until_ns) * self.script.question.messages;
                }
                self.doing = Doing::Draining { until_ns: until_ns + GRACE.as_nanos() as u64 };
                self.step();
            }
            Doing::Draining { until_ns } => {
                let busy = self.outstanding > 0 || self.in_progress > 0 || self.leaving > 0;
                if !busy || now_ns >= until_ns {
                    self.count_unanswered(now_ns);
                    self.tell_counts();
                }
            }
            Doing::Leaving { until_ns } if self.leaving == 0 || now_ns >= until_ns => {
                self.doing = Doing::Gone
            }
            Doing::Holding | Doing::Leaving { .. } | Doing::Gone => {}
        }
    }

    /// The connect phase is over: what is not ready now has failed.
    fn give_up_dialling(&mut self, failure: Failure) {
        self.tally.fail(failure, self.ready.len() as u64);
        self.ready.clear();
        for index in 0..self.seats.len() {
            if self.seats[index].peer.stage.is_in_progress() {
                self.fail(index, failure);
            }
        }
    }

    fn start_asking(&mut self) {
        let now_ns = self.now_ns();
        let each = self.script.question.messages;
        self.ledgers.resize_with(self.seats.len(), Ledger::default);
        match self.script.pace {
            Pace::InFlight(in_flight) => {
                for index in 0..self.seats.len() {
                    self.ask(index, in_flight / each, now_ns);
                    self.flush(index);
                }
            }
            Pace::Rate(rate) => {
                self.timetable = Some(Timetable {
                    start_ns: now_ns,
                    rate: rate / each as f64,
                    connections: self.place.connections,
                    threads: self.place.threads,
                    thread: self.place.thread,
                });
            }
        }
    }

    /// Queues questions on a connection, if there is one.
    fn ask(&mut self, index: usize, questions: u64, now_ns: u64) {
        let (seat, ledger) = (&mut self.seats[index], &mut self.ledgers[index]);
        let messages = questions * self.script.question.messages;
        if seat.peer.stage != Stage::Open {
            self.tally.unsent += messages;
            return;
        }
        if self.timetable.is_some() {
            ledger.sent += messages;
        } else {
            ledger.ask(messages, now_ns);
        }
        self.tally.asked += messages;
        self.outstanding += messages;
        seat.out.owe(questions, &self.script.question);
    }

    /// When the timetable's next question is due.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        Some(self.timetable.as_ref()?.next_due_ns(self.next))
    }

    fn ask_what_is_due(&mut self, now_ns: u64, until_ns: u64) {
        self.asked_ns = 0;
        for _ in 0..QUESTIONS_AT_ONCE {
            let due_ns = self.next_due_ns().filter(|due_ns| *due_ns <= now_ns && *due_ns < until_ns);
            let Some(due_ns) = due_ns else {
                self.asked_ns = now_ns;
                break;
            };
            let index = (self.next % self.seats.len() as u64) as usize;
            self.next += 1;
            self.tally.late.record(now_ns.saturating_sub(due_ns), 1);
            self.ask(index, 1, now_ns);
            self.dirty.push(index);
        }
        while let Some(index) = self.dirty.pop() {
            // The first of several sends them all.
            if !self.seats[index].out.is_empty() {
                self.flush(index);
            }
        }
    }

    /// Counts what was heard on a connection, and asks again for what was answered.
    #[inline]
    pub(super) fn count(&mut self, index: usize, now_ns: u64) {
        let (messages, errors) = (self.heard.messages, self.heard.errors);
        let in_time = match self.doing {
            Doing::Running { until_ns } => now_ns < until_ns,
            _ => false,
        };
        if in_time {
            self.tally.messages += messages;
        }
        let Some(ledger) = self.ledgers.get_mut(index) else { return };
        let (each, before) = (self.script.question.messages, ledger.answered);
        match &self.timetable {
            None => ledger.answer(messages + errors, now_ns, &mut self.tally.latency),
            Some(timetable) => {
                let question = (timetable, index as u64, each);
                ledger.answer_due(messages + errors, now_ns, question, &mut self.tally.latency);
            }
        }
        let answered = ledger.answered - before;
        let questions = ledger.answered / each - before / each;
        self.tally.answered += answered;
        self.outstanding -= answered;
        let unasked = messages + errors - answered;
        self.tally.pushed += unasked;
        if in_time {
            self.tally.messages -= unasked.min(messages);
            if self.timetable.is_none() {
                self.ask(index, questions, now_ns);
            }
        }
    }

    /// What was not answered in time has taken at least as long as it is open.
    fn count_unanswered(&mut self, now_ns: u64) {
        let each = self.script.question.messages;
        for (index, ledger) in self.ledgers.iter_mut().enumerate() {
            let open = ledger.outstanding();
            match &self.timetable {
                None => ledger.answer(open, now_ns, &mut self.tally.latency),
                Some(timetable) => {
                    ledger.answer_due(open, now_ns, (timetable, index as u64, each), &mut self.tally.latency);
                }
            }
        }
        self.outstanding = 0;
    }

    fn tell_counts(&mut self) {
        self.has_told = true;
        self.tally.checked = self.kit.checked;
        self.tally.errors = std::mem::take(&mut self.kit.errors);
        let tally: Tally = std::mem::take(&mut self.tally);
        let _ = self.lines.told.send(Told::Counted(Box::new(tally)));
        self.timetable = None;
        self.ready.clear();
        self.resting.clear();
        self.doing = Doing::Holding;
    }

    /// Says goodbye on every connection that is ready, and drops the others.
    fn leave(&mut self) {
        for index in 0..self.seats.len() {
            let seat = &mut self.seats[index];
            if seat.peer.stage != Stage::Open {
                self.fail(index, Failure::Ended);
                continue;
            }
            seat.peer.stage = Stage::Leaving;
            self.open -= 1;
            self.leaving += 1;
            seat.out.forget(&self.script.question);
            seat.out.say(&outbound::close());
            self.flush(index);
        }
    }
}
