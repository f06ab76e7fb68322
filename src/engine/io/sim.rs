//! A backend without a kernel and without time of its own, in which whatever a kernel may do happens by
//! seed: pieces of any size, sends that are kept untried, completions long after their connection is gone,
//! accepts that fail, sleeps too short and too long. It holds the reactor to its side of the seam: one send
//! a connection, nothing after the end, every socket closed once.

mod chance;
mod together;

pub use self::{
    chance::{Dice, Faults},
    together::Together,
};

pub use super::no_kernel::{Bell, Number};

use super::{Completion, Io, Sending, Sockets, Token, no_kernel::take};
use crate::engine::outbox::Gather;
use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    time::Duration,
};

/// What the reactor holds of a connection.
#[derive(Debug)]
pub struct Socket(Number);

/// How a client finds its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Far {
    Open,
    /// The server sends no more.
    Ended,
    /// The server has reset it; what was not read is lost.
    Reset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Backlog,
    Held,
    Closed,
}

/// One connection.
struct Line {
    address: SocketAddr,
    place: Place,
    token: Option<Token>,
    /// From the client, in the kernel; and behind it the client's end, true: with a reset.
    input: Vec<u8>,
    end: Option<bool>,
    is_end_told: bool,
    /// To the client, in the kernel, which has room for `room` bytes.
    output: Vec<u8>,
    room: usize,
    parked: Option<Box<Gather>>,
    has_shut: bool,
    is_reset: bool,
    open_failed: bool,
}

impl Line {
    fn is_broken(&self) -> bool {
        self.end == Some(true)
    }

    fn has_input(&self) -> bool {
        !self.input.is_empty() || self.end.is_some() && !self.is_end_told
    }

    fn left(&self) -> usize {
        self.room.saturating_sub(self.output.len())
    }

    /// The kernel takes `most` bytes of the gather, or what it has room for.
    fn take(&mut self, gather: &Gather, most: usize) -> usize {
        take(gather, most.min(self.left()), &mut self.output)
    }
}

#[derive(Clone, Copy)]
enum Event {
    Accept,
    Read(Number),
    Write(Number),
    Woken,
    LateSent,
    Stale,
    Pause,
}

/// All connections of one reactor, its clock, and what is going on elsewhere.
pub struct Sim {
    pub dice: Dice,
    pub faults: Faults,
    /// Milliseconds since the start; only [`Io::wait`] moves it.
    pub now_ms: u64,
    /// When the far side does something next: no sleep is meant to last longer.
    pub until_ms: u64,
    /// The next sleep that ends at this time or later lasts as much longer as stands behind it.
    pub jump: Option<(u64, u64)>,
    /// Another thread's work, done somewhere amid the next turn.
    pub meanwhile: Option<Box<dyn FnOnce() + Send>>,
    lines: Vec<Line>,
    backlog: VecDeque<Number>,
    /// Connections with input that the reactor may hear of.
    readable: BTreeSet<Number>,
    /// Connections with a parked send.
    stalled: BTreeSet<Number>,
    /// Connections that their clients should look at.
    fresh: BTreeSet<Number>,
    late: Vec<(Token, Box<Gather>)>,
    stale: Vec<Token>,
    events: Vec<Event>,
    turn_begins: bool,
    lent: Vec<u8>,
    bell: Bell,
    descriptors: usize,
    accepting: bool,
    listening: bool,
}

impl Sim {
    pub fn new(dice: Dice, faults: Faults) -> Self {
        Self {
            dice,
            faults,
            now_ms: 0,
            until_ms: u64::MAX,
            jump: None,
            meanwhile: None,
            lines: Vec::new(),
            backlog: VecDeque::new(),
            readable: BTreeSet::new(),
            stalled: BTreeSet::new(),
            fresh: BTreeSet::new(),
            late: Vec::new(),
            stale: Vec::new(),
            events: Vec::new(),
            turn_begins: true,
            lent: Vec::new(),
            bell: Bell::default(),
            descriptors: 0,
            accepting: true,
            listening: true,
        }
    }

    /// A client connects; the kernel has room for `room` bytes that it has not read.
    pub fn connect(&mut self, address: SocketAddr, room: usize) -> Number {
        let number = self.lines.len() as Number;
        self.lines.push(Line {
            address,
            place: Place::Backlog,
            token: None,
            input: Vec::new(),
            end: None,
            is_end_told: false,
            output: Vec::new(),
            room,
            parked: None,
            has_shut: false,
            is_reset: false,
            open_failed: false,
        });
        if self.listening {
            self.backlog.push_back(number);
        } else {
            self.refuse(number);
        }
        number
    }

