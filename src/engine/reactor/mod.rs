//! One core's server: `turn` takes what the backend has completed, lets the application answer, and sends
//! each connection's answers with one write. It owns no thread, no loop and no clock.

mod audit;
mod core;
mod drain;
mod letters;
mod look;
mod proxied;
mod receive;
mod sends;
mod stats;
mod waits;

pub use self::{
    audit::Audit,
    core::Settings,
    drain::Drain,
    letters::Way,
    stats::{FAREWELLS, Stats},
};

use self::{
    core::{CLOSE_MS, Core, guarded, room},
    drain::Leaving,
};
use super::{
    app::App,
    balance::{Balance, Full},
    error::Refusal,
    gate::Gate,
    inbox::Inbox,
    io::{Completion, Io},
    slots::{FORWARDS, PROXY, REFUSE_ADDRESS, SEATED, State},
};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

/// Letters that may wait for a reactor.
const INBOX: usize = 4_096;
/// A box keeps room for so many when it is empty.
const LETTERS_KEPT: usize = 64;
/// Connections that a letter for everyone reaches in one turn.
const VISITS: u32 = 1_024;
/// Queues that wait before they are flushed within a turn.
const DIRTY: usize = 128;
/// Bytes of the turn's arena that may wait before a flush within a turn.
const ARENA_BYTES: usize = 256 * 1_024;
/// Connections beyond the capacity that are taken only to be told that there is no room.
pub const RESERVE: usize = 48;
/// Of these, how many there may be before an address over its share is refused without its request.
const PATIENT: usize = RESERVE / 2;
/// How long accepting rests after it failed, unless a connection ends before.
const ACCEPT_REST_MS: u64 = 100;

/// A turn that comes so long after it was due finds a reactor that stood still.
const LATE_MS: u64 = 100;
/// What peers get back of that time at most.
const CATCH_UP_MS: u64 = 10_000;

/// What other threads can tell a reactor.
pub enum Letter<C> {
    /// For the application.
    Command(C),
    /// New limits and heartbeat, for connections old and new.
    Settings(Settings),
    /// Whoever runs the reactor is to publish its figures and to send its number: see [`Reactor::reports`].
    Report(Sender<usize>),
    /// Stop listening, close everybody with 1001, and be done when all are gone.
    Drain(Drain),
}

/// The letterbox of a reactor on this backend with this application.
pub type Mailbox<I, A> = Inbox<Letter<<A as App>::Command>, <I as Io>::Waker>;

/// One core's reactor.
pub struct Reactor<I: Io, A: App> {
    io: I,
    app: A,
    core: Core<I::Socket, A::Conn>,
    inbox: Arc<Mailbox<I, A>>,
    letters: Vec<Letter<A::Command>>,
    /// Letters for everyone that go round together, and to which slot they come next.
    round: (Vec<Errand<A::Command>>, u32),
    /// Letters for the next round.
    waiting: Vec<Errand<A::Command>>,
    reports: Vec<Sender<usize>>,
    /// Until then nothing is accepted; `u64::MAX` while accepting goes on.
    accept_again_ms: u64,
    /// Until then no timer fires, since the reactor stood still.
    late_until_ms: u64,
    /// When the application wants another turn.
    app_wakes_ms: u64,
    leaving: Option<Leaving>,
}

/// A letter for everyone.
enum Errand<C> {
    Command(C),
    /// Behind the letters that came before it, everybody is sent away.
    Drain,
    /// The next look may be nearer than it was.
    Heartbeat,
}

impl<I: Io, A: App> Reactor<I, A> {
    /// A reactor that accepts from the backend's listeners. `seed` spreads the heartbeats.
    pub fn new(io: I, app: A, settings: Settings, gate: Arc<Gate>, seed: u64) -> Self {
        let inbox = Arc::new(Inbox::new(io.waker(), INBOX));
        Self {
            core: Core::new(settings, gate, seed),
            inbox,
            letters: Vec::new(),
            round: (Vec::new(), 0),
            waiting: Vec::new(),
            reports: Vec::new(),
            accept_again_ms: u64::MAX,
            late_until_ms: 0,
            app_wakes_ms: u64::MAX,
            leaving: None,
            io,
            app,
        }
    }

    /// Takes part in a server of several reactors as number `number`, before its first turn.
    pub fn join(&mut self, balance: Arc<Balance>, number: usize) {
        balance.set_room(number, room(&self.core.settings));
        (self.core.balance, self.core.number) = (balance, number);
    }

    pub fn inbox(&self) -> Arc<Mailbox<I, A>> {
        self.inbox.clone()
    }

