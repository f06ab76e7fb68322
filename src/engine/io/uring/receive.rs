//! How connections wait for bytes. A quiet one is parked on a poll, the least that the kernel can hold for it; one
//! that is busy has a receive that goes on by itself. Who sends more than that brings waits for all others.

use super::{
    Socket,
    buffers::{BUFFER_BYTES, Buffers, Filled},
    request::{Request, Tag},
    ring::Ring,
};
use crate::engine::{
    chunks::is_oversized,
    io::{Sockets, Token},
};
use io_uring::cqueue;
use std::{
    collections::{HashMap, VecDeque},
    io,
};

/// Bytes after which a busy connection's receive has to be asked for again.
const GOES_ON_BYTES: u32 = 2 * BUFFER_BYTES as u32;
/// Receives of one turn from those who have sent more, all of them together.
const BACKLOG_RECEIVES: usize = 2;
/// Busy connections that a turn looks at for who has gone quiet.
const LOOKS: usize = 64;
/// Seconds without bytes after which a connection is quiet.
const QUIET_S: u8 = 2;
/// After so many without bytes from anybody the seconds are not counted.
const RESTS_S: u8 = 4;
const KEEP: usize = 1_024;

/// What the kernel holds for a connection.
const HOLDS: u8 = 0b11;
const NOTHING: u8 = 0;
pub const POLL: u8 = 1;
const ONCE: u8 = 2;
pub const GOES_ON: u8 = 3;
/// It waits in the backlog.
const WAITS: u8 = 1 << 2;
/// Bytes or an end are kept for it.
const KEPT: u8 = 1 << 3;
/// It is in the list of the busy.
const LISTED: u8 = 1 << 4;
/// The second, of eight, in which it last sent something.
const SECOND_AT: u32 = 5;

/// What is there for the reactor.
pub enum Came {
    Bytes(Token, Filled),
    End(Token, io::Result<()>),
}

/// What came for a connection that was paused.
#[derive(Default)]
struct Kept {
    bytes: VecDeque<Vec<u8>>,
    end: Option<io::Result<()>>,
}

/// What was kept, in turn.
pub enum Again {
    Bytes(Token, Vec<u8>),
    End(Token, io::Result<()>),
}

pub struct Receives {
    /// One byte a socket.
    states: Box<[u8]>,
    second: u8,
    /// Seconds that nobody has sent anything in.
    silent_s: u8,
    ticks: bool,
    /// Who has, or had, a receive that goes on.
    busy: VecDeque<(Token, Socket)>,
    looks_left: usize,
    backlog: VecDeque<(Token, Socket)>,
    kept: HashMap<Token, Kept>,
    resumed: VecDeque<Token>,
    /// What has arrived is answered before the last word: nobody waits for others.
    is_last: bool,
    /// Something was asked for that this turn is to bring.
    pub is_urgent: bool,
}

impl Receives {
    pub fn new(sockets: u32) -> Self {
        Self {
            states: vec![0; sockets as usize].into(),
            second: 0,
            silent_s: 0,
            ticks: false,
            busy: VecDeque::new(),
            looks_left: 0,
            backlog: VecDeque::new(),
            kept: HashMap::new(),
            resumed: VecDeque::new(),
            is_last: false,
            is_urgent: false,
        }
    }

    /// A new connection: its request is on the way.
    pub fn open(&mut self, ring: &mut Ring, token: Token, socket: Socket) {
        // Long ago.
        self.states[socket.0 as usize] = (self.second.wrapping_sub(4) & 7) << SECOND_AT;
        self.receive(ring, token, socket, ONCE);
    }

    /// From now on all that has arrived is brought in one turn.
    pub fn is_last(&mut self) {
        self.is_last = true;
    }

    pub fn has_work(&self) -> bool {
        !self.backlog.is_empty() || !self.resumed.is_empty()
    }

    /// What the turn begins with: those who wait, and those who may have gone quiet.
    pub fn begin_turn(&mut self, ring: &mut Ring, sockets: &mut impl Sockets<Socket>) {
        let mut left = BACKLOG_RECEIVES;
        while left > 0
            && let Some((token, socket)) = self.backlog.pop_front()
        {
            if sockets.receiving(token).is_some() && self.states[socket.0 as usize] & WAITS != 0 {
                left -= 1;
                self.states[socket.0 as usize] &= !WAITS;
                self.receive(ring, token, socket, ONCE);
                self.is_urgent = true;
            }
        }
        if self.looks_left > 0 {
            self.look(ring, sockets);
        }
        if self.backlog.is_empty() {
            self.backlog.shrink_to(KEEP);
            self.resumed.shrink_to(KEEP);
        }
    }