    /// A client sends; nothing after its end.
    pub fn feed(&mut self, number: Number, bytes: &[u8]) {
        let line = &mut self.lines[number as usize];
        assert!(line.end.is_none(), "a client sends after its end");
        if line.place != Place::Closed {
            line.input.extend_from_slice(bytes);
            self.noise(number);
        }
    }

    /// A client ends its direction, or resets the connection.
    pub fn end(&mut self, number: Number, reset: bool) {
        let forgets = reset && self.dice.one_in(2);
        let line = &mut self.lines[number as usize];
        if line.place == Place::Closed || line.end == Some(true) {
            return;
        }
        line.is_end_told &= !reset;
        line.end = Some(reset);
        if reset {
            line.output.clear();
        }
        if forgets {
            line.input.clear();
        }
        self.noise(number);
    }

    /// Appends to `bytes` what has come for a client, at most `most`, and tells how its connection is.
    pub fn read(&mut self, number: Number, most: usize, bytes: &mut Vec<u8>) -> Far {
        let line = &mut self.lines[number as usize];
        let most = most.min(line.output.len());
        bytes.extend(line.output.drain(..most));
        match () {
            () if line.is_reset => Far::Reset,
            () if line.output.is_empty() && line.has_shut => Far::Ended,
            () => Far::Open,
        }
    }

    /// Whether the server has closed its socket.
    pub fn is_closed(&self, number: Number) -> bool {
        self.lines[number as usize].place == Place::Closed
    }

    /// Whether the kernel had no room to watch it.
    pub fn open_failed(&self, number: Number) -> bool {
        self.lines[number as usize].open_failed
    }

    /// Connections of which something is new to their clients.
    pub fn take_fresh(&mut self) -> BTreeSet<Number> {
        std::mem::take(&mut self.fresh)
    }

    /// Sockets that the reactor has been given and has not closed.
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Whether a wake-up is under way.
    pub fn is_woken(&self) -> bool {
        self.bell.is_rung()
    }

    /// Whether a turn would have something to do that no timer brings.
    pub fn has_work(&self) -> bool {
        let can_write = |number: &Number| {
            let line = &self.lines[*number as usize];
            line.left() > 0 || line.is_broken()
        };
        self.is_woken()
            || self.meanwhile.is_some()
            || !(self.readable.is_empty() && self.late.is_empty() && self.stale.is_empty())
            || self.accepting && !self.backlog.is_empty()
            || self.stalled.iter().any(can_write)
    }

    fn noise(&mut self, number: Number) {
        if self.lines[number as usize].token.is_some() {
            self.readable.insert(number);
        }
    }

    /// Nobody will accept it.
    fn refuse(&mut self, number: Number) {
        let line = &mut self.lines[number as usize];
        (line.place, line.is_reset) = (Place::Closed, true);
        self.fresh.insert(number);
    }

    /// What this turn brings, in any order.
    fn gather_events(&mut self) {
        self.events.extend(self.readable.iter().map(|number| Event::Read(*number)));
        self.events.extend(self.stalled.iter().map(|number| Event::Write(*number)));
        let accepts = self.dice.below(64) as usize + 1;
        self.events.extend(self.backlog.iter().take(accepts).map(|_| Event::Accept));
        self.events.extend(self.late.iter().map(|_| Event::LateSent));
        self.events.extend(self.stale.iter().map(|_| Event::Stale));
        if self.is_woken() {
            self.events.push(Event::Woken);
        }
        if self.dice.one_in(4) {
            self.events.push(Event::Pause);
        }
        self.dice.shuffle(&mut self.events);
        self.events.truncate(self.faults.events);
    }

