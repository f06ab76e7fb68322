//! What a reactor knows of its connections, and how their bytes leave and they end. The backend is only
//! touched here to send and to close.

use super::{stats::Stats, waits::Held};
use crate::engine::{
    ages::Ages,
    app::{App, Link, ready},
    balance::Balance,
    chunks::Chunks,
    clients::Clients,
    error::Close,
    gate::Gate,
    io::{Io, Token},
    limits::Limits,
    outbox::{Gather, Outbox},
    proxies::Proxies,
    slots::{AWAITS, CLOGGED, ENDED, HELD, LEFT, NO_TAIL, SEATED, Slot, Slots, State},
    timer::Wheel,
    wire::{Opcode, Partial},
};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// From our close frame, or a refusal, to the end of TCP: then the connection is reset.
pub const CLOSE_MS: u64 = 2_000;
/// From an answer to a plain request to the end of TCP.
pub const ANSWER_MS: u64 = 10_000;
/// Connections whose bytes are made ready together, and about how many bytes.
pub const GROUP: usize = 32;
const GROUP_BYTES: usize = 32 * 1_024;
/// So many connections to flush are not in the caches any more.
const MANY: usize = 128;
/// Lists keep room for so many entries when they are empty.
const KEEP: usize = 1_024;
/// Addresses of our own that are told apart.
const LOCALS: usize = 256;

/// What the operator sets, the same for all reactors.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Arc<Limits>,
    /// Whose word on a new connection's address is taken.
    pub proxies: Arc<Proxies>,
    /// A connection is looked at once in this time; `u64::MAX`: never.
    pub heartbeat_ms: u64,
    /// Connections this reactor takes, besides [`super::RESERVE`] that are only told that there is no room.
    pub capacity: usize,
}

/// What an incomplete message, an incomplete head or held input keeps.
#[derive(Default)]
pub struct Tail {
    pub partial: Option<Box<Partial>>,
    /// Bytes as they came: of an upgrade head, or held until a later turn.
    pub raw: Vec<u8>,
}

impl Tail {
    pub fn bytes(&self) -> usize {
        self.raw.capacity() + self.partial.as_ref().map_or(0, |partial| partial.bytes())
    }
}

/// A connection of which some bytes can be handed to the kernel.
pub struct Ready {
    pub index: u32,
    /// A send of an earlier flush had not come back.
    pub stuck: bool,
    /// The rest waits for the next turn.
    pub later: bool,
    pub gather: Option<Box<Gather>>,
}

pub struct Core<S, C> {
    pub settings: Settings,
    pub gate: Arc<Gate>,
    pub balance: Arc<Balance>,
    /// This reactor's number in the balance.
    pub number: usize,
    /// Slots without a seat in the balance.
    pub unseated: usize,
    /// Our addresses that peers have connected to; slots hold an index.
    pub locals: Vec<SocketAddr>,
    /// Addresses of the connections that came through proxies: as long as they don't say more, the proxies' own.
    pub clients: Clients,
    pub slots: Slots<S, C>,
    pub ages: Ages,
    pub wheel: Wheel,
    pub outbox: Outbox,
    pub tails: Chunks<Tail, 9>,
    pub tail_bytes: u64,
    /// Slots whose queue is to be flushed.
    pub dirty: Vec<u32>,
    group: Vec<Ready>,
    /// Connections whose flush waits for a later turn's budget, in order.
    pub later: VecDeque<Token>,
    /// Connections whose input waits for a budget, in order.
    pub held: VecDeque<Held>,
    /// Connections whose input waits for a letter, in order; void where they do not await it any more.
    pub parked: VecDeque<Token>,
    /// Slots that the application has something to say about again.
    pub changed: Vec<u32>,
    /// Slots to be freed as soon as the backend is free; true: with a reset.
    pub condemned: Vec<(u32, bool)>,
    pub stats: Stats,
    pub now_ms: u64,
    /// When everybody is told that the server goes, if it does.
    pub leaves_ms: Option<u64>,
    pub seed: u64,
}

