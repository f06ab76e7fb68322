//! How bytes are handed to the backend: one connection's, or a group's where it begins their sends together, so that
//! what became of each is known after the last.

use super::core::{Core, GROUP, Ready};
use crate::engine::{
    app::App,
    io::{Io, Sending, Token},
    outbox::Gather,
};

impl<S, C: Default> Core<S, C> {
    /// As [`Core::hand_over`], for each of the group.
    pub fn hand_over_together<I: Io<Socket = S>, A: App<Conn = C>>(
        &mut self,
        io: &mut I,
        app: &mut A,
        group: &mut Vec<Ready>,
    ) {
        const { assert!(GROUP <= u32::BITS as usize) };
        // Who has nothing to send stays, for the rest of the flush.
        let mut put = 0_u32;
        for (number, ready) in group.iter_mut().enumerate() {
            if let Some(slot) = self.slots.at(ready.index)
                && let Some(gather) = ready.gather.take()
            {
                let token = Token { index: ready.index, generation: slot.generation };
                io.put(token, &mut slot.socket, gather);
                put |= 1 << number;
            }
        }
        for (number, ready) in group.drain(..).enumerate() {
            let index = ready.index;
            let has_more = put & 1 << number != 0 && self.told(io, index) && !ready.later;
            match has_more.then(|| self.make_ready(app, index)) {
                Some(Some(more)) => self.hand_over(io, app, more),
                Some(None) => {}
                None => self.after_flush(io, app, index, ready.stuck),
            }
        }
    }

    /// Hands bytes to the backend; true when the kernel took them all at once and more is queued.
    pub fn submit<I: Io<Socket = S>>(&mut self, io: &mut I, index: u32, mut gather: Box<Gather>) -> bool {
        let Some(slot) = self.slots.at(index) else { return false };
        let token = Token { index, generation: slot.generation };
        loop {
            match io.send(token, &mut slot.socket, gather) {
                Sending::Done(done, Ok(sent)) if sent > 0 => match self.outbox.sent(slot.queue, done, sent) {
                    None => return self.outbox.get(slot.queue).is_some_and(|queue| !queue.is_drained()),
                    Some(rest) => gather = rest,
                },
                Sending::Done(..) => {
                    self.condemn(index, false);
                    return false;
                }
                Sending::Pending(sent) => {
                    self.outbox.taken(slot.queue, sent);
                    return false;
                }
            }
        }
    }

    /// What became of the next send of the group; true when the kernel took it all and more is queued.
    fn told<I: Io<Socket = S>>(&mut self, io: &mut I, index: u32) -> bool {
        let outcome = io.outcome();
        let Some(slot) = self.slots.at(index) else { return false };
        match outcome {
            Some(Sending::Done(done, Ok(sent))) if sent > 0 => match self.outbox.sent(slot.queue, done, sent)
            {
                None => self.outbox.get(slot.queue).is_some_and(|queue| !queue.is_drained()),
                Some(rest) => self.submit(io, index, rest),
            },
            Some(Sending::Pending(sent)) => {
                self.outbox.taken(slot.queue, sent);
                false
            }
            Some(Sending::Done(..)) | None => {
                self.condemn(index, false);
                false
            }
        }
    }
}
