//! The backend on epoll, through mio.

use self::order::{Lane, Order, Readable};
use super::{
    Completion, Io, Sending, Sockets, Token, Wants,
    handover::{Desk, Parcel},
    listener::Listener,
    waker::EventWaker,
};
use crate::engine::{chunks::is_oversized, outbox::Gather};
use mio::{Events, Interest, Poll, net::TcpStream, unix::SourceFd};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, SocketAddr},
    num::NonZeroU32,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

mod order;

/// Bytes that one receive may bring. Some thousand of the smallest frames are a tenth of a millisecond of work.
const RECEIVE_BYTES: usize = 4 * 1_024;
/// The same once listening has stopped: what has arrived is answered before the last word.
const LAST_RECEIVE_BYTES: usize = 64 * 1_024;
/// Bytes that one receive may drop unseen.
const DROP_BYTES: usize = 64 * 1_024;
/// Events of one turn.
const EVENTS: usize = 1_024;
/// Connections accepted in one turn, of which so many also when it is not short any more.
const ACCEPTS: usize = 16;
const LEAST_ACCEPTS: usize = 2;
/// Connections accepted after listening was to stop: what the queues could hold then.
const LAST_ACCEPTS: usize = 65_536;
const WAKER: mio::Token = mio::Token(usize::MAX);
const DESK: mio::Token = mio::Token(usize::MAX - 1);
/// A deal that found no room on the way is tried again after this long.
const DEAL_AGAIN: Duration = Duration::from_millis(1);

/// One epoll instance with its listeners, its waker and one receive buffer.
pub struct Epoll {
    poll: Poll,
    events: Events,
    waker: EventWaker,
    woken: bool,
    listeners: Vec<Watched>,
    accepting: bool,
    accepts_left: usize,
    /// Listening is to stop when the queues are empty, or after so many more connections.
    last_accepts: Option<usize>,
    buffer: Box<[u8]>,
    /// For what is dropped; TCP writes nothing there.
    dropped: Box<[u8]>,
    order: Order,
    /// Who is read from first may have been answered, and nothing is sent yet.
    owes: bool,
    /// Only tests have another.
    clock: fn() -> Instant,
    /// The last wait brought as many events as it could. Others queue up behind them, each kind alike: what may
    /// not wait for thousands of them, new connections above all, is looked at without an event.
    crowded: bool,
    writable: Vec<Token>,
    /// What the kernel had no room for.
    parked: HashMap<Token, Box<Gather>>,
    /// Where each reactor takes in what is dealt to it.
    desks: Arc<[Desk]>,
    /// Ours; none in a server of one reactor.
    desk: Option<usize>,
    /// Edge-triggered: true until our desk said WouldBlock.
    desk_ready: bool,
    /// On the way out, for each reactor.
    outgoing: Vec<Vec<Parcel<TcpStream>>>,
    /// How many are.
    leaving: usize,
    incoming: VecDeque<Parcel<OwnedFd>>,
    lost: usize,
}

/// A listener. The descriptor is not this table's own, so that what is closed here is only the watch.
struct Watched {
    listener: Listener,
    index: usize,
    /// Edge-triggered: true until an accept said WouldBlock.
    ready: bool,
}

