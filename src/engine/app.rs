//! What the engine asks of an application, and what an application can do to one connection.

use super::{
    error::{Close, Refusal},
    gate::Gate,
    inbox::Post,
    io::Token,
    limits::Limits,
    outbox::{Form, Gather, Outbox, Run, Shared},
    slots::State,
    wire::{
        Kind, Opcode,
        upgrade::{Plain, Request},
    },
};
use bytes::Bytes;
use std::{net::SocketAddr, sync::Arc};

/// An application on the engine. One value a reactor; nothing of it is shared between cores.
///
/// A panic in any of these closes that connection with 1011 and is counted; the reactor goes on.
pub trait App {
    /// What the application keeps in the slot of every connection: keep it small.
    type Conn: Default;
    /// What other threads can tell it through the reactor's inbox.
    type Command: Send + 'static;

    /// A turn begins: budgets are new.
    fn turn(&mut self, _now_ms: u64) {}

    /// A well-formed upgrade request.
    ///
    /// # Errors
    /// The refusal that is answered.
    fn upgrade(&mut self, request: &Request<'_>) -> Result<Accept<Self::Conn>, Refusal>;

    /// A well-formed request that asks for no upgrade; none: it is refused as a broken upgrade.
    fn plain(&mut self, _request: &Plain<'_>) -> Option<Answer> {
        None
    }

    /// The 101 is queued; what is queued here goes out with it.
    fn opened(&mut self, _link: &mut Link<'_, Self::Conn>) {}

    /// Whether this connection's next message must wait, and for what. Asked before each.
    #[inline]
    fn holds(&self, _conn: &Self::Conn) -> Hold {
        Hold::Go
    }

    /// A whole message. Text is valid UTF-8; the bytes may be changed in place.
    fn received(&mut self, link: &mut Link<'_, Self::Conn>, kind: Kind, payload: &mut [u8]);

    /// When [`App::timer`] is to be called, in milliseconds of reactor time; `u64::MAX`: never.
    #[inline]
    fn deadline_ms(&self, _conn: &Self::Conn) -> u64 {
        u64::MAX
    }

    /// The deadline has come.
    fn timer(&mut self, _link: &mut Link<'_, Self::Conn>) {}

    /// A letter from another thread; [`Reach::Everyone`] has it brought to every open connection by
    /// [`App::visit`], some each turn. What it takes out of a letter for nobody need not be copied.
    fn command(&mut self, _command: &mut Self::Command) -> Reach {
        Reach::Nobody
    }

    /// A letter for everyone has come to this connection.
    fn visit(&mut self, _link: &mut Link<'_, Self::Conn>, _command: &Self::Command) {}

    /// A letter has come that asks about some connections ([`Reach::These`]): this is one of them.
    fn describe(&mut self, _conn: &Self::Conn, _about: &About, _command: &Self::Command) {}

    /// Takes part in a server of several reactors, as number `number`; `ways` lead to all of them, in their
    /// order. Before the first connection.
    fn meet(&mut self, _number: usize, _ways: Vec<Arc<dyn Post<Self::Command>>>) {}

    /// Whether something waits for [`App::deliver`]. Asked often.
    #[inline]
    fn has_letters(&self) -> bool {
        false
    }

    /// Brings what one connection, or a letter, has for others to them: some of it, so that what was queued can
    /// be flushed in between.
    fn deliver(&mut self, _others: &mut dyn Others<Self::Conn>) {}

    /// A turn ends: what is for other threads goes there now. When another turn is wanted at the latest, in
    /// milliseconds of reactor time; `u64::MAX`: not by itself.
    fn end_turn(&mut self, _now_ms: u64) -> u64 {
        u64::MAX
    }

    /// Figures of the application's own, each always at the same place, for who watches the server.
    fn figures(&self) -> [u64; FIGURES] {
        [0; FIGURES]
    }

    /// [`App::flush`] is about to be called for this connection and others: reads a little of what it needs from
    /// memory, so that the caches have it then.
    #[inline]
    fn touch(&self, _conn: &Self::Conn) {}

    /// Turns a run of messages that carry the same mark into frames: appends whole frames to
    /// `out.bytes` and advances the run. It is called again while messages are left.
    ///
    /// # Errors
    /// [`Later`]: the budget of this turn is spent; nothing was taken, ask again next turn.
    fn flush(&mut self, _conn: &mut Self::Conn, run: &mut Run<'_>, _out: &mut Gather) -> Result<(), Later> {
        while run.peek().is_some() {
            run.advance();
        }
        Ok(())
    }

    /// It takes part no more: a close frame is queued behind all it is told, or its upgrade was refused. The
    /// queue is still flushed, and [`App::closed`] follows; not called for one that just breaks.
    fn closing(&mut self, _conn: &mut Self::Conn) {}

    /// The connection is gone; `number` is its [`Token::number`].
    fn closed(&mut self, _conn: Self::Conn, _number: u64) {}
}

/// An accepted upgrade.
pub struct Accept<C> {
    pub conn: C,
    /// One of those the client offered.
    pub subprotocol: Option<&'static str>,
}

/// The answer to a request that asks for no upgrade; the connection ends behind it, or is reset if it is not read
/// within 10 s.
pub struct Answer {
    /// Status line to empty line; it says `Connection: close`.
    pub head: Vec<u8>,
    /// Shared by all to whom it is sent.
    pub body: Bytes,
}

/// How many figures an application may have.
pub const FIGURES: usize = 32;

/// Whom a command reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    Nobody,
    Everyone,
    /// The connections in these slots, each by [`App::describe`]; at once, so few.
    These(Vec<u32>),
}

/// What the engine knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The client's address, also behind a trusted proxy; then the port may be 0, which is not known.
    pub peer: Option<SocketAddr>,
    /// When it began, in milliseconds of reactor time, to about a second.
    pub since_ms: u64,
    pub queue_bytes: u32,
    pub state: State,
}

/// The connections of a reactor, while none of them is being talked about.
pub trait Others<C> {
    /// Calls `f` about the connection in this slot, if it is open; whether it was, and `f` came to its end. A panic
    /// in it closes that connection alone.
    fn visit(&mut self, index: u32, f: &mut dyn FnMut(&mut Link<'_, C>)) -> bool;

    /// What [`App::deadline_ms`] or [`App::holds`] say of this connection has changed.
    fn changed(&mut self, index: u32);
}

/// What a connection's next message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing.
    Go,
    /// A later turn's budget. Whoever waits longer than `login_wait_ms` is closed.
    Turn,
    /// A letter that ends the waiting of everybody who waits for it.
    Letter,
    /// [`Others::changed`] for this connection alone.
    Change,
}

/// Not in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later;

/// One connection, as the application sees it during a call.
pub struct Link<'a, C> {
    pub conn: &'a mut C,
    /// Milliseconds since the reactor started.
    pub now_ms: u64,
    pub token: Token,
    pub(super) queue: &'a mut u32,
    pub(super) outbox: &'a mut Outbox,
    pub(super) dirty: &'a mut Vec<u32>,
    pub(super) locals: &'a [SocketAddr],
    pub(super) local: u16,
    pub(super) gate: &'a Gate,
    pub(super) address: u32,
    pub(super) limits: &'a Limits,
    pub(super) closing: Option<Close>,
}

impl<C> Link<'_, C> {
    /// Queues a message that `write` encodes, for [`App::flush`] to close with others of the same mark.
    pub fn message(&mut self, mark: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let queue = self.queue();
        self.outbox.push_message(queue, mark, write);
    }

    /// Queues a message that `write` encodes, as a frame of its own.
    pub fn encoded_frame(&mut self, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
        let queue = self.queue();
        self.outbox.push_encoded_frame(queue, opcode, write);
    }

    /// Queues a frame.
    #[inline]
    pub fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let queue = self.queue();
        self.outbox.push_frame(queue, opcode, payload);
    }

    /// Queues what others get too.
    pub fn share(&mut self, form: Form, shared: &Arc<Shared>) {
        let queue = self.queue();
        self.outbox.push_shared(queue, form, shared);
    }

    /// Closes the connection once what is queued has been sent. The first reason counts.
    pub fn close(&mut self, close: Close) {
        self.closing.get_or_insert(close);
    }

    /// Whether [`Link::close`] was called: nothing more is to be said.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// The address that the peer connected to, where the backend can tell.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.locals.get(usize::from(self.local)).copied()
    }

    /// Counts a login of the peer's address.
    ///
    /// # Errors
    /// Over the rate: milliseconds until it may try again.
    pub fn count_login(&self) -> Result<(), u64> {
        self.gate.login(self.address, self.now_ms, self.limits)
    }

    #[inline]
    fn queue(&mut self) -> u32 {
        self.outbox.messages += 1;
        ready(self.queue, self.outbox, self.dirty, self.token.index)
    }
}

/// The connection's queue, opened if there is none, and in the list of those to flush.
#[inline]
pub(super) fn ready(queue: &mut u32, outbox: &mut Outbox, dirty: &mut Vec<u32>, index: u32) -> u32 {
    if *queue == Outbox::NONE {
        *queue = outbox.open();
    }
    if let Some(held) = outbox.get(*queue)
        && !held.dirty
    {
        held.dirty = true;
        dirty.push(index);
    }
    *queue
}
