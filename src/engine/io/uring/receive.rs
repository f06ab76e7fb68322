//! How connections wait for bytes. A quiet one is parked on a poll, the least that the kernel can hold for it; one
//! that is busy has a receive that goes on by itself. Who sends more than that brings waits for all others.

use super::{
    buffers::{BUFFER_BYTES, Buffers, DROP_BYTES, Filled},
    request::{Request, Tag},
    ring::Ring,
    socket::{Holds, KEPT, LISTED, Socket, WAITS},
};
use crate::engine::{
    chunks::is_oversized,
    io::{Sockets, Token, Wants},
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
/// And from those who close, of which all is dropped.
const CLOSING_RECEIVES: usize = 4;
/// Busy connections that a turn looks at for who has gone quiet.
const LOOKS: usize = 64;
/// Ticks without bytes after which a connection is quiet. Up to half a second between two messages a receive that goes on
/// saves a twentieth of an echo; beyond, nothing, and it takes 560 bytes more of the kernel than a poll.
const QUIET: u8 = 2;
/// After so many without bytes from anybody nothing ticks.
const RESTS: u8 = 4;
const KEEP: usize = 1_024;

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

#[derive(Default)]
pub struct Receives {
    tick: u8,
    /// Ticks in which nobody has sent anything.
    silent: u8,
    ticks: bool,
    /// Who has, or had, a receive that goes on.
    busy: VecDeque<Token>,
    looks_left: usize,
    backlog: VecDeque<Token>,
    /// Who closes, and has more to drop than one receive drops.
    closing: VecDeque<Token>,
    kept: HashMap<Token, Kept>,
    resumed: VecDeque<Token>,
    /// What has arrived is answered before the last word: nobody waits for others.
    is_last: bool,
    /// Something was asked for that this turn is to bring.
    pub is_urgent: bool,
}

impl Receives {
    /// A new connection: its request is on the way.
    pub fn open(&mut self, ring: &mut Ring, token: Token, socket: &mut Socket) {
        socket.sent_long_before(self.tick);
        self.receive(ring, token, socket, Holds::Once);
    }

    /// From now on all that has arrived is brought in one turn.
    pub fn is_last(&mut self) {
        self.is_last = true;
    }

    pub fn has_work(&self) -> bool {
        !self.backlog.is_empty() || !self.closing.is_empty() || !self.resumed.is_empty()
    }

    /// What the turn begins with: those who wait, and those who may have gone quiet.
    pub fn begin_turn(&mut self, ring: &mut Ring, buffers: &Buffers, sockets: &mut impl Sockets<Socket>) {
        for _ in 0..CLOSING_RECEIVES {
            let Some(token) = self.closing.pop_front() else { break };
            self.take_up(ring, buffers, sockets, token);
        }
        let mut left = BACKLOG_RECEIVES;
        while left > 0
            && let Some(token) = self.backlog.pop_front()
        {
            left -= usize::from(self.take_up(ring, buffers, sockets, token));
        }
        if self.looks_left > 0 {
            self.look(ring, sockets);
        }
        if self.backlog.is_empty() && self.closing.is_empty() {
            self.backlog.shrink_to(KEEP);
            self.closing.shrink_to(KEEP);
            self.resumed.shrink_to(KEEP);
        }
    }

    /// The turn of one that waits, if it still does.
    fn take_up(
        &mut self,
        ring: &mut Ring,
        buffers: &Buffers,
        sockets: &mut impl Sockets<Socket>,
        token: Token,
    ) -> bool {
        let Some((socket, wants)) = sockets.look_up(token) else { return false };
        if !socket.has(WAITS) || wants == Wants::Nothing {
            return false;
        }
        socket.clear(WAITS);
        match wants {
            Wants::End => drop_unseen(ring, buffers, token, socket),
            _ => self.receive(ring, token, socket, Holds::Once),
        }
        self.is_urgent = true;
        true
    }

    /// It is time again.
    pub fn tick(&mut self, ring: &mut Ring) {
        self.tick = self.tick.wrapping_add(1);
        self.silent = self.silent.saturating_add(1);
        self.looks_left = self.busy.len();
        self.ticks = self.silent < RESTS || !self.busy.is_empty();
        if self.ticks {
            ring.push(Request::tick());
        }
    }

    /// Quiet ones are parked: what the kernel holds for their receive is taken back.
    fn look(&mut self, ring: &mut Ring, sockets: &mut impl Sockets<Socket>) {
        for _ in 0..self.looks_left.min(LOOKS) {
            self.looks_left -= 1;
            let Some(token) = self.busy.pop_front() else { break };
            let Some(socket) = sockets.socket(token) else { continue };
            if socket.age(self.tick) < QUIET || socket.has(WAITS | KEPT) {
                self.busy.push_back(token);
                continue;
            }
            socket.clear(LISTED);
            if socket.holds() == Holds::GoesOn {
                // It ends as cancelled, and is polled then.
                ring.push(Request::cancel(Tag::Receive(token)));
            }
        }
        if is_oversized(self.busy.len(), self.busy.capacity()) {
            self.busy.shrink_to(2 * self.busy.len());
        }
    }

    /// Something can be read from one that was parked.
    pub fn polled(
        &mut self,
        ring: &mut Ring,
        buffers: &Buffers,
        sockets: &mut impl Sockets<Socket>,
        token: Token,
        result: i32,
    ) {
        let Some((socket, wants)) = sockets.look_up(token) else { return };
        socket.hold(Holds::Nothing);
        match wants {
            _ if result == -libc::ECANCELED => return,
            Wants::Nothing => return,
            Wants::End => drop_unseen(ring, buffers, token, socket),
            Wants::Bytes if socket.age(self.tick) < QUIET => self.receive(ring, token, socket, Holds::GoesOn),
            Wants::Bytes => self.receive(ring, token, socket, Holds::Once),
        }
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
        let found = sockets.look_up(token);
        if let Some(unwanted) = filled.take_if(|filled| found.is_none() || filled.length == 0) {
            buffers.give_back(unwanted);
        }
        let (socket, wants) = found?;
        let has_ended = !cqueue::more(answer.flags());
        let held = socket.holds();
        if has_ended {
            socket.hold(Holds::Nothing);
        }
        let wanted = wants != Wants::Nothing && !socket.has(KEPT);
        if wanted && wants == Wants::End {
            return self.dropped(ring, buffers, token, socket, answer, filled);
        }
        let Some(filled) = filled else {
            return self.ended(ring, token, socket, answer, held, wanted);
        };
        self.note(ring);
        if has_ended && wanted {
            let is_full = filled.length == BUFFER_BYTES;
            if is_full && !self.is_last {
                self.put_back(token, socket);
            } else if is_full || held == Holds::GoesOn || socket.age(self.tick) < QUIET {
                self.receive(ring, token, socket, Holds::GoesOn);
                self.is_urgent |= self.is_last;
            } else {
                park(ring, token, socket);
            }
        }
        socket.sent_at(self.tick);
        if wanted {
            return Some(Came::Bytes(token, filled));
        }
        socket.set(KEPT);
        self.kept.entry(token).or_default().bytes.push_back(buffers.bytes(&filled).to_vec());
        buffers.give_back(filled);
        None
    }

    /// A receive of one that closes, whose bytes are dropped.
    fn dropped(
        &mut self,
        ring: &mut Ring,
        buffers: &mut Buffers,
        token: Token,
        socket: &mut Socket,
        answer: &cqueue::Entry,
        filled: Option<Filled>,
    ) -> Option<Came> {
        let is_full = match &filled {
            Some(filled) => filled.length == BUFFER_BYTES,
            None => answer.result() >= DROP_BYTES as i32,
        };
        if let Some(filled) = filled {
            buffers.give_back(filled);
        }
        match answer.result() {
            _ if socket.holds() != Holds::Nothing => None,
            1.. if is_full => {
                socket.set(WAITS);
                self.closing.push_back(token);
                None
            }
            0 => Some(Came::End(token, Ok(()))),
            error if error < 0 && !is_for_now(-error) => {
                Some(Came::End(token, Err(io::Error::from_raw_os_error(-error))))
            }
            _ => {
                drop_unseen(ring, buffers, token, socket);
                None
            }
        }
    }

    /// Our direction has ended: what waits is dropped, and does not wait for those who send much.
    pub fn shut_down(&mut self, token: Token, socket: &Socket) {
        if socket.has(WAITS) {
            self.closing.push_back(token);
        }
    }

    /// A receive without bytes.
    fn ended(
        &mut self,
        ring: &mut Ring,
        token: Token,
        socket: &mut Socket,
        answer: &cqueue::Entry,
        held: Holds,
        wanted: bool,
    ) -> Option<Came> {
        match -answer.result() {
            // The quiet spell that it was taken back for.
            libc::ECANCELED => {
                if wanted {
                    park(ring, token, socket);
                }
                return None;
            }
            error if is_for_now(error) => {
                if wanted {
                    self.receive(ring, token, socket, held);
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
        socket.set(KEPT);
        self.kept.entry(token).or_default().end = Some(result);
        None
    }

    /// Receiving goes on after a pause, or is asked whether there is something.
    pub fn resume(&mut self, ring: &mut Ring, token: Token, socket: &mut Socket) {
        if socket.has(KEPT) {
            self.resumed.push_back(token);
        } else if socket.holds() == Holds::Nothing {
            socket.clear(WAITS);
            self.receive(ring, token, socket, Holds::Once);
        }
    }

    /// What was kept for those who are resumed.
    pub fn next_kept(&mut self, ring: &mut Ring, sockets: &mut impl Sockets<Socket>) -> Option<Again> {
        while let Some(&token) = self.resumed.front() {
            if let Some(socket) = sockets.receiving(token)
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
                    None if socket.holds() == Holds::Nothing => {
                        self.receive(ring, token, socket, Holds::Once);
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
    pub fn close(&mut self, ring: &mut Ring, token: Token, mut socket: Socket) {
        match socket.holds() {
            Holds::Nothing => {}
            Holds::Poll => ring.push(Request::cancel(Tag::Poll(token))),
            Holds::Once | Holds::GoesOn => ring.push(Request::cancel(Tag::Receive(token))),
        }
        if socket.has(KEPT) {
            self.forget(token, &mut socket);
        }
    }

    fn forget(&mut self, token: Token, socket: &mut Socket) {
        self.kept.remove(&token);
        socket.clear(KEPT);
        if is_oversized(self.kept.len(), self.kept.capacity()) {
            self.kept.shrink_to(2 * self.kept.len());
        }
    }

    fn put_back(&mut self, token: Token, socket: &mut Socket) {
        if !socket.has(WAITS) {
            socket.set(WAITS);
            self.backlog.push_back(token);
        }
    }

    fn receive(&mut self, ring: &mut Ring, token: Token, socket: &mut Socket, how: Holds) {
        socket.hold(how);
        if how != Holds::GoesOn {
            return ring.push(Request::receive(token, socket.place(), BUFFER_BYTES as u32));
        }
        ring.push(Request::receive_on(token, socket.place(), BUFFER_BYTES as u32, GOES_ON_BYTES));
        if !socket.has(LISTED) {
            socket.set(LISTED);
            self.busy.push_back(token);
        }
    }

    /// Somebody has sent something: time counts.
    #[inline]
    fn note(&mut self, ring: &mut Ring) {
        self.silent = 0;
        if !self.ticks {
            self.ticks = true;
            ring.push(Request::tick());
        }
    }
}

/// There was no buffer just then, or the kernel was interrupted.
fn is_for_now(error: i32) -> bool {
    matches!(error, libc::ENOBUFS | libc::EINTR | libc::EAGAIN | libc::ECANCELED)
}

fn drop_unseen(ring: &mut Ring, buffers: &Buffers, token: Token, socket: &mut Socket) {
    socket.hold(Holds::Once);
    ring.push(buffers.drop_unseen(token, socket.place()));
}

fn park(ring: &mut Ring, token: Token, socket: &mut Socket) {
    socket.hold(Holds::Poll);
    ring.push(Request::poll(token, socket.place()));
}
