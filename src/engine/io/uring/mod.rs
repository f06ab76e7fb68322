//! The backend on io_uring: requests go to the kernel together, and its answers come back in a queue that is read
//! without a call. Sockets are in a table of the ring's own, and are no descriptors; only its own requests reach them.
//!
//! The way of a turn: `wait` submits what was asked for and sleeps until there are answers; `next` takes them in their
//! `order` to where they belong (`receive`, `accept`, `transfer`), and the sends of a flush (`send`) are one submission.

mod accept;
mod buffers;
mod order;
mod probe;
mod receive;
mod request;
mod ring;
mod send;
mod socket;
mod transfer;

pub use self::{
    probe::{Lack, probe},
    socket::Socket,
};

use self::{
    accept::{Accepted, Accepts, New},
    buffers::{BUFFER_BYTES, Buffers, Filled},
    order::Order,
    receive::{Again, Came, Receives},
    request::{Request, Tag},
    ring::Ring,
    send::Sends,
    socket::{PLACES, Place},
    transfer::{Transfers, local_of, peer_of},
};
use super::{
    Completion, Io, Sending, Sockets, Token,
    handover::{Desk, Parcel},
    listener::Listener,
    waker::EventWaker,
};
use crate::engine::outbox::Gather;
use io_uring::cqueue::{self, Entry};
use std::{io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

/// Answers of one turn, about: so many disconnects take some milliseconds.
const ANSWERS: usize = 256;
/// A turn with so many answers is followed by others: they are waited for together, up to so many, but not longer than
/// that.
const LOAD: usize = 8;
const TOGETHER: u32 = 128;
const BATCH_US: u32 = 100;
/// Times that the last turns ask again for what has arrived.
const LAST_ROUNDS: usize = 8;
/// A deal that found no room on the way is tried again after this long.
const DEAL_AGAIN: Duration = Duration::from_millis(1);
/// Places of a ring's table beyond those that accepts count on: others deal their connections whenever they like.
const SPARE: u32 = 64;
/// Sockets of a ring.
pub const SOCKETS_MAX: u32 = PLACES - SPARE;
/// Received lists keep room for so many.
const KEEP: usize = 4 * ANSWERS;

/// What the reactor has on loan.
enum Lent {
    Nothing,
    Buffer(Filled),
    Kept(Vec<u8>),
}

/// One ring, with its listeners, its waker and its buffers.
pub struct Uring {
    // The ring closes before the memory goes that it was told of.
    ring: Ring,
    buffers: Buffers,
    accepts: Accepts,
    receives: Receives,
    sends: Sends,
    transfers: Transfers,
    waker: EventWaker,
    /// Places, and how many are taken.
    sockets: u32,
    taken: usize,
    /// Answers that this turn has still to look at; those that a parked connection has bytes go before all others.
    polled: Vec<Entry>,
    order: Order,
    /// And those of the next.
    upcoming: Vec<Entry>,
    /// Answers of the last turn.
    load: usize,
    turn_begins: bool,
    rounds_left: usize,
    /// Listening has stopped.
    is_last: bool,
    lent: Lent,
    /// A turn found no way to accept.
    failed: Option<io::Error>,
    broken: Option<io::Error>,
}

impl Uring {
    /// Accepts from `listeners` and is woken by `waker`, with room for so many sockets. Of several reactors this is
    /// number `own`; each has its desk. To be made on the reactor's thread.
    ///
    /// # Errors
    /// The kernel refuses io_uring, lacks a part of it, or has no room.
    pub fn new(
        listeners: Vec<Listener>,
        waker: EventWaker,
        desks: Arc<[Desk]>,
        own: usize,
        sockets: u32,
    ) -> io::Result<Self> {
        let places = sockets.min(SOCKETS_MAX) + SPARE;
        let mut ring = Ring::new(places)?;
        let buffers = Buffers::new(&ring)?;
        let transfers = Transfers::new(desks, own);
        ring.push(Request::watch(waker.raw_fd(), Tag::Waker));
        if let Some(desk) = transfers.desk_fd() {
            ring.push(Request::watch(desk, Tag::Desk));
        }
        Ok(Self {
            ring,
            buffers,
            accepts: Accepts::new(listeners),
            receives: Receives::default(),
            sends: Sends::default(),
            transfers,
            waker,
            sockets,
            taken: 0,
            polled: Vec::new(),
            order: Order::default(),
            upcoming: Vec::new(),
            load: 0,
            turn_begins: false,
            rounds_left: 0,
            is_last: false,
            lent: Lent::Nothing,
            failed: None,
            broken: None,
        })
    }

    fn room(&self) -> usize {
        (self.sockets as usize).saturating_sub(self.taken)
    }

    /// Whether a turn has something to do that no answer brings.
    fn has_work(&self) -> bool {
        self.failed.is_some()
            || !self.upcoming.is_empty()
            || self.receives.has_work()
            || self.accepts.has_work()
            || self.transfers.has_work()
    }

    /// Takes the answers that are there: what is of this moment goes where it is waited for, the rest to the next turn.
    fn reap(&mut self) {
        let Self { ring, sends, transfers, upcoming, .. } = self;
        ring.reap(|answer| match Tag::of(answer.user_data()) {
            Tag::Now(number) => sends.answered(number, &answer),
            Tag::Asked(number) => transfers.answered(number, &answer),
            Tag::None => {}
            _ => upcoming.push(answer),
        });
    }

    /// Has done at once what was asked for; false when the ring is broken.
    fn submit(&mut self) -> bool {
        if let Err(error) = self.ring.submit() {
            self.broken = Some(error);
        }
        self.reap();
        self.broken.is_none()
    }

    /// Brings forward what the last submission has brought.
    fn bring_forward(&mut self) {
        self.upcoming.drain(..).for_each(|answer| self.order.add(answer));
    }

    /// Answers for this turn.
    fn collect(&mut self) {
        for answer in self.upcoming.drain(..) {
            match Tag::of(answer.user_data()) {
                Tag::Poll(_) => self.polled.push(answer),
                _ => self.order.add(answer),
            }
        }
    }

    /// Everything for which a socket needs a descriptor.
    fn transfer(&mut self) {
        while !self.transfers.is_idle() {
            let count = self.transfers.begin(&mut self.ring);
            if count > 0 {
                self.submit();
                self.taken -= self.transfers.end(&mut self.ring, count);
            }
            if count == 0 || self.broken.is_some() {
                break;
            }
        }
        if self.transfers.leaving() > 0 {
            self.transfers.hand_over();
        }
    }

    /// A descriptor for this socket, for a moment.
    fn descriptor(&mut self, place: Place) -> Option<OwnedFd> {
        self.transfers.begin_one(&mut self.ring, place);
        self.submit();
        self.transfers.end_one()
    }

    /// Who sent something while parked, or waits for a receive: this turn is to bring it.
    fn begin_turn(&mut self, sockets: &mut impl Sockets<Socket>) {
        let Self { ring, buffers, receives, polled, .. } = self;
        receives.is_urgent = false;
        receives.begin_turn(ring, buffers, sockets);
        for answer in polled.drain(..) {
            if let Tag::Poll(token) = Tag::of(answer.user_data()) {
                receives.polled(ring, buffers, sockets, token, answer.result());
            }
        }
        polled.shrink_to(KEEP);
        if self.receives.is_urgent {
            self.submit();
            self.bring_forward();
        }
    }

    /// Looks at one answer.
    #[inline]
    fn look(&mut self, answer: &Entry, sockets: &mut impl Sockets<Socket>) -> Option<Done> {
        match Tag::of(answer.user_data()) {
            Tag::Receive(token) => {
                let Self { ring, buffers, receives, order, .. } = self;
                match receives.received(ring, buffers, sockets, token, answer)? {
                    Came::Bytes(token, filled) => {
                        order.brings(token, filled.length == BUFFER_BYTES);
                        Some(Done::Bytes(token, filled))
                    }
                    Came::End(token, result) => Some(Done::Other(Completion::Ended { token, result })),
                }
            }
            Tag::Poll(token) => {
                // Armed and answered within the turn: the next one brings it.
                self.receives.polled(&mut self.ring, &self.buffers, sockets, token, answer.result());
                None
            }
            Tag::Send(token) => {
                let place = sockets.socket(token).map(|socket| socket.place());
                let (gather, result) = self.sends.unparked(&mut self.ring, token, place, answer.result())?;
                Some(Done::Other(Completion::Sent { token, gather, result }))
            }
            Tag::Accept(number) => self.accepted(number, answer),
            Tag::Waker => {
                if !cqueue::more(answer.flags()) {
                    self.ring.push(Request::watch(self.waker.raw_fd(), Tag::Waker));
                }
                Some(Done::Other(Completion::Woken))
            }
            Tag::Desk => {
                self.transfers.desk_ready = true;
                if !cqueue::more(answer.flags())
                    && let Some(desk) = self.transfers.desk_fd()
                {
                    self.ring.push(Request::watch(desk, Tag::Desk));
                }
                None
            }
            Tag::Tick => {
                self.receives.tick(&mut self.ring);
                self.order.tick();
                None
            }
            Tag::Now(_) | Tag::Asked(_) | Tag::None => None,
        }
    }

    fn accepted(&mut self, number: u32, answer: &Entry) -> Option<Done> {
        match self.accepts.answered(number, answer) {
            Accepted::New(new) => {
                self.taken += 1;
                if !self.accepts.is_on {
                    self.accepts.waiting.push_back(new);
                    return None;
                }
                self.welcome(new)
            }
            Accepted::Failed(error) => {
                self.accepts.turn(&mut self.ring, false);
                Some(Done::Other(Completion::AcceptFailed(error)))
            }
            Accepted::Nothing => None,
        }
    }

    fn welcome(&mut self, New { socket, peer, local, is_local_unknown }: New) -> Option<Done> {
        let Some(peer) = peer else {
            // It has gone while it waited, and took its address with it.
            self.ring.push(Request::close(socket.place()));
            self.taken -= 1;
            return None;
        };
        let local = match is_local_unknown {
            true => self.descriptor(socket.place()).and_then(|descriptor| local_of(&descriptor)),
            false => local,
        };
        Some(Done::Other(Completion::Accepted { socket, peer, local }))
    }

    /// What other reactors have dealt, and what the listeners' queues still hold at the end.
    fn take_in(&mut self) -> Option<Done> {
        loop {
            if self.transfers.lost > 0 {
                let lost = std::mem::take(&mut self.transfers.lost);
                return Some(Done::Other(Completion::Lost(lost)));
            }
            if let Some(Parcel { socket, peer, local }) = self.transfers.next_adopted() {
                return Some(Done::Other(Completion::Dealt { socket, peer, local }));
            }
            if !self.transfers.collect() {
                return None;
            }
            self.adopt();
        }
    }

    fn adopt(&mut self) {
        if self.transfers.has_incoming() {
            self.transfers.begin_adopt(&mut self.ring);
            self.submit();
            self.taken += self.transfers.end_adopt();
        }
    }

    /// New connections that no answer brings.
    fn accept(&mut self) -> Option<Done> {
        while self.accepts.is_on {
            if let Some(error) = self.failed.take() {
                return Some(Done::Other(Completion::AcceptFailed(error)));
            }
            if let Some(new) = self.accepts.waiting.pop_front() {
                if let Some(done) = self.welcome(new) {
                    return Some(done);
                }
                continue;
            }
            match self.accepts.next_last()? {
                Ok((socket, peer, local)) => {
                    let _ = rustix::io::ioctl_fionbio(&socket, false);
                    self.transfers.take(Parcel { socket, peer, local });
                    self.adopt();
                    if let Some(Parcel { socket, peer, local }) = self.transfers.next_adopted() {
                        return Some(Done::Other(Completion::Accepted { socket, peer, local }));
                    }
                    // It was ours, not somebody's who dealt it.
                    self.transfers.lost = 0;
                    self.accepts.is_on = false;
                    let error = io::Error::from_raw_os_error(libc::EMFILE);
                    return Some(Done::Other(Completion::AcceptFailed(error)));
                }
                Err(error) => {
                    self.accepts.is_on = false;
                    return Some(Done::Other(Completion::AcceptFailed(error)));
                }
            }
        }
        None
    }

    /// As the reactor sees it.
    #[inline]
    fn show(&mut self, done: Done) -> Completion<'_, Socket> {
        match done {
            Done::Other(completion) => completion,
            Done::Bytes(token, filled) => {
                self.lent = Lent::Buffer(filled);
                match &self.lent {
                    Lent::Buffer(filled) => Completion::Received { token, bytes: self.buffers.bytes(filled) },
                    _ => unreachable!("it was lent just now"),
                }
            }
            Done::Kept(token, bytes) => {
                self.lent = Lent::Kept(bytes);
                match &mut self.lent {
                    Lent::Kept(bytes) => Completion::Received { token, bytes },
                    _ => unreachable!("it was lent just now"),
                }
            }
        }
    }

    #[inline]
    fn take_back(&mut self) {
        if let Lent::Buffer(filled) = std::mem::replace(&mut self.lent, Lent::Nothing) {
            self.buffers.give_back(filled);
        }
    }
}

