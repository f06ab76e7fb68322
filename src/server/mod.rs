//! Runs an application on the engine: one or more pinned threads for each core, a reactor on each, with a file
//! table of its own. The first of each core accepts, and deals to all (`engine::balance`).

pub mod activation;
pub mod admin;
pub mod backend;
pub mod cores;
pub mod figures;
pub mod file_table;
pub mod files;
pub mod listen;
pub mod memory;
pub mod notify;
pub mod turns;

use self::{
    backend::{Backend, Interface, Means},
    figures::{Board, Figures},
    listen::{Address, Listening},
    turns::Turns,
};

use crate::engine::{
    app::App,
    balance::Balance,
    gate::Gate,
    inbox::{Inbox, Post},
    io::{epoll::Epoll, handover::Desk, uring::Uring, waker::EventWaker},
    reactor::{Drain, Letter, RESERVE, Reactor, Settings, Way},
};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A reactor that turns publishes its figures no more often than this, unless it is asked.
const PUBLISH: Duration = Duration::from_millis(100);
/// How long to wait before looking again, for an end or for room in an inbox.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Where and how a server runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to listen on.
    pub listening: Listening,
    /// Processors.
    pub cores: Vec<usize>,
    /// Reactors on each of them.
    pub reactors_per_core: usize,
    /// Files that one table may hold.
    pub open_files: u64,
    /// What the reactors run on.
    pub io: Interface,
    /// For each reactor; the capacity is that of the whole server, if the reactors have room for as many.
    pub settings: Settings,
}

impl Plan {
    /// How many reactors there are.
    pub fn reactors(&self) -> usize {
        self.cores.len() * self.reactors_per_core
    }
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    Listen {
        address: Address,
        error: io::Error,
    },
    /// A descriptor that the process was started with.
    Passed {
        name: String,
        error: io::Error,
    },
    Core {
        core: usize,
        error: io::Error,
    },
    Backend {
        name: &'static str,
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                let what = if let Address::Tcp(_) = address { "port" } else { "path" };
                write!(f, "cannot listen on {address}: the {what} is in use")
            }
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Passed { name, error } => {
                write!(f, "cannot listen on what LISTEN_FDS passed as '{name}': {error}")
            }
            Self::Core { core, error } => write!(f, "cannot run on core {core}: {error}"),
            Self::Backend { name, error } => write!(f, "cannot set up {name}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A server whose reactors run.
pub struct Running<C: Send + 'static> {
    addresses: Vec<SocketAddr>,
    listening: Listening,
    inboxes: Inboxes<C>,
    balance: Arc<Balance>,
    boards: Arc<[Board]>,
    draining: AtomicBool,
    /// Of each reactor.
    room: usize,
    threads: Vec<JoinHandle<()>>,
    /// Closed last, in the table of the thread that they were opened in.
    _desks: Arc<[Desk]>,
}

/// Of all reactors, in their order.
type Inboxes<C> = Vec<Arc<Inbox<Letter<C>, EventWaker>>>;

/// What became of a reactor that was asked for its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// It has turned and published.
    Beats,
    /// It has not, in the time that it was given.
    Silent,
    /// Its thread has ended.
    Ended,
}

/// What a thread has to say before its reactor begins.
struct Ready {
    number: usize,
    has_own_table: Result<bool, StartError>,
}

/// Starts the reactors of the plan, with the application that `app` makes for each.
///
/// # Errors
/// An address, a core or the kernel's resources are not to be had; nothing is left running.
pub fn start<A>(
    plan: &Plan,
    clock: Instant,
    app: impl FnMut(usize, &[SocketAddr]) -> A,
) -> Result<Running<A::Command>, StartError>
where
    A: App + Send + 'static,
    A::Conn: Send,
{
    match plan.io {
        Interface::Epoll => start_on::<Epoll, A>(plan, clock, app),
        Interface::Uring => start_on::<Uring, A>(plan, clock, app),
    }
}

