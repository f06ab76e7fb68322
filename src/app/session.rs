//! One client's state: what it may ask, what it is answered, and when it has to be gone. A state machine
//! that is given a message or a time and says things through [`Answers`]; it owns no socket, clock or
//! generator (PROTOCOL.md sections 2 to 5).

use super::{
    config::Config,
    crypto::{key::Identity, rng::Rng, seal::Epoch},
    figures::Figures,
    members::Members,
    protocol::{
        decode::Message,
        encode::{self, Rules},
        event::{self, ErrorCode, Event},
    },
    relay::{Online, Relay, Subscribers},
};
use crate::engine::{
    app::Hold,
    chunks::{Chunks, is_oversized},
    error::Close,
    io::Token,
    outbox::Shared,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

mod kept;
mod login;
mod mailing;
mod repeats;
mod windows;

pub use self::kept::Session;
use self::{
    kept::{HOST_KEPT, HOST_SHIFT, KEYED, PROVEN, STRUCK},
    login::Login,
    repeats::Repeats,
    windows::Windows,
};

/// Public-key work that one turn may do, in microseconds, and what each kind is reckoned at.
pub const VERIFY_US: u32 = 35;
pub const DERIVE_US: u32 = 65;

const MINUTE_US: u64 = 60_000_000;

/// What a session may ask for: so many of these.
fn perms(session: &Session, config: &Config) -> ([&'static str; 5], usize) {
    let (mut perms, mut count) = (["metadata"; 5], 1);
    let auth = (session.flags & (PROVEN | KEYED) == 0).then_some("auth");
    for name in auth.into_iter().chain(config.permissions(session.is_proven()).names()) {
        perms[count] = name;
        count += 1;
    }
    (perms, count)
}

/// What holds for this session.
fn rules<'a>(session: &Session, config: &Config, perms: &'a [&'a str]) -> Rules<'a> {
    Rules {
        hb_ms: config.heartbeat_ms,
        perms,
        batching: session.batching(),
        auth: config.auth,
        auth_within_ms: config.auth_within_ms,
        max_message: config.limits.message_bytes,
        max_batch: config.limits.batch_messages,
        ext: if config.has_messages() { &["msg"] } else { &[] },
    }
}

/// How a session answers. A message is an event as JSON; whether it is sealed or joins a batch is the
/// receiver's business, by the session's state at that moment.
pub trait Answers {
    /// The first thing on a connection: in the clear, and in no batch.
    fn greet(&mut self, write: impl FnOnce(&mut Vec<u8>));
    fn say(&mut self, session: &Session, write: impl FnOnce(&mut Vec<u8>));
    /// Closes once everything said has been sent.
    fn close(&mut self, close: Close);
    fn is_closing(&self) -> bool;
    /// Counts a login of the peer's address; over the rate, milliseconds to wait.
    fn count_login(&mut self) -> Result<(), u64>;
    /// The hosts that `mida-v1` may name on this connection.
    fn hosts<'a>(&'a mut self, config: &'a Config) -> &'a [String];
    /// Names the connection among those of its core.
    fn number(&self) -> u64;
    /// Says what others are told too.
    fn share(&mut self, session: &Session, message: &Arc<Shared>);
    /// Names the connection, now and later.
    fn token(&self) -> Token;
}

/// The sessions of one core, and what they share.
pub struct Sessions {
    members: Members,
    logins: Chunks<Login, 8>,
    /// When each connection that has strikes got them.
    strikes: HashMap<u64, VecDeque<u64>>,
    /// The Host header of connections with [`HOST_KEPT`].
    dialled: HashMap<u64, Box<str>>,
    rng: Rng,
    online: Online,
    /// What is left of this turn's public-key budget.
    crypto_left_us: u32,
    /// Between this core and the others, and the store.
    pub relay: Relay,
    subscribers: Subscribers,
    windows: Windows,
    repeats: Repeats,
    /// Keys that were sent to and found to be keys, by their last byte.
    checked: Vec<Option<Identity>>,
    /// Unix time when the server's time began.
    unix_ms: u64,
    /// What is counted; what is there is added by [`Sessions::figures`].
    counts: Figures,
    pub now_ms: u64,
}

impl Sessions {
    pub fn new(rng: Rng, online: Online) -> Self {
        Self {
            members: Members::default(),
            logins: Chunks::new(),
            strikes: HashMap::new(),
            dialled: HashMap::new(),
            rng,
            online,
            crypto_left_us: 0,
            relay: Relay::default(),
            subscribers: Subscribers::default(),
            windows: Windows::default(),
            repeats: Repeats::default(),
            checked: Vec::new(),
            unix_ms: 0,
            counts: Figures::default(),
            now_ms: 0,
        }
    }

    /// Has these sessions send and get messages with those of other cores and from a store. `unix_ms` is the Unix
    /// time when the server's time began.
    pub fn connect(&mut self, relay: Relay, unix_ms: u64) {
        (self.relay, self.unix_ms) = (relay, unix_ms);
    }

    /// A new turn with its own budget.
    pub fn turn(&mut self, now_ms: u64, config: &Config) {
        self.now_ms = now_ms;
        self.crypto_left_us = config.limits.crypto_us_per_turn;
        self.repeats.turn(now_ms);
    }

    /// A session's next message waits for the store's word on its login, or if it may cost a verification that this
    /// turn has no budget for; that of a member, if too much is on its way.
    #[inline]
    pub fn holds(&self, session: &Session) -> Hold {
        match () {
            () if session.is_challenged() && self.is_waiting(session) => Hold::Change,
            () if session.is_challenged() && self.crypto_left_us == 0 => Hold::Turn,
            () if session.is_proven() && self.relay.is_full() => Hold::Letter,
            () => Hold::Go,
        }
    }

    /// The connection is open: its rules. `dialled` is its Host header, in lowercase.
    pub fn opened(&mut self, session: &mut Session, config: &Config, dialled: &str, out: &mut impl Answers) {
        let host = match out.hosts(config).iter().position(|host| host == dialled) {
            Some(at) if at < usize::from(HOST_KEPT) => at as u8,
            _ => {
                self.dialled.insert(out.number(), dialled.into());
                HOST_KEPT
            }
        };
        session.flags |= host << HOST_SHIFT;
        let (perms, count) = perms(session, config);
        let rules = rules(session, config, &perms[..count]);
        out.greet(|text| encode::rules(text, &rules));
    }

    /// A message of the client, or what is wrong with it.
    pub fn message(
        &mut self,
        session: &mut Session,
        config: &Config,
        message: &Message<'_>,
        out: &mut impl Answers,
    ) {
        self.counts.events += 1;
        let price = match &message.event {
            Ok(Event::Send(send)) => send.to.len().max(1),
            _ => 1,
        };
        if !self.pay(session, config, price, message.t, message.id, out) {
            return;
        }
        if session.is_challenged() && self.is_waiting(session) {
            // In one batch with the solution.
            return self.complain(session, config, ErrorCode::AuthOrder, message.t, message.id, 0, out);
        }
        match message.event {
            Ok(Event::Metadata) => self.say_metadata(session, config, out),
            Ok(Event::Auth(auth)) => self.auth(session, config, &auth, message.id, out),
            Ok(Event::Solution(solution)) => self.solution(session, config, Some(&solution), message.id, out),
            // Whatever is wrong with it, an answer to a challenge uses up an attempt, and one to none is
            // out of order.
            Err(ErrorCode::BadData) if message.t == Some(event::SOLUTION) => {
                self.solution(session, config, None, message.id, out);
            }
            Err(ErrorCode::BadData)
                if message.t.is_some_and(|t| t >= event::SEND) && !config.has_messages() =>
            {
                self.complain(session, config, ErrorCode::UnknownEvent, message.t, message.id, 0, out);
            }
            Err(ErrorCode::BadData) if message.t == Some(event::AUTH) && session.is_sealed() => {
                self.complain(session, config, ErrorCode::AuthOrder, message.t, message.id, 0, out);
            }
            Err(code) => self.complain(session, config, code, message.t, message.id, 0, out),
            Ok(event) => {
                if let Err(code) = self.mail(session, config, &event, message.id, out) {
                    self.complain(session, config, code, message.t, message.id, 0, out);
                }
            }
        }
    }

    /// A text that is no message and no batch.
    pub fn nonsense(
        &mut self,
        session: &mut Session,
        config: &Config,
        code: ErrorCode,
        out: &mut impl Answers,
    ) {
        self.counts.events += 1;
        if self.pay(session, config, 1, None, None, out) {
            self.complain(session, config, code, None, None, 0, out);
        }
    }

    /// Its deadline has come: a challenge has expired, or authentication was required by now; or its key is
    /// known, and no turn has had the budget to answer it yet.
    pub fn timer(&mut self, session: &mut Session, out: &mut impl Answers) {
        session.due_ticks = u32::MAX;
        let member = session.handle().and_then(|handle| self.members.get(handle));
        if member.is_some_and(|member| member.epoch.is_none()) {
            return out.close(Close::Overloaded);
        }
        if session.flags & KEYED != 0 {
            return;
        }
        let login =
            self.login(session).map(|login| (login.expires_ms, login.required_ms, login.answer_by_ms));
        let Some((expires_ms, required_ms, answer_by_ms)) = login else {
            return out.close(Close::AuthRequired);
        };
        if answer_by_ms <= self.now_ms {
            // The store has not said a word.
            out.close(Close::Overloaded);
        } else if answer_by_ms != u64::MAX {
            session.set_due(answer_by_ms);
        } else if required_ms <= self.now_ms {
            out.close(Close::AuthRequired);
        } else if expires_ms <= self.now_ms {
            self.expire(session, out);
        } else {
            session.set_due(expires_ms.min(required_ms));
        }
    }

    /// Something in the rules has changed for this connection.
    pub fn say_rules(&self, session: &Session, config: &Config, out: &mut impl Answers) {
        let (perms, count) = perms(session, config);
        let rules = rules(session, config, &perms[..count]);
        out.say(session, |text| encode::rules(text, &rules));
    }

    /// It takes part no more, though what it was told may still have to be sealed.
    pub fn closing(&mut self, session: &mut Session) {
        if session.is_proven() {
            session.flags &= !PROVEN;
            self.online.leave();
        }
        if let Some(last) = session.handle().and_then(|handle| self.members.unlist(handle)) {
            self.relay.exit(last);
        }
    }

    /// The connection is gone.
    pub fn closed(&mut self, mut session: Session, number: u64) {
        self.closing(&mut session);
        if session.flags & STRUCK != 0 {
            forget(&mut self.strikes, number);
        }
        if session.host() == HOST_KEPT {
            forget(&mut self.dialled, number);
        }
        self.end_login(&session);
        if let Some(handle) = session.handle() {
            self.members.remove(handle);
        }
        let slot = number as u32;
        self.windows.close(slot);
        self.repeats.close(number);
        for topic in self.subscribers.gone(slot) {
            self.relay.part(topic);
        }
    }

    /// Reads a little of what [`Sessions::epoch`] is going to give out.
    pub fn touch(&self, session: &Session) {
        let member = session.handle().and_then(|member| self.members.get(member));
        member.and_then(|member| member.epoch.as_ref()).inspect(|epoch| epoch.touch());
    }

    /// The epoch to seal `plaintext_bytes` more with, a new one if need be; none when this turn has no
    /// budget for a new one, or there is no key.
    pub fn epoch(&mut self, session: &Session, plaintext_bytes: usize) -> Option<&mut Epoch> {
        let Self { members, rng, crypto_left_us, counts, now_ms, .. } = self;
        let member = members.get_mut(session.handle()?)?;
        let now_s = (*now_ms / 1_000) as u32;
        if member.epoch.as_ref().is_none_or(|epoch| epoch.is_spent(now_s, plaintext_bytes)) {
            if *crypto_left_us == 0 {
                return None;
            }
            *crypto_left_us = crypto_left_us.saturating_sub(DERIVE_US);
            counts.derivations += 1;
            // The old key is erased before the new one is there.
            member.epoch = None;
            member.epoch = Some(Epoch::derive(&member.identity.point(), now_s, rng));
        }
        counts.seals += 1;
        member.epoch.as_mut()
    }

    /// Connections that have proven this key (or named it, where that is enough), as slot numbers, in no order.
    pub fn connections_of(&self, identity: &Identity) -> impl Iterator<Item = u32> {
        self.members.connections_of(identity)
    }

    /// Slots of the connections that have joined this topic, in no order.
    pub fn subscribers_of(&self, topic: &str) -> impl Iterator<Item = u32> {
        self.subscribers.of(topic)
    }

    pub fn is_subscriber(&self, slot: u32, topic: &str) -> bool {
        self.subscribers.has(slot, topic)
    }

    /// Whether its key, if it has one, is one that the operator lets in.
    pub fn is_welcome(&self, session: &Session, config: &Config) -> bool {
        let has_passed = session.flags & (PROVEN | KEYED) != 0;
        !has_passed || self.identity(session).is_none_or(|identity| config.admits(&identity))
    }

    /// What was counted, and what is there.
    pub fn figures(&self) -> Figures {
        Figures {
            members: self.online.own(),
            sealed: self.members.len() as u64,
            keys: self.members.keys() as u64,
            challenges: self.logins.len() as u64,
            struck: self.strikes.len() as u64,
            kept_hosts: self.dialled.len() as u64,
            windows: self.windows.len() as u64,
            on_the_way: self.relay.credits.in_use().0 as u64,
            on_the_way_bytes: self.relay.credits.in_use().1,
            topics: self.subscribers.len().0 as u64,
            ..self.counts
        }
    }

    /// Connections with an accepted key.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    fn login(&mut self, session: &Session) -> Option<&mut Login> {
        let member = self.members.get(session.handle()?)?;
        self.logins.get_mut(member.noted()?)
    }

    fn say_metadata(&self, session: &Session, config: &Config, out: &mut impl Answers) {
        let metadata = config.metadata(self.online.total(), self.now_ms);
        out.say(session, |text| encode::metadata(text, &metadata));
    }

    /// Takes the price of so many messages; false when the client has not got it.
    fn pay(
        &mut self,
        session: &mut Session,
        config: &Config,
        messages: usize,
        re: Option<u8>,
        id: Option<&str>,
        out: &mut impl Answers,
    ) -> bool {
        let limits = &config.limits;
        let per_minute = match session.is_proven() {
            true => limits.member_messages_per_minute,
            false => limits.anonymous_messages_per_minute,
        };
        let each_us = MINUTE_US / u64::from(per_minute) * messages as u64;
        let now_us = self.now_ms * 1_000;
        let until_us = session.paid_until_us.max(now_us) + each_us;
        session.paid_until_us = until_us;
        let ahead_us = until_us - now_us;
        if ahead_us <= MINUTE_US {
            return true;
        }
        if ahead_us > 2 * MINUTE_US {
            out.close(Close::MessageRate);
        } else {
            let wait_ms = (ahead_us + each_us - MINUTE_US).div_ceil(1_000);
            self.complain(session, config, ErrorCode::RateLimited, re, id, wait_ms, out);
        }
        false
    }

    #[allow(clippy::too_many_arguments)] // One for each member of event 0x80, and where it goes.
    fn complain(
        &mut self,
        session: &mut Session,
        config: &Config,
        code: ErrorCode,
        re: Option<u8>,
        id: Option<&str>,
        retry_after_ms: u64,
        out: &mut impl Answers,
    ) {
        out.say(session, |text| encode::error(text, code, re, id, retry_after_ms));
        let most = config.limits.strikes_per_minute;
        if !code.is_strike() || most == u32::MAX {
            return;
        }
        self.counts.strikes += 1;
        session.flags |= STRUCK;
        let times = self.strikes.entry(out.number()).or_default();
        while times.front().is_some_and(|at| at + 60_000 <= self.now_ms) {
            times.pop_front();
        }
        times.push_back(self.now_ms);
        if times.len() >= most as usize {
            out.close(Close::Strikes);
        }
    }
}

/// Takes out what is kept of this connection; what a storm needed goes.
fn forget<V>(kept: &mut HashMap<u64, V>, number: u64) {
    kept.remove(&number);
    if is_oversized(kept.len(), kept.capacity()) {
        kept.shrink_to(2 * kept.len());
    }
}

#[cfg(test)]
mod tests;