/// A completion that has not borrowed what it lends yet.
enum Done {
    Bytes(Token, Filled),
    Kept(Token, Vec<u8>),
    Other(Completion<'static, Socket>),
}

impl Io for Uring {
    type Socket = Socket;
    type Waker = EventWaker;

    const TOGETHER: bool = true;

    fn waker(&self) -> EventWaker {
        self.waker.clone()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.take_back();
        self.transfer();
        let room = self.room();
        if let Err(error) = self.accepts.begin_turn(&mut self.ring, room, self.order.is_shared()) {
            self.failed = Some(error);
            self.accepts.is_on = true;
        }
        let timeout = match timeout {
            timeout if self.transfers.leaving() > 0 => {
                Some(timeout.map_or(DEAL_AGAIN, |timeout| timeout.min(DEAL_AGAIN)))
            }
            timeout => timeout,
        };
        let (mut want, mut batch_us) = match self.load {
            _ if self.has_work() || timeout == Some(Duration::ZERO) => (0, 0),
            LOAD.. => (TOGETHER.min(self.load as u32), BATCH_US),
            _ => (1, 0),
        };
        loop {
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            let before = self.upcoming.len();
            self.ring.wait(want, batch_us, timeout)?;
            self.reap();
            (want, batch_us) = (0, 0);
            // That there is more may be old news: another core says so just after this one has looked.
            let is_all = self.upcoming.len() == before || !self.ring.has_more();
            if is_all || self.upcoming.len() >= ANSWERS && !self.is_last {
                break;
            }
        }
        self.load = self.upcoming.len();
        self.order.begin();
        self.collect();
        self.upcoming.shrink_to(KEEP);
        self.turn_begins = true;
        self.rounds_left = if self.is_last { LAST_ROUNDS } else { 0 };
        Ok(())
    }

