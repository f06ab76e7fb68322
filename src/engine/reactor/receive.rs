//! What happens to received bytes: an upgrade request first, messages from then on.

use super::{
    ARENA_BYTES,
    core::{ANSWER_MS, Core, Tail, guarded, link},
};
use crate::engine::{
    app::{Accept, Answer, App, Hold, ready},
    error::{Close, Refusal},
    io::Token,
    limits::Limits,
    outbox::{Form, Outbox, Shared},
    slots::{ALIVE, CLOGGED, FORWARDS, FRESH, HELD, NO_TAIL, PINGED, PROXY, REFUSE_ADDRESS, SEATED, State},
    wire::{Opcode, Reader, Received, upgrade},
};

/// Why the loop over a connection's messages ended.
enum Ends {
    /// The input is used up.
    Input,
    /// The rest waits.
    Held(Hold),
    /// The rest waits until its answers have gone.
    Clogged,
    Close(Close),
    /// The peer's close frame, with its code if it has one.
    Closed(Option<u16>),
}

impl<S, C: Default> Core<S, C> {
    /// Bytes have come for this connection.
    #[inline]
    pub fn received<A: App<Conn = C>>(&mut self, app: &mut A, token: Token, bytes: &mut [u8]) {
        let Some(slot) = self.slots.get(token) else { return };
        match slot.state {
            State::Open => self.messages(app, token, bytes),
            State::Upgrading if slot.flags & PROXY != 0 => self.proxied(app, token, bytes),
            State::Upgrading => self.head(app, token, bytes),
            // After the close nothing counts (RFC 6455 section 1.4); the close timer ends it.
            State::Closing | State::Draining => {}
        }
    }

    /// Input that was held goes on.
    pub fn take_up<A: App<Conn = C>>(&mut self, app: &mut A, token: Token) {
        let Some(slot) = self.slots.get(token) else { return };
        if slot.state != State::Open {
            return;
        }
        let Some(tail) = self.tails.get_mut(slot.tail) else { return };
        self.tail_bytes -= tail.raw.capacity() as u64;
        let mut raw = std::mem::take(&mut tail.raw);
        self.messages(app, token, &mut raw);
    }

    fn messages<A: App<Conn = C>>(&mut self, app: &mut A, token: Token, bytes: &mut [u8]) {
        let index = token.index;
        let Some(slot) = self.slots.get(token) else { return };
        let mut partial = None;
        let had_tail = slot.tail != NO_TAIL;
        if had_tail && let Some(tail) = self.tails.get_mut(slot.tail) {
            partial = tail.partial.take();
            self.tail_bytes -= partial.as_ref().map_or(0, |partial| partial.bytes()) as u64;
        }
        let fragments = partial.as_ref().map_or(0, |partial| partial.frames());
        let limits = &*self.settings.limits;
        let mut reader = Reader::new(bytes, &mut partial, limits, self.now_ms);
        let mut frames = false;
        // What one read may add to a queue, but for the answers to its last message.
        let full = self.outbox.arena_bytes() + ARENA_BYTES.min(limits.queue_soft_bytes as usize);
        let ends = loop {
            if !reader.rest().is_empty() {
                if self.outbox.arena_bytes() >= full {
                    break Ends::Clogged;
                }
                match guarded(&mut self.stats, || app.holds(&slot.conn)) {
                    Some(Hold::Go) => {}
                    Some(hold) => break Ends::Held(hold),
                    None => break Ends::Close(Close::Internal),
                }
            }
            match reader.next() {
                Ok(Some(Received::Message { kind, payload })) => {
                    frames = true;
                    self.stats.messages += 1;
                    let mut link = link(
                        slot,
                        index,
                        self.now_ms,
                        &mut self.outbox,
                        &mut self.dirty,
                        &self.locals,
                        &self.gate,
                        limits,
                    );
                    let done = guarded(&mut self.stats, || app.received(&mut link, kind, payload));
                    match (done, link.closing) {
                        (Some(()), None) => {}
                        (Some(()), Some(close)) => break Ends::Close(close),
                        (None, _) => break Ends::Close(Close::Internal),
                    }
                }
                Ok(Some(Received::Ping(payload))) => {
                    frames = true;
                    if !pay_for_control(&mut slot.controls_until_ms, self.now_ms, limits) {
                        break Ends::Close(Close::TooManyControls);
                    }
                    let queue = ready(&mut slot.queue, &mut self.outbox, &mut self.dirty, index);
                    self.outbox.push_frame(queue, Opcode::Pong, payload);
                }
                Ok(Some(Received::Pong(_))) => {
                    frames = true;
                    // The answer to our ping is free; one that nobody asked for is not.
                    if slot.flags & PINGED != 0 {
                        slot.flags &= !PINGED;
                    } else if !pay_for_control(&mut slot.controls_until_ms, self.now_ms, limits) {
                        break Ends::Close(Close::TooManyControls);
                    }
                }
                Ok(Some(Received::Close(code))) => break Ends::Closed(code),
                Ok(None) => break Ends::Input,
                Err(close) => break Ends::Close(close),
            }
        };
        let rest =
            if matches!(ends, Ends::Held(_) | Ends::Clogged) { reader.rest().to_vec() } else { Vec::new() };
        // A fragment is a frame too.
        if frames || partial.as_ref().is_some_and(|partial| partial.frames() > fragments) {
            slot.flags |= ALIVE;
        }
        if partial.is_some() || !rest.is_empty() {
            let tail = Tail { partial, raw: rest };
            self.tail_bytes += tail.bytes() as u64;
            let started_ms = tail.partial.as_ref().map(|partial| partial.started_ms());
            match self.tails.get_mut(slot.tail) {
                Some(kept) => *kept = tail,
                None => slot.tail = self.tails.insert(tail),
            }
            let deadline_ms = started_ms.map_or(u64::MAX, |at| at.saturating_add(limits.message_ms));
            if deadline_ms < slot.timer.deadline_ms() {
                self.wheel.arm(&mut self.slots, index, deadline_ms);
            }
        } else if had_tail {
            let tail = std::mem::replace(&mut slot.tail, NO_TAIL);
            self.drop_tail(tail);
        }
        match ends {
            Ends::Input => self.rearm(app, index),
            Ends::Held(hold) => {
                if let Some(slot) = self.slots.at(index) {
                    slot.flags |= ALIVE;
                    self.hold(token, hold);
                }
                self.rearm(app, index);
            }
            Ends::Clogged => {
                if let Some(slot) = self.slots.at(index) {
                    slot.flags |= HELD | CLOGGED | ALIVE;
                    // The flush sees when it goes on.
                    ready(&mut slot.queue, &mut self.outbox, &mut self.dirty, index);
                }
                self.rearm(app, index);
            }
            Ends::Close(close) => self.fail(index, close),
            Ends::Closed(code) => {
                let answer = code.map(u16::to_be_bytes);
                if self.say_close(index, answer.as_ref().map_or(&[], |code| &code[..])) {
                    self.stats.farewell(code);
                }
            }
        }
    }

