//! Who waits for a later turn's budget, with input or with output, goes on in order; who waits for a letter, when
//! it has come.

use super::{
    Reactor,
    core::{Core, guarded},
};
use crate::engine::{
    app::{App, Hold},
    error::Close,
    io::{Io, Token},
    slots::{AWAITS, HELD, State},
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
    pub fn hold(&mut self, token: Token, hold: Hold) {
        let Some(slot) = self.slots.get(token) else { return };
        slot.flags |= HELD;
        match hold {
            Hold::Go | Hold::Turn => return self.held.push_back(Held::new(token, self.now_ms)),
            Hold::Letter => self.parked.push_back(token),
            Hold::Change => {}
        }
        slot.flags |= AWAITS;
    }

    /// This connection awaits nothing any more: the next turn takes it up.
    fn release(&mut self, token: Token) {
        let Some(slot) = self.slots.get(token) else { return };
        slot.flags &= !AWAITS;
        self.held.push_back(Held::new(token, self.now_ms));
    }

    /// Whether it is open and its input awaits a word of the application.
    fn awaits(&mut self, token: Token) -> bool {
        self.slots.get(token).is_some_and(|slot| slot.state == State::Open && slot.flags & AWAITS != 0)
    }

    /// What the application says of this connection has changed.
    pub fn look_again<A: App<Conn = C>>(&mut self, app: &A, index: u32) {
        self.rearm(app, index);
        let Some(slot) = self.slots.at(index) else { return };
        let token = Token { index, generation: slot.generation };
        if self.awaits(token) && self.app_holds(app, token) != Hold::Change {
            self.release(token);
        }
    }

    /// Those who wait for a letter go on, in order, as far as the application lets them.
    pub fn take_up_parked<A: App<Conn = C>>(&mut self, app: &A) {
        while let Some(token) = self.parked.front().copied() {
            if self.awaits(token) {
                match self.app_holds(app, token) {
                    Hold::Letter => return,
                    Hold::Change => {}
                    Hold::Go | Hold::Turn => self.release(token),
                }
            }
            self.parked.pop_front();
        }
    }

    fn app_holds<A: App<Conn = C>>(&mut self, app: &A, token: Token) -> Hold {
        let Some(slot) = self.slots.get(token).filter(|slot| slot.state == State::Open) else {
            return Hold::Go;
        };
        guarded(&mut self.stats, || app.holds(&slot.conn)).unwrap_or(Hold::Go)
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
    /// Held input is read while the budget lasts. Whoever has waited too long for a budget, and would have to go
    /// on waiting, is closed: no other waits longer than the first.
    pub(super) fn take_up_held(&mut self) {
        let most_ms = self.core.settings.limits.login_wait_ms;
        let now_ms = self.core.now_ms as u32;
        for _ in 0..self.core.held.len() {
            let Some(Held { token, since_ms }) = self.core.held.front().copied() else { break };
            let hold = self.core.app_holds(&self.app, token);
            if hold == Hold::Turn && u64::from(now_ms.wrapping_sub(since_ms)) < most_ms {
                break;
            }
            self.core.held.pop_front();
            let Some(slot) = self.core.slots.get(token) else { continue };
            slot.flags &= !HELD;
            match hold {
                Hold::Go => self.core.take_up(&mut self.app, token),
                Hold::Turn => self.core.fail(token.index, Close::Overloaded),
                Hold::Letter | Hold::Change => self.core.hold(token, hold),
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
