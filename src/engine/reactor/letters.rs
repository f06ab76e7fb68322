//! What other threads tell a reactor, and what its connections tell each other.

use super::{
    DIRTY, Errand, LETTERS_KEPT, Letter, Mailbox, Reactor, VISITS,
    core::{Core, guarded, link, room},
};
use crate::engine::{
    app::{About, App, Link, Others, Reach},
    error::Close,
    inbox::{Inbox, Post},
    io::{Io, Wake},
    slots::State,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// How often the application delivers before the reactor goes on to what comes next; the rest waits until then.
const DELIVERIES: usize = 256;

/// The way to the application of a reactor.
pub struct Way<C, W>(Arc<Inbox<Letter<C>, W>>);

impl<C, W> Way<C, W> {
    pub fn new(inbox: Arc<Inbox<Letter<C>, W>>) -> Self {
        Self(inbox)
    }
}

impl<C: Send, W: Wake> Post<C> for Way<C, W> {
    fn post(&self, letter: C) -> Result<(), C> {
        match self.0.post(Letter::Command(letter)) {
            Err(Letter::Command(letter)) => Err(letter),
            _ => Ok(()),
        }
    }
}

impl<S, C: Default> Core<S, C> {
    /// Calls the application about an open connection; a panic or a wish to close is carried out.
    pub fn call<A: App<Conn = C>>(
        &mut self,
        app: &mut A,
        index: u32,
        f: impl FnOnce(&mut A, &mut Link<'_, C>),
    ) {
        let Some(slot) = self.slots.at(index).filter(|slot| slot.state == State::Open) else { return };
        let mut link = link(
            slot,
            index,
            self.now_ms,
            &mut self.outbox,
            &mut self.dirty,
            &self.locals,
            &self.gate,
            &self.settings.limits,
        );
        let done = guarded(&mut self.stats, || {
            f(app, &mut link);
            (link.closing, app.deadline_ms(link.conn))
        });
        let (closing, deadline_ms) = done.unwrap_or((Some(Close::Internal), u64::MAX));
        if let Some(close) = closing {
            self.fail(index, close);
        } else if deadline_ms < slot.timer.deadline_ms() {
            self.wheel.arm(&mut self.slots, index, deadline_ms);
        }
    }

    /// A letter for everyone.
    pub fn visited<A: App<Conn = C>>(&mut self, app: &mut A, index: u32, command: &A::Command) {
        self.call(app, index, |app, link| app.visit(link, command));
    }

    /// Calls `f` about an open connection, while the application is busy; whether it came to its end.
    pub fn visit(&mut self, index: u32, f: &mut dyn FnMut(&mut Link<'_, C>)) -> bool {
        let Some(slot) = self.slots.at(index).filter(|slot| slot.state == State::Open) else { return false };
        let mut link = link(
            slot,
            index,
            self.now_ms,
            &mut self.outbox,
            &mut self.dirty,
            &self.locals,
            &self.gate,
            &self.settings.limits,
        );
        let done = guarded(&mut self.stats, || f(&mut link));
        let closing = if done.is_none() { Some(Close::Internal) } else { link.closing };
        if let Some(close) = closing {
            self.fail(index, close);
        }
        done.is_some()
    }
}

/// The connections, lent to the application.
struct Lent<'a, S, C>(&'a mut Core<S, C>);

impl<S, C: Default> Others<C> for Lent<'_, S, C> {
    fn visit(&mut self, index: u32, f: &mut dyn FnMut(&mut Link<'_, C>)) -> bool {
        self.0.visit(index, f)
    }

    fn changed(&mut self, index: u32) {
        self.0.changed.push(index);
    }
}

impl<I: Io, A: App> Reactor<I, A> {
    /// The application learns the ways to all reactors of the server, in their order, before the first turn.
    pub fn meet(&mut self, inboxes: &[Arc<Mailbox<I, A>>]) {
        let way = |inbox: &Arc<Mailbox<I, A>>| Arc::new(Way::new(inbox.clone())) as Arc<dyn Post<_>>;
        self.app.meet(self.core.number, inboxes.iter().map(way).collect());
    }

    /// What connections have for others goes to them.
    #[inline(never)]
    pub(super) fn deliver(&mut self) {
        for _ in 0..DELIVERIES {
            let (app, core) = (&mut self.app, &mut self.core);
            if catch_unwind(AssertUnwindSafe(|| app.deliver(&mut Lent(core)))).is_err() {
                self.core.stats.panics += 1;
            }
            while let Some(index) = self.core.changed.pop() {
                self.core.look_again(&self.app, index);
            }
            if !self.app.has_letters() {
                return;
            }
            if self.core.dirty.len() >= DIRTY {
                self.core.flush(&mut self.io, &mut self.app);
                self.io.flush();
            }
        }
    }

    pub(super) fn read_letters(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        self.inbox.take(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Command(mut command) => {
                    match guarded(&mut self.core.stats, || self.app.command(&mut command)) {
                        Some(Reach::Everyone) => self.waiting.push(Errand::Command(command)),
                        Some(Reach::These(slots)) => self.describe(&slots, &command),
                        Some(Reach::Nobody) | None => {}
                    }
                }
                Letter::Settings(settings) => {
                    self.core.balance.set_room(self.core.number, room(&settings));
                    self.core.settings = settings;
                    self.waiting.push(Errand::Heartbeat);
                }
                Letter::Report(to) => self.reports.push(to),
                Letter::Drain(drain) => self.begin_drain(drain),
            }
        }
        letters.shrink_to(LETTERS_KEPT);
        self.letters = letters;
    }

    /// Tells the application about these connections.
    fn describe(&mut self, slots: &[u32], command: &A::Command) {
        let core = &mut self.core;
        for index in slots {
            let Some(slot) = core.slots.at(*index) else { continue };
            let about = About {
                peer: core.clients.get(*index).or_else(|| self.io.peer(&slot.socket)),
                since_ms: core.ages.since_ms(slot.generation),
                queue_bytes: core.outbox.get(slot.queue).map_or(0, |queue| queue.bytes()),
                state: slot.state,
            };
            guarded(&mut core.stats, || self.app.describe(&slot.conn, &about, command));
        }
    }

    /// Brings the letters for everyone to some more connections. Those that wait when a round begins go
    /// round together, so that they leave in one write; each connection gets all of them in order.
    pub(super) fn visit(&mut self) {
        if self.round.0.is_empty() {
            if self.waiting.is_empty() {
                return;
            }
            self.round = (std::mem::take(&mut self.waiting), 0);
        }
        let (mut errands, next) = std::mem::take(&mut self.round);
        let end = self.core.slots.end();
        let until = end.min(next.saturating_add(VISITS));
        for index in next..until {
            for errand in &errands {
                match errand {
                    Errand::Command(command) => self.core.visited(&mut self.app, index, command),
                    Errand::Drain => {}
                    Errand::Heartbeat => self.core.arm_look(index),
                }
            }
            self.settle(false);
        }
        if until < end {
            self.round = (errands, until);
            return;
        }
        if errands.iter().any(|errand| matches!(errand, Errand::Drain)) {
            self.begin_tour();
        }
        if self.waiting.is_empty() {
            errands.clear();
            self.waiting = errands;
        }
    }
}
