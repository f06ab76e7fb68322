//! What happens when a connection's timer fires: the heartbeat, and whatever has a deadline.

use super::core::Core;
use crate::engine::{
    app::{App, ready},
    error::{Close, Refusal},
    io::Token,
    slots::{ALIVE, FRESH, HELD, PINGED, State},
    wire::Opcode,
};

impl<S, C: Default> Core<S, C> {
    /// The timer of this slot, armed for `deadline_ms`, has fired. It is armed for the nearest of several
    /// deadlines, one of which may have moved since: then nothing happens but that it is armed again.
    pub fn fired<A: App<Conn = C>>(&mut self, app: &mut A, index: u32, deadline_ms: u64) {
        let has_left = self.has_left();
        let Some(slot) = self.slots.at(index) else { return };
        let token = Token { index, generation: slot.generation };
        match slot.state {
            State::Upgrading if has_left => return self.refuse(index, Refusal::Leaving),
            State::Upgrading => return self.refuse(index, Refusal::TooSlow),
            State::Closing | State::Draining => {
                self.stats.cut += 1;
                return self.condemn(index, true);
            }
            State::Open => {}
        }
        // The timer was armed for no later than the next look; when the turn is late, both have passed.
        let look_ms = self.look_from_ms(token, deadline_ms);
        if look_ms <= self.now_ms {
            self.look(token, self.now_ms - look_ms);
        }
        let (mut message_ms, mut soft_ms) = (u64::MAX, u64::MAX);
        if let Some(slot) = self.slots.at(index) {
            let limits = &self.settings.limits;
            if let Some(partial) = self.tails.get(slot.tail).and_then(|tail| tail.partial.as_ref()) {
                message_ms = partial.started_ms().saturating_add(limits.message_ms);
            }
            if let Some(queue) = self.outbox.get(slot.queue) {
                soft_ms = queue.soft_since_ms.saturating_add(limits.queue_soft_ms);
            }
        }
        if message_ms <= self.now_ms {
            self.fail(index, Close::MessageTooSlow);
        } else if soft_ms <= self.now_ms {
            self.fail(index, Close::TooSlow);
        }
        if self.app_deadline_ms(app, index) <= self.now_ms {
            self.call(app, index, |app, link| app.timer(link));
        }
        // A deadline that the application leaves in the past may not keep this turn from ending.
        let app_ms = self.app_deadline_ms(app, index).max(self.now_ms + 1);
        let Some(slot) = self.slots.at(index) else { return };
        if slot.state == State::Open {
            let next_ms = self.next_look_ms(token).min(message_ms).min(soft_ms).min(app_ms);
            self.wheel.arm(&mut self.slots, index, next_ms);
        }
    }

    /// Once in a heartbeat: no frame since the last look, a ping; none since that either, the end. A look that
    /// comes late says nothing, since the answer to the ping may have had no time; nor does one at a
    /// connection that is not read from.
    fn look(&mut self, token: Token, late_ms: u64) {
        let is_late = late_ms > self.settings.heartbeat_ms / 2;
        let Some(slot) = self.slots.get(token) else { return };
        if slot.flags & FRESH != 0 {
            slot.flags &= !FRESH;
            // A silent connection is pinged at every other look. Had all of a storm their turn at the second,
            // their pings would come in every other heartbeat.
            if mix(token.number(), self.seed) >> 63 != 0 {
                slot.flags &= !ALIVE;
            }
        }
        if is_late || slot.flags & (ALIVE | HELD) != 0 {
            slot.flags &= !(ALIVE | PINGED);
        } else if slot.flags & PINGED != 0 {
            self.fail(token.index, Close::HeartbeatMissed);
        } else {
            slot.flags |= PINGED;
            let queue = ready(&mut slot.queue, &mut self.outbox, &mut self.dirty, token.index);
            self.outbox.push_frame(queue, Opcode::Ping, &[]);
        }
    }

    /// The heartbeat has changed: an open connection's next look may be nearer than its timer.
    pub fn arm_look(&mut self, index: u32) {
        let Some(slot) = self.slots.at(index) else { return };
        let (is_open, armed_ms) = (slot.state == State::Open, slot.timer.deadline_ms());
        let token = Token { index, generation: slot.generation };
        let look_ms = self.next_look_ms(token);
        if is_open && look_ms < armed_ms {
            self.wheel.arm(&mut self.slots, index, look_ms);
        }
    }

    /// The first look after now; `u64::MAX` without a heartbeat.
    pub fn next_look_ms(&self, token: Token) -> u64 {
        self.look_from_ms(token, self.now_ms + 1)
    }

    /// The first look at or after `from_ms`.
    fn look_from_ms(&self, token: Token, from_ms: u64) -> u64 {
        let beat_ms = self.settings.heartbeat_ms;
        if beat_ms == u64::MAX {
            return u64::MAX;
        }
        from_ms + (self.phase_ms(token) + beat_ms - from_ms % beat_ms) % beat_ms
    }

    /// The connection's own place in the heartbeat, the same for its whole life.
    fn phase_ms(&self, token: Token) -> u64 {
        mix(token.number(), self.seed) % self.settings.heartbeat_ms
    }
}

/// The finaliser of SplitMix64: neighbours end up far apart.
fn mix(number: u64, seed: u64) -> u64 {
    let mut x = number.wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
