//! What one client must hear (PROTOCOL.md sections 2 to 5), from what it said and when.

use super::identity;
use mida::{
    app::{
        config::Config,
        crypto::{challenge::Challenge, key::Identity},
        protocol::{
            decode::Message,
            encode::AuthMode,
            event::{ErrorCode, Event, Solution},
        },
        session::{Answers, Session},
    },
    engine::{error::Close, io::Token, outbox::Shared},
};
use serde_json::Value;
use std::{num::NonZeroU32, sync::Arc};

/// A signature and what it is good for.
pub struct Signed {
    pub text: String,
    by: Identity,
    challenge: Challenge,
    /// None: the plain scheme, which names no host.
    host: Option<&'static str>,
}

impl Signed {
    pub fn mida_v1(text: String, by: Identity, challenge: Challenge, host: &'static str) -> Self {
        Self { text, by, challenge, host: Some(host) }
    }

    pub fn ecdsa(text: String, by: Identity, challenge: Challenge) -> Self {
        Self { text, by, challenge, host: None }
    }
}

/// What a session said.
pub struct Heard {
    pub number: u64,
    pub logins_wait_ms: u64,
    own_hosts: Vec<String>,
    said: Vec<Value>,
    /// Something sealed was said, and so everything since.
    sealed: bool,
    greeted: bool,
    closed: Option<Close>,
}

impl Answers for Heard {
    fn greet(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(!self.greeted, "greeted twice");
        self.greeted = true;
        self.said.push(event(write));
    }

    fn say(&mut self, session: &Session, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.greeted, "the rules come first");
        assert!(session.is_sealed() || !self.sealed, "in the clear, after a key was named");
        self.sealed = session.is_sealed();
        let event = event(write);
        assert!(self.sealed || !matches!(event["t"].as_u64(), Some(3 | 5)), "in the clear: {event}");
        self.said.push(event);
    }

    fn close(&mut self, close: Close) {
        // The first one counts.
        self.closed.get_or_insert(close);
    }

    fn is_closing(&self) -> bool {
        self.is_closed()
    }

    fn count_login(&mut self) -> Result<(), u64> {
        if self.logins_wait_ms > 0 { Err(self.logins_wait_ms) } else { Ok(()) }
    }

    fn hosts<'a>(&'a mut self, config: &'a Config) -> &'a [String] {
        self.own_hosts = super::hosts(config).into_iter().map(str::to_owned).collect();
        &self.own_hosts
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn share(&mut self, _session: &Session, _message: &Arc<Shared>) {
        panic!("nobody sends anything");
    }

    fn token(&self) -> Token {
        Token { index: self.number as u32, generation: NonZeroU32::MIN }
    }
}

fn event(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut text = Vec::new();
    write(&mut text);
    let event: Value = serde_json::from_slice(&text).expect("an event is JSON");
    assert!(event["t"].is_u64() && event["data"].is_object() && event.get("count").is_none());
    event
}