    /// A second has passed.
    pub fn tick(&mut self, ring: &mut Ring) {
        self.second = (self.second + 1) & 7;
        self.silent_s = self.silent_s.saturating_add(1);
        self.looks_left = self.busy.len();
        self.ticks = self.silent_s < RESTS_S || !self.busy.is_empty();
        if self.ticks {
            ring.push(Request::tick());
        }
    }

    /// Quiet ones are parked: what the kernel holds for their receive is taken back.
    fn look(&mut self, ring: &mut Ring, sockets: &mut impl Sockets<Socket>) {
        for _ in 0..self.looks_left.min(LOOKS) {
            self.looks_left -= 1;
            let Some((token, socket)) = self.busy.pop_front() else { break };
            if sockets.socket(token).is_none() {
                continue;
            }
            let age_s = self.age_s(socket);
            let state = &mut self.states[socket.0 as usize];
            if age_s < QUIET_S || *state & (WAITS | KEPT) != 0 {
                self.busy.push_back((token, socket));
                continue;
            }
            *state &= !LISTED;
            if *state & HOLDS == GOES_ON {
                // It ends as cancelled, and is polled then.
                ring.push(Request::cancel(Tag::Receive(token)));
            }
        }
        if is_oversized(self.busy.len(), self.busy.capacity()) {
            self.busy.shrink_to(2 * self.busy.len());
        }
    }

    /// Something can be read from one that was parked.
    pub fn polled(&mut self, ring: &mut Ring, sockets: &mut impl Sockets<Socket>, token: Token, result: i32) {
        let Some(socket) = sockets.socket(token).map(|socket| *socket) else { return };
        self.set(socket, NOTHING);
        if result == -libc::ECANCELED || sockets.receiving(token).is_none() {
            return;
        }
        let how = if self.age_s(socket) < QUIET_S { GOES_ON } else { ONCE };
        self.receive(ring, token, socket, how);
        self.is_urgent = true;
    }

    /// A receive is answered.
    #[inline]
    pub fn received(
        &mut self,
        ring: &mut Ring,
        buffers: &mut Buffers,
        sockets: &mut impl Sockets<Socket>,
        token: Token,
        answer: &cqueue::Entry,
    ) -> Option<Came> {
        let mut filled = Filled::of(answer);
        let socket = sockets.socket(token).map(|socket| *socket);
        if let Some(unwanted) = filled.take_if(|filled| socket.is_none() || filled.length == 0) {
            buffers.give_back(unwanted);
        }
        let socket = socket?;
        let has_ended = !cqueue::more(answer.flags());
        let had = self.states[socket.0 as usize] & HOLDS;
        if has_ended {
            self.set(socket, NOTHING);
        }
        let wanted = sockets.receiving(token).is_some() && self.states[socket.0 as usize] & KEPT == 0;
        let Some(filled) = filled else {
            return self.ended(ring, token, socket, answer, had, wanted);
        };
        self.note(ring);
        if has_ended && wanted {
            let is_full = filled.length == BUFFER_BYTES;
            if is_full && !self.is_last {
                self.put_back(token, socket);
            } else if is_full || had == GOES_ON || self.age_s(socket) < QUIET_S {
                self.receive(ring, token, socket, GOES_ON);
                self.is_urgent |= self.is_last;
            } else {
                self.set(socket, POLL);
                ring.push(Request::poll(token, socket));
            }
        }
        let state = &mut self.states[socket.0 as usize];
        *state = *state & ((1 << SECOND_AT) - 1) | self.second << SECOND_AT;
        if wanted {
            return Some(Came::Bytes(token, filled));
        }
        *state |= KEPT;
        self.kept.entry(token).or_default().bytes.push_back(buffers.bytes(&filled).to_vec());
        buffers.give_back(filled);
        None
    }

