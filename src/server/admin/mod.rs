//! What an operator sees and asks: a small HTTP/1.1 server beside the reactors, on threads of its own. It reads
//! what reactors publish and asks them by letter; it never touches what they work with. What a backend asks is in `v1`.

mod answer;
mod connections;
mod exposition;
mod guard;
mod health;
mod http;
mod metrics;
mod process;
mod turned_away;
mod v1;

pub use self::{
    answer::Answer,
    guard::{Guard, Token},
    http::Head,
    v1::{ANSWER_MOST, Backend, Office},
};

use self::turned_away::TurnedAway;
use super::Running;
use crate::{
    app::{config::Config, relay::Command},
    store,
};
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    io::{self, PipeReader, PipeWriter},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, Builder, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

/// Requests that are served at once.
const MOST: usize = 16;
/// How long accepting rests after it failed, for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// What there is to ask for; a group of routes is a file.
const ROUTES: &[&[&[Route]]] = &[&[metrics::ROUTES, health::ROUTES, connections::ROUTES], v1::ROUTES];

/// Reactors publish sooner than this when they are asked, or are told of as they were.
const PUBLISH_MOST: Duration = Duration::from_secs(1);

/// A path and a method, and what answers.
pub struct Route {
    pub method: &'static str,
    /// A last part in braces stands for any.
    pub path: &'static str,
    /// On a listener that only this machine reaches, it is answered without the token.
    pub is_open: bool,
    /// Given the request's head and body.
    pub answer: fn(&Service, &Head, &[u8]) -> Answer,
}

impl Route {
    fn has(&self, path: &str) -> bool {
        match self.path.split_once('{') {
            None => self.path == path,
            Some((stem, _)) => {
                path.strip_prefix(stem).is_some_and(|part| !part.is_empty() && !part.contains('/'))
            }
        }
    }
}

/// What routes answer from.
pub struct Service {
    pub running: Arc<Running<Command>>,
    /// When the server started, by both clocks.
    pub clock: Instant,
    pub started: SystemTime,
    guard: Guard,
    /// For what a backend asks.
    backend: Option<Backend>,
    /// Of the store, if there is one.
    store: Option<Arc<store::Figures>>,
    busy: AtomicUsize,
}

