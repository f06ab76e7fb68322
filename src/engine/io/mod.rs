//! The seam between the reactor and the kernel, shaped like completions: the reactor asks for things and
//! is told what became of them. A readiness interface (mio) fits behind it, and so does io_uring.
//!
//! Received bytes are lent from a buffer of the backend, so that no connection owns one. Bytes to be
//! sent are handed over whole ([`Gather`]) and come back when the kernel is done with them, so that nobody
//! can free or change what is in flight.

pub mod epoll;
pub mod memory;

use super::outbox::Gather;
use std::{io, net::SocketAddr, num::NonZeroU32, time::Duration};

/// Names a connection: the index of its slot and a generation that no other holder of that slot had.
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

/// What the reactor stores of a connection on behalf of its backend; at most 4 bytes in a release build.
pub trait Socket {
    /// The address the peer connected to, where the backend can tell.
    fn local_addr(&self) -> Option<SocketAddr>;
}

/// The reactor's slots, as a backend sees them.
pub trait Sockets<S> {
    /// The socket of a connection that wants bytes; none when the token is stale or receiving is paused.
    fn receiving(&mut self, token: Token) -> Option<&mut S>;
    /// The socket of a connection; none when the token is stale.
    fn socket(&mut self, token: Token) -> Option<&mut S>;
}

/// What the kernel has done.
#[derive(Debug)]
pub enum Completion<'a, S> {
    /// A new connection. It receives nothing before [`Io::open`].
    Accepted { listener: usize, socket: S, peer: SocketAddr },
    /// No connection could be accepted for want of something (descriptors, memory). Ask again with
    /// [`Io::accepting`] when there may be room; nothing else will.
    AcceptFailed(io::Error),
    /// Bytes from the peer, at least one. They may be changed in place; the loan ends with the next call.
    Received { token: Token, bytes: &'a mut [u8] },
    /// The peer sends no more, or the connection is broken.
    Ended { token: Token, result: io::Result<()> },
    /// A send that was [`Sending::Pending`]: how many bytes of the rest the kernel took.
    Sent { token: Token, gather: Gather, result: io::Result<usize> },
    /// [`Wake::wake`] was called, once or more often.
    Woken,
}

/// What became of [`Io::send`].
#[derive(Debug)]
pub enum Sending {
    /// The kernel has taken that many bytes, perhaps fewer than all.
    Done(Gather, io::Result<usize>),
    /// The kernel has taken that many bytes and the backend keeps the rest; a [`Completion::Sent`] follows
    /// unless the connection is closed first.
    Pending(usize),
}

/// Wakes a sleeping reactor from another thread.
pub trait Wake: Clone + Send + Sync + 'static {
    fn wake(&self);
}

/// One core's way to the kernel.
pub trait Io {
    type Socket: Socket;
    type Waker: Wake;

    fn waker(&self) -> Self::Waker;

    /// Sleeps until something is there for [`Io::next`], or until `timeout` is over (none: for ever).
    ///
    /// # Errors
    /// The backend itself is broken; being interrupted is no error.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// The next completion of this turn; none ends the turn. A connection with much to read is served
    /// once a turn, so that it can't starve others.
    fn next(&mut self, sockets: &mut impl Sockets<Self::Socket>) -> Option<Completion<'_, Self::Socket>>;

    /// Starts receiving.
    ///
    /// # Errors
    /// The kernel has no room to watch one more socket.
    fn open(&mut self, token: Token, socket: &mut Self::Socket) -> io::Result<()>;

    /// Sends all of `gather`. One send a connection at a time.
    fn send(&mut self, token: Token, socket: &mut Self::Socket, gather: Gather) -> Sending;

    /// Receiving goes on after a pause: [`Sockets::receiving`] said none for a while, and says it no more.
    fn resume(&mut self, token: Token, socket: &mut Self::Socket);

    /// Ends our direction (TCP FIN), once everything is sent.
    fn shutdown(&mut self, token: Token, socket: &mut Self::Socket);

    /// Closes, and forgets what was in flight; `reset` discards what the kernel has not sent (TCP RST).
    fn close(&mut self, token: Token, socket: Self::Socket, reset: bool);

    /// Accepts connections, or leaves them in the listeners' queues.
    fn accepting(&mut self, on: bool);

    /// Closes the listeners.
    fn stop_listening(&mut self);
}
