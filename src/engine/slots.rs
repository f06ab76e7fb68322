//! The connections of one reactor: slots in chunks, each with a generation.

use super::{
    chunks::Chunks,
    io::{Sockets, Token, Wants},
    outbox::Outbox,
    timer::{Link, Links},
};
use std::num::NonZeroU32;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The upgrade request is not complete.
    Upgrading,
    Open,
    /// A close frame or an HTTP refusal is queued; what the peer sends is dropped.
    Closing,
    /// All is sent and our direction shut: waiting for the peer's end.
    Draining,
}

impl State {
    /// In the order of life.
    pub const ALL: [State; 4] = [State::Upgrading, State::Open, State::Closing, State::Draining];

    pub const fn name(self) -> &'static str {
        match self {
            State::Upgrading => "upgrading",
            State::Open => "open",
            State::Closing => "closing",
            State::Draining => "draining",
        }
    }
}

/// What a connection always has. What only some need lives in side slabs behind 4-byte handles.
#[derive(Debug)]
pub struct Slot<S, C> {
    pub generation: NonZeroU32,
    pub socket: S,
    pub timer: Link,
    /// Handle of its queue in the outbox, or [`Outbox::NONE`].
    pub queue: u32,
    /// Handle of its [`Tail`](super::reactor) or [`NO_TAIL`].
    pub tail: u32,
    /// Handle in the gate.
    pub address: u32,
    /// Until when its control frames are paid for (GCRA), in wrapping milliseconds.
    pub controls_until_ms: u32,
    /// Index of our address, in the reactor.
    pub local: u16,
    pub state: State,
    pub flags: u8,
    pub conn: C,
}

pub const NO_TAIL: u32 = u32::MAX;

/// A frame came since the last look.
pub const ALIVE: u8 = 1;
/// While it is upgrading, the same bit: its peer is a proxy, and its first bytes may be a PROXY header.
pub const PROXY: u8 = 1;
/// A ping went out at the last look.
pub const PINGED: u8 = 2;
/// While it is upgrading, the same bit: its peer is a proxy, and its X-Forwarded-For counts.
pub const FORWARDS: u8 = 2;
/// It is [`HELD`] until its queue is not above the soft limit, and in no list.
pub const CLOGGED: u8 = 4;
/// While it is upgrading: refuse it, this address has its share.
pub const REFUSE_ADDRESS: u8 = 8;
/// While it is open, the same bit: nobody has looked at it yet.
pub const FRESH: u8 = 8;
/// It waits in the list of held connections, or is [`CLOGGED`], and nothing is read from it.
pub const HELD: u8 = 16;
/// The peer has sent its end.
pub const ENDED: u8 = 32;
/// While it is open, the same bit: it is [`HELD`] until the application says that it goes on.
pub const AWAITS: u8 = 32;
/// The application knows that it is closing.
pub const LEFT: u8 = 64;
/// It has a seat in the balance; one without is only there to be refused.
pub const SEATED: u8 = 128;

/// A chunk of slots is 64 KiB.
const BITS: u32 = 10;

/// All slots of a reactor.
pub struct Slots<S, C> {
    slots: Chunks<Slot<S, C>, BITS>,
    generation: NonZeroU32,
    /// Completions for connections that were gone already.
    pub stale: u64,
}

impl<S, C> Default for Slots<S, C> {
    fn default() -> Self {
        Self { slots: Chunks::new(), generation: NonZeroU32::MIN, stale: 0 }
    }
}

impl<S, C: Default> Slots<S, C> {
    /// Bytes that a connection takes.
    pub const SLOT_BYTES: usize = Chunks::<Slot<S, C>, BITS>::VALUE_BYTES;

    /// Puts a new connection into a free slot, a low one.
    pub fn insert(&mut self, socket: S, address: u32, flags: u8) -> Token {
        // Stamped from one counter: a slot that is used again can't repeat a generation soon.
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let generation = self.generation;
        let index = self.slots.insert(Slot {
            generation,
            socket,
            timer: Link::default(),
            queue: Outbox::NONE,
            tail: NO_TAIL,
            address,
            controls_until_ms: 0,
            local: u16::MAX,
            state: State::Upgrading,
            flags,
            conn: C::default(),
        });
        Token { index, generation }
    }

    pub fn remove(&mut self, index: u32) -> Option<Slot<S, C>> {
        self.slots.try_remove(index)
    }

    /// The slot of a connection that is still there.
    pub fn get(&mut self, token: Token) -> Option<&mut Slot<S, C>> {
        match self.slots.get_mut(token.index) {
            Some(slot) if slot.generation == token.generation => Some(slot),
            _ => {
                self.stale += 1;
                None
            }
        }
    }

    pub fn at(&mut self, index: u32) -> Option<&mut Slot<S, C>> {
        self.slots.get_mut(index)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first connection of which this is true: a search, for when memory is short.
    pub fn find(&self, is: impl Fn(&Slot<S, C>) -> bool) -> Option<u32> {
        self.slots.iter().find(|(_, slot)| is(slot)).map(|(index, _)| index)
    }

    /// One more than the highest index in use.
    pub fn end(&self) -> u32 {
        self.slots.end()
    }
}

impl<S, C> Links for Slots<S, C> {
    fn link(&mut self, index: u32) -> &mut Link {
        // The core disarms a timer before it frees the slot.
        &mut self.slots.get_mut(index).expect("a slot in the wheel is there").timer
    }
}

impl<S, C: Default> Sockets<S> for Slots<S, C> {
    #[inline]
    fn look_up(&mut self, token: Token) -> Option<(&mut S, Wants)> {
        self.get(token).map(|slot| {
            let wants = match slot.state {
                _ if slot.flags & HELD != 0 => Wants::Nothing,
                State::Closing | State::Draining => Wants::End,
                State::Upgrading | State::Open => Wants::Bytes,
            };
            (&mut slot.socket, wants)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_outlives_its_connection_harmlessly() {
        let mut slots: Slots<u32, ()> = Slots::default();
        let old = slots.insert(7, 0, 0);
        slots.remove(old.index);
        let new = slots.insert(8, 0, 0);
        assert_eq!(old.index, new.index);
        assert!(slots.get(old).is_none());
        assert_eq!((slots.get(new).map(|slot| slot.socket), slots.stale), (Some(8), 1));
    }
}