fn start_on<B, A>(
    plan: &Plan,
    clock: Instant,
    mut app: impl FnMut(usize, &[SocketAddr]) -> A,
) -> Result<Running<A::Command>, StartError>
where
    B: Backend,
    A: App + Send + 'static,
    A::Conn: Send,
{
    let broken = |error| StartError::Backend { name: B::NAME, error };
    let (reactors, each) = (plan.reactors(), plan.reactors_per_core);
    let tcp = |address: &Address| match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    };
    let addresses: Vec<_> = plan.listening.addresses().iter().filter_map(tcp).collect();
    let most = u32::try_from(plan.settings.capacity).unwrap_or(u32::MAX);
    let balance = Arc::new(Balance::new(plan.cores.len(), each, most));
    let gate = Arc::new(Gate::default());
    let boards: Arc<[Board]> = (0..reactors).map(|_| Board::default()).collect();
    // What reactors share is opened before they have tables of their own.
    let desks = (0..reactors).map(|_| Desk::new()).collect::<io::Result<Arc<[Desk]>>>();
    let desks = desks.map_err(broken)?;
    let wakers = (0..reactors).map(|_| EventWaker::new()).collect::<io::Result<Vec<_>>>();
    let wakers = wakers.map_err(broken)?;
    let taken = file_table::open_files().map_err(broken)?.count;

    let keeper = memory::keeper().map_err(broken)?;
    let room_alone = files::room(plan.open_files, taken, 1).min(B::ROOM_MAX);
    let (tell, told) = channel();
    let (give, given) = channel();
    let (mut go, mut introduce) = (Vec::new(), Vec::new());
    let mut threads = Vec::new();
    for (number, waker) in wakers.into_iter().enumerate() {
        let core = plan.cores[number / each];
        let mut accepts = Vec::new();
        if number % each == 0 {
            accepts = plan.listening.of(number / each, plan.cores.len());
        }
        let app = app(number, &addresses);
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), number);
        let (gate, balance, desks) = (gate.clone(), balance.clone(), desks.clone());
        let (keeper, boards) = (keeper.clone(), boards.clone());
        let (tell, give) = (tell.clone(), give.clone());
        let (settings, set): (Sender<Settings>, Receiver<Settings>) = channel();
        go.push(settings);
        let (inboxes, introduced): (Sender<Inboxes<A::Command>>, Receiver<_>) = channel();
        introduce.push(inboxes);
        let means = Means { listeners: accepts, waker, desks, number, sockets: room_alone + RESERVE };
        let name = if each == 1 { format!("mida-{core}") } else { format!("mida-{core}.{}", number % each) };
        let thread = file_table::spawn(name, move |table| {
            let (io, has_own_table) = match prepare::<B>(core, means) {
                Ok(io) => (Some(io), Ok(table.is_ok() || B::HAS_OWN_TABLE)),
                Err(error) => (None, Err(error)),
            };
            let _ = tell.send(Ready { number, has_own_table });
            // None come when another reactor could not be made.
            let (Some(io), Ok(settings)) = (io, set.recv()) else { return };
            let mut reactor = Reactor::new(io, app, settings, gate, seed);
            reactor.join(balance, number);
            let _ = give.send((number, reactor.inbox()));
            drop(give);
            // Nothing is accepted before all can be written to.
            let Ok(inboxes) = introduced.recv() else { return };
            reactor.meet(&inboxes);
            run(reactor, number, &boards[number], clock, &keeper);
        });
        threads.push(thread.map_err(|error| StartError::Core { core, error })?);
    }
    let mut has_own = vec![false; reactors];
    for ready in told.iter().take(reactors) {
        has_own[ready.number] = ready.has_own_table?;
    }
    // Those that share a table, for want of their own, share its room.
    let sharing = if has_own.iter().all(|own| *own) { 1 } else { reactors };
    let room = files::room(plan.open_files, taken, sharing).min(B::ROOM_MAX);
    for settings in &go {
        let _ = settings.send(Settings { capacity: room, ..plan.settings.clone() });
    }
    let mut inboxes: Vec<_> = given.iter().take(reactors).collect();
    inboxes.sort_by_key(|(number, _)| *number);
    let inboxes: Inboxes<_> = inboxes.into_iter().map(|(_, inbox)| inbox).collect();
    for each in introduce {
        let _ = each.send(inboxes.clone());
    }
    let draining = AtomicBool::new(false);
    let listening = plan.listening.clone();
    Ok(Running { addresses, listening, inboxes, balance, boards, draining, room, threads, _desks: desks })
}

/// What a reactor's own thread opens, in its own table.
fn prepare<B: Backend>(core: usize, means: Means) -> Result<B, StartError> {
    cores::pin(core).map_err(|error| StartError::Core { core, error })?;
    B::make(means).map_err(|error| StartError::Backend { name: B::NAME, error })
}