    /// The application's deadline may have come nearer.
    #[inline]
    pub fn rearm<A: App<Conn = C>>(&mut self, app: &A, index: u32) {
        let deadline_ms = self.app_deadline_ms(app, index);
        if let Some(slot) = self.slots.at(index)
            && deadline_ms < slot.timer.deadline_ms()
        {
            self.wheel.arm(&mut self.slots, index, deadline_ms);
        }
    }

    /// Bytes of an upgrade request. A head that comes in one piece is not copied.
    fn head<A: App<Conn = C>>(&mut self, app: &mut A, token: Token, bytes: &mut [u8]) {
        let Some(slot) = self.slots.get(token) else { return };
        let limits = &self.settings.limits;
        let most = limits.head_bytes as usize;
        let Some(tail) = self.tails.get_mut(slot.tail) else {
            match upgrade::find_end(bytes, 0) {
                Some(end) if end <= most => self.upgrade(app, token, bytes, end),
                _ => match upgrade::feed(bytes, 0, limits) {
                    Ok(_) => {
                        let tail = Tail { partial: None, raw: bytes.to_vec() };
                        self.tail_bytes += tail.bytes() as u64;
                        slot.tail = self.tails.insert(tail);
                    }
                    Err(refusal) => self.refuse(token.index, refusal),
                },
            }
            return;
        };
        let (held, searched) = (tail.raw.capacity() as u64, tail.raw.len());
        tail.raw.extend_from_slice(bytes);
        self.tail_bytes = self.tail_bytes - held + tail.raw.capacity() as u64;
        match upgrade::find_end(&tail.raw, searched) {
            Some(end) if end <= most => {
                let tail = std::mem::replace(&mut slot.tail, NO_TAIL);
                let Some(Tail { mut raw, .. }) = self.tails.try_remove(tail) else { return };
                self.tail_bytes -= raw.capacity() as u64;
                self.upgrade(app, token, &mut raw, end);
            }
            // Not whole, or too long: what is wrong with it already is said now.
            _ => {
                if let Err(refusal) = upgrade::feed(&tail.raw, searched, limits) {
                    self.refuse(token.index, refusal);
                }
            }
        }
    }

