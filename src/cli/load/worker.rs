//! One thread of the load generator: its connections, its epoll instance, its loop.

mod run;

use super::{
    dial::Dialler,
    failure::Failure,
    outbound::{self, Outbound},
    pace::{Ledger, Timetable, share},
    peer::{Heard, Kit, Peer, Stage},
    script::{Mode, Script},
    tally::{Board, Shown, Tally},
};
use mida::app::crypto::rng::Rng;
use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream, unix::SourceFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

pub const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);
const RECEIVE_BYTES: usize = 64 * 1_024;
const EVENTS: usize = 1_024;
/// From the dial until a connection is ready, and for a storm's until it is gone again.
const PATIENCE_NS: u64 = 10_000_000_000;
/// After the time measured: for answers on their way, or the server's close frames.
pub const GRACE: Duration = Duration::from_secs(2);
/// Before a storm dials again where it has failed.
const REST_NS: u64 = 100_000_000;
/// The timer wakes for questions no more often than this: waking costs more than asking.
const ASK_EVERY_NS: u64 = 100_000;

/// What a thread is told to do.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Have connections up to this number, of all threads; what is not ready in time has failed.
    Grow { upto: u64, until: Instant },
    /// Do what the script says until then.
    Run { until: Instant },
    /// Tell what was counted, at once.
    Stop,
    /// Close everything and end.
    Leave,
}

/// What a thread tells.
pub enum Told {
    /// Its first word: whether it has a file table of its own.
    Table(io::Result<()>),
    Grown,
    Running,
    Counted(Box<Tally>),
    Broken(io::Error),
    /// Ctrl-C; told by no thread of these.
    Interrupted,
}

/// What a thread is, among the others.
#[derive(Clone)]
pub struct Place {
    pub thread: u64,
    pub threads: u64,
    pub connections: u64,
    /// How many of them log in.
    pub members: u64,
    /// Dials in progress at once on this thread.
    pub dials: usize,
    pub dialler: Dialler,
    pub clock: Instant,
}

impl Place {
    /// Whether connection `number` of the whole run does: evenly spread over them.
    fn logs_in(&self, number: u64) -> bool {
        let (members, connections) = (u128::from(self.members), u128::from(self.connections.max(1)));
        u128::from(number) * members % connections < members
    }
}

/// What a thread hears and is heard by.
pub struct Lines {
    pub orders: Receiver<Order>,
    pub told: Sender<Told>,
    pub board: Arc<Board>,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Holding,
    Growing { until_ns: u64 },
    Running { until_ns: u64 },
    Draining { until_ns: u64 },
    Leaving { until_ns: u64 },
    Gone,
}

/// One connection's place.
#[derive(Default)]
struct Seat {
    socket: Option<TcpStream>,
    peer: Peer,
    out: Outbound,
    begun_ns: u64,
    /// Tells one connection in this seat from the next.
    attempt: u32,
}

pub struct Worker {
    poll: Poll,
    timer: OwnedFd,
    buffer: Box<[u8]>,
    place: Place,
    lines: Lines,
    script: Arc<Script>,
    kit: Kit,
    heard: Heard,
    doing: Doing,
    seats: Vec<Seat>,
    /// Seats to dial from, and those that rest before, with the time their rest ends.
    ready: VecDeque<usize>,
    resting: VecDeque<(u64, usize)>,
    /// When the patience with an attempt ends.
    deadlines: VecDeque<(u64, usize, u32)>,
    in_progress: usize,
    open: u64,
    leaving: u64,
    tally: Tally,
    /// It has told its counts.
    has_told: bool,
    /// Echo: each seat's questions.
    ledgers: Vec<Ledger>,
    outstanding: u64,
    timetable: Option<Timetable>,
    /// The timetable's next question of this thread, when all that were due had left, and when the timer
    /// wakes for the next.
    next: u64,
    asked_ns: u64,
    armed_ns: u64,
    /// Seats with questions to write.
    dirty: Vec<usize>,
}

impl Worker {
    /// Lives the life of a thread, until it is told to leave.
    pub fn live(table: io::Result<()>, poll: Poll, place: Place, script: Arc<Script>, lines: Lines) {
        let _ = lines.told.send(Told::Table(table));
        let told = lines.told.clone();
        let lived = Self::new(poll, place, script, lines).and_then(|mut worker| worker.run());
        if let Err(error) = lived {
            let _ = told.send(Told::Broken(error));
        }
    }