    fn accept(&mut self) -> Option<Completion<'static, Socket>> {
        if !self.accepting || self.backlog.is_empty() {
            return None;
        }
        if self.descriptors >= self.faults.descriptors || self.dice.one_in(self.faults.accept_fails) {
            self.accepting = false;
            let error = if self.descriptors >= self.faults.descriptors { "EMFILE" } else { "ENOBUFS" };
            return Some(Completion::AcceptFailed(io::Error::other(error)));
        }
        let number = self.backlog.pop_front()?;
        let line = &mut self.lines[number as usize];
        line.place = Place::Held;
        self.descriptors += 1;
        Some(Completion::Accepted { socket: Socket(number), peer: line.address, local: None })
    }

    /// What is there for the reactor of a connection that it receives from: bytes first, then the end.
    fn receive(&mut self, number: Number) -> Option<Completion<'_, Socket>> {
        let line = &mut self.lines[number as usize];
        let token = line.token?;
        if !line.input.is_empty() {
            let most = match self.dice.one_in(self.faults.cut_receive) {
                true => self.dice.pick([1, 2, 7, 100, 1_000]),
                false => 64 * 1_024,
            };
            let received = most.min(line.input.len());
            self.lent.clear();
            self.lent.extend(line.input.drain(..received));
            if !line.has_input() {
                self.readable.remove(&number);
            }
            return Some(Completion::Received { token, bytes: &mut self.lent });
        }
        self.readable.remove(&number);
        let is_reset = line.end.filter(|_| !line.is_end_told)?;
        line.is_end_told = true;
        let result = if is_reset { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) };
        Some(Completion::Ended { token, result })
    }

    fn resend(&mut self, number: Number) -> Option<Completion<'static, Socket>> {
        let most = self.cut(usize::MAX);
        let line = &mut self.lines[number as usize];
        if line.left() == 0 && !line.is_broken() {
            return None;
        }
        let (token, gather) = (line.token?, line.parked.take()?);
        self.stalled.remove(&number);
        let result = match line.is_broken() {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(line.take(&gather, most)),
        };
        self.fresh.insert(number);
        Some(Completion::Sent { token, gather, result })
    }

    /// Of `len` bytes, how many are taken at once; at least one.
    fn cut(&mut self, len: usize) -> usize {
        if !self.dice.one_in(self.faults.cut_send) {
            return len;
        }
        let most = self.dice.pick([1, 3, 130, 1_500, 9_000, usize::MAX]).min(len.saturating_sub(1));
        1 + self.dice.below(most as u64) as usize
    }

    /// What comes of a connection that is gone.
    fn remember(&mut self) -> Option<Completion<'_, Socket>> {
        let token = self.stale.pop()?;
        if self.dice.one_in(2) {
            return Some(Completion::Ended { token, result: Ok(()) });
        }
        // No frame begins like this.
        self.lent.clear();
        self.lent.extend([0xFF; 9]);
        Some(Completion::Received { token, bytes: &mut self.lent })
    }

    fn send_late(&mut self) -> Option<Completion<'static, Socket>> {
        let at = self.dice.below(self.late.len() as u64) as usize;
        if self.late.is_empty() {
            return None;
        }
        let (token, gather) = self.late.swap_remove(at);
        let sent = self.cut(gather.len()).min(gather.len());
        let result = if self.dice.one_in(3) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(sent) };
        Some(Completion::Sent { token, gather, result })
    }
}

impl Io for Sim {
    type Socket = Socket;
    type Waker = Bell;

    fn waker(&self) -> Bell {
        self.bell.clone()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.turn_begins = true;
        let most_ms = self.until_ms.saturating_sub(self.now_ms);
        let timeout_ms = timeout.map_or(u64::MAX, |timeout| timeout.as_millis() as u64).min(most_ms);
        self.now_ms += match () {
            () if self.has_work() => self.dice.below(4).min(timeout_ms),
            () if timeout_ms == u64::MAX => 0,
            () if self.dice.one_in(self.faults.early) => self.dice.below(timeout_ms),
            () if self.dice.one_in(self.faults.late) => timeout_ms + self.dice.below(self.faults.late_ms),
            () => timeout_ms,
        };
        if let Some((_, jump_ms)) = self.jump.take_if(|(at_ms, _)| *at_ms <= self.now_ms) {
            self.now_ms += jump_ms;
        }
        Ok(())
    }

    fn deal(&mut self, to: usize, _socket: Socket, _peer: SocketAddr, _local: Option<SocketAddr>) {
        panic!("one reactor is simulated, and it deals to reactor {to}");
    }