impl Heard {
    pub fn new(number: u64) -> Self {
        Self {
            number,
            logins_wait_ms: 0,
            own_hosts: Vec::new(),
            said: Vec::new(),
            sealed: false,
            greeted: false,
            closed: None,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Exactly this was said since the last time.
    pub fn expect(&mut self, expected: &[&str]) {
        let said: Vec<_> = self.said.drain(..).map(|event| label(&event)).collect();
        assert_eq!(said, expected);
    }
}

/// An event in short, with all that the model tells.
fn label(event: &Value) -> String {
    let data = &event["data"];
    match event["t"].as_u64() {
        Some(0) => "rules".to_owned(),
        Some(1) => "metadata".to_owned(),
        Some(3) => "challenge".to_owned(),
        Some(5) if data["passed"] == true => "passed".to_owned(),
        Some(5) => format!("failed {} {}", data["reason"].as_str().unwrap_or("?"), data["attemptsLeft"]),
        Some(128) => format!("error {}", data["code"].as_str().unwrap_or("?")),
        _ => panic!("no event of the server: {event}"),
    }
}

/// What must be said to one message, and what is so afterwards.
pub struct Expected {
    said: Vec<String>,
    closed: Option<Close>,
    state: State,
    strikes_per_minute: u32,
    now_ms: u64,
}

/// One client as the protocol has it.
pub struct Model {
    /// The host it dialled, if that is not ours.
    strange: Option<&'static str>,
    state: State,
    now_ms: u64,
    online: u64,
    /// Messages so far, and the lowest rate that ever held.
    messages: u32,
    per_minute: u32,
}

#[derive(Clone, Default)]
struct State {
    identity: Option<Identity>,
    login: Option<Login>,
    proven: bool,
    strikes_ms: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Login {
    /// The challenge and its place among all; not known before it was heard.
    challenge: Option<(usize, Challenge)>,
    expires_ms: u64,
    required_ms: u64,
    attempts_left: u32,
}

impl Model {
    pub fn new(strange: Option<&'static str>) -> Self {
        Self { strange, state: State::default(), now_ms: 0, online: 0, messages: 0, per_minute: u32::MAX }
    }

    pub fn identity(&self) -> Option<Identity> {
        self.state.identity
    }

    pub fn challenge_number(&self) -> Option<usize> {
        self.state.login?.challenge.map(|(number, _)| number)
    }

    /// Something is about to happen.
    pub fn now(&mut self, now_ms: u64, config: &Config, online: u64) {
        (self.now_ms, self.online) = (now_ms, online);
        let limits = &config.limits;
        self.per_minute =
            self.per_minute.min(limits.anonymous_messages_per_minute).min(limits.member_messages_per_minute);
    }

    fn expected(&self, config: &Config) -> Expected {
        Expected {
            said: Vec::new(),
            closed: None,
            state: self.state.clone(),
            strikes_per_minute: config.limits.strikes_per_minute,
            now_ms: self.now_ms,
        }
    }

    /// What a message must be answered.
    pub fn message(
        &self,
        message: &Message<'_>,
        session: &Session,
        heard: &Heard,
        config: &Config,
        signed: &[Signed],
    ) -> Expected {
        let mut expected = self.expected(config);
        let is_sealed = self.state.identity.is_some();
        match (message.event, message.t) {
            (Ok(Event::Metadata), _) => expected.say("metadata"),
            (Ok(Event::Auth(_)), _) | (Err(ErrorCode::BadData), Some(2)) if is_sealed => {
                expected.complain(ErrorCode::AuthOrder);
            }
            (Ok(Event::Auth(_)), _) if heard.logins_wait_ms > 0 => expected.complain(ErrorCode::RateLimited),
            (Ok(Event::Auth(auth)), _) => match identity(auth.pub_key) {
                None => expected.complain(ErrorCode::BadKey),
                Some(identity) => expected.name(identity, session.due_ms(), config),
            },
            (Ok(Event::Solution(solution)), _) => {
                self.solution(&mut expected, Some(&solution), config, signed);
            }
            (Err(ErrorCode::BadData), Some(4)) => self.solution(&mut expected, None, config, signed),
            (Ok(_), _) | (Err(ErrorCode::BadData), Some(0x81..)) => {
                expected.complain(ErrorCode::UnknownEvent)
            }
            (Err(code), _) => expected.complain(code),
        }
        expected
    }

    /// What a text that is no message must be answered.
    pub fn nonsense(&self, code: ErrorCode, config: &Config) -> Expected {
        let mut expected = self.expected(config);
        expected.complain(code);
        expected
    }

    /// What must happen when a deadline has come.
    pub fn timer(&self, config: &Config) -> Expected {
        let mut expected = self.expected(config);
        match self.state.login {
            Some(login) if login.required_ms > self.now_ms => {
                if login.expires_ms <= self.now_ms {
                    expected.expire(login);
                }
            }
            _ => expected.closed = Some(Close::AuthRequired),
        }
        expected
    }

    fn solution(
        &self,
        expected: &mut Expected,
        solution: Option<&Solution<'_>>,
        config: &Config,
        signed: &[Signed],
    ) {
        let login = match expected.state.login {
            Some(login) if login.expires_ms <= self.now_ms => {
                expected.expire(login);
                if expected.closed.is_some() {
                    return;
                }
                None
            }
            login => login,
        };
        let Some(login) = login else { return expected.complain(ErrorCode::AuthOrder) };
        let Some(reason) = self.refusal(login, solution, config, signed) else {
            expected.state.login = None;
            expected.state.proven = true;
            expected.say("passed");
            return expected.say("rules");
        };
        let attempts_left = login.attempts_left - 1;
        expected.said.push(format!("failed {reason} {attempts_left}"));
        expected.state.login = Some(Login { attempts_left, ..login });
        if attempts_left == 0 {
            expected.state.login = None;
            expected.closed = Some(Close::AuthFailed);
        }
    }

    /// Why a solution is none.
    fn refusal(
        &self,
        login: Login,
        solution: Option<&Solution<'_>>,
        config: &Config,
        signed: &[Signed],
    ) -> Option<&'static str> {
        let Some(solution) = solution else { return Some("bad_signature") };
        let is_bound = match solution.scheme {
            Some("mida-v1") => true,
            None | Some("ecdsa") if !config.bound_only => false,
            _ => return Some("bad_scheme"),
        };
        let good = signed.iter().find(|signed| {
            signed.text.eq_ignore_ascii_case(solution.solution)
                && Some(signed.by) == self.state.identity
                && login.challenge.is_some_and(|(_, challenge)| challenge == signed.challenge)
                && signed.host.is_some() == is_bound
        });
        match good.map(|signed| signed.host) {
            Some(None) => None,
            Some(Some(host)) if super::hosts(config).contains(&host) => None,
            Some(host) if host == self.strange => Some("wrong_host"),
            _ => Some("bad_signature"),
        }
    }

    /// Holds what was said against what was expected; a message may have come too fast instead.
    pub fn settle(
        &mut self,
        heard: &mut Heard,
        message: Option<(Option<u8>, Option<&str>)>,
        expected: Expected,
        challenges: &mut Vec<Challenge>,
    ) {
        let events = std::mem::take(&mut heard.said);
        let said: Vec<_> = events.iter().map(label).collect();
        for event in &events {
            let data = &event["data"];
            if let (Some(128), Some((t, id))) = (event["t"].as_u64(), message) {
                assert_eq!((data["re"].as_u64(), data["id"].as_str()), (t.map(u64::from), id), "{event}");
            }
            assert!(event["t"] != 1 || data["online"] == self.online, "{event}");
        }
        self.messages += u32::from(message.is_some());
        if (&said, heard.closed) != (&expected.said, expected.closed) {
            let is_too_fast = match heard.closed {
                Some(close) => close == Close::MessageRate && said.is_empty(),
                None => said == ["error rate_limited"],
            };
            let may_be = message.is_some() && self.messages > self.per_minute;
            assert!(
                is_too_fast && may_be,
                "{said:?} {:?}, not {:?} {:?}",
                heard.closed,
                expected.said,
                expected.closed
            );
            return;
        }
        self.online += u64::from(expected.state.proven && !self.state.proven);
        self.state = expected.state;
        let challenge = events.iter().find_map(|event| event["data"]["challenge"].as_str());
        if let (Some(text), Some(login)) = (challenge, &mut self.state.login) {
            let challenge = Challenge::from_hex(text.as_bytes()).expect("64 hex digits");
            assert!(!challenges.contains(&challenge), "a challenge that was there before");
            login.challenge = Some((challenges.len(), challenge));
            challenges.push(challenge);
        }
    }

    /// The session is as the model has it.
    pub fn check(&self, session: &Session) {
        let State { identity, login, proven, .. } = &self.state;
        assert_eq!(session.is_sealed(), identity.is_some());
        assert_eq!(session.is_challenged(), login.is_some());
        assert_eq!(session.is_proven(), *proven);
        let due_ms = session.due_ms();
        match login {
            Some(login) => {
                let first_ms = login.expires_ms.min(login.required_ms);
                assert!(first_ms <= due_ms && (due_ms < first_ms.saturating_add(16) || due_ms == u64::MAX));
            }
            None => assert!(identity.is_none() || due_ms == u64::MAX, "nothing is due"),
        }
    }
}

impl Expected {
    fn say(&mut self, label: &str) {
        self.said.push(label.to_owned());
    }

    fn complain(&mut self, code: ErrorCode) {
        self.said.push(format!("error {}", code.name()));
        if code.is_strike() && self.strikes_per_minute != u32::MAX {
            let strikes_ms = &mut self.state.strikes_ms;
            strikes_ms.push(self.now_ms);
            strikes_ms.retain(|at_ms| at_ms + 60_000 > self.now_ms);
            if strikes_ms.len() >= self.strikes_per_minute as usize {
                self.closed = Some(Close::Strikes);
            }
        }
    }

    /// A key was accepted.
    fn name(&mut self, identity: Identity, required_ms: u64, config: &Config) {
        self.state.identity = Some(identity);
        if config.auth == AuthMode::Key {
            self.say("passed");
            return self.say("rules");
        }
        self.state.login = Some(Login {
            challenge: None,
            expires_ms: self.now_ms.saturating_add(config.limits.challenge_ms),
            required_ms,
            attempts_left: config.limits.auth_attempts,
        });
        self.say("challenge");
    }

    fn expire(&mut self, login: Login) {
        self.state.login = None;
        self.say("failed expired 0");
        if login.required_ms != u64::MAX {
            self.closed = Some(Close::AuthRequired);
        }
    }
}