    fn upgrade<A: App<Conn = C>>(&mut self, app: &mut A, token: Token, bytes: &mut [u8], end: usize) {
        let index = token.index;
        let Some(slot) = self.slots.get(token) else { return };
        let (head, rest) = bytes.split_at_mut(end);
        let request = match upgrade::parse(head, &self.settings.limits) {
            Ok(request) => request,
            Err(refusal) => return self.answer_or_refuse(app, index, head, refusal),
        };
        if slot.flags & SEATED == 0 {
            let refusal = no_seat(slot.flags);
            return self.refuse(index, refusal);
        }
        let forwards = slot.flags & FORWARDS != 0;
        if self.has_left() {
            return self.refuse(index, Refusal::Leaving);
        }
        if forwards && !self.forwarded(token, &request) {
            return self.refuse_address(index);
        }
        let Some(slot) = self.slots.get(token) else { return };
        let accept = guarded(&mut self.stats, || app.upgrade(&request));
        let Accept { conn, subprotocol } = match accept.unwrap_or(Err(Refusal::Broken)) {
            Ok(accept) => accept,
            Err(refusal) => return self.refuse(index, refusal),
        };
        slot.conn = conn;
        self.stats.pass(&mut slot.state, State::Open);
        slot.flags |= ALIVE | FRESH;
        let queue = ready(&mut slot.queue, &mut self.outbox, &mut self.dirty, index);
        self.outbox.push_raw(queue, |response| upgrade::accept(response, request.key, subprotocol));
        let look_ms = self.next_look_ms(token);
        self.wheel.arm(&mut self.slots, index, look_ms);
        self.call(app, index, |app, link| app.opened(link));
        if !rest.is_empty() {
            self.received(app, token, rest);
        }
    }

    /// A head that is no upgrade request: the application may have an answer to it.
    #[cold]
    fn answer_or_refuse<A: App<Conn = C>>(&mut self, app: &mut A, index: u32, head: &[u8], refusal: Refusal) {
        let Some(slot) = self.slots.at(index) else { return };
        let flags = slot.flags;
        let may_be_plain = matches!(refusal, Refusal::NoUpgrade | Refusal::NotGet);
        let plain = may_be_plain.then(|| upgrade::plain(head, &self.settings.limits)).flatten();
        let Some(plain) = plain else { return self.refuse(index, refusal) };
        match guarded(&mut self.stats, || app.plain(&plain)) {
            None => self.refuse(index, Refusal::Broken),
            Some(None) => self.refuse(index, refusal),
            Some(Some(_)) if flags & SEATED == 0 => self.refuse(index, no_seat(flags)),
            Some(Some(_)) if self.has_left() => self.refuse(index, Refusal::Leaving),
            Some(Some(answer)) => self.answer(index, answer),
        }
    }

    /// Sends an answer, and ends.
    fn answer(&mut self, index: u32, Answer { head, body }: Answer) {
        let Some(slot) = self.slots.at(index) else { return };
        let queue = ready(&mut slot.queue, &mut self.outbox, &mut self.dirty, index);
        self.outbox.push_raw(queue, |out| out.extend_from_slice(&head));
        if !body.is_empty() {
            self.outbox.push_shared(queue, Form::Frame, &Shared::verbatim(body));
        }
        self.start_closing(index);
        // A refusal fits into one packet; this may take a slow line longer.
        let until_ms = self.now_ms + ANSWER_MS;
        if self.slots.at(index).is_some_and(|slot| slot.timer.deadline_ms() < until_ms) {
            self.wheel.arm(&mut self.slots, index, until_ms);
        }
    }

    /// Answers an upgrade request with a refusal, and ends.
    pub fn refuse(&mut self, index: u32, refusal: Refusal) {
        let Some(slot) = self.slots.at(index) else { return };
        debug_assert!(slot.queue == Outbox::NONE);
        let queue = ready(&mut slot.queue, &mut self.outbox, &mut self.dirty, index);
        self.outbox.push_raw(queue, |response| upgrade::refuse(response, refusal));
        self.stats.refusals[refusal as usize] += 1;
        self.start_closing(index);
    }
}

/// Why a connection with these flags has no seat.
fn no_seat(flags: u8) -> Refusal {
    if flags & REFUSE_ADDRESS != 0 { Refusal::AddressFull } else { Refusal::Full }
}

/// Takes one control frame from the connection's allowance (a leaky bucket); false when it is empty.
fn pay_for_control(until_ms: &mut u32, now_ms: u64, limits: &Limits) -> bool {
    if limits.control_per_s == u32::MAX {
        return true;
    }
    let now = now_ms as u32;
    let each_ms = 1_000 / limits.control_per_s.clamp(1, 1_000);
    let burst_ms = each_ms.saturating_mul(limits.control_burst).min(u32::MAX / 4);
    let mut ahead = until_ms.wrapping_sub(now);
    if ahead > burst_ms {
        // Long ago, seen through the wrap.
        ahead = 0;
    }
    *until_ms = now.wrapping_add(ahead + each_ms);
    ahead + each_ms <= burst_ms
}
