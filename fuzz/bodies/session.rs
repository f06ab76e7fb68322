//! Sessions of three clients, driven through every call their application makes, against a model that
//! says what each message must be answered.

use super::input::Input;
use mida::{
    app::{
        config::{Config, Permissions},
        crypto::{
            challenge::{Challenge, sign_mida_v1},
            hex,
            key::{Identity, SecretKey},
            rng::Rng,
            seal::OVERHEAD,
        },
        protocol::{decode::Decoder, encode::AuthMode},
        relay::Online,
        session::{Session, Sessions},
    },
    engine::{app::Hold, limits::Limits},
};
use model::{Heard, Model, Signed};
use secp256k1::ecdsa;
use sha2::{Digest, Sha256};
use std::sync::Arc;

mod model;

/// Calls that one input may make.
const STEPS_MAX: usize = 64;
/// Signatures that one input may make.
const SIGNATURES_MAX: usize = 12;

/// What `mida-v1` may name: ours by default, one that may be configured, and two that are not.
const HOSTS: [&str; 4] = ["localhost:7700", "chat.example", "other.example", "third.example"];

/// A configuration, and what happens under it.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut server = Server::new(config(&mut input));
    for _ in 0..3 {
        let client = server.connect(input.pick(&[HOSTS[0], HOSTS[2], HOSTS[1]]));
        server.clients.push(client);
    }
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        server.step(&mut input);
        server.check();
    }
    for client in std::mem::take(&mut server.clients) {
        server.disconnect(client);
    }
    assert_eq!((server.online.total(), server.sessions.members()), (0, 0), "somebody is left");
}

fn config(input: &mut Input<'_>) -> Config {
    let limits = Limits {
        auth_attempts: input.pick(&[3, 1, 2, u32::MAX]),
        challenge_ms: input.pick(&[60_000, 1, 1_000, u64::MAX]),
        strikes_per_minute: input.pick(&[10, 1, 2, u32::MAX]),
        anonymous_messages_per_minute: input.pick(&[120, 1, 5, u32::MAX]),
        member_messages_per_minute: input.pick(&[600, 2, u32::MAX]),
        crypto_us_per_turn: input.pick(&[500, 1, 70, u32::MAX]),
        login_wait_ms: u64::MAX,
        ..Limits::default()
    };
    Config {
        batching: input.bool(),
        auth: input.pick(&[AuthMode::Signature, AuthMode::Signature, AuthMode::Signature, AuthMode::Key]),
        auth_within_ms: input.pick(&[0, 0, 10_000, 100, u64::MAX]),
        bound_only: input.bool(),
        hosts: input
            .pick(&[&[][..], &[HOSTS[1]], &[HOSTS[0], HOSTS[1]]])
            .iter()
            .map(|host| (*host).to_owned())
            .collect(),
        // The model has no messages between keys.
        members: Permissions::NONE,
        limits: Arc::new(limits),
        ..Config::default()
    }
}

struct Server {
    config: Config,
    sessions: Sessions,
    online: Online,
    decoder: Decoder,
    clients: Vec<Client>,
    /// Which of them acts.
    at: usize,
    secrets: [SecretKey; 3],
    /// Every signature that was ever made here; no other can be good.
    signed: Vec<Signed>,
    /// Challenges that anybody was given.
    challenges: Vec<Challenge>,
    /// What waits for the rest of its batch, and how many are missing.
    batch: Vec<String>,
    missing: usize,
    rng: Rng,
    now_ms: u64,
    connections: u64,
}

struct Client {
    session: Session,
    heard: Heard,
    model: Model,
}

impl Server {
    fn new(config: Config) -> Self {
        let online = Online::new(1);
        let mut rng = Rng::from_seed([5; 32]);
        let mut sessions = Sessions::new(Rng::from_seed([6; 32]), online.clone());
        sessions.turn(1_000, &config);
        Self {
            decoder: Decoder::new(&config.limits),
            config,
            sessions,
            online,
            clients: Vec::new(),
            at: 0,
            secrets: [(); 3].map(|()| SecretKey::generate(&mut rng)),
            signed: Vec::new(),
            challenges: Vec::new(),
            batch: Vec::new(),
            missing: 0,
            rng,
            now_ms: 1_000,
            connections: 0,
        }
    }

    fn connect(&mut self, dialled: &'static str) -> Client {
        self.connections += 1;
        let strange = Some(dialled).filter(|host| !hosts(&self.config).contains(host));
        let mut session = Session::new(&self.config, self.now_ms);
        let mut heard = Heard::new(self.connections);
        let model = Model::new(strange);
        self.sessions.opened(&mut session, &self.config, dialled, &mut heard);
        heard.expect(&["rules"]);
        assert_eq!(session.batching(), self.config.batching);
        Client { session, heard, model }
    }