impl Epoll {
    /// Watches `listeners` and is woken by `waker`. Of
    /// several reactors this is number `own`; each has its desk.
    ///
    /// # Errors
    /// No epoll instance can be had.
    pub fn new(
        listeners: Vec<Listener>,
        waker: EventWaker,
        desks: Arc<[Desk]>,
        own: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&waker.raw_fd()), WAKER, Interest::READABLE)?;
        let desk = (desks.len() > 1).then_some(own);
        if let Some(desk) = desk {
            poll.registry().register(&mut SourceFd(&desks[desk].raw_fd()), DESK, Interest::READABLE)?;
        }
        let listeners = listeners
            .into_iter()
            .enumerate()
            .map(|(index, listener)| {
                let token = listener_token(index);
                poll.registry().register(&mut SourceFd(&listener.raw_fd()), token, Interest::READABLE)?;
                Ok(Watched { listener, index, ready: false })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            waker,
            woken: false,
            listeners,
            accepting: true,
            accepts_left: 0,
            last_accepts: None,
            buffer: vec![0; RECEIVE_BYTES].into(),
            dropped: vec![0; DROP_BYTES].into(),
            order: Order::new(Instant::now()),
            owes: false,
            clock: Instant::now,
            crowded: false,
            writable: Vec::new(),
            parked: HashMap::new(),
            outgoing: desks.iter().map(|_| Vec::new()).collect(),
            leaving: 0,
            desks,
            desk,
            desk_ready: false,
            incoming: VecDeque::new(),
            lost: 0,
        })
    }

    /// What a storm needed goes.
    fn shrink(&mut self) {
        self.order.shrink();
        if is_oversized(self.parked.len(), self.parked.capacity()) {
            self.parked.shrink_to(2 * self.parked.len());
        }
    }

    fn has_work(&self) -> bool {
        !self.order.is_empty()
            || self.desk_ready
            || (self.accepting && self.listeners.iter().any(|listener| listener.ready))
    }

    fn accept(&mut self) -> Option<Completion<'static, TcpStream>> {
        while self.accepting && self.may_accept() {
            let index = self.listeners.iter().position(|listener| listener.ready)?;
            match self.listeners[index].listener.accept() {
                Ok((socket, peer, local)) => {
                    self.accepts_left -= 1;
                    if let Some(left) = &mut self.last_accepts {
                        *left = left.saturating_sub(1);
                        if *left == 0 {
                            (0..self.listeners.len()).rev().for_each(|index| self.close_listener(index));
                        }
                    }
                    let socket = TcpStream::from_std(std::net::TcpStream::from(socket));
                    return Some(Completion::Accepted { socket, peer, local });
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock if self.last_accepts.is_some() => self.close_listener(index),
                    io::ErrorKind::WouldBlock => self.listeners[index].ready = false,
                    // The peer has gone while it waited: the next one.
                    io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted => self.accepts_left -= 1,
                    _ => {
                        self.accepting = false;
                        return Some(Completion::AcceptFailed(error));
                    }
                },
            }
        }
        None
    }

    /// Whether this turn takes one more.
    fn may_accept(&self) -> bool {
        let taken = ACCEPTS - self.accepts_left;
        taken < LEAST_ACCEPTS || taken < ACCEPTS && self.order.is_short((self.clock)())
    }

    fn close_listener(&mut self, index: usize) {
        let Watched { listener, .. } = self.unwatch(index);
        listener.close();
    }

    /// Others have the socket too, so that it would be watched on.
    fn unwatch(&mut self, index: usize) -> Watched {
        let watched = self.listeners.swap_remove(index);
        let _ = self.poll.registry().deregister(&mut SourceFd(&watched.listener.raw_fd()));
        watched
    }
}

/// Connections that change their reactor.
impl Epoll {
    /// Sends what is on the way out, as far as there is room.
    fn hand_over(&mut self) {
        // Mostly there is none, and there may be many reactors.
        if self.leaving == 0 {
            return;
        }
        for (desk, parcels) in self.desks.iter().zip(&mut self.outgoing) {
            while !parcels.is_empty()
                && let Ok(sent) = desk.send(parcels)
            {
                self.leaving -= sent;
            }
        }
    }

