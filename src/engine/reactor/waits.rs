//! Who waits for a later turn's budget, with input or with output, goes on in order.

use super::{
    Reactor,
    core::{Core, guarded},
};
use crate::engine::{
    app::App,
    error::Close,
    io::{Io, Token},
    slots::{HELD, State},
};

/// A connection whose input waits.
#[derive(Clone, Copy)]
pub struct Held {
    pub token: Token,
    /// Since when, in wrapping milliseconds.
    since_ms: u32,
}

impl Held {
    pub fn new(token: Token, now_ms: u64) -> Self {
        Self { token, since_ms: now_ms as u32 }
    }
}

impl<S, C: Default> Core<S, C> {
    /// Nothing is read from this connection until it has been taken up.
    pub fn hold(&mut self, token: Token) {
        self.held.push_back(Held::new(token, self.now_ms));
    }

    /// Flushes go on while the budget lasts; who is told to wait once more stays first.
    pub fn take_up_later<I: Io<Socket = S>, A: App<Conn = C>>(&mut self, io: &mut I, app: &mut A) {
        for _ in 0..self.later.len() {
            let Some(token) = self.later.pop_front() else { break };
            let Some(slot) = self.slots.get(token) else { continue };
            let Some(queue) = self.outbox.get(slot.queue) else { continue };
            if !std::mem::take(&mut queue.later) {
                continue;
            }
            self.flush_one(io, app, token.index);
            if self.waits(token) {
                self.later.pop_back();
                self.later.push_front(token);
                break;
            }
        }
    }

    fn waits(&mut self, token: Token) -> bool {
        let Some(slot) = self.slots.get(token) else { return false };
        self.outbox.get(slot.queue).is_some_and(|queue| queue.later)
    }
}

impl<I: Io, A: App> Reactor<I, A> {
    /// Held input is read while the budget lasts. Whoever has waited too long, and would have to go on
    /// waiting, is closed: no other waits longer than the first.
    pub(super) fn take_up_held(&mut self) {
        let most_ms = self.core.settings.limits.login_wait_ms;
        let now_ms = self.core.now_ms as u32;
        for _ in 0..self.core.held.len() {
            let Some(Held { token, since_ms }) = self.core.held.front().copied() else { break };
            let mut waits = false;
            if let Some(slot) = self.core.slots.get(token)
                && slot.state == State::Open
            {
                waits = guarded(&mut self.core.stats, || self.app.holds(&slot.conn)) == Some(true);
            }
            if waits && u64::from(now_ms.wrapping_sub(since_ms)) < most_ms {
                break;
            }
            self.core.held.pop_front();
            let Some(slot) = self.core.slots.get(token) else { continue };
            slot.flags &= !HELD;
            match waits {
                true => self.core.fail(token.index, Close::Overloaded),
                false => self.core.take_up(&mut self.app, token),
            }
            if let Some(slot) = self.core.slots.get(token)
                && slot.flags & HELD == 0
            {
                self.io.resume(token, &mut slot.socket);
            }
            self.settle(false);
        }
    }
}
