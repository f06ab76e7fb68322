//! The threads of a run, as the main thread sees them.

use super::{
    script::{Mode, Script},
    tally::{Board, Shown, Tally},
    worker::{Lines, Order, Place, Told, WAKER, Worker},
};
use mida::server::file_table;
use mio::{Poll, Waker};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Descriptors a thread needs besides its connections.
const FILES_OF_A_THREAD: u64 = 16;
/// How much later than it was told to a thread may answer, before it is taken for broken.
pub const SLACK: Duration = Duration::from_secs(5);

/// All threads.
pub struct Crew {
    hands: Vec<Hand>,
    told: Receiver<Told>,
    grown: usize,
    running: usize,
    tables: usize,
    counted: usize,
    tally: Tally,
    broken: Option<String>,
    progress: Option<Progress>,
}

struct Hand {
    orders: Sender<Order>,
    waker: Waker,
    board: Arc<Board>,
    thread: JoinHandle<()>,
}

/// Why waiting has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    Done,
    TimeUp,
    Interrupted,
}

/// How many threads there are to be, and what a table of open files holds.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    pub threads: u64,
    /// Connections that one table has room for.
    pub room: u64,
}

impl Threads {
    /// At least `asked`, and so many that each table has room for its thread's connections.
    ///
    /// # Errors
    /// The limit on open files leaves no room at all.
    pub fn of(asked: u64, connections: u64) -> Result<Self, String> {
        let limit = mida::server::files::raise_limit();
        let open = file_table::open_files();
        let open = open.map_err(|error| format!("cannot read /proc/self/fd: {error}"))?.count;
        for threads in asked.max(1).. {
            // Each thread's epoll and eventfd are in all tables.
            let used = open + 2 * threads + FILES_OF_A_THREAD;
            let room = limit.saturating_sub(used);
            if room == 0 {
                return Err(format!(
                    "an open-file limit of {limit} leaves no room for {connections} connections"
                ));
            }
            if connections.div_ceil(threads) <= room {
                return Ok(Self { threads: threads.min(connections), room });
            }
        }
        unreachable!("the room ends before the numbers do")
    }
}

impl Crew {
    /// Starts the threads of this place; each gets its own number in it.
    ///
    /// # Errors
    /// One line on what the kernel does not give.
    pub fn start(threads: Threads, place: Place, script: &Arc<Script>, shows: bool) -> Result<Self, String> {
        let fails = |error| format!("cannot start the load: {error}");
        let (to_main, told) = mpsc::channel();
        interrupts(to_main.clone()).map_err(fails)?;
        let mut polls = Vec::new();
        for _ in 0..threads.threads {
            let poll = Poll::new().map_err(fails)?;
            let waker = Waker::new(poll.registry(), WAKER).map_err(fails)?;
            polls.push((poll, waker));
        }
        let mut hands = Vec::new();
        for ((poll, waker), thread) in polls.into_iter().zip(0..) {
            let (orders, to_thread) = mpsc::channel();
            let board = Arc::new(Board::default());
            let lines = Lines { orders: to_thread, told: to_main.clone(), board: board.clone() };
            let (place, script) = (Place { thread, ..place.clone() }, script.clone());
            let work = move |table| Worker::live(table, poll, place, script, lines);
            let thread = file_table::spawn(format!("load-{thread}"), work).map_err(fails)?;
            hands.push(Hand { orders, waker, board, thread });
        }
        let progress = shows.then(|| Progress::new(script.mode, place.connections));
        let (tally, broken) = (Tally::default(), None);
        let mut crew =
            Self { hands, told, grown: 0, running: 0, tables: 0, counted: 0, tally, broken, progress };
        crew.wait(Instant::now() + SLACK, |crew| crew.tables == crew.hands.len())?;
        match crew.broken.take() {
            // One table for all is enough, if it holds all.
            Some(problem) if place.connections + FILES_OF_A_THREAD * threads.threads > threads.room => {
                Err(format!("{problem}; {} connections are what all threads together can have", threads.room))
            }
            _ => Ok(crew),
        }
    }

    pub fn order(&self, order: Order) {
        for hand in &self.hands {
            // A thread that has ended has said why.
            let _ = hand.orders.send(order);
            let _ = hand.waker.wake();
        }
    }

