use super::*;
use crate::app::{
    crypto::{
        challenge::{Challenge, sign_mida_v1},
        key::SecretKey,
    },
    protocol::{decode::Decoder, encode::AuthMode},
};
use crate::engine::limits::Limits;
use serde_json::{Value, json};
use std::num::NonZeroU32;

mod mailing;
mod sealing;

const HOST: &str = "localhost:7700";

/// What a session said, and how.
#[derive(Default)]
struct Heard {
    said: Vec<(bool, Value)>,
    closed: Option<Close>,
    logins_wait_ms: u64,
    own_hosts: Vec<String>,
    slot: u32,
}

impl Answers for Heard {
    fn greet(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.said.is_empty(), "the first thing");
        self.say(&Session::default(), write);
    }

    fn say(&mut self, session: &Session, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        self.said.push((session.is_sealed(), serde_json::from_slice(&text).unwrap()));
    }

    fn close(&mut self, close: Close) {
        self.closed.get_or_insert(close);
    }

    fn is_closing(&self) -> bool {
        self.closed.is_some()
    }

    fn count_login(&mut self) -> Result<(), u64> {
        if self.logins_wait_ms > 0 { Err(self.logins_wait_ms) } else { Ok(()) }
    }

    fn hosts<'a>(&'a mut self, config: &'a Config) -> &'a [String] {
        self.own_hosts = [HOST, "127.0.0.1:7700"].map(str::to_owned).into();
        if config.hosts.is_empty() { &self.own_hosts } else { &config.hosts }
    }

    fn number(&self) -> u64 {
        self.token().number()
    }

    fn share(&mut self, session: &Session, message: &Arc<Shared>) {
        self.say(session, |text| text.extend_from_slice(message.payload()));
    }

    fn token(&self) -> Token {
        Token { index: self.slot, generation: NonZeroU32::MIN }
    }
}

/// One client of a server that has nobody else.
struct Client {
    config: Config,
    sessions: Sessions,
    session: Session,
    heard: Heard,
    secret: SecretKey,
    rng: Rng,
}

impl Client {
    fn of(config: Config) -> Self {
        Self::dialling(config, HOST)
    }

    fn dialling(config: Config, host: &str) -> Self {
        let mut rng = Rng::from_seed([3; 32]);
        let secret = SecretKey::generate(&mut rng);
        let mut sessions = Sessions::new(Rng::from_seed([4; 32]), Online::new(1));
        sessions.turn(1_000, &config);
        let session = Session::new(&config, 1_000);
        let mut client =
            Self { sessions, session, heard: Heard { slot: 1, ..Heard::default() }, secret, rng, config };
        client.sessions.opened(&mut client.session, &client.config, host, &mut client.heard);
        client
    }

    fn says(&mut self, text: &str) {
        let mut decoder = Decoder::new(&self.config.limits);
        let Self { sessions, session, config, heard, .. } = self;
        match decoder.decode(text.as_bytes(), &config.limits, session.batching()) {
            Ok(messages) => {
                (&messages)
                    .into_iter()
                    .for_each(|message| sessions.message(session, config, &message, heard));
            }
            Err(code) => sessions.nonsense(session, config, code, heard),
        }
    }

    fn says_at(&mut self, now_ms: u64, text: &str) {
        self.sessions.turn(now_ms, &self.config);
        self.says(text);
    }

    /// What was said since the last time.
    fn hears(&mut self) -> Vec<Value> {
        self.heard.said.drain(..).map(|(_, event)| event).collect()
    }

    fn auth(&mut self) -> Challenge {
        let key = self.secret.identity();
        self.says(&format!(
            r#"{{"t":2,"data":{{"pubKey":"{key}","method":"signup","user":{{"displayName":"Ann"}}}}}}"#
        ));
        let heard = self.hears();
        let challenge = heard.last().unwrap()["data"]["challenge"].as_str().unwrap();
        Challenge::from_hex(challenge.as_bytes()).unwrap()
    }