impl<S, C: Default> Core<S, C> {
    pub fn new(settings: Settings, gate: Arc<Gate>, seed: u64) -> Self {
        Self {
            slots: Slots::default(),
            ages: Ages::default(),
            balance: Arc::new(Balance::alone(room(&settings))),
            number: 0,
            unseated: 0,
            settings,
            gate,
            locals: Vec::new(),
            clients: Clients::default(),
            wheel: Wheel::default(),
            outbox: Outbox::default(),
            tails: Chunks::new(),
            tail_bytes: 0,
            dirty: Vec::new(),
            group: Vec::new(),
            later: VecDeque::new(),
            held: VecDeque::new(),
            parked: VecDeque::new(),
            changed: Vec::new(),
            condemned: Vec::new(),
            stats: Stats::default(),
            now_ms: 0,
            leaves_ms: None,
            seed,
        }
    }

    /// A new turn.
    pub fn begin(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if self.later.is_empty() {
            self.later.shrink_to(KEEP);
        }
        if self.held.is_empty() {
            self.held.shrink_to(KEEP);
        }
        // Of those who left while all waited.
        if self.parked.len() > 2 * self.slots.len() + KEEP {
            let slots = &mut self.slots;
            self.parked.retain(|token| slots.get(*token).is_some_and(|slot| slot.flags & AWAITS != 0));
        }
    }

    /// The index of one of our addresses; `u16::MAX` when it is not known or there are too many.
    pub fn intern(&mut self, local: Option<SocketAddr>) -> u16 {
        let Some(local) = local else { return u16::MAX };
        if let Some(known) = self.locals.iter().position(|known| *known == local) {
            return known as u16;
        }
        if self.locals.len() == LOCALS {
            return u16::MAX;
        }
        self.locals.push(local);
        (self.locals.len() - 1) as u16
    }

    pub fn has_leftovers(&self) -> bool {
        !self.later.is_empty() || !self.held.is_empty() || self.outbox.has_rubbish()
    }

    /// When an open connection's timer is to come.
    #[inline]
    pub fn app_deadline_ms<A: App<Conn = C>>(&mut self, app: &A, index: u32) -> u64 {
        let Some(slot) = self.slots.at(index).filter(|slot| slot.state == State::Open) else {
            return u64::MAX;
        };
        guarded(&mut self.stats, || app.deadline_ms(&slot.conn)).unwrap_or_else(|| {
            self.fail(index, Close::Internal);
            u64::MAX
        })
    }

    /// Closes an open connection for this reason.
    pub fn fail(&mut self, index: u32, close: Close) {
        let mut payload = [0; 125];
        let phrase = close.phrase().as_bytes();
        payload[..2].copy_from_slice(&close.code().to_be_bytes());
        payload[2..2 + phrase.len()].copy_from_slice(phrase);
        if let Some(slot) = self.slots.at(index)
            && slot.state == State::Open
            && let Some(queue) = self.outbox.get(slot.queue)
            && (close == Close::TooSlow || close == Close::Overloaded && queue.later)
        {
            // What it did not read, or what there was no budget for, is lost to it in any case; the close
            // frame is to get through.
            self.outbox.discard(slot.queue);
        }
        if self.say_close(index, &payload[..2 + phrase.len()]) {
            self.stats.closes[close as usize] += 1;
        }
    }

    /// Queues a close frame with this payload, if the connection is open; the rest of the close follows by
    /// itself.
    pub fn say_close(&mut self, index: u32, payload: &[u8]) -> bool {
        let Some(slot) = self.slots.at(index).filter(|slot| slot.state == State::Open) else { return false };
        let queue = ready(&mut slot.queue, &mut self.outbox, &mut self.dirty, index);
        self.outbox.push_frame(queue, Opcode::Close, payload);
        self.start_closing(index);
        true
    }