impl Service {
    /// A service of a server that started at `clock`.
    pub fn new(running: Arc<Running<Command>>, clock: Instant, guard: Guard) -> Self {
        let started = SystemTime::now().checked_sub(clock.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        Self { running, clock, started, guard, backend: None, store: None, busy: AtomicUsize::new(0) }
    }

    /// One that takes messages of a backend.
    pub fn with(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// One that tells of this store too.
    pub fn about(mut self, store: Arc<store::Figures>) -> Self {
        self.store = Some(store);
        self
    }

    /// Begins to answer on a listener that [`bind`] has made.
    ///
    /// # Errors
    /// There is no thread or pipe to be had.
    pub fn listen(self, listener: TcpListener) -> io::Result<Listening> {
        let address = listener.local_addr()?;
        let (service, listener) = (Arc::new(self), Arc::new(listener));
        let (told, stop) = io::pipe()?;
        let (of_thread, accepts) = (service.clone(), listener.clone());
        let thread = Builder::new().name("mida-admin".to_owned()).spawn(move || {
            let mut turned_away = TurnedAway::default();
            while await_connection(&accepts, &told, &mut turned_away) {
                match accepts.accept() {
                    Ok((socket, _)) => of_thread.take(socket, &mut turned_away),
                    Err(error) => match error.kind() {
                        io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::WouldBlock => {}
                        _ => thread::park_timeout(REST),
                    },
                }
            }
        })?;
        Ok(Listening { address, listener, service, thread, stop })
    }

    /// Serves a connection on a thread of its own, if there are not too many.
    fn take(self: &Arc<Self>, socket: TcpStream, turned_away: &mut TurnedAway) {
        let seat = Seat(self.clone());
        if self.busy.fetch_add(1, Ordering::Relaxed) >= MOST {
            return turned_away.add(socket);
        }
        // Without a thread the connection is closed, and the seat is free again.
        let _ = Builder::new().name("mida-ask".to_owned()).spawn(move || seat.0.serve(socket));
    }

    fn serve(&self, mut socket: TcpStream) {
        let Ok(local) = socket.local_addr() else { return };
        let done = http::serve(&mut socket, |head| {
            let route = self.admit(head, local)?;
            Ok(move |head: &Head, body: &[u8]| (route.answer)(self, head, body))
        });
        if let Err(error) = done {
            tracing::debug!(%error, "an admin request ended early");
        }
    }

    /// The route of a request that is allowed.
    fn admit(&self, head: &Head, local: SocketAddr) -> Result<&'static Route, Answer> {
        self.guard.check_source(head, local)?;
        let known =
            || ROUTES.iter().copied().flatten().copied().flatten().filter(|route| route.has(&head.path));
        let is_open = !self.guard.is_public && known().any(|route| route.is_open);
        // Without a token there is nothing to keep: what is asked for is not there.
        let is_nothing = self.guard.token.is_none() && known().next().is_none();
        if !is_open && !is_nothing {
            self.guard.check_token(head)?;
        }
        if known().next().is_none() {
            return Err(Answer::error((404, "not_found"), "There is nothing at this path."));
        }
        let route = known().find(|route| route.method == head.method).ok_or_else(|| {
            let allowed: Vec<_> = known().map(|route| route.method).collect();
            let refusal = Answer::error((405, "method_not_allowed"), "This path takes other methods.");
            refusal.with("Allow", allowed.join(", "))
        })?;
        if route.method == "POST" {
            self.check_body(head)?;
        }
        Ok(route)
    }

    /// What is posted is JSON, so that no web page can send it without being asked first, and not too long.
    fn check_body(&self, head: &Head) -> Result<(), Answer> {
        let told = head.content_type.as_deref().unwrap_or_default();
        let media_type = told.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Answer::error((415, "bad_content_type"), "Send Content-Type: application/json."));
        }
        let Some(length) = head.length else {
            return Err(Answer::error((411, "length_required"), "Send a body with its Content-Length."));
        };
        let most = self.backend.as_ref().map_or(usize::MAX, Backend::request_bytes);
        if length > most {
            let line = format!("The body is larger than message_bytes: {most}.");
            return Err(Answer::error((413, "too_large"), &line));
        }
        Ok(())
    }
}

/// The listener for an address: the one that a predecessor has `passed`, if it is that address's.
///
/// # Errors
/// The address is not to be had.
pub fn bind(address: SocketAddr, passed: Option<OwnedFd>) -> io::Result<TcpListener> {
    let is_it = |own: SocketAddr| own.ip() == address.ip() && [0, own.port()].contains(&address.port());
    let passed = passed.map(TcpListener::from).filter(|passed| passed.local_addr().is_ok_and(is_it));
    let listener = passed.map_or_else(|| TcpListener::bind(address), Ok)?;
    // Another process may accept from it too, and be faster.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether somebody may have connected, before it is time to stop.
fn await_connection(listener: &TcpListener, stop: &PipeReader, turned_away: &mut TurnedAway) -> bool {
    let both = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    let mut watched: Vec<_> = both.into_iter().chain(turned_away.watched()).collect();
    let _ = poll(&mut watched, turned_away.timeout().as_ref());
    let goes_on = watched[1].revents().is_empty();
    turned_away.drain();
    goes_on
}

/// A service that answers, until it is dropped.
pub struct Listening {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    service: Arc<Service>,
    thread: JoinHandle<()>,
    /// Closed, it ends the thread.
    stop: PipeWriter,
}

impl Listening {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new configuration holds.
    pub fn reload(&self, config: &Arc<Config>) {
        if let Some(backend) = &self.service.backend {
            backend.reload(config.clone());
        }
    }

    /// For a successor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Accepts no more, leaving who waits to a successor; what was accepted is answered, but not waited for
    /// beyond `most`.
    pub fn close(self, most: Duration) {
        let until = Instant::now() + most;
        drop(self.stop);
        let _ = self.thread.join();
        while self.service.busy.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            thread::park_timeout(REST / 10);
        }
    }
}

/// A place among those that are served at once.
struct Seat(Arc<Service>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
