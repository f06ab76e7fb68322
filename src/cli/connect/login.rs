//! A login as the client sees it: event 2, the signature over event 3, event 5 (PROTOCOL.md sections 4, 5).

use super::inbound::Event;
use mida::app::{
    crypto::{
        challenge::{Challenge, Scheme, sign_mida_v1},
        key::SecretKey,
        rng::Rng,
    },
    protocol::event::{AUTH, CHALLENGE, ERROR, RESULT, SOLUTION},
};
use serde::Deserialize;
use serde_json::json;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Login {
    /// None was tried.
    #[default]
    None,
    /// Event 2 is sent.
    Asked,
    /// Event 4 is sent.
    Signed,
    Passed,
    Failed,
}

/// What an event of the server leads to.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// To be sent.
    pub message: Option<String>,
    /// For the user.
    pub remark: Option<String>,
}

impl Step {
    fn remark(remark: impl Into<String>) -> Step {
        Step { message: None, remark: Some(remark.into()) }
    }
}

#[derive(Deserialize)]
struct Question {
    challenge: String,
    schemes: Vec<String>,
}

#[derive(Deserialize)]
struct Outcome {
    passed: bool,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Error {
    re: Option<u8>,
}

impl Login {
    /// Whether the server has still to decide.
    pub fn is_under_way(self) -> bool {
        matches!(self, Login::Asked | Login::Signed)
    }

    /// Starts with event 2: the account is made if there is none.
    pub fn start(&mut self, secret: &SecretKey) -> String {
        *self = Login::Asked;
        json!({ "t": AUTH, "data": { "pubKey": secret.identity().to_string() } }).to_string()
    }