    /// Connections up to this number.
    ///
    /// # Errors
    /// A thread is broken.
    pub fn grow(&mut self, upto: u64, until: Instant) -> Result<Waited, String> {
        self.grown = 0;
        self.order(Order::Grow { upto, until });
        self.wait(until + SLACK, |crew| crew.grown == crew.hands.len())
    }

    /// Does what the script says until then; returns once all threads have begun.
    ///
    /// # Errors
    /// A thread is broken.
    pub fn run(&mut self, until: Instant) -> Result<Waited, String> {
        self.order(Order::Run { until });
        self.wait(until, |crew| crew.running == crew.hands.len())
    }

    /// Waits until all threads have told their counts.
    ///
    /// # Errors
    /// A thread is broken.
    pub fn counted(&mut self, until: Instant) -> Result<Waited, String> {
        self.wait(until, |crew| crew.counted == crew.hands.len())
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    pub fn shown(&self) -> Shown {
        Board::sum(self.hands.iter().map(|hand| &*hand.board))
    }

    /// Says what happens now, if anything is shown.
    pub fn say(&self, what: &str) {
        if self.progress.is_some() {
            eprintln!("{what}");
        }
    }

    /// Closes all connections and ends.
    pub fn leave(self) {
        self.order(Order::Leave);
        for hand in self.hands {
            let _ = hand.thread.join();
        }
    }

    fn wait(&mut self, until: Instant, done: impl Fn(&Self) -> bool) -> Result<Waited, String> {
        while !done(self) {
            let tick = self.progress.as_ref().map_or(until, |progress| progress.next.min(until));
            match self.told.recv_timeout(tick.saturating_duration_since(Instant::now())) {
                Ok(Told::Table(done)) => {
                    self.tables += 1;
                    if let Err(error) = done {
                        self.broken = Some(format!("a thread gets no file table of its own ({error})"));
                    }
                }
                Ok(Told::Grown) => self.grown += 1,
                Ok(Told::Running) => self.running += 1,
                Ok(Told::Counted(tally)) => {
                    self.counted += 1;
                    self.tally.add(&tally);
                }
                Ok(Told::Broken(error)) => return Err(format!("a thread of the load is broken: {error}")),
                Ok(Told::Interrupted) => return Ok(Waited::Interrupted),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("all threads of the load have ended".into());
                }
                Err(RecvTimeoutError::Timeout) => {
                    let shown = self.shown();
                    if let Some(progress) = &mut self.progress {
                        progress.tick(shown);
                    }
                    if Instant::now() >= until {
                        return Ok(Waited::TimeUp);
                    }
                }
            }
        }
        Ok(Waited::Done)
    }
}

/// Ctrl-C is told like everything else; the second one ends the program.
fn interrupts(told: Sender<Told>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (nth, signal) in signals.forever().enumerate() {
            if nth > 0 || told.send(Told::Interrupted).is_err() {
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(())
}

/// One line a second on the standard error stream.
struct Progress {
    mode: Mode,
    connections: u64,
    next: Instant,
    last: Shown,
}

impl Progress {
    const PERIOD: Duration = Duration::from_secs(1);

    fn new(mode: Mode, connections: u64) -> Self {
        Self { mode, connections, next: Instant::now() + Self::PERIOD, last: Shown::default() }
    }

    fn tick(&mut self, shown: Shown) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let period_s = (now + Self::PERIOD - self.next).as_secs_f64();
        let rate = |now: u64, last: u64| now.saturating_sub(last) as f64 / period_s;
        let open = format!("{} of {} open, {} failed", shown.open, self.connections, shown.failed);
        let done = rate(shown.done, self.last.done);
        match self.mode {
            Mode::Storm => eprintln!("{done:.0} connections/s, {} failed", shown.failed),
            _ if shown.open > self.last.open => {
                eprintln!("{open}, {:.0} connections/s", rate(shown.open, self.last.open));
            }
            Mode::Idle => eprintln!("{open}"),
            Mode::Echo | Mode::Broadcast => eprintln!("{open}, {} messages, {done:.0}/s", shown.done),
        }
        self.last = shown;
        self.next = now + Self::PERIOD;
    }
}