    /// The next that was dealt to us.
    fn take_over(&mut self) -> Option<Completion<'static, TcpStream>> {
        let desk = &self.desks[self.desk?];
        loop {
            if self.lost > 0 {
                return Some(Completion::Lost(std::mem::take(&mut self.lost)));
            }
            if let Some(Parcel { socket, peer, local }) = self.incoming.pop_front() {
                let socket = TcpStream::from_std(std::net::TcpStream::from(socket));
                return Some(Completion::Dealt { socket, peer, local });
            }
            if !self.desk_ready || !self.may_accept() {
                return None;
            }
            self.accepts_left -= 1;
            match desk.receive(|parcel| self.incoming.push_back(parcel)) {
                Ok(lost) => self.lost = lost,
                Err(error) => self.desk_ready = error.kind() == io::ErrorKind::Interrupted,
            }
        }
    }
}

impl Io for Epoll {
    type Socket = TcpStream;
    type Waker = EventWaker;

    fn waker(&self) -> EventWaker {
        self.waker.clone()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.shrink();
        self.hand_over();
        let timeout = match timeout {
            _ if self.has_work() => Some(Duration::ZERO),
            _ if self.leaving > 0 => Some(timeout.map_or(DEAL_AGAIN, |timeout| timeout.min(DEAL_AGAIN))),
            timeout => timeout,
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            if event.token() == WAKER {
                self.woken = true;
            } else if event.token() == DESK {
                self.desk_ready = true;
            } else if let Some(token) = connection(event.token()) {
                if event.is_writable() {
                    self.writable.push(token);
                }
                let to_end = event.is_read_closed() || event.is_error();
                if event.is_readable() || to_end {
                    self.order.event(Readable { token, to_end }, event.is_error());
                }
            } else if let Some(listener) = self.listeners.iter_mut().find(|at| at.index == event.token().0) {
                listener.ready = true;
            }
        }
        self.crowded = self.events.iter().count() == EVENTS;
        if self.crowded {
            self.listeners.iter_mut().for_each(|listener| listener.ready = true);
            self.desk_ready = self.desk.is_some();
        }
        self.order.begin((self.clock)());
        self.owes = false;
        self.accepts_left = ACCEPTS;
        Ok(())
    }

    #[inline]
    fn next(&mut self, sockets: &mut impl Sockets<TcpStream>) -> Option<Completion<'_, TcpStream>> {
        if self.woken {
            self.woken = false;
            return Some(Completion::Woken);
        }
        while let Some(token) = self.writable.pop() {
            if let Some(socket) = sockets.socket(token)
                && let Some(gather) = self.parked.remove(&token)
            {
                let result = write(socket, &gather);
                if would_block(&result) {
                    self.parked.insert(token, gather);
                    continue;
                }
                return Some(Completion::Sent { token, gather, result });
            }
        }
        while let Some(token) = self.order.broken() {
            // What is still to be received would be dropped: its end does not wait for it.
            let wants = sockets.look_up(token).map(|(_, wants)| wants);
            if wants == Some(Wants::End) && self.order.forget(token) {
                return Some(Completion::Ended { token, result: Err(io::ErrorKind::ConnectionReset.into()) });
            }
        }
        if self.owes && self.order.is_past_settled() && self.has_work() {
            self.owes = false;
            return Some(Completion::Pause);
        }
        while let Some((Readable { token, to_end }, lane)) = self.order.next(self.clock) {
            let Some((socket, wants)) = sockets.look_up(token).filter(|(_, wants)| *wants != Wants::Nothing)
            else {
                continue;
            };
            self.order.count(lane);
            let is_dropped = wants == Wants::End;
            let result = match is_dropped {
                true => drop_unseen(socket, &mut self.dropped),
                false => read(socket, &mut self.buffer),
            };
            match result {
                Ok(0) => return Some(Completion::Ended { token, result: Ok(()) }),
                Ok(received) => {
                    // A short read has emptied the socket, and what comes later comes with an edge.
                    if received == if is_dropped { DROP_BYTES } else { self.buffer.len() } {
                        self.order.put_back(Readable { token, to_end });
                    } else if to_end {
                        self.order.add(Readable { token, to_end });
                    }
                    if is_dropped {
                        continue;
                    }
                    self.owes |= lane == Lane::Settled;
                    return Some(Completion::Received { token, bytes: &mut self.buffer[..received] });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Some(Completion::Ended { token, result: Err(error) }),
            }
        }
        self.take_over().or_else(|| self.accept())
    }