    /// Sleeps until there is something to do.
    ///
    /// # Errors
    /// The backend is broken.
    pub fn wait(&mut self, now_ms: u64) -> io::Result<()> {
        let at = self.wakes_ms();
        let timeout = (at != u64::MAX).then(|| Duration::from_millis(at.saturating_sub(now_ms)));
        self.io.wait(timeout)
    }

    /// When the next turn is due if nothing comes before; `u64::MAX`: never.
    pub fn wakes_ms(&self) -> u64 {
        let has_round = !self.round.0.is_empty() || !self.waiting.is_empty();
        if has_round || self.core.has_leftovers() {
            return 0;
        }
        let timer_ms = self.core.wheel.next_ms().map(|at_ms| at_ms.max(self.late_until_ms));
        let own_ms = self.accept_again_ms.min(self.drains_on_ms()).min(self.app_wakes_ms);
        timer_ms.unwrap_or(u64::MAX).min(own_ms)
    }

    /// Does all there is to do at `now_ms` (milliseconds since the reactor started).
    pub fn turn(&mut self, now_ms: u64) {
        let due_ms = self.core.wheel.next_ms().unwrap_or(u64::MAX);
        self.core.begin(now_ms);
        guarded(&mut self.core.stats, || self.app.turn(now_ms));
        self.core.take_up_parked(&self.app);
        self.take_up_held();
        self.core.take_up_later(&mut self.io, &mut self.app);
        loop {
            match self.io.next(&mut self.core.slots) {
                None => break,
                Some(Completion::Received { token, bytes }) => {
                    self.core.stats.received_bytes += bytes.len() as u64;
                    self.core.received(&mut self.app, token, bytes);
                }
                Some(Completion::Ended { token, result }) => self.core.ended(token, result),
                Some(Completion::Sent { token, gather, result }) => {
                    self.core.sent(&mut self.io, token, gather, result);
                }
                Some(Completion::Accepted { socket, peer, local }) => self.accept(socket, peer, local),
                Some(Completion::Dealt { socket, peer, local }) => {
                    self.core.stats.taken_over += 1;
                    self.admit(socket, peer, local, SEATED);
                }
                Some(Completion::Lost(count)) => {
                    self.core.stats.lost += count as u64;
                    (0..count).for_each(|_| self.core.balance.leave(self.core.number));
                    tracing::error!(count, "connections dealt to this reactor were lost: no descriptors");
                }
                Some(Completion::AcceptFailed(error)) => {
                    self.core.stats.accept_failures += 1;
                    tracing::warn!(%error, "cannot accept; trying again as soon as there may be room");
                    self.rest_accepting();
                }
                Some(Completion::Woken) => self.read_letters(),
                Some(Completion::Pause) => self.send_on(),
            }
            self.settle(false);
        }
        if self.timers_may_fire(due_ms) {
            while let Some((index, deadline_ms)) = self.core.wheel.pop(&mut self.core.slots, now_ms) {
                self.core.stats.fired(now_ms.saturating_sub(deadline_ms));
                self.core.fired(&mut self.app, index, deadline_ms);
                self.settle(false);
            }
        }
        self.visit();
        self.drain_on();
        self.settle(true);
        // What has come in this turn may have been waited for.
        self.core.take_up_parked(&self.app);
        self.app_wakes_ms = guarded(&mut self.core.stats, || self.app.end_turn(now_ms)).unwrap_or(now_ms);
        if self.accept_again_ms <= now_ms {
            self.try_accepting();
        }
    }

    pub fn connections(&self) -> usize {
        self.core.slots.len()
    }

    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Completions for connections that were gone already.
    pub fn stale(&self) -> u64 {
        self.core.slots.stale
    }

    /// Messages that the application has queued, and bytes that the kernel has taken.
    pub fn sent(&self) -> (u64, u64) {
        (self.core.outbox.messages, self.core.outbox.sent_bytes)
    }

    /// Who waits for this reactor's figures to be published; each is then sent the reactor's number.
    pub fn reports(&mut self) -> &mut Vec<Sender<usize>> {
        &mut self.reports
    }