    #[inline]
    fn next(&mut self, sockets: &mut impl Sockets<Socket>) -> Option<Completion<'_, Socket>> {
        self.take_back();
        if self.turn_begins {
            self.turn_begins = false;
            self.begin_turn(sockets);
        }
        let done = loop {
            if let Some(answer) = self.order.next() {
                match self.look(&answer, sockets) {
                    Some(done) => break Some(done),
                    None => continue,
                }
            }
            if let Some(again) = self.receives.next_kept(&mut self.ring, sockets) {
                break Some(match again {
                    Again::Bytes(token, bytes) => Done::Kept(token, bytes),
                    Again::End(token, result) => Done::Other(Completion::Ended { token, result }),
                });
            }
            if self.order.pauses() {
                break Some(Done::Other(Completion::Pause));
            }
            if let Some(answer) = self.order.next_behind() {
                match self.look(&answer, sockets) {
                    Some(done) => break Some(done),
                    None => continue,
                }
            }
            if self.rounds_left > 0 && std::mem::take(&mut self.receives.is_urgent) {
                self.rounds_left -= 1;
                self.submit();
                self.bring_forward();
                continue;
            }
            break match self.take_in() {
                None => self.accept(),
                done => done,
            };
        };
        Some(self.show(done?))
    }

    fn deal(&mut self, to: usize, socket: Socket, peer: SocketAddr, local: Option<SocketAddr>) {
        self.transfers.deal(to, Parcel { socket, peer, local });
    }