    /// A receive without bytes.
    fn ended(
        &mut self,
        ring: &mut Ring,
        token: Token,
        socket: Socket,
        answer: &cqueue::Entry,
        had: u8,
        wanted: bool,
    ) -> Option<Came> {
        match -answer.result() {
            // The quiet spell that it was taken back for.
            libc::ECANCELED => {
                if wanted {
                    self.set(socket, POLL);
                    ring.push(Request::poll(token, socket));
                }
                return None;
            }
            // There was no buffer just then, or the kernel was interrupted.
            libc::ENOBUFS | libc::EINTR | libc::EAGAIN => {
                if wanted {
                    self.receive(ring, token, socket, had);
                    self.is_urgent |= self.is_last;
                }
                return None;
            }
            _ => {}
        }
        let result = match answer.result() {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        };
        if wanted {
            return Some(Came::End(token, result));
        }
        self.states[socket.0 as usize] |= KEPT;
        self.kept.entry(token).or_default().end = Some(result);
        None
    }

    /// Receiving goes on after a pause, or is asked whether there is something.
    pub fn resume(&mut self, ring: &mut Ring, token: Token, socket: Socket) {
        let state = self.states[socket.0 as usize];
        if state & KEPT != 0 {
            self.resumed.push_back(token);
        } else if state & HOLDS == NOTHING {
            self.states[socket.0 as usize] &= !WAITS;
            self.receive(ring, token, socket, ONCE);
        }
    }

    /// What was kept for those who are resumed.
    pub fn next_kept(&mut self, ring: &mut Ring, sockets: &mut impl Sockets<Socket>) -> Option<Again> {
        while let Some(&token) = self.resumed.front() {
            if let Some(socket) = sockets.receiving(token).map(|socket| *socket)
                && let Some(kept) = self.kept.get_mut(&token)
            {
                if let Some(bytes) = kept.bytes.pop_front() {
                    return Some(Again::Bytes(token, bytes));
                }
                let end = kept.end.take();
                self.resumed.pop_front();
                self.forget(token, socket);
                match end {
                    Some(result) => return Some(Again::End(token, result)),
                    None if self.states[socket.0 as usize] & HOLDS == NOTHING => {
                        self.receive(ring, token, socket, ONCE);
                    }
                    None => {}
                }
            } else {
                // It was paused again, or is gone.
                self.resumed.pop_front();
            }
        }
        None
    }

    /// The connection closes.
    pub fn close(&mut self, ring: &mut Ring, token: Token, socket: Socket) {
        let state = self.states[socket.0 as usize];
        match state & HOLDS {
            NOTHING => {}
            POLL => ring.push(Request::cancel(Tag::Poll(token))),
            _ => ring.push(Request::cancel(Tag::Receive(token))),
        }
        if state & KEPT != 0 {
            self.forget(token, socket);
        }
        self.states[socket.0 as usize] = 0;
    }

    fn forget(&mut self, token: Token, socket: Socket) {
        self.kept.remove(&token);
        self.states[socket.0 as usize] &= !KEPT;
        if is_oversized(self.kept.len(), self.kept.capacity()) {
            self.kept.shrink_to(2 * self.kept.len());
        }
    }

    fn put_back(&mut self, token: Token, socket: Socket) {
        let state = &mut self.states[socket.0 as usize];
        if *state & WAITS == 0 {
            *state |= WAITS;
            self.backlog.push_back((token, socket));
        }
    }

    fn receive(&mut self, ring: &mut Ring, token: Token, socket: Socket, how: u8) {
        self.set(socket, how);
        if how != GOES_ON {
            return ring.push(Request::receive(token, socket, BUFFER_BYTES as u32));
        }
        ring.push(Request::receive_on(token, socket, BUFFER_BYTES as u32, GOES_ON_BYTES));
        let state = &mut self.states[socket.0 as usize];
        if *state & LISTED == 0 {
            *state |= LISTED;
            self.busy.push_back((token, socket));
        }
    }

    /// Somebody has sent something: seconds count.
    #[inline]
    fn note(&mut self, ring: &mut Ring) {
        self.silent_s = 0;
        if !self.ticks {
            self.ticks = true;
            ring.push(Request::tick());
        }
    }

    #[cfg(test)]
    pub fn holds(&self, socket: Socket) -> u8 {
        self.states[socket.0 as usize] & HOLDS
    }

    fn set(&mut self, socket: Socket, holds: u8) {
        let state = &mut self.states[socket.0 as usize];
        *state = *state & !HOLDS | holds;
    }

    /// Seconds since it last sent something, of eight.
    fn age_s(&self, socket: Socket) -> u8 {
        self.second.wrapping_sub(self.states[socket.0 as usize] >> SECOND_AT) & 7
    }
}