    fn next(&mut self, sockets: &mut impl Sockets<Socket>) -> Option<Completion<'_, Socket>> {
        if std::mem::take(&mut self.turn_begins) {
            self.events.clear();
            self.gather_events();
        }
        loop {
            if (self.events.is_empty() || self.dice.one_in(8))
                && let Some(work) = self.meanwhile.take()
            {
                work();
            }
            let event = self.events.pop()?;
            // One arm for each that lends nothing, so that the loop can go on.
            let done = match event {
                Event::Accept => self.accept(),
                Event::Write(number) => self.resend(number),
                Event::LateSent => self.send_late(),
                Event::Woken => self.bell.hear().then_some(Completion::Woken),
                Event::Pause => Some(Completion::Pause),
                Event::Stale if !self.stale.is_empty() => return self.remember(),
                Event::Read(number) => {
                    let line = &self.lines[number as usize];
                    let wanted = line.token.is_some_and(|token| sockets.receiving(token).is_some());
                    if wanted && line.has_input() {
                        return self.receive(number);
                    }
                    // Nobody wants it before the reactor says so.
                    self.readable.remove(&number);
                    None
                }
                Event::Stale => None,
            };
            if done.is_some() {
                return done;
            }
        }
    }

    fn open(&mut self, token: Token, socket: &mut Socket) -> io::Result<()> {
        let fails = self.dice.one_in(self.faults.open_fails);
        let line = &mut self.lines[socket.0 as usize];
        assert!(line.token.is_none() && line.place == Place::Held, "a connection is opened twice");
        if fails {
            line.open_failed = true;
            return Err(io::Error::other("ENOSPC"));
        }
        line.token = Some(token);
        if line.has_input() {
            self.readable.insert(socket.0);
        }
        Ok(())
    }

    fn send(&mut self, token: Token, socket: &mut Socket, mut gather: Box<Gather>) -> Sending {
        let untried = self.dice.one_in(self.faults.untried);
        let most = self.cut(gather.len());
        let (keeps, compacts) = (self.dice.one_in(2), self.dice.one_in(2));
        let line = &mut self.lines[socket.0 as usize];
        assert!(line.token == Some(token), "a send names another's connection");
        assert!(line.parked.is_none() && !gather.is_empty(), "two sends at once, or none");
        assert!(!line.has_shut && line.place == Place::Held, "a send behind the end");
        let mut sent = 0;
        if !untried {
            if line.is_broken() {
                return Sending::Done(gather, Err(io::ErrorKind::ConnectionReset.into()));
            }
            sent = line.take(&gather, most);
            self.fresh.insert(socket.0);
            if sent == gather.len() || sent > 0 && !keeps {
                return Sending::Done(gather, Ok(sent));
            }
            gather.advance(sent);
            if compacts {
                gather.compact();
            }
        }
        line.parked = Some(gather);
        self.stalled.insert(socket.0);
        Sending::Pending(sent)
    }

    fn resume(&mut self, token: Token, socket: &mut Socket) {
        let line = &self.lines[socket.0 as usize];
        assert!(line.token == Some(token), "a stranger is resumed");
        if line.has_input() {
            self.readable.insert(socket.0);
        }
    }

    fn shutdown(&mut self, token: Token, socket: &mut Socket) {
        let line = &mut self.lines[socket.0 as usize];
        assert!(line.token == Some(token) && line.parked.is_none() && !line.has_shut, "an end too early");
        line.has_shut = true;
        self.fresh.insert(socket.0);
    }

    fn close(&mut self, token: Token, socket: Socket, reset: bool) {
        let (returns, keeps) = (self.dice.one_in(self.faults.late_sent), self.dice.one_in(2));
        let number = socket.0;
        let line = &mut self.lines[number as usize];
        assert!(line.place == Place::Held, "a socket is closed twice");
        assert!(line.token.is_none_or(|known| known == token), "a socket is closed for another");
        line.place = Place::Closed;
        line.has_shut = true;
        if let Some(gather) = line.parked.take() {
            if !reset && keeps {
                line.take(&gather, usize::MAX);
            }
            if returns {
                self.late.push((token, gather));
            }
        }
        // TCP resets when there is input that nobody has read.
        line.is_reset |= reset || line.has_input() && !line.is_broken();
        if line.is_reset && (reset || keeps) {
            line.output.clear();
        }
        line.input = Vec::new();
        self.descriptors -= 1;
        self.readable.remove(&number);
        self.stalled.remove(&number);
        self.fresh.insert(number);
        if self.dice.one_in(self.faults.stale) {
            self.stale.push(token);
        }
    }

    fn accepting(&mut self, on: bool) {
        self.accepting = on;
    }

    fn stop_listening(&mut self, _passed: bool) {
        self.listening = false;
        for number in std::mem::take(&mut self.backlog) {
            self.refuse(number);
        }
    }
}
