//! The seam between the reactor and the kernel, shaped like completions: the reactor asks for things and
//! is told what became of them. A readiness interface (mio) fits behind it, and so does io_uring.
//!
//! Received bytes are lent from a buffer of the backend, so that no connection owns one. Bytes to be
//! sent are handed over whole ([`Gather`]) and come back when the kernel is done with them, so that nobody
//! can free or change what is in flight.

pub mod epoll;
pub mod handover;
pub mod listener;
pub mod memory;
mod no_kernel;
pub mod sim;
mod standing;
pub mod uring;
pub mod waker;

use super::outbox::Gather;
use std::{io, net::SocketAddr, num::NonZeroU32, time::Duration};

/// Names a connection: the index of its slot, below 2^24, and a generation that no other holder of that
/// slot had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub index: u32,
    pub generation: NonZeroU32,
}

impl Token {
    /// As one number, never 0 and the same for no two connections at once.
    pub fn number(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }
}

/// What a connection wants of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    Bytes,
    /// Nothing now: receiving is paused. What a backend has received all the same it keeps, with the end behind it, and
    /// brings it in order after [`Io::resume`].
    Nothing,
    /// Only its end: the connection closes, and bytes are dropped unseen. A backend need not bring them.
    End,
}

/// The reactor's slots, as a backend sees them.
pub trait Sockets<S> {
    /// The socket of a connection, and what is wanted of it; none when the token is stale.
    fn look_up(&mut self, token: Token) -> Option<(&mut S, Wants)>;
    /// The socket of a connection; none when the token is stale.
    #[inline]
    fn socket(&mut self, token: Token) -> Option<&mut S> {
        self.look_up(token).map(|(socket, _)| socket)
    }
    /// The socket of a connection whose input is wanted.
    #[inline]
    fn receiving(&mut self, token: Token) -> Option<&mut S> {
        self.look_up(token).filter(|(_, wants)| *wants != Wants::Nothing).map(|(socket, _)| socket)
    }
}

/// What the kernel has done.
#[derive(Debug)]
pub enum Completion<'a, S> {
    /// A new connection, from the address `peer` to our address `local`, where the backend can tell. It
    /// receives nothing before [`Io::open`]. None comes while [`Io::accepting`] is off.
    Accepted { socket: S, peer: SocketAddr, local: Option<SocketAddr> },
    /// One that another reactor has accepted and dealt to this one with [`Io::deal`].
    Dealt { socket: S, peer: SocketAddr, local: Option<SocketAddr> },
    /// So many that were dealt to this reactor could not be taken over, for want of descriptors.
    Lost(usize),
    /// No connection could be accepted for want of something (descriptors, memory). Ask again with
    /// [`Io::accepting`] when there may be room; nothing else will.
    AcceptFailed(io::Error),
    /// Bytes from the peer, at least one. They may be changed in place; the loan ends with the next call.
    Received { token: Token, bytes: &'a mut [u8] },
    /// The peer sends no more, or the connection is broken. Never before bytes that came first.
    Ended { token: Token, result: io::Result<()> },
    /// A send that was [`Sending::Pending`]: how many bytes of the rest the kernel took. It may follow the
    /// close of its connection, so that the gather comes back.
    Sent { token: Token, gather: Box<Gather>, result: io::Result<usize> },
    /// [`Wake::wake`] was called, once or more often.
    Woken,
    /// Those whose input comes first have had their turn, and others follow: what is queued by now is to be sent
    /// before. Never twice in a turn.
    Pause,
}

/// What became of [`Io::send`].
#[derive(Debug)]
pub enum Sending {
    /// The kernel has taken that many bytes, perhaps fewer than all.
    Done(Box<Gather>, io::Result<usize>),
    /// The kernel has taken that many bytes and the backend keeps the rest, of which nothing may have been
    /// tried yet; a [`Completion::Sent`] follows, or may not if the connection is closed first.
    Pending(usize),
}