/// A reactor's life: until it is drained.
fn run<B: Backend, A: App>(
    mut reactor: Reactor<B, A>,
    number: usize,
    board: &Board,
    clock: Instant,
    keeper: &Sender<()>,
) {
    let mut tide = memory::Tide::default();
    let mut turns = Turns::default();
    let mut now = clock.elapsed();
    let mut published = now;
    board.publish(Figures::of(&reactor, &turns));
    while !reactor.is_drained() {
        if let Err(error) = reactor.wait(now.as_millis() as u64) {
            tracing::error!(%error, "{} is broken; this core stops", B::NAME);
            return;
        }
        let woken = clock.elapsed();
        reactor.turn(woken.as_millis() as u64);
        let held = reactor.holdings();
        if tide.is_out(reactor.connections(), held.queue_bytes + held.tail_bytes, woken) {
            let _ = keeper.send(());
        }
        now = clock.elapsed();
        turns.add((now - woken).as_nanos() as u64);
        if now - published >= PUBLISH || !reactor.reports().is_empty() {
            published = now;
            board.publish(Figures::of(&reactor, &turns));
            for report in reactor.reports().drain(..) {
                let _ = report.send(number);
            }
        }
    }
    board.publish(Figures::of(&reactor, &turns));
}

impl<C: Send + 'static> Running<C> {
    /// The TCP addresses it listens on, with real ports, in the order of the plan.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// All it listens on.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// The ways to the applications of all reactors, in their order.
    pub fn ways(&self) -> Vec<Arc<dyn Post<C>>> {
        self.inboxes.iter().map(|inbox| Arc::new(Way::new(inbox.clone())) as _).collect()
    }

    /// Leaves a letter for every reactor; false when one's box was full.
    pub fn post(&self, mut letter: impl FnMut() -> Letter<C>) -> bool {
        self.post_all(|| std::iter::once(letter()))
    }

    /// Leaves letters for every reactor, which finds them there together; false when some did not fit.
    pub fn post_all<L: IntoIterator<Item = Letter<C>>>(&self, mut letters: impl FnMut() -> L) -> bool {
        let mut all = true;
        for inbox in &self.inboxes {
            all &= inbox.post_all(letters()).is_ok();
        }
        all
    }

    /// New limits and heartbeat for every reactor; the capacity is that of the whole server.
    pub fn post_settings(&self, settings: &Settings) -> bool {
        self.balance.set_most(u32::try_from(settings.capacity).unwrap_or(u32::MAX));
        self.post(|| Letter::Settings(Settings { capacity: self.room, ..settings.clone() }))
    }

    /// Tells every reactor to close all its connections and to end; false if one could not be told within `most`.
    pub fn drain(&self, drain: Drain, most: Duration) -> bool {
        self.draining.store(true, Ordering::Relaxed);
        let until = Instant::now() + most;
        let mut all = true;
        for (inbox, thread) in self.inboxes.iter().zip(&self.threads) {
            // A reactor that is behind finds it in time all the same.
            while inbox.post(Letter::Drain(drain)).is_err() && !thread.is_finished() {
                if Instant::now() >= until {
                    all = false;
                    break;
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        all
    }

    /// Whether [`Running::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Has every reactor turn and publish its figures, and waits for that, but not beyond `most`.
    pub fn take_pulse(&self, most: Duration) -> Vec<Pulse> {
        let until = Instant::now() + most;
        let (tell, told) = channel();
        let mut pulses = Vec::with_capacity(self.inboxes.len());
        let mut waiting = 0;
        for (inbox, thread) in self.inboxes.iter().zip(&self.threads) {
            let is_asked = !thread.is_finished() && inbox.post(Letter::Report(tell.clone())).is_ok();
            waiting += usize::from(is_asked);
            pulses.push(Pulse::Silent);
        }
        while waiting > 0
            && let Ok(number) = told.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            waiting -= 1;
            if let Some(pulse) = pulses.get_mut(number) {
                *pulse = Pulse::Beats;
            }
        }
        for (pulse, thread) in pulses.iter_mut().zip(&self.threads) {
            if *pulse == Pulse::Silent && thread.is_finished() {
                *pulse = Pulse::Ended;
            }
        }
        pulses
    }

    /// What each reactor has published last.
    pub fn figures(&self) -> Vec<Figures> {
        self.boards.iter().map(Board::read).collect()
    }

    /// How many connections the server takes.
    pub fn capacity(&self) -> u32 {
        self.balance.most()
    }

    /// Whether all reactors are done.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all reactors are done, but not beyond `most`; whether they are.
    pub fn wait(&self, most: Duration) -> bool {
        let until = Instant::now() + most;
        while !self.is_finished() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        true
    }
}