    fn disconnect(&mut self, mut client: Client) {
        if !client.heard.is_closed() {
            self.sessions.closing(&mut client.session);
        }
        self.sessions.closed(client.session, client.heard.number);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let kind = input.byte() % 18;
        let id = if input.bool() { r#","id":"q""# } else { "" };
        match kind {
            0 => self.at = usize::from(input.byte()) % self.clients.len(),
            1 => self.says(format!(r#"{{"t":1,"data":{{"x":0{id}}}}}"#)),
            2 | 3 => {
                let key = self.key(input);
                let user =
                    input.pick(&["", r#","user":{"displayName":"A\u0000\""}"#, r#","method":"signup""#]);
                self.says(format!(r#"{{"t":2,"data":{{"pubKey":"{key}"{user}{id}}}}}"#));
            }
            4..=6 => {
                let (scheme, solution) = self.solution(input);
                self.says(format!(r#"{{"t":4,"data":{{"solution":"{solution}"{scheme}{id}}}}}"#));
            }
            7 => {
                let text = input.pick(&[
                    r#"{"t":4,"data":{}}"#,
                    r#"{"t":2,"data":{}}"#,
                    r#"{"t":0}"#,
                    r#"{"t":256}"#,
                    r#"{"t":4,"data":{"solution":"00","scheme":"rot13"}}"#,
                    r#"{"t":4,"data":{"solution":7,"id":"q"}}"#,
                ]);
                self.says(text.to_owned());
            }
            8 => {
                let len = usize::from(input.byte());
                let text = String::from_utf8_lossy(input.take(len)).into_owned();
                self.hears(text.as_bytes());
            }
            9 => self.missing = usize::from(input.byte() % 8),
            10 | 11 => {
                let ms = input.pick(&[0, 1, 15, 16, 100, 999, 1_000, 9_000, 30_000, 60_000, 3_600_000]);
                self.turn(ms * u64::from(input.byte() % 4));
            }
            12 => self.timer(),
            13 => self.flush(usize::from(input.u16())),
            14 => self.reload(config(input)),
            15 => {
                let client = self.clients.remove(self.at);
                self.disconnect(client);
                let client = self.connect(input.pick(&[HOSTS[0], HOSTS[2], HOSTS[3]]));
                self.clients.insert(self.at, client);
            }
            16 => self.clients[self.at].heard.logins_wait_ms = input.pick(&[0, 250]),
            _ => self.turn(0),
        }
    }

    /// A key's text: right in three spellings, or wrong.
    fn key(&self, input: &mut Input<'_>) -> String {
        let identity = self.secrets[usize::from(input.byte()) % 3].identity();
        let text = identity.to_string();
        match input.byte() % 8 {
            0 => text.to_uppercase(),
            1 => text_of(&identity.point().serialize_uncompressed()),
            2 => text[1..].to_owned(),
            3 => format!("05{}", &text[2..]),
            4 => format!("02{}", "f".repeat(64)),
            _ => text,
        }
    }

    /// Members of event 4: somebody's signature over something, as somebody names it.
    fn solution(&mut self, input: &mut Input<'_>) -> (String, String) {
        let scheme = input.pick(&[r#","scheme":"mida-v1""#, "", r#","scheme":"ecdsa""#, r#","scheme":"x""#]);
        let kind = input.byte() % 8;
        if kind == 7 || self.signed.len() >= SIGNATURES_MAX {
            let at = usize::from(input.byte()) % self.signed.len().max(1);
            let again = self.signed.get(at).map_or_else(|| "0".repeat(128), |signed| signed.text.clone());
            return (scheme.to_owned(), again);
        }
        let client = &self.clients[self.at].model;
        let own = client.identity().and_then(|own| self.secrets.iter().position(|s| s.identity() == own));
        let signer = &self.secrets[(own.unwrap_or(0) + input.pick(&[0, 0, 0, 1])) % 3];
        let challenge = match input.byte() % 4 {
            0 => usize::from(input.byte()) % self.challenges.len().max(1),
            _ => client.challenge_number().unwrap_or(0),
        };
        let Some(challenge) = self.challenges.get(challenge) else {
            return (scheme.to_owned(), "f".repeat(128));
        };
        let host = input.pick(&HOSTS);
        let text = match kind {
            0..4 => {
                // The identity in the text may be another's than the signer's.
                let named = self.secrets[(own.unwrap_or(0) + input.pick(&[0, 0, 0, 1])) % 3].identity();
                let solution = sign_mida_v1(signer, host, challenge, &named, &mut self.rng);
                let text = String::from_utf8_lossy(&solution).into_owned();
                if named == signer.identity() {
                    self.signed.push(Signed::mida_v1(text.clone(), named, *challenge, host));
                }
                text
            }
            _ => {
                let digest: [u8; 32] = match kind {
                    4 => Sha256::digest(challenge.as_bytes()).into(),
                    5 => *challenge.as_bytes(),
                    // Over the hex text: refused.
                    _ => Sha256::digest(challenge.to_hex()).into(),
                };
                let secret = secp256k1::SecretKey::from_secret_bytes(*signer.as_bytes()).expect("a secret");
                let signature =
                    ecdsa::sign(secp256k1::Message::from_digest(digest), &secret).serialize_compact();
                let text = text_of(&signature);
                if kind < 6 {
                    self.signed.push(Signed::ecdsa(text.clone(), signer.identity(), *challenge));
                }
                text
            }
        };
        let text = match input.byte() % 8 {
            0 => text.to_uppercase(),
            1 => high_s(&text),
            2 => text[..126].to_owned(),
            3 => format!("{}{}", "0".repeat(64), &text[64..]),
            _ => text,
        };
        (scheme.to_owned(), text)
    }

    /// A message of the client, at once or with others in a batch.
    fn says(&mut self, message: String) {
        if self.missing == 0 {
            return self.hears(message.as_bytes());
        }
        self.batch.push(message);
        self.missing -= 1;
        if self.missing == 0 {
            let batch = std::mem::take(&mut self.batch);
            let text = format!(r#"{{"count":{},"data":[{}]}}"#, batch.len(), batch.join(","));
            self.hears(text.as_bytes());
        }
    }

    /// A text of the client reaches its session.
    fn hears(&mut self, text: &[u8]) {
        if self.sessions.holds(&self.clients[self.at].session) != Hold::Go {
            self.turn(0);
        }
        let Self { config, sessions, online, decoder, clients, at, signed, challenges, now_ms, .. } = self;
        let Client { session, heard, model } = &mut clients[*at];
        if heard.is_closed() {
            return;
        }
        assert!(sessions.holds(session) == Hold::Go, "it waits in a turn that has its whole budget");
        model.now(*now_ms, config, online.total());
        match decoder.decode(text, &config.limits, session.batching()) {
            Ok(messages) => {
                for message in &messages {
                    let expected = model.message(&message, session, heard, config, signed);
                    sessions.message(session, config, &message, heard);
                    model.settle(heard, Some((message.t, message.id)), expected, challenges);
                    if heard.is_closed() {
                        break;
                    }
                }
            }
            Err(code) => {
                let expected = model.nonsense(code, config);
                sessions.nonsense(session, config, code, heard);
                model.settle(heard, Some((None, None)), expected, challenges);
            }
        }
        self.leave();
    }

    /// Who is being closed takes part no more.
    fn leave(&mut self) {
        let Client { session, heard, .. } = &mut self.clients[self.at];
        if heard.is_closed() {
            self.sessions.closing(session);
        }
    }

    fn turn(&mut self, ms: u64) {
        self.now_ms += ms;
        self.sessions.turn(self.now_ms, &self.config);
    }

    /// The engine looks at its deadline.
    fn timer(&mut self) {
        // No deadline comes before what was said has been sealed.
        self.flush(0);
        let Client { session, heard, model } = &mut self.clients[self.at];
        if heard.is_closed() || session.due_ms() > self.now_ms {
            return;
        }
        model.now(self.now_ms, &self.config, self.online.total());
        let expected = model.timer(&self.config);
        self.sessions.timer(session, heard);
        model.settle(heard, None, expected, &mut self.challenges);
        assert!(heard.is_closed() || session.due_ms() > self.now_ms, "the same deadline again");
        self.leave();
    }

    /// What was said is sealed: in a turn of its own there is always a budget for that.
    fn flush(&mut self, bytes: usize) {
        self.turn(0);
        let Client { session, .. } = &self.clients[self.at];
        let epoch = self.sessions.epoch(session, bytes);
        assert_eq!(epoch.is_some(), session.is_sealed(), "sealed, and no epoch");
        if let Some(epoch) = epoch {
            let mut message = vec![b'#'; OVERHEAD + bytes];
            epoch.seal((self.now_ms / 1_000) as u32, &mut message).expect("an epoch with room");
        }
    }

    fn reload(&mut self, config: Config) {
        let tells = config.rules_other_than(&self.config);
        self.config = config;
        for Client { session, heard, .. } in &mut self.clients {
            if tells && !heard.is_closed() {
                self.sessions.say_rules(session, &self.config, heard);
                heard.expect(&["rules"]);
            }
        }
    }

    /// What holds between any two calls.
    fn check(&self) {
        let live = || self.clients.iter().filter(|client| !client.heard.is_closed());
        let proven = live().filter(|client| client.session.is_proven()).count();
        assert_eq!(self.online.total(), proven as u64);
        let sealed = self.clients.iter().filter(|client| client.session.is_sealed()).count();
        assert_eq!(self.sessions.members(), sealed);
        live().for_each(|client| client.model.check(&client.session));
    }
}

/// The hosts a solution may name.
fn hosts(config: &Config) -> Vec<&str> {
    if config.hosts.is_empty() { vec![HOSTS[0]] } else { config.hosts.iter().map(String::as_str).collect() }
}

fn text_of(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    hex::append(bytes, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// n - s in the place of s.
fn high_s(solution: &str) -> String {
    let Ok(s) = SecretKey::from_hex(&solution.as_bytes()[64..]) else { return solution.to_owned() };
    let s = secp256k1::SecretKey::from_secret_bytes(*s.as_bytes()).expect("a number below n");
    format!("{}{}", &solution[..64], text_of(s.negate().as_secret_bytes()))
}

/// Whether the text names a key, and whose.
fn identity(text: &str) -> Option<Identity> {
    Identity::parse_hex(text.as_bytes()).ok().map(|(identity, _)| identity)
}
