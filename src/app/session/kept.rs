//! What every connection has in its slot: the session's state, packed.

use crate::{app::config::Config, engine::slots::Slots};

/// Application deadlines are kept in units of this.
const TICK_MS: u64 = 16;

/// What every connection has, in its slot. It packs to 20 bytes, so that the slot is one cache line.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub struct Session {
    /// Until when its messages are paid for (a leaky bucket), in microseconds.
    pub(super) paid_until_us: u64,
    /// Handle of its [`Member`](crate::app::members::Member) plus one; 0: no key was accepted.
    pub(super) member: u32,
    /// When [`Sessions::timer`](super::Sessions::timer) is due, in ticks; `u32::MAX`: never.
    pub(super) due_ticks: u32,
    /// Flags; above them, in [`HOST_SHIFT`], which of our hosts it dialled.
    pub(super) flags: u8,
}

/// Batching was on in its first rules.
pub(super) const BATCHING: u8 = 1;
/// A challenge is open.
pub(super) const CHALLENGED: u8 = 2;
/// Its key is proven.
pub(super) const PROVEN: u8 = 4;
/// It has strikes.
pub(super) const STRUCK: u8 = 8;
/// Its key was taken as it is.
pub(super) const KEYED: u8 = 16;
/// The three bits from here on: the position of the dialled host among ours when the connection opened, a
/// hint which to try first; or [`HOST_KEPT`].
pub(super) const HOST_SHIFT: u32 = 5;
/// The dialled host is none of ours, or far behind: [`Sessions`](super::Sessions) keeps its name.
pub(super) const HOST_KEPT: u8 = 7;

const _: () = assert!(size_of::<Session>() == 20);
// With a backend whose socket is four bytes, as in a release build.
const _: () = assert!(Slots::<u32, Session>::SLOT_BYTES == 64);

impl Default for Session {
    fn default() -> Self {
        Self { paid_until_us: 0, member: 0, due_ticks: u32::MAX, flags: 0 }
    }
}

impl Session {
    /// A connection that has just been upgraded.
    pub fn new(config: &Config, now_ms: u64) -> Self {
        let mut session = Self::default();
        if config.batching {
            session.flags |= BATCHING;
        }
        if config.auth_within_ms > 0 {
            session.set_due(now_ms.saturating_add(config.auth_within_ms));
        }
        session
    }

    pub fn batching(&self) -> bool {
        self.flags & BATCHING != 0
    }

    /// Whether what it is told is sealed.
    pub fn is_sealed(&self) -> bool {
        self.member != 0
    }

    /// The handle of its [`Member`](crate::app::members::Member).
    pub(super) fn handle(&self) -> Option<u32> {
        self.member.checked_sub(1)
    }

    pub fn is_challenged(&self) -> bool {
        self.flags & CHALLENGED != 0
    }

    pub fn is_proven(&self) -> bool {
        self.flags & PROVEN != 0
    }

    pub(super) fn host(&self) -> u8 {
        self.flags >> HOST_SHIFT
    }

    pub fn due_ms(&self) -> u64 {
        match self.due_ticks {
            u32::MAX => u64::MAX,
            ticks => u64::from(ticks) * TICK_MS,
        }
    }

    pub(super) fn set_due(&mut self, at_ms: u64) {
        self.due_ticks = u32::try_from(at_ms.div_ceil(TICK_MS)).unwrap_or(u32::MAX);
    }
}
