//! One client's state: what it may ask, what it is answered, and when it has to be gone. A state machine
//! that is given a message or a time and says things through [`Answers`]; it owns no socket, clock or
//! generator (PROTOCOL.md sections 2 to 5).

use super::{
    config::Config,
    crypto::{
        challenge::{self, Challenge, Scheme},
        key::Identity,
        rng::Rng,
        seal::Epoch,
    },
    figures::Figures,
    members::{Member, Members},
    protocol::{
        decode::Message,
        encode::{self, AuthMode, Rules},
        event::{self, Auth, ErrorCode, Event, Reason, Solution},
    },
    relay::Online,
};
use crate::engine::{
    app::Hold,
    chunks::{Chunks, is_oversized},
    error::Close,
};
use std::collections::{HashMap, VecDeque};

mod kept;

pub use self::kept::Session;
use self::kept::{CHALLENGED, HOST_KEPT, HOST_SHIFT, KEYED, PROVEN, STRUCK};

/// Public-key work that one turn may do, in microseconds, and what each kind is reckoned at.
pub const VERIFY_US: u32 = 35;
pub const DERIVE_US: u32 = 65;

const MINUTE_US: u64 = 60_000_000;

/// An authentication under way.
struct Login {
    challenge: Challenge,
    expires_ms: u64,
    /// When authentication must have passed; `u64::MAX`: never.
    required_ms: u64,
    attempts_left: u32,
    display_name: String,
}

