//! From a key to a proven key: events 2 to 5 (PROTOCOL.md section 3).

use super::{
    Answers, DERIVE_US, Session, Sessions, VERIFY_US,
    kept::{CHALLENGED, HOST_KEPT, KEYED, PROVEN},
};
use crate::{
    app::{
        config::Config,
        crypto::{
            challenge::{self, Challenge, Scheme},
            key::Identity,
            seal::Epoch,
        },
        mail::{self, Account, At, Job},
        members::Member,
        protocol::{
            encode::{self, AuthMode},
            event::{self, Auth, ErrorCode, Method, Reason, Solution},
        },
    },
    engine::error::Close,
};

/// An authentication under way.
pub struct Login {
    pub challenge: Challenge,
    pub expires_ms: u64,
    /// When authentication must have passed; `u64::MAX`: never.
    pub required_ms: u64,
    /// The key is proven, and the store is to have answered by then; `u64::MAX`: it is not asked.
    pub answer_by_ms: u64,
    attempts_left: u32,
    method: Method,
    display_name: Option<Box<str>>,
    bio: Option<Box<str>>,
}

impl Sessions {
    /// Event 2: from an accepted key on, everything is sealed to it.
    pub(super) fn auth(
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
        let is_blocked = config.auth == AuthMode::Key && !config.admits(&identity);
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
            let handle = self.members.insert(member);
            session.member = handle + 1;
            if is_blocked {
                return self.block(session, out);
            }
            session.flags |= KEYED;
            if self.members.list(handle) {
                self.relay.enter(identity);
            }
            let name = auth.display_name.unwrap_or_default();
            out.say(session, |text| encode::result_passed(text, Some(name), 0));
            return self.say_rules(session, config, out);
        }
        let login = Login {
            challenge: Challenge::fresh(&mut self.rng),
            expires_ms: self.now_ms.saturating_add(config.limits.challenge_ms),
            required_ms,
            attempts_left: config.limits.auth_attempts,
            answer_by_ms: u64::MAX,
            method: auth.method,
            display_name: auth.display_name.map(Box::from),
            bio: auth.bio.filter(|_| self.relay.has_store()).map(Box::from),
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
    pub(super) fn solution(
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
            Ok(()) => self.proven(session, config, out),
            Err(reason) => self.refuse(session, reason, out),
        }
    }

    /// The key is proven; the store may still know better.
    fn proven(&mut self, session: &mut Session, config: &Config, out: &mut impl Answers) {
        let Some(identity) = self.identity(session) else { return };
        if !config.admits(&identity) {
            return self.block(session, out);
        }
        if !self.relay.has_store() {
            let name = self.login(session).and_then(|login| login.display_name.take());
            return self.pass(session, config, &name.unwrap_or_default(), 0, out);
        }
        let answer_by_ms = self.now_ms.saturating_add(config.limits.login_wait_ms);
        let at = At { reactor: self.relay.own(), token: out.token() };
        let Some(login) = self.login(session) else { return };
        login.answer_by_ms = answer_by_ms;
        let (method, display_name, bio) = (login.method, login.display_name.clone(), login.bio.clone());
        session.set_due(answer_by_ms);
        self.relay.ask(Job::Login(Box::new(mail::Login { at, identity, method, display_name, bio })));
    }

    /// The store's word on the account of a key that was proven.
    pub fn account(
        &mut self,
        session: &mut Session,
        config: &Config,
        result: Result<Account, Reason>,
        out: &mut impl Answers,
    ) {
        if !session.is_challenged() || !self.is_waiting(session) {
            return;
        }
        let is_welcome = self.identity(session).is_some_and(|identity| config.admits(&identity));
        match result {
            // A reload came in between.
            _ if !is_welcome => self.block(session, out),
            Ok(account) => self.pass(session, config, &account.display_name, account.unread_messages, out),
            Err(Reason::Blocked) => self.block(session, out),
            Err(reason) => {
                if let Some(login) = self.login(session) {
                    login.answer_by_ms = u64::MAX;
                    let due_ms = login.expires_ms.min(login.required_ms);
                    session.set_due(due_ms);
                }
                self.refuse(session, reason, out);
            }
        }
    }

    /// Whether the store is asked about the account, and has not answered.
    pub(super) fn is_waiting(&self, session: &Session) -> bool {
        let member = session.handle().and_then(|handle| self.members.get(handle));
        let login = member.and_then(|member| self.logins.get(member.noted()?));
        login.is_some_and(|login| login.answer_by_ms != u64::MAX)
    }

    fn pass(
        &mut self,
        session: &mut Session,
        config: &Config,
        name: &str,
        unread: u64,
        out: &mut impl Answers,
    ) {
        session.flags = session.flags & !CHALLENGED | PROVEN;
        session.due_ticks = u32::MAX;
        self.online.enter();
        self.end_login(session);
        out.say(session, |text| encode::result_passed(text, Some(name), unread));
        self.say_rules(session, config, out);
        let Some((handle, identity)) = session.handle().zip(self.identity(session)) else { return };
        if self.members.list(handle) {
            self.relay.enter(identity);
        }
        self.open_mailbox(identity, out);
    }

    fn refuse(&mut self, session: &mut Session, reason: Reason, out: &mut impl Answers) {
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

    /// The operator does not want this key.
    fn block(&mut self, session: &mut Session, out: &mut impl Answers) {
        session.flags &= !CHALLENGED;
        self.end_login(session);
        out.say(session, |text| encode::result_failed(text, Reason::Blocked, 0));
        out.close(Close::AuthFailed);
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
    pub(super) fn expire(&mut self, session: &mut Session, out: &mut impl Answers) {
        session.flags &= !CHALLENGED;
        session.due_ticks = u32::MAX;
        out.say(session, |text| encode::result_failed(text, Reason::Expired, 0));
        if self.end_login(session).is_none_or(|login| login.required_ms != u64::MAX) {
            out.close(Close::AuthRequired);
        }
    }

    pub(super) fn end_login(&mut self, session: &Session) -> Option<Login> {
        let member = self.members.get_mut(session.handle()?)?;
        self.logins.try_remove(member.take_note()?)
    }
}