    /// What is queued is the last that this connection is told.
    pub fn start_closing(&mut self, index: u32) {
        let Some(slot) = self.slots.at(index) else { return };
        self.stats.pass(&mut slot.state, State::Closing);
        if slot.flags & HELD != 0 && slot.flags & (CLOGGED | AWAITS) != 0 {
            // Its end has to be seen.
            slot.flags &= !(CLOGGED | AWAITS);
            let token = Token { index, generation: slot.generation };
            self.held.push_back(Held::new(token, self.now_ms));
        }
        let tail = std::mem::replace(&mut slot.tail, NO_TAIL);
        self.drop_tail(tail);
        // Who is told early that the server goes has that time too, to read what is queued.
        let from_ms = self.now_ms.max(self.leaves_ms.unwrap_or(0));
        self.wheel.arm(&mut self.slots, index, from_ms + CLOSE_MS);
    }

    /// The slot is freed as soon as the backend can be told.
    pub fn condemn(&mut self, index: u32, reset: bool) {
        self.condemned.push((index, reset));
    }

    /// The peer has ended its direction, or the connection is broken.
    pub fn ended(&mut self, token: Token, result: io::Result<()>) {
        let Some(slot) = self.slots.get(token) else { return };
        if result.is_ok() && slot.state == State::Closing {
            slot.flags |= ENDED;
        } else {
            self.condemn(token.index, false);
        }
    }

    /// The backend has sent what it had kept.
    pub fn sent<I: Io<Socket = S>>(
        &mut self,
        io: &mut I,
        token: Token,
        gather: Box<Gather>,
        result: io::Result<usize>,
    ) {
        #[cfg(feature = "plant-stale-token")]
        let token = self
            .slots
            .at(token.index)
            .filter(|_| !gather.is_empty())
            .map_or(token, |slot| Token { generation: slot.generation, ..token });
        let Some(slot) = self.slots.get(token) else { return self.outbox.recycle(gather) };
        let Ok(sent) = result else { return self.condemn(token.index, false) };
        // This turn's flush sends what follows in the queue, and sees whether it is below its limits again.
        ready(&mut slot.queue, &mut self.outbox, &mut self.dirty, token.index);
        if let Some(rest) = self.outbox.sent(slot.queue, gather, sent) {
            self.submit(io, token.index, rest);
        }
    }

    /// Flushes every queue that something was put in: some connections' bytes are made ready, which is where
    /// they are sealed, then handed to the kernel one after another. Each system call evicts what making
    /// ready needs in the caches, so it is not done between two of them.
    pub fn flush<I: Io<Socket = S>, A: App<Conn = C>>(&mut self, io: &mut I, app: &mut A) {
        let mut group = std::mem::take(&mut self.group);
        let mut next = 0;
        while next < self.dirty.len() {
            if self.dirty.len() >= MANY {
                self.touch(app, next);
            }
            let mut bytes = 0;
            while group.len() < GROUP
                && bytes < GROUP_BYTES
                && let Some(&index) = self.dirty.get(next)
            {
                next += 1;
                if let Some(ready) = self.make_ready(app, index) {
                    bytes += ready.gather.as_ref().map_or(0, |gather| gather.len());
                    group.push(ready);
                }
            }
            if I::TOGETHER {
                self.hand_over_together(io, app, &mut group);
            }
            for ready in group.drain(..) {
                self.hand_over(io, app, ready);
            }
        }
        self.group = group;
        self.dirty.clear();
        self.dirty.shrink_to(KEEP);
        self.outbox.end_turn();
        while self.outbox.bytes() + self.tail_bytes > self.settings.limits.reactor_queue_bytes {
            if !self.relieve() {
                break;
            }
        }
    }

    /// Looks at what making the next connections ready needs. After so many others it is in no cache, and
    /// misses that are independent are waited for together.
    fn touch<A: App<Conn = C>>(&mut self, app: &A, next: usize) {
        for index in self.dirty.iter().skip(next).take(GROUP) {
            if let Some(slot) = self.slots.at(*index) {
                app.touch(&slot.conn);
            }
        }
    }

    pub fn flush_one<I: Io<Socket = S>, A: App<Conn = C>>(&mut self, io: &mut I, app: &mut A, index: u32) {
        if let Some(ready) = self.make_ready(app, index) {
            self.hand_over(io, app, ready);
        }
    }