    fn deal(&mut self, to: usize, socket: TcpStream, peer: SocketAddr, local: Option<SocketAddr>) {
        self.outgoing[to].push(Parcel { socket, peer, local });
        self.leaving += 1;
    }

    fn open(&mut self, token: Token, socket: &mut TcpStream) -> io::Result<()> {
        self.poll.registry().register(socket, mio_token(token), Interest::READABLE)?;
        self.order.opened(token);
        if self.crowded {
            self.order.add(Readable { token, to_end: false });
        }
        Ok(())
    }

    #[inline]
    fn peer(&mut self, socket: &TcpStream) -> Option<SocketAddr> {
        socket.peer_addr().ok()
    }

    fn send(&mut self, token: Token, socket: &mut TcpStream, mut gather: Box<Gather>) -> Sending {
        let sent = match write(socket, &gather) {
            Ok(sent) if sent < gather.len() => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            result => return Sending::Done(gather, result),
        };
        gather.advance(sent);
        // Asking again sees room that came up in between, so no edge is lost.
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().reregister(socket, mio_token(token), both) {
            return Sending::Done(gather, Err(error));
        }
        gather.compact();
        self.parked.insert(token, gather);
        Sending::Pending(sent)
    }

    fn resume(&mut self, token: Token, _socket: &mut TcpStream) {
        if self.last_accepts.is_some() {
            self.order.ask(token);
        } else {
            self.order.add(Readable { token, to_end: true });
        }
    }

    fn shutdown(&mut self, _token: Token, socket: &mut TcpStream) {
        // The peer may have closed first; then there is nothing to do.
        let _ = socket.shutdown(Shutdown::Write);
    }

    fn close(&mut self, token: Token, socket: TcpStream, reset: bool) {
        self.parked.remove(&token);
        if reset {
            let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
        drop(socket);
    }

    fn accepting(&mut self, on: bool) {
        if on && !self.accepting {
            // The edge may have come and gone while nobody accepted.
            self.listeners.iter_mut().for_each(|listener| listener.ready = true);
        }
        self.accepting = on;
    }

    fn stop_listening(&mut self, passed: bool) {
        self.buffer = vec![0; LAST_RECEIVE_BYTES].into();
        for index in (0..self.listeners.len()).rev() {
            let watched = &mut self.listeners[index];
            watched.ready = true;
            if passed || watched.listener.is_shared() {
                self.unwatch(index);
            }
        }
        self.last_accepts = Some(LAST_ACCEPTS);
    }

    fn is_source(&self) -> bool {
        !self.listeners.is_empty() || self.leaving > 0
    }
}

fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Takes off what has come, without a copy where that is TCP.
fn drop_unseen(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Err(Errno::INTR) => {}
            result => return Ok(result?.1),
        }
    }
}

fn write(socket: &mut TcpStream, gather: &Gather) -> io::Result<usize> {
    loop {
        let result = match gather.as_slice() {
            Some(bytes) => socket.write(bytes),
            None => {
                let mut slices = [IoSlice::new(&[]); Gather::SLICES];
                let used = gather.slices(&mut slices);
                socket.write_vectored(&slices[..used])
            }
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn would_block(result: &io::Result<usize>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Generations are never 0, so a number below 2^32 is free to name a listener.
fn listener_token(index: usize) -> mio::Token {
    mio::Token(index)
}

fn mio_token(token: Token) -> mio::Token {
    mio::Token(token.number() as usize)
}

fn connection(token: mio::Token) -> Option<Token> {
    Some(Token { index: token.0 as u32, generation: NonZeroU32::new((token.0 >> 32) as u32)? })
}

#[cfg(test)]
mod tests;