    /// Goes on with an event of the server, at `host` as it was dialled. A challenge nobody asked for is
    /// not signed.
    pub fn step(&mut self, event: &Event<'_>, secret: &SecretKey, host: &str, rng: &mut Rng) -> Step {
        match (*self, event.t) {
            (Login::Asked, CHALLENGE) => match sign(event, secret, host, rng) {
                Ok(solution) => {
                    *self = Login::Signed;
                    let data = json!({ "scheme": Scheme::MidaV1.name(), "solution": solution });
                    let message = json!({ "t": SOLUTION, "data": data }).to_string();
                    Step { message: Some(message), remark: Some(format!("> solution   mida-v1 for {host}")) }
                }
                Err(problem) => {
                    *self = Login::Failed;
                    Step::remark(format!("mida: login failed: {problem}"))
                }
            },
            (Login::Asked | Login::Signed, RESULT) => {
                let outcome =
                    serde_json::from_str(event.data).unwrap_or(Outcome { passed: false, reason: None });
                *self = if outcome.passed { Login::Passed } else { Login::Failed };
                match outcome.passed {
                    true => Step::default(),
                    false => Step::remark(advice(outcome.reason.as_deref(), host)),
                }
            }
            (Login::Asked | Login::Signed, ERROR) => {
                let awaited = if *self == Login::Asked { AUTH } else { SOLUTION };
                let error = serde_json::from_str(event.data).unwrap_or(Error { re: None });
                if error.re != Some(awaited) {
                    return Step::default();
                }
                *self = Login::Failed;
                Step::remark("mida: login failed: see the error above")
            }
            _ => Step::default(),
        }
    }
}

fn sign(event: &Event<'_>, secret: &SecretKey, host: &str, rng: &mut Rng) -> Result<String, &'static str> {
    let question: Question = serde_json::from_str(event.data).map_err(|_| "the challenge cannot be read")?;
    if !question.schemes.iter().any(|scheme| scheme == Scheme::MidaV1.name()) {
        return Err("the server does not take mida-v1, and this client signs nothing that can be relayed");
    }
    let challenge =
        Challenge::from_hex(question.challenge.as_bytes()).ok_or("the challenge is not 64 hex digits")?;
    let solution = sign_mida_v1(secret, host, &challenge, &secret.identity(), rng);
    Ok(String::from_utf8_lossy(&solution).into_owned())
}

fn advice(reason: Option<&str>, host: &str) -> String {
    let advice = match reason {
        Some("wrong_host") => {
            return format!(
                "mida: login failed: the server does not go by {host}; dial it by its own host, \
                 or have its operator add --public-host {host}"
            );
        }
        Some("expired") => "it took too long; connect again",
        Some("blocked") => "the operator blocked this key",
        Some("bad_signature") => {
            "the signature was refused; behind a proxy, the operator may have to name this host with --public-host"
        }
        _ => "see the result above",
    };
    format!("mida: login failed: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mida::app::crypto::{challenge::verify, key::Identity};
    use serde_json::Value;

    const HOST: &str = "chat.example:8443";
    const DIGITS: &str = "53dd5095c60ba8c1d7772fd290b5c9b18fd8d148511cf4442f8d958fa7e5a828";
    const SECRET: &str = "dcd25cfbae2ede5f4dbf2b90e3858f2b7abeb9b26fe99331f2f7c827f7be9692";
    const IDENTITY: &str = "0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7";

    struct Client {
        login: Login,
        secret: SecretKey,
    }

    impl Client {
        fn asking() -> Client {
            let secret = SecretKey::from_hex(SECRET.as_bytes()).unwrap();
            let mut login = Login::None;
            let message: Value = serde_json::from_str(&login.start(&secret)).unwrap();
            assert_eq!(message, json!({"t": 2, "data": {"pubKey": IDENTITY}}));
            Client { login, secret }
        }

        fn hears(&mut self, t: u8, data: &str) -> Step {
            let event = Event { sealed: true, t, json: "", data };
            self.login.step(&event, &self.secret, HOST, &mut Rng::from_seed([1; 32]))
        }

        fn challenged() -> Client {
            let mut client = Client::asking();
            assert!(client.hears(3, &question(DIGITS, "mida-v1")).message.is_some());
            assert_eq!(client.login, Login::Signed);
            client
        }
    }

    fn question(challenge: &str, scheme: &str) -> String {
        json!({"challenge": challenge, "schemes": ["ecdsa", scheme], "expiresIn": 60000}).to_string()
    }

    #[test]
    fn the_challenge_is_signed_for_the_host_that_was_dialled() {
        let mut client = Client::asking();
        assert!(client.login.is_under_way());
        let step = client.hears(3, &question(DIGITS, "mida-v1"));
        let message: Value = serde_json::from_str(&step.message.unwrap()).unwrap();
        assert_eq!((&message["t"], &message["data"]["scheme"]), (&json!(4), &json!("mida-v1")));
        let solution = message["data"]["solution"].as_str().unwrap();
        let challenge = Challenge::from_hex(DIGITS.as_bytes()).unwrap();
        let identity = Identity::parse_hex(IDENTITY.as_bytes()).unwrap().0;
        let verified = verify(Scheme::MidaV1, &identity, &challenge, solution.as_bytes(), [HOST], None).0;
        assert_eq!(verified, Ok(()));
        assert_eq!(client.hears(5, r#"{"passed":true}"#), Step::default());
        assert_eq!(client.login, Login::Passed);
    }

    #[test]
    fn a_key_without_proof_passes_at_once() {
        let mut client = Client::asking();
        client.hears(5, r#"{"passed":true,"user":{"displayName":"","unreadMessages":0}}"#);
        assert_eq!(client.login, Login::Passed);
    }

    #[test]
    fn nothing_is_signed_that_nobody_asked_for_or_that_can_be_relayed() {
        for (challenge, scheme) in [(DIGITS, "other"), (&DIGITS[1..], "mida-v1"), ("", "mida-v1")] {
            let mut client = Client::asking();
            let step = client.hears(3, &question(challenge, scheme));
            assert_eq!((step.message, client.login), (None, Login::Failed), "{challenge} {scheme}");
            assert!(step.remark.unwrap().contains("login failed"));
        }
        for login in [Login::None, Login::Signed, Login::Passed, Login::Failed] {
            let mut client = Client { login, ..Client::asking() };
            assert_eq!(client.hears(3, &question(DIGITS, "mida-v1")), Step::default());
            assert_eq!(client.login, login);
        }
    }

    #[test]
    fn a_refusal_is_explained() {
        for (data, says) in [
            (r#"{"passed":false,"reason":"wrong_host","attemptsLeft":2}"#, "--public-host chat.example:8443"),
            (r#"{"passed":false,"reason":"expired","attemptsLeft":0}"#, "connect again"),
            (r#"{"passed":false,"reason":"new"}"#, "above"),
            ("{}", "above"),
        ] {
            let mut client = Client::challenged();
            assert!(client.hears(5, data).remark.unwrap().contains(says), "{data}");
            assert_eq!(client.login, Login::Failed);
        }
    }

    #[test]
    fn an_error_ends_the_login_only_if_it_answers_it() {
        let mut client = Client::asking();
        for re in ["1", "4", "null"] {
            assert_eq!(client.hears(128, &format!(r#"{{"re":{re}}}"#)), Step::default());
            assert!(client.login.is_under_way());
        }
        client.hears(128, r#"{"code":"rate_limited","re":2}"#);
        assert_eq!(client.login, Login::Failed);
        let mut client = Client::challenged();
        client.hears(128, r#"{"re":2}"#);
        assert!(client.login.is_under_way());
        client.hears(128, r#"{"re":4}"#);
        assert_eq!(client.login, Login::Failed);
    }
}