/// Wakes a sleeping reactor from another thread.
pub trait Wake: Clone + Send + Sync + 'static {
    fn wake(&self);
}

/// One core's way to the kernel. It may be made on another thread; from the first [`Io::wait`] on it stays
/// on one.
pub trait Io {
    /// Sends of a flush are begun together: see [`Io::put`].
    const TOGETHER: bool = false;

    /// What the reactor stores of a connection on behalf of its backend: 4 bytes.
    type Socket;
    type Waker: Wake;

    fn waker(&self) -> Self::Waker;

    /// Sleeps until something is there for [`Io::next`], or until `timeout` is over (none: for ever).
    ///
    /// # Errors
    /// The backend itself is broken; being interrupted is no error.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// The next completion of this turn; none ends the turn. A connection with much to read is served
    /// once a turn, or for a bounded number of bytes, so that it can't starve others.
    fn next(&mut self, sockets: &mut impl Sockets<Self::Socket>) -> Option<Completion<'_, Self::Socket>>;

    /// Hands a connection that was accepted here, and never opened, to another reactor of the server, where it
    /// comes as [`Completion::Dealt`]. Many may travel together, at the next [`Io::flush`] or [`Io::wait`].
    fn deal(&mut self, to: usize, socket: Self::Socket, peer: SocketAddr, local: Option<SocketAddr>);

    /// Starts receiving.
    ///
    /// # Errors
    /// The kernel has no room to watch one more socket.
    fn open(&mut self, token: Token, socket: &mut Self::Socket) -> io::Result<()>;

    /// The peer's address, where the backend can tell.
    fn peer(&mut self, _socket: &Self::Socket) -> Option<SocketAddr> {
        None
    }

    /// Sends all of `gather`. One send a connection at a time.
    fn send(&mut self, token: Token, socket: &mut Self::Socket, gather: Box<Gather>) -> Sending;

    /// Puts a send off: the whole group is begun at the first [`Io::outcome`], in which each is told of in the same
    /// order. Between the first and the last of these nothing else is asked of these connections, but what follows
    /// from an outcome of their own. Only with [`Io::TOGETHER`].
    #[allow(clippy::boxed_local)] // As with Io::send.
    fn put(&mut self, _token: Token, _socket: &mut Self::Socket, _gather: Box<Gather>) {
        unreachable!("this backend begins each send as it is asked for");
    }

    /// What became of the next send that was put off, as [`Io::send`] would have said; none: of all, it was told.
    fn outcome(&mut self) -> Option<Sending> {
        None
    }

    /// Starts what was asked for, without waiting; the reactor has sent a batch. A backend that starts
    /// each thing as it is asked for has nothing to do.
    fn flush(&mut self) {}

    /// Receiving goes on after a pause: [`Sockets::receiving`] said none for a while, and says it no more. Once
    /// listening has stopped, the next turn brings what has arrived by then, as much as one receive does: it may be the
    /// last that is answered.
    fn resume(&mut self, token: Token, socket: &mut Self::Socket);

    /// Ends our direction (TCP FIN), once everything is sent.
    fn shutdown(&mut self, token: Token, socket: &mut Self::Socket);

    /// Closes; what is in flight and what the kernel has no room for at once is given up. `reset` discards
    /// what the kernel has not sent (TCP RST).
    fn close(&mut self, token: Token, socket: Self::Socket, reset: bool);

    /// Accepts connections, or leaves them in the listeners' queues.
    fn accepting(&mut self, on: bool);

    /// Stops listening. Listeners that are `passed` on have another owner, who goes on accepting: what waits in
    /// their queues is left to it. From others that is accepted first, then they are closed.
    fn stop_listening(&mut self, passed: bool);

    /// Whether connections may still come from here, to this reactor or dealt to another: until it has stopped
    /// listening, and all that was accepted is on its way.
    fn is_source(&self) -> bool {
        false
    }
}