    /// Takes what is queued, or the first piece of it; none when the connection is gone.
    pub fn make_ready<A: App<Conn = C>>(&mut self, app: &mut A, index: u32) -> Option<Ready> {
        loop {
            let slot = self.slots.at(index)?;
            let queue = slot.queue;
            let stuck = self.outbox.get(queue).is_some_and(|queue| queue.in_flight());
            let conn = &mut slot.conn;
            let stats = &mut self.stats;
            let (mut broken, mut later) = (false, false);
            let gather = self.outbox.gather(queue, |run, gather| {
                let whole = gather.bytes.len();
                match guarded(stats, || app.flush(conn, run, gather)) {
                    Some(Ok(())) => return,
                    Some(Err(_)) => later = true,
                    None => {
                        broken = true;
                        gather.bytes.truncate(whole);
                    }
                }
                run.stop();
            });
            if later
                && let Some(queue) = self.outbox.get(queue)
                && !std::mem::replace(&mut queue.later, true)
            {
                self.later.push_back(Token { index, generation: slot.generation });
            }
            if broken {
                self.outbox.discard(queue);
                if let Some(slot) = self.slots.at(index) {
                    // A close frame that was queued is gone too.
                    self.stats.pass(&mut slot.state, State::Open);
                }
                self.fail(index, Close::Internal);
                if gather.is_none() {
                    continue;
                }
            }
            return Some(Ready { index, stuck, later, gather });
        }
    }

    /// Sends what was made ready, and the rest of the queue as long as the kernel takes all at once.
    pub fn hand_over<I: Io<Socket = S>, A: App<Conn = C>>(
        &mut self,
        io: &mut I,
        app: &mut A,
        mut ready: Ready,
    ) {
        let index = ready.index;
        while let Some(gather) = ready.gather.take() {
            if !self.submit(io, index, gather) || ready.later {
                break;
            }
            let Some(more) = self.make_ready(app, index) else { return };
            ready = more;
        }
        self.after_flush(io, app, index, ready.stuck);
    }

    /// A queue that drained is forgotten; one that did not is held to its limits: to the hard one when it
    /// is `stuck` behind a send of an earlier flush, since a send of this one may not have started yet.
    pub fn after_flush<I: Io<Socket = S>, A: App<Conn = C>>(
        &mut self,
        io: &mut I,
        app: &mut A,
        index: u32,
        stuck: bool,
    ) {
        let Some(slot) = self.slots.at(index) else { return };
        if slot.state == State::Closing && slot.flags & LEFT == 0 {
            slot.flags |= LEFT;
            let conn = &mut slot.conn;
            guarded(&mut self.stats, || app.closing(conn));
        }
        let Some(queue) = self.outbox.get(slot.queue) else { return };
        queue.dirty = false;
        if slot.flags & CLOGGED != 0 && queue.bytes() <= self.settings.limits.queue_soft_bytes {
            slot.flags &= !CLOGGED;
            let token = Token { index, generation: slot.generation };
            self.held.push_back(Held::new(token, self.now_ms));
        }
        if queue.is_drained() {
            self.outbox.close(slot.queue);
            slot.queue = Outbox::NONE;
            if slot.state == State::Closing {
                if slot.flags & ENDED != 0 {
                    return self.condemn(index, false);
                }
                let token = Token { index, generation: slot.generation };
                io.shutdown(token, &mut slot.socket);
                self.stats.pass(&mut slot.state, State::Draining);
                if self.leaves_ms.is_some() {
                    self.wheel.arm(&mut self.slots, index, self.now_ms + CLOSE_MS);
                }
            }
            return;
        }
        let limits = &self.settings.limits;
        let (bytes, since_ms) = (queue.bytes(), queue.soft_since_ms);
        if bytes <= limits.queue_soft_bytes {
            queue.soft_since_ms = u64::MAX;
        } else if since_ms == u64::MAX {
            queue.soft_since_ms = self.now_ms;
            let deadline_ms = self.now_ms.saturating_add(limits.queue_soft_ms);
            if slot.state == State::Open && deadline_ms < slot.timer.deadline_ms() {
                self.wheel.arm(&mut self.slots, index, deadline_ms);
            }
        }
        let Some(slot) = self.slots.at(index) else { return };
        let queue = slot.queue;
        if stuck && bytes > limits.queue_hard_bytes && slot.state == State::Open {
            self.fail(index, Close::TooSlow);
        }
        self.outbox.settle(queue);
    }