/// What holds for this session.
fn rules<'a>(session: &Session, config: &Config) -> Rules<'a> {
    let known = session.flags & (PROVEN | KEYED) != 0;
    Rules {
        hb_ms: config.heartbeat_ms,
        perms: if known { &["metadata"] } else { &["metadata", "auth"] },
        batching: session.batching(),
        auth: config.auth,
        auth_within_ms: config.auth_within_ms,
        max_message: config.limits.message_bytes,
        max_batch: config.limits.batch_messages,
        ext: &[],
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
            counts: Figures::default(),
            now_ms: 0,
        }
    }

    /// A new turn with its own budget.
    pub fn turn(&mut self, now_ms: u64, config: &Config) {
        self.now_ms = now_ms;
        self.crypto_left_us = config.limits.crypto_us_per_turn;
    }

    /// A session's next message waits if it may cost a verification that this turn has no budget for.
    #[inline]
    pub fn holds(&self, session: &Session) -> Hold {
        if session.is_challenged() && self.crypto_left_us == 0 { Hold::Turn } else { Hold::Go }
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
        let rules = rules(session, config);
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
        if !self.pay(session, config, message.t, message.id, out) {
            return;
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
            Err(ErrorCode::BadData) if message.t.is_some_and(|t| t >= event::SEND) => {
                self.complain(session, config, ErrorCode::UnknownEvent, message.t, message.id, 0, out);
            }
            Err(ErrorCode::BadData) if message.t == Some(event::AUTH) && session.is_sealed() => {
                self.complain(session, config, ErrorCode::AuthOrder, message.t, message.id, 0, out);
            }
            Err(code) => self.complain(session, config, code, message.t, message.id, 0, out),
            // `msg` is not among the extensions: nobody has these.
            Ok(_) => {
                self.complain(session, config, ErrorCode::UnknownEvent, message.t, message.id, 0, out);
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
        if self.pay(session, config, None, None, out) {
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
        let login = self.login(session).map(|login| (login.expires_ms, login.required_ms));
        let Some((expires_ms, required_ms)) = login else {
            return out.close(Close::AuthRequired);
        };
        if required_ms <= self.now_ms {
            out.close(Close::AuthRequired);
        } else if expires_ms <= self.now_ms {
            self.expire(session, out);
        } else {
            session.set_due(expires_ms.min(required_ms));
        }
    }

    /// Something in the rules has changed for this connection.
    pub fn say_rules(&self, session: &Session, config: &Config, out: &mut impl Answers) {
        let rules = rules(session, config);
        out.say(session, |text| encode::rules(text, &rules));
    }

    /// It takes part no more, though what it was told may still have to be sealed.
    pub fn closing(&mut self, session: &mut Session) {
        if session.is_proven() {
            session.flags &= !PROVEN;
            self.online.leave();
        }
        if let Some(handle) = session.handle() {
            self.members.unlist(handle);
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

    /// What was counted, and what is there.
    pub fn figures(&self) -> Figures {
        Figures {
            members: self.online.own(),
            sealed: self.members.len() as u64,
            keys: self.members.keys() as u64,
            challenges: self.logins.len() as u64,
            struck: self.strikes.len() as u64,
            kept_hosts: self.dialled.len() as u64,
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

    /// Event 2: from an accepted key on, everything is sealed to it.
    fn auth(
        &mut self,
        session: &mut Session,
        config: &Config,
        auth: &Auth<'_>,
        id: Option<&str>,
        out: &mut impl Answers,
    ) {
        let re = Some(event::AUTH);
        if session.is_sealed() {
            return self.complain(session, config, ErrorCode::AuthOrder, re, id, 0, out);
        }
        if let Err(wait_ms) = out.count_login() {
            return self.complain(session, config, ErrorCode::RateLimited, re, id, wait_ms, out);
        }
        let Ok((identity, point)) = Identity::parse_hex(auth.pub_key.as_bytes()) else {
            return self.complain(session, config, ErrorCode::BadKey, re, id, 0, out);
        };
        let required_ms = session.due_ms();
        let mut member = Member::new(identity, out.number() as u32);
        let mut answer_by_ms = u64::MAX;
        if self.crypto_left_us > 0 {
            // The answer is sealed in this turn: the point need not be found from the identity once more.
            self.crypto_left_us = self.crypto_left_us.saturating_sub(DERIVE_US);
            self.counts.derivations += 1;
            member.epoch = Some(Epoch::derive(&point, (self.now_ms / 1_000) as u32, &mut self.rng));
        } else {
            answer_by_ms = self.now_ms.saturating_add(config.limits.login_wait_ms);
        }
        if config.auth == AuthMode::Key {
            session.set_due(answer_by_ms);
            session.flags |= KEYED;
            let handle = self.members.insert(member);
            session.member = handle + 1;
            self.members.list(handle);
            let name = auth.display_name.unwrap_or_default();
            out.say(session, |text| encode::result_passed(text, Some(name), 0));
            return self.say_rules(session, config, out);
        }
        let login = Login {
            challenge: Challenge::fresh(&mut self.rng),
            expires_ms: self.now_ms.saturating_add(config.limits.challenge_ms),
            required_ms,
            attempts_left: config.limits.auth_attempts,
            display_name: auth.display_name.unwrap_or_default().to_owned(),
        };
        let challenge = login.challenge;
        session.set_due(login.expires_ms.min(required_ms).min(answer_by_ms));
        session.flags |= CHALLENGED;
        member.note(self.logins.insert(login));
        session.member = self.members.insert(member) + 1;
        let schemes: &[&str] =
            if config.bound_only { &[Scheme::MidaV1.name()] } else { &Scheme::ALL.map(Scheme::name) };
        let expires_ms = config.limits.challenge_ms;
        out.say(session, |text| encode::challenge(text, challenge.as_bytes(), schemes, expires_ms));
    }

    /// Event 4; none when it was too malformed to read.
    fn solution(
        &mut self,
        session: &mut Session,
        config: &Config,
        solution: Option<&Solution<'_>>,
        id: Option<&str>,
        out: &mut impl Answers,
    ) {
        let now_ms = self.now_ms;
        if session.is_challenged() && self.login(session).is_none_or(|login| login.expires_ms <= now_ms) {
            self.expire(session, out);
            if out.is_closing() {
                return;
            }
        }
        if !session.is_challenged() {
            let re = Some(event::SOLUTION);
            return self.complain(session, config, ErrorCode::AuthOrder, re, id, 0, out);
        }
        match self.check(session, config, solution, out) {
            Ok(()) => {
                session.flags = session.flags & !CHALLENGED | PROVEN;
                session.due_ticks = u32::MAX;
                self.online.enter();
                let name = self.end_login(session).map(|login| login.display_name).unwrap_or_default();
                if let Some(handle) = session.handle() {
                    self.members.list(handle);
                }
                out.say(session, |text| encode::result_passed(text, Some(&name), 0));
                self.say_rules(session, config, out);
            }
            Err(reason) => {
                let Some(login) = self.login(session) else { return };
                login.attempts_left = login.attempts_left.saturating_sub(1);
                let left = login.attempts_left;
                out.say(session, |text| encode::result_failed(text, reason, left));
                if left == 0 {
                    session.flags &= !CHALLENGED;
                    self.end_login(session);
                    out.close(Close::AuthFailed);
                }
            }
        }
    }

    fn check(
        &mut self,
        session: &Session,
        config: &Config,
        solution: Option<&Solution<'_>>,
        out: &mut impl Answers,
    ) -> Result<(), Reason> {
        let solution = solution.ok_or(Reason::BadSignature)?;
        let scheme = Scheme::from_name(solution.scheme).map_err(|_| Reason::BadScheme)?;
        if scheme == Scheme::Ecdsa && config.bound_only {
            return Err(Reason::BadScheme);
        }
        let member = session.handle().and_then(|handle| self.members.get(handle));
        let login = member.and_then(|member| self.logins.get(member.noted()?));
        let (Some(Member { identity, .. }), Some(login)) = (member, login) else {
            return Err(Reason::BadSignature);
        };
        let signature = solution.solution.as_bytes();
        let number = out.number();
        let hosts = out.hosts(config);
        let dialled = match session.host() {
            HOST_KEPT => self.dialled.get(&number).map(|host| &**host),
            at => hosts.get(usize::from(at)).map(String::as_str),
        };
        let accepted = hosts.iter().map(String::as_str);
        let (result, tries) =
            challenge::verify(scheme, identity, &login.challenge, signature, accepted, dialled);
        self.counts.verifications += u64::from(tries);
        self.crypto_left_us = self.crypto_left_us.saturating_sub(tries.saturating_mul(VERIFY_US));
        result.map_err(|refused| match refused {
            challenge::Refused::WrongHost => Reason::WrongHost,
            challenge::Refused::BadScheme => Reason::BadScheme,
            challenge::Refused::BadSignature => Reason::BadSignature,
        })
    }

    /// The challenge has expired: said once; then the connection stays, sealed and anonymous, unless it
    /// has to authenticate.
    fn expire(&mut self, session: &mut Session, out: &mut impl Answers) {
        session.flags &= !CHALLENGED;
        session.due_ticks = u32::MAX;
        out.say(session, |text| encode::result_failed(text, Reason::Expired, 0));
        if self.end_login(session).is_none_or(|login| login.required_ms != u64::MAX) {
            out.close(Close::AuthRequired);
        }
    }

    fn end_login(&mut self, session: &Session) -> Option<Login> {
        let member = self.members.get_mut(session.handle()?)?;
        self.logins.try_remove(member.take_note()?)
    }

    /// Takes the price of one message; false when the client has not got it.
    fn pay(
        &mut self,
        session: &mut Session,
        config: &Config,
        re: Option<u8>,
        id: Option<&str>,
        out: &mut impl Answers,
    ) -> bool {
        let limits = &config.limits;
        let per_minute = match session.is_proven() {
            true => limits.member_messages_per_minute,
            false => limits.anonymous_messages_per_minute,
        };
        let each_us = MINUTE_US / u64::from(per_minute);
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