    /// What the connections hold beyond their slots.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            queues: self.core.outbox.queues(),
            queue_bytes: self.core.outbox.bytes(),
            tails: self.core.tails.len(),
            tail_bytes: self.core.tail_bytes,
        }
    }

    pub fn app(&self) -> &A {
        &self.app
    }

    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// Whether this turn, which was due at `due_ms`, fires timers. When the reactor stood still, what peers did
    /// in time may not be read yet, and what they made room for not be sent: they get that time again, up to
    /// a bound, and whatever they do with it.
    fn timers_may_fire(&mut self, due_ms: u64) -> bool {
        let (now_ms, until_ms) = (self.core.now_ms, self.late_until_ms);
        let late_ms = now_ms.saturating_sub(due_ms);
        // What has waited once does not wait again.
        if late_ms >= LATE_MS && due_ms > until_ms {
            self.late_until_ms = now_ms + late_ms.min(CATCH_UP_MS);
        }
        self.late_until_ms <= now_ms
    }

    /// A connection that this reactor has accepted stays here, or goes where there is more room.
    fn accept(&mut self, socket: I::Socket, peer: SocketAddr, local: Option<SocketAddr>) {
        let core = &mut self.core;
        core.stats.accepted += 1;
        match core.balance.place(core.number) {
            Ok(number) if number == core.number => self.admit(socket, peer, local, SEATED),
            Ok(number) => {
                core.stats.dealt += 1;
                self.io.deal(number, socket, peer, local);
            }
            Err(Full { is_news }) => {
                if is_news {
                    tracing::warn!(connections = core.balance.taken(), "full; new connections get 503");
                }
                self.admit(socket, peer, local, 0);
            }
        }
    }

    fn admit(&mut self, socket: I::Socket, peer: SocketAddr, local: Option<SocketAddr>, flags: u8) {
        let core = &mut self.core;
        let is_proxy = core.settings.proxies.has(peer.ip());
        let (address, refuse) = if is_proxy {
            (Gate::FREE, 0)
        } else {
            match core.gate.enter(peer, core.now_ms, &core.settings.limits) {
                Some(address) => (address, 0),
                None => (Gate::FREE, REFUSE_ADDRESS),
            }
        };
        let mut flags = flags | refuse | if is_proxy { PROXY | FORWARDS } else { 0 };
        if refuse != 0 && flags & SEATED != 0 {
            core.balance.leave(core.number);
            flags &= !SEATED;
        }
        core.unseated += usize::from(flags & SEATED == 0);
        let token = core.slots.insert(socket, address, flags);
        core.ages.begin(token.generation, core.now_ms);
        core.stats.enter(State::Upgrading);
        if is_proxy {
            core.clients.set(token.index, peer);
        }
        let local = core.intern(local);
        let Some(slot) = core.slots.at(token.index) else { return };
        slot.local = local;
        if self.io.open(token, &mut slot.socket).is_err() {
            core.condemn(token.index, false);
            return;
        }
        let most_ms = core.settings.limits.upgrade_ms;
        let most_ms = if core.has_left() { most_ms.min(CLOSE_MS) } else { most_ms };
        let deadline_ms = core.now_ms.saturating_add(most_ms);
        core.wheel.arm(&mut core.slots, token.index, deadline_ms);
        if refuse != 0 && core.unseated > PATIENT {
            // Its request is not waited for: one address could hold any number of slots by saying nothing.
            core.refuse(token.index, Refusal::AddressFull);
            core.condemn(token.index, false);
        }
        if core.unseated >= RESERVE {
            self.rest_accepting();
        }
    }

    /// Leaves new connections in the listeners' queues until a connection ends, or for a moment.
    fn rest_accepting(&mut self) {
        self.io.accepting(false);
        self.accept_again_ms = self.core.now_ms + ACCEPT_REST_MS;
    }

    fn try_accepting(&mut self) {
        if self.core.unseated < RESERVE {
            self.accept_again_ms = u64::MAX;
            self.io.accepting(true);
        } else {
            self.accept_again_ms = self.core.now_ms + ACCEPT_REST_MS;
        }
    }

    /// Sends what is queued, in the middle of a turn.
    fn send_on(&mut self) {
        self.core.flush(&mut self.io, &mut self.app);
        self.io.flush();
    }

    /// Flushes when enough waits (or `all`), and buries the dead.
    #[inline]
    fn settle(&mut self, all: bool) {
        if self.app.has_letters() {
            self.deliver();
        }
        let core = &mut self.core;
        if all {
            core.flush(&mut self.io, &mut self.app);
        } else if core.dirty.len() >= DIRTY || core.outbox.arena_bytes() >= ARENA_BYTES {
            self.send_on();
        }
        let core = &mut self.core;
        if !core.condemned.is_empty() {
            core.bury(&mut self.io, &mut self.app);
            if self.accept_again_ms != u64::MAX {
                self.try_accepting();
            }
        }
    }
}

/// What connections hold beyond their slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    pub queues: usize,
    pub queue_bytes: u64,
    pub tails: usize,
    pub tail_bytes: u64,
}

#[cfg(test)]
mod tests;