    fn new(poll: Poll, place: Place, script: Arc<Script>, lines: Lines) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            poll,
            timer,
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            kit: Kit::new(script.clone(), Rng::from_os()?),
            place,
            lines,
            script,
            heard: Heard::default(),
            doing: Doing::Holding,
            seats: Vec::new(),
            ready: VecDeque::new(),
            resting: VecDeque::new(),
            deadlines: VecDeque::new(),
            in_progress: 0,
            open: 0,
            leaving: 0,
            tally: Tally::default(),
            has_told: false,
            ledgers: Vec::new(),
            outstanding: 0,
            timetable: None,
            next: 0,
            asked_ns: 0,
            armed_ns: 0,
            dirty: Vec::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !matches!(self.doing, Doing::Gone) {
            let timeout = self.timeout()?;
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if event.token().0 < self.seats.len() {
                    self.event(event.token().0, event);
                }
            }
            while let Ok(order) = self.lines.orders.try_recv() {
                self.order(order);
            }
            self.step();
            self.show();
        }
        Ok(())
    }

    fn show(&self) {
        let tally = &self.tally;
        let done = if self.script.mode == Mode::Storm { tally.cycles } else { tally.messages };
        self.lines.board.show(Shown { open: self.open, failed: tally.failed(), done });
    }

    fn now_ns(&self) -> u64 {
        self.place.clock.elapsed().as_nanos() as u64
    }

    fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.place.clock).as_nanos() as u64
    }

    /// How long there is nothing to do but what the sockets bring. What has to be done to the microsecond
    /// wakes by the timer instead.
    fn timeout(&mut self) -> io::Result<Option<Duration>> {
        let now_ns = self.now_ns();
        if !self.ready.is_empty() && self.in_progress < self.place.dials {
            return Ok(Some(Duration::ZERO));
        }
        let doing_ns = match self.doing {
            Doing::Growing { until_ns }
            | Doing::Running { until_ns }
            | Doing::Draining { until_ns }
            | Doing::Leaving { until_ns } => Some(until_ns),
            Doing::Holding | Doing::Gone => None,
        };
        if let (Doing::Running { until_ns }, Some(due_ns)) = (self.doing, self.next_due_ns())
            && due_ns < until_ns
        {
            let wake_ns = due_ns.max(self.asked_ns + ASK_EVERY_NS);
            if wake_ns <= now_ns {
                return Ok(Some(Duration::ZERO));
            }
            if self.armed_ns != wake_ns {
                self.armed_ns = wake_ns;
                self.arm(wake_ns - now_ns)?;
            }
        }
        let patience_ns = self.deadlines.front().map(|(at_ns, ..)| *at_ns);
        let rest_ns = self.resting.front().map(|(at_ns, _)| *at_ns);
        let next_ns = [doing_ns, patience_ns, rest_ns].into_iter().flatten().min();
        Ok(next_ns.map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(now_ns))))
    }

    fn arm(&self, ns: u64) -> io::Result<()> {
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval, it_value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Dials from the seats that are ready, as far as the bound on dials allows.
    fn dial(&mut self) {
        let now_ns = self.now_ns();
        while let Some((at_ns, seat)) = self.resting.front()
            && *at_ns <= now_ns
        {
            self.ready.push_back(*seat);
            self.resting.pop_front();
        }
        while self.in_progress < self.place.dials
            && let Some(seat) = self.ready.pop_front()
        {
            self.dial_from(seat);
        }
    }

    fn dial_from(&mut self, index: usize) {
        let now_ns = self.now_ns();
        let number = index as u64 * self.place.threads + self.place.thread;
        let seat = &mut self.seats[index];
        seat.peer.dialling();
        seat.out = Outbound::default();
        seat.begun_ns = now_ns;
        seat.attempt = seat.attempt.wrapping_add(1);
        if self.place.logs_in(number) {
            seat.peer.log_in_as(number);
        }
        self.in_progress += 1;
        self.deadlines.push_back((now_ns + PATIENCE_NS, index, seat.attempt));
        let (mut socket, connected) = match self.place.dialler.dial(number) {
            Ok(dialled) => dialled,
            Err(failure) => return self.fail(index, failure),
        };
        let interest = if connected { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        let registered = self.poll.registry().register(&mut socket, Token(index), interest);
        seat.socket = Some(socket);
        if let Err(error) = registered {
            self.fail(index, error.into());
        } else if connected {
            self.upgrade(index);
        }
    }

    fn upgrade(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        seat.peer.stage = Stage::Upgrading;
        seat.out.say(&self.script.request);
        self.flush(index);
    }

    fn event(&mut self, index: usize, event: &Event) {
        let seat = &mut self.seats[index];
        let Some(socket) = &seat.socket else { return };
        if seat.peer.stage == Stage::Dialling {
            match (socket.take_error(), socket.peer_addr()) {
                (Ok(Some(error)) | Err(error), _) => return self.fail(index, error.into()),
                (Ok(None), Err(_)) => return,
                (Ok(None), Ok(_)) => self.upgrade(index),
            }
        } else if event.is_writable() && !seat.out.is_empty() {
            self.flush(index);
        }
        let to_end = event.is_read_closed() || event.is_error();
        if event.is_readable() || to_end {
            self.receive(index, to_end);
        }
    }

    /// Reads once; again only if there may be more.
    fn receive(&mut self, index: usize, to_end: bool) {
        loop {
            let Some(socket) = &mut self.seats[index].socket else { return };
            match socket.read(&mut self.buffer) {
                Ok(0) => return self.ended(index),
                Ok(received) => {
                    if !self.received(index, received) || (received < self.buffer.len() && !to_end) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(index, error.into()),
            }
        }
    }

    /// Takes what is in the buffer; false: the connection has failed.
    fn received(&mut self, index: usize, received: usize) -> bool {
        let now_ns = self.now_ns();
        let Some(seat) = self.seats.get_mut(index) else { return false };
        self.heard.clear();
        let done = seat.peer.received(&self.buffer[..received], &mut self.kit, &mut self.heard);
        self.tally.pings += self.heard.pings;
        if let Doing::Running { until_ns } = self.doing
            && self.heard.pings > 0
            && now_ns < until_ns
        {
            self.tally.beats.record(now_ns, self.heard.pings);
        }
        if !self.heard.say.is_empty() {
            seat.out.say(&self.heard.say);
        }
        if self.heard.messages + self.heard.errors > 0 {
            self.count(index, now_ns);
        }
        // Also one that is closed in the same breath has been counted as open.
        if self.heard.opened {
            self.opened(index, now_ns);
        }
        if let Err(failure) = done {
            self.fail(index, failure);
            return false;
        }
        if !self.seats[index].out.is_empty() {
            self.flush(index);
        }
        true
    }

    /// The connection is ready.
    fn opened(&mut self, index: usize, now_ns: u64) {
        let seat = &mut self.seats[index];
        self.in_progress -= 1;
        self.tally.connected += 1;
        self.tally.connecting.record(now_ns - seat.begun_ns, 1);
        if self.script.mode == Mode::Storm {
            seat.peer.stage = Stage::Leaving;
            seat.out.say(&outbound::close());
            self.leaving += 1;
        } else {
            self.open += 1;
        }
    }

    /// TCP has ended.
    fn ended(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        if seat.peer.stage != Stage::Leaving {
            return self.fail(index, Failure::Ended);
        }
        seat.socket = None;
        seat.peer.stage = Stage::Vacant;
        self.leaving -= 1;
        if let Doing::Running { until_ns } = self.doing {
            self.tally.cycles += u64::from(self.now_ns() < until_ns);
            self.ready.push_back(index);
        }
    }

    fn flush(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        let Some(socket) = &mut seat.socket else { return };
        let done = match seat.out.flush(socket, &self.script.question) {
            // Asking again sees room that came up in between, so no edge is lost.
            Ok(false) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().reregister(socket, Token(index), both)
            }
            done => done.map(drop),
        };
        match done {
            Ok(()) => {}
            Err(error) => {
                // What the server has said before it went says why.
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                    self.receive(index, true);
                }
                self.fail(index, error.into());
            }
        }
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        let seat = &mut self.seats[index];
        if let (Failure::Closed(_), Some(socket)) = (failure, &mut seat.socket) {
            // The answer that RFC 6455 section 5.5.1 wants; there may be nobody to read it any more.
            let _ = socket.write(&outbound::close());
        }
        seat.socket = None;
        let stage = std::mem::take(&mut seat.peer.stage);
        match stage {
            Stage::Vacant => return,
            Stage::Open => self.open -= 1,
            Stage::Leaving => self.leaving -= 1,
            _ => self.in_progress -= 1,
        }
        if let Some(ledger) = self.ledgers.get_mut(index) {
            self.tally.lost += ledger.outstanding();
            self.outstanding -= ledger.outstanding();
            ledger.answered = ledger.sent;
        }
        if !matches!(self.doing, Doing::Leaving { .. }) {
            self.tally.fail(failure, 1);
        }
        if let (Mode::Storm, Doing::Running { .. }) = (self.script.mode, self.doing) {
            self.resting.push_back((self.now_ns() + REST_NS, index));
        }
    }

    /// Fails what has taken too long.
    fn lose_patience(&mut self, now_ns: u64) {
        while let Some((at_ns, index, attempt)) = self.deadlines.front().copied() {
            let seat = &self.seats[index];
            let waits = seat.attempt == attempt && !matches!(seat.peer.stage, Stage::Vacant | Stage::Open);
            if waits && at_ns > now_ns {
                return;
            }
            self.deadlines.pop_front();
            if waits {
                self.fail(index, Failure::TimedOut);
            }
        }
    }
}
