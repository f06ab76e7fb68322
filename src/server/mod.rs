//! Runs an application on the engine: a pinned thread for each core, each with its own listeners.

pub mod cores;
pub mod file_table;
pub mod files;
pub mod listen;

use crate::engine::{
    app::App,
    gate::Gate,
    inbox::Inbox,
    io::epoll::{Epoll, EpollWaker},
    reactor::{Letter, Reactor, Settings},
};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Where and how a server runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Addresses to listen on, by every core; port 0 picks one.
    pub listen: Vec<SocketAddr>,
    /// Processors, one reactor each.
    pub cores: Vec<usize>,
    /// For each reactor; the capacity is that of the whole server.
    pub settings: Settings,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    Listen { address: SocketAddr, error: io::Error },
    Core { core: usize, error: io::Error },
    Backend(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {address}: the port is in use")
            }
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Core { core, error } => write!(f, "cannot run on core {core}: {error}"),
            Self::Backend(error) => write!(f, "cannot set up epoll: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A server whose reactors run.
pub struct Running<C: Send + 'static> {
    addresses: Vec<SocketAddr>,
    inboxes: Vec<Arc<Inbox<Letter<C>, EpollWaker>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a reactor on each core of the plan, with the application that `app` makes for it.
///
/// # Errors
/// An address, a core or the kernel's resources are not to be had; nothing is left running.
pub fn start<A>(
    plan: &Plan,
    clock: Instant,
    mut app: impl FnMut(usize, &[SocketAddr]) -> A,
) -> Result<Running<A::Command>, StartError>
where
    A: App + Send + 'static,
    A::Conn: Send,
{
    let (addresses, listeners) = listen::bind(&plan.listen, plan.cores.len())?;
    let gate = Arc::new(Gate::default());
    let settings = share(&plan.settings, plan.cores.len());
    let mut running = Running { addresses, inboxes: Vec::new(), threads: Vec::new() };
    let mut reactors = Vec::new();
    for (number, listeners) in listeners.into_iter().enumerate() {
        let epoll = Epoll::new(listeners).map_err(StartError::Backend)?;
        let app = app(number, &running.addresses);
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), number);
        reactors.push(Reactor::new(epoll, app, settings.clone(), gate.clone(), seed));
    }
    for (reactor, &core) in reactors.into_iter().zip(&plan.cores) {
        running.inboxes.push(reactor.inbox());
        let (pinned, is_pinned) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("mida-{core}")).spawn(move || {
            let _ = pinned.send(cores::pin(core));
            run(reactor, clock);
        });
        running.threads.push(thread.map_err(|error| StartError::Core { core, error })?);
        if let Ok(Err(error)) = is_pinned.recv() {
            running.post(|| Letter::Drain);
            return Err(StartError::Core { core, error });
        }
    }
    Ok(running)
}

/// What one of so many reactors gets of the server's settings.
fn share(settings: &Settings, reactors: usize) -> Settings {
    Settings { capacity: settings.capacity.div_ceil(reactors.max(1)).max(1), ..settings.clone() }
}

/// A reactor's life: until it is drained.
fn run<A: App>(mut reactor: Reactor<Epoll, A>, clock: Instant) {
    let now_ms = || clock.elapsed().as_millis() as u64;
    while !reactor.is_drained() {
        if let Err(error) = reactor.wait(now_ms()) {
            tracing::error!(%error, "epoll is broken; this core stops");
            return;
        }
        reactor.turn(now_ms());
    }
}

impl<C: Send + 'static> Running<C> {
    /// The addresses it listens on, with real ports, in the order of the plan.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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
        let share = share(settings, self.inboxes.len());
        self.post(|| Letter::Settings(share.clone()))
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
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}