    /// Over the reactor's bound: whoever holds most, in its queue or of an incomplete message, is closed.
    /// False when there is nobody.
    fn relieve(&mut self) -> bool {
        let queue = self.outbox.largest();
        let tail = self.tails.iter().max_by_key(|(_, tail)| tail.bytes()).map(|(index, _)| index);
        let queued = queue.and_then(|queue| self.outbox.get(queue)).map_or(0, |queue| queue.bytes() as usize);
        let kept = tail.and_then(|tail| self.tails.get(tail)).map_or(0, Tail::bytes);
        let found = if queued >= kept {
            queue.and_then(|queue| self.slots.find(|slot| slot.queue == queue))
        } else {
            tail.and_then(|tail| self.slots.find(|slot| slot.tail == tail))
        };
        let Some(index) = found else { return false };
        self.condemn(index, true);
        self.stats.closes[Close::TooSlow as usize] += 1;
        // What it holds is given back now, also what is in flight: the backend forgets it with the burial.
        if let Some(slot) = self.slots.at(index) {
            let queue = std::mem::replace(&mut slot.queue, Outbox::NONE);
            let tail = std::mem::replace(&mut slot.tail, NO_TAIL);
            self.outbox.close(queue);
            self.drop_tail(tail);
        }
        true
    }

    /// Frees the slots that were condemned.
    pub fn bury<I: Io<Socket = S>, A: App<Conn = C>>(&mut self, io: &mut I, app: &mut A) {
        while let Some((index, reset)) = self.condemned.pop() {
            if !reset {
                // What is queued goes first: the end may come in the same turn as the last message.
                self.flush_one(io, app, index);
            }
            self.wheel_forget(index);
            let Some(slot) = self.slots.remove(index) else { continue };
            self.stats.leave(slot.state);
            self.stats.broken += u64::from(slot.state == State::Open && !reset);
            let token = Token { index, generation: slot.generation };
            io.close(token, slot.socket, reset);
            self.outbox.close(slot.queue);
            self.drop_tail(slot.tail);
            self.gate.leave(slot.address, self.now_ms);
            self.clients.remove(index);
            if slot.flags & SEATED != 0 {
                self.balance.leave(self.number);
            } else {
                self.unseated -= 1;
            }
            guarded(&mut self.stats, || app.closed(slot.conn, token.number()));
        }
        self.condemned.shrink_to(KEEP);
        if self.slots.is_empty() {
            self.outbox.rest();
        }
    }

    fn wheel_forget(&mut self, index: u32) {
        if self.slots.at(index).is_some() {
            self.wheel.disarm(&mut self.slots, index);
        }
    }

    pub fn drop_tail(&mut self, tail: u32) {
        if let Some(tail) = self.tails.try_remove(tail) {
            self.tail_bytes -= tail.bytes() as u64;
        }
    }
}

/// The capacity, as the balance counts it.
pub fn room(settings: &Settings) -> u32 {
    u32::try_from(settings.capacity).unwrap_or(u32::MAX)
}

/// The application's view of a slot.
#[allow(clippy::too_many_arguments)] // Each borrows another part of the core, while the rest stays free.
pub fn link<'a, S, C>(
    slot: &'a mut Slot<S, C>,
    index: u32,
    now_ms: u64,
    outbox: &'a mut Outbox,
    dirty: &'a mut Vec<u32>,
    locals: &'a [SocketAddr],
    gate: &'a Gate,
    limits: &'a Limits,
) -> Link<'a, C> {
    Link {
        conn: &mut slot.conn,
        now_ms,
        token: Token { index, generation: slot.generation },
        queue: &mut slot.queue,
        outbox,
        dirty,
        locals,
        local: slot.local,
        gate,
        address: slot.address,
        limits,
        closing: None,
    }
}

/// Runs a call of the application; a panic in it is counted and ends here.
#[inline]
pub fn guarded<R>(stats: &mut Stats, f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(done) => Some(done),
        Err(_) => {
            stats.panics += 1;
            None
        }
    }
}