    fn solve(&mut self, challenge: &Challenge, host: &str) {
        let solution = sign_mida_v1(&self.secret, host, challenge, &self.secret.identity(), &mut self.rng);
        let solution = str::from_utf8(&solution).unwrap();
        self.says(&format!(r#"{{"t":4,"data":{{"scheme":"mida-v1","solution":"{solution}"}}}}"#));
    }

    fn timer_at(&mut self, now_ms: u64) {
        self.sessions.turn(now_ms, &self.config);
        self.sessions.timer(&mut self.session, &mut self.heard);
    }
}

fn limits(set: &[(&str, u64)]) -> Arc<Limits> {
    let mut limits = Limits::default();
    set.iter().for_each(|(name, value)| limits.set(name, *value).unwrap());
    Arc::new(limits)
}

fn code(event: &Value) -> &str {
    assert_eq!(event["t"], 128, "{event}");
    event["data"]["code"].as_str().unwrap()
}

fn reason(event: &Value) -> (&str, u64) {
    assert_eq!((&event["t"], &event["data"]["passed"]), (&json!(5), &json!(false)), "{event}");
    (event["data"]["reason"].as_str().unwrap(), event["data"]["attemptsLeft"].as_u64().unwrap())
}

#[test]
fn a_login_seals_from_the_challenge_on_and_ends_with_new_rules() {
    let mut client = Client::of(Config::default());
    client.says(r#"{"t":1}"#);
    assert_eq!(
        client.heard.said.iter().map(|(sealed, e)| (*sealed, e["t"].as_u64())).collect::<Vec<_>>(),
        [(false, Some(0)), (false, Some(1))]
    );
    assert_eq!(client.hears()[0]["data"]["perms"], json!(["metadata", "auth"]));
    let challenge = client.auth();
    assert!(client.session.is_challenged() && !client.session.is_proven());
    assert_eq!(client.sessions.connections_of(&client.secret.identity()).count(), 0, "named, not proven");
    client.solve(&challenge, HOST);
    client.says(r#"{"t":1}"#);
    assert!(client.heard.said.iter().all(|(sealed, _)| *sealed));
    let heard = client.hears();
    assert_eq!(
        heard[0]["data"],
        json!({"passed": true, "user": {"displayName": "Ann", "unreadMessages": 0}})
    );
    assert_eq!(heard[1]["data"]["perms"], json!(["metadata", "send", "topic.join", "topic.publish"]));
    assert_eq!(heard[2]["data"]["online"], 1);
    let key = client.secret.identity();
    let (sessions, session) = (&mut client.sessions, &mut client.session);
    let connections = |sessions: &Sessions| sessions.connections_of(&key).collect::<Vec<_>>();
    assert_eq!(connections(sessions), [1]);
    sessions.closing(session);
    assert!(connections(sessions).is_empty());
    assert_eq!((sessions.online.total(), sessions.members()), (0, 1));
    sessions.closed(*session, client.heard.number());
    assert_eq!((sessions.online.total(), sessions.members()), (0, 0));
}

#[test]
fn the_third_refused_solution_is_answered_and_closes() {
    let mut client = Client::of(Config::default());
    let challenge = client.auth();
    client.solve(&challenge, "evil.example");
    client.says(r#"{"t":4,"data":{"scheme":"rot13","solution":"00"}}"#);
    assert_eq!(client.heard.closed, None);
    client.says(r#"{"t":4,"data":{"solution":7}}"#);
    let heard = client.hears();
    assert_eq!(
        heard.iter().map(reason).collect::<Vec<_>>(),
        [("bad_signature", 2), ("bad_scheme", 1), ("bad_signature", 0)]
    );
    assert_eq!(client.heard.closed, Some(Close::AuthFailed));
    assert_eq!(client.sessions.online.total(), 0);
}

#[test]
fn a_failure_keeps_the_challenge_and_the_right_solution_still_passes() {
    let mut client = Client::of(Config::default());
    let challenge = client.auth();
    client.says(r#"{"t":4,"data":{}}"#);
    client.solve(&challenge, "127.0.0.1:7700");
    assert_eq!(client.hears()[1]["data"]["passed"], true);
}

#[test]
fn a_solution_for_the_host_that_was_dialled_but_is_not_ours_is_told_apart() {
    let config = Config { hosts: vec!["chat.example".to_owned()], ..Config::default() };
    let mut client = Client::dialling(config, "other.example");
    let challenge = client.auth();
    client.solve(&challenge, "other.example");
    client.solve(&challenge, "third.example");
    client.solve(&challenge, "chat.example");
    let heard = client.hears();
    assert_eq!((reason(&heard[0]), reason(&heard[1])), (("wrong_host", 2), ("bad_signature", 1)));
    assert_eq!(heard[2]["data"]["passed"], true);
}

#[test]
fn a_login_costs_one_verification_whichever_of_our_hosts_was_dialled() {
    let hosts: Vec<_> = (0..12).map(|n| format!("host-{n}.example")).collect();
    let limits = limits(&[("crypto_us_per_turn", 10_000)]);
    let config = Config { hosts: hosts.clone(), limits, ..Config::default() };
    let cost = |dialled: &str, named: &str, reload: Option<Config>| {
        let mut client = Client::dialling(config.clone(), dialled);
        let challenge = client.auth();
        client.config = reload.unwrap_or(client.config);
        client.sessions.turn(1_000, &client.config);
        let before_us = client.sessions.crypto_left_us;
        client.solve(&challenge, named);
        let cost_us = before_us - client.sessions.crypto_left_us;
        client.sessions.closed(client.session, client.heard.number());
        assert!(client.sessions.dialled.is_empty());
        (client.hears()[0]["data"]["passed"] == true, cost_us / VERIFY_US)
    };
    for host in &hosts {
        assert_eq!(cost(host, host, None), (true, 1), "{host}");
    }
    // Whatever was dialled, each of ours passes, and what was tried is paid for.
    assert_eq!(cost(&hosts[8], &hosts[2], None), (true, 4));
    assert_eq!(cost(&hosts[3], &hosts[1], None), (true, 3));
    assert_eq!(cost(&hosts[3], "other.example", None), (false, 12));
    assert_eq!(cost("other.example", "other.example", None), (false, 13));
    // A reload that moves the hosts makes the hint a wrong one, and no more.
    let moved = |hosts: &[String]| Some(Config { hosts: hosts.to_vec(), ..config.clone() });
    assert_eq!(cost(&hosts[3], &hosts[3], moved(&hosts[2..6])), (true, 3));
    assert_eq!(cost(&hosts[6], &hosts[6], moved(&hosts[6..7])), (true, 1));
    assert_eq!(cost(&hosts[6], &hosts[6], moved(&hosts[..6])), (false, 6));
}

#[test]
fn what_cannot_be_a_signature_costs_no_verification() {
    let mut client = Client::of(Config::default());
    client.auth();
    let before_us = client.sessions.crypto_left_us;
    client.says(r#"{"t":4,"data":{"solution":"00"}}"#);
    assert_eq!(
        (reason(&client.hears()[0]), client.sessions.crypto_left_us),
        (("bad_signature", 2), before_us)
    );
    client.says(&format!(r#"{{"t":4,"data":{{"solution":"{}"}}}}"#, "1".repeat(128)));
    assert_eq!(before_us - client.sessions.crypto_left_us, 2 * VERIFY_US, "one for each digest");
}

#[test]
fn events_out_of_order_are_told_and_cost_nothing() {
    let mut client = Client::of(Config::default());
    client.hears();
    client.says(r#"{"t":4,"data":{"solution":"00","id":"q"}}"#);
    let heard = client.hears();
    assert_eq!((code(&heard[0]), &heard[0]["data"]["id"]), ("auth_order", &json!("q")));
    client.says(r#"{"t":2,"data":{"pubKey":"06"}}"#);
    assert_eq!(code(&client.hears()[0]), "bad_key");
    let challenge = client.auth();
    client.says(r#"{"t":2,"data":{"pubKey":"06"}}"#);
    assert_eq!(code(&client.hears()[0]), "auth_order");
    client.solve(&challenge, HOST);
    client.hears();
    client.says(r#"{"t":2,"data":{"pubKey":"06"}}"#);
    client.says(r#"{"t":2,"data":{"user":7}}"#);
    client.says(r#"{"t":4}"#);
    client.solve(&challenge, HOST);
    assert_eq!(client.hears().iter().map(code).collect::<Vec<_>>(), ["auth_order"; 4]);
    assert_eq!((client.heard.closed, client.sessions.members()), (None, 1));
}

#[test]
fn a_challenge_expires_once_and_the_connection_stays_unless_it_must_authenticate() {
    for (auth_within_ms, closes) in [(0, None), (600_000, Some(Close::AuthRequired))] {
        let config = Config { auth_within_ms, ..Config::default() };
        let mut client = Client::of(config);
        let challenge = client.auth();
        assert_eq!(client.session.due_ms(), 61_008);
        client.timer_at(61_008);
        assert_eq!(client.hears().iter().map(reason).collect::<Vec<_>>(), [("expired", 0)]);
        assert_eq!(client.heard.closed, closes);
        client.solve(&challenge, HOST);
        assert_eq!(code(&client.hears()[0]), "auth_order");
        assert!(client.session.is_sealed() && !client.session.is_proven());
        assert_eq!(client.session.due_ms(), u64::MAX);
    }
    // A late solution finds it expired even before the timer has come.
    let mut client = Client::of(Config::default());
    let challenge = client.auth();
    client.sessions.turn(61_000, &client.config);
    client.solve(&challenge, HOST);
    let heard = client.hears();
    assert_eq!((heard.len(), reason(&heard[0]), code(&heard[1])), (2, ("expired", 0), "auth_order"));
}

#[test]
fn who_must_authenticate_and_does_not_is_closed_in_any_stage() {
    let config = Config { auth_within_ms: 5_000, ..Config::default() };
    let mut silent = Client::of(config.clone());
    assert_eq!(silent.session.due_ms(), 6_000);
    silent.timer_at(6_000);
    assert_eq!(silent.heard.closed, Some(Close::AuthRequired));
    let mut slow = Client::of(config.clone());
    slow.auth();
    slow.timer_at(slow.session.due_ms());
    assert_eq!(slow.heard.closed, Some(Close::AuthRequired));
    let mut quick = Client::of(config);
    let challenge = quick.auth();
    quick.solve(&challenge, HOST);
    assert_eq!((quick.session.due_ms(), quick.heard.closed), (u64::MAX, None));
}

#[test]
fn the_tenth_strike_within_a_minute_closes_after_its_error() {
    let mut client = Client::of(Config::default());
    client.hears();
    for n in 0..9 {
        client.says_at(1_000 + n * 1_000, "nonsense");
    }
    // A minute after the first one has passed: nine are left.
    client.says_at(61_000, r#"{"t":7}"#);
    assert_eq!(client.heard.closed, None);
    client.says_at(61_500, "{}");
    assert_eq!(client.heard.closed, Some(Close::Strikes));
    let heard = client.hears();
    assert_eq!(
        (heard.len(), code(&heard[0]), code(&heard[9]), code(&heard[10])),
        (11, "bad_json", "unknown_event", "bad_envelope")
    );
    // Errors that cost no strike close nothing.
    let mut client = Client::of(Config::default());
    (0..50).for_each(|_| client.says(r#"{"t":2,"data":{}}"#));
    assert_eq!(client.heard.closed, None);
}

#[test]
fn a_minutes_worth_of_messages_may_come_at_once_and_a_second_one_ends_it() {
    let mut client =
        Client::of(Config { limits: limits(&[("anonymous_messages_per_minute", 60)]), ..Config::default() });
    client.hears();
    (0..60).for_each(|_| client.says(r#"{"t":1}"#));
    assert!(client.hears().iter().all(|event| event["t"] == 1));
    client.says(r#"{"t":1,"data":{"id":"late"}}"#);
    let heard = client.hears();
    assert_eq!(code(&heard[0]), "rate_limited");
    let data = &heard[0]["data"];
    assert_eq!((&data["re"], &data["id"], &data["retryAfter"]), (&json!(1), &json!("late"), &json!(2_000)));
    client.says_at(2_999, r#"{"t":1}"#);
    assert_eq!(code(&client.hears()[0]), "rate_limited");
    client.says_at(3_999, r#"{"t":1}"#);
    assert_eq!(code(&client.hears()[0]), "rate_limited");
    client.says_at(6_000, r#"{"t":1}"#);
    assert_eq!(client.hears()[0]["t"], 1);
    (0..61).for_each(|_| client.says(r#"{"t":1}"#));
    assert_eq!(client.heard.closed, None);
    client.says(r#"{"t":1}"#);
    assert_eq!(client.heard.closed, Some(Close::MessageRate));
}

#[test]
fn a_member_has_the_members_rate_and_no_limit_is_no_limit() {
    let some = limits(&[("anonymous_messages_per_minute", 10), ("member_messages_per_minute", 0)]);
    let mut client = Client::of(Config { limits: some, ..Config::default() });
    let challenge = client.auth();
    client.solve(&challenge, HOST);
    client.hears();
    (0..10_000).for_each(|_| client.says(r#"{"t":1}"#));
    assert!(client.hears().iter().all(|event| event["t"] == 1));
}

#[test]
fn logins_over_the_addresss_rate_wait_and_may_be_repeated() {
    let mut client = Client::of(Config::default());
    client.hears();
    client.heard.logins_wait_ms = 250;
    let key = client.secret.identity();
    client.says(&format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#));
    let heard = client.hears();
    assert_eq!((code(&heard[0]), &heard[0]["data"]["retryAfter"]), ("rate_limited", &json!(250)));
    client.heard.logins_wait_ms = 0;
    client.auth();
}

#[test]
fn a_key_taken_as_it_is_seals_and_proves_nothing() {
    let mut client = Client::of(Config { auth: AuthMode::Key, auth_within_ms: 5_000, ..Config::default() });
    client.hears();
    let key = client.secret.identity();
    client.says(&format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#));
    assert!(client.heard.said.iter().all(|(sealed, _)| *sealed));
    let heard = client.hears();
    assert_eq!((&heard[0]["data"]["passed"], &heard[1]["data"]["auth"]), (&json!(true), &json!("key")));
    assert_eq!(heard[1]["data"]["perms"], json!(["metadata"]));
    assert!(!client.session.is_proven());
    assert_eq!((client.sessions.online.total(), client.session.due_ms()), (0, u64::MAX));
}

#[test]
fn the_plain_scheme_can_be_refused_and_is_then_not_offered() {
    let mut client = Client::of(Config { bound_only: true, ..Config::default() });
    client.hears();
    let key = client.secret.identity();
    client.says(&format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#));
    assert_eq!(client.hears()[0]["data"]["schemes"], json!(["mida-v1"]));
    client.says(&format!(r#"{{"t":4,"data":{{"solution":"{}"}}}}"#, "0".repeat(128)));
    assert_eq!(client.hears().iter().map(reason).collect::<Vec<_>>(), [("bad_scheme", 2)]);
}

#[test]
fn a_turns_crypto_budget_is_spent_in_order() {
    let mut client =
        Client::of(Config { limits: limits(&[("crypto_us_per_turn", 30)]), ..Config::default() });
    let challenge = client.auth();
    assert_eq!(
        client.sessions.holds(&client.session),
        Hold::Turn,
        "the derivation for its answer has used it up"
    );
    assert!(client.sessions.epoch(&client.session, 100).is_some(), "the epoch is there already");
    client.sessions.turn(1_001, &client.config);
    assert_eq!(client.sessions.holds(&client.session), Hold::Go);
    client.solve(&challenge, HOST);
    assert_eq!(client.sessions.holds(&client.session), Hold::Go, "who is proven never waits");
    assert_eq!(client.hears()[0]["data"]["passed"], true);
}

#[test]
fn without_a_budget_the_answer_to_a_key_is_sealed_a_turn_later() {
    let config = Config { limits: limits(&[("crypto_us_per_turn", 30)]), ..Config::default() };
    let mut client = Client::of(config);
    client.sessions.crypto_left_us = 0;
    client.auth();
    assert!(client.sessions.epoch(&client.session, 100).is_none());
    client.sessions.turn(1_001, &client.config);
    assert!(client.sessions.epoch(&client.session, 100).is_some());
    assert_eq!(client.sessions.holds(&client.session), Hold::Turn);
}

#[test]
fn a_key_that_no_turn_has_a_budget_to_answer_is_told_to_come_back() {
    for auth in [AuthMode::Signature, AuthMode::Key] {
        for (answered, closed) in [(false, Some(Close::Overloaded)), (true, None)] {
            let limits = limits(&[("login_wait_ms", 2_000)]);
            let mut client = Client::of(Config { auth, limits, ..Config::default() });
            client.sessions.crypto_left_us = 0;
            let key = client.secret.identity();
            client.says(&format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#));
            assert_eq!(client.session.due_ms(), 3_008);
            client.sessions.turn(2_000, &client.config);
            assert!(!answered || client.sessions.epoch(&client.session, 100).is_some());
            client.timer_at(3_008);
            assert_eq!(client.heard.closed, closed);
            // The challenge has its own deadline, and a key taken as it is none.
            let due_ms = if answered && auth == AuthMode::Signature { 61_008 } else { u64::MAX };
            assert_eq!(client.session.due_ms(), due_ms);
        }
    }
    // Who is answered at once has no such deadline.
    let mut client = Client::of(Config { limits: limits(&[("login_wait_ms", 2_000)]), ..Config::default() });
    client.auth();
    assert_eq!(client.session.due_ms(), 61_008);
}