    fn open(&mut self, token: Token, socket: &mut Socket) -> io::Result<()> {
        self.order.opened(token);
        self.receives.open(&mut self.ring, token, socket);
        Ok(())
    }

    fn peer(&mut self, socket: &Socket) -> Option<SocketAddr> {
        peer_of(&self.descriptor(socket.place())?)
    }

    fn put(&mut self, token: Token, socket: &mut Socket, gather: Box<Gather>) {
        self.sends.put(&mut self.ring, token, socket.place(), gather);
    }

    fn outcome(&mut self) -> Option<Sending> {
        if self.sends.is_put_off() {
            let works = self.submit();
            self.sends.begun(!works);
        }
        self.sends.outcome(&mut self.ring)
    }

    fn send(&mut self, token: Token, socket: &mut Socket, gather: Box<Gather>) -> Sending {
        let single = self.sends.begin_single(&mut self.ring, socket.place(), gather);
        let works = self.submit();
        self.sends.end_single(&mut self.ring, token, socket.place(), single, !works)
    }

    fn flush(&mut self) {
        if self.transfers.is_many() {
            self.transfer();
        }
        if self.ring.has_requests() {
            self.submit();
        }
    }

    fn resume(&mut self, token: Token, socket: &mut Socket) {
        self.receives.resume(&mut self.ring, token, socket);
    }

    fn shutdown(&mut self, token: Token, socket: &mut Socket) {
        self.receives.shut_down(token, socket);
        self.transfers.shut_down(token, socket.place());
    }

    fn close(&mut self, token: Token, socket: Socket, reset: bool) {
        // They are done in order: the socket goes when the last of what waits for it has been taken back.
        let place = socket.place();
        if reset {
            self.ring.push(Request::reset(place));
        }
        self.receives.close(&mut self.ring, token, socket);
        if self.sends.is_parked(token) {
            self.ring.push(Request::cancel(Tag::Send(token)));
        }
        self.transfers.close(token);
        self.ring.push(Request::close(place));
        self.taken -= 1;
    }

    fn accepting(&mut self, on: bool) {
        if on != self.accepts.is_on {
            self.accepts.turn(&mut self.ring, on);
        }
    }

    fn stop_listening(&mut self, passed: bool) {
        self.is_last = true;
        self.receives.is_last();
        self.accepts.stop(&mut self.ring, passed);
    }

    fn is_source(&self) -> bool {
        self.accepts.is_source() || self.transfers.leaving() > 0
    }
}

#[cfg(test)]
mod tests;
