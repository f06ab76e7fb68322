//! What members are sealed, over any number of epochs, connections and identities.

use super::*;
use crate::app::crypto::seal::{EPOCH_BYTES, EPOCH_MESSAGES, EPOCH_S, OVERHEAD};
use std::collections::{HashMap, HashSet};

type Point = [u8; 65];
type Nonce = [u8; 16];

/// Seals as a flush does; none when the turn has no budget for a new epoch.
fn seal(sessions: &mut Sessions, session: &Session, plaintext: &[u8]) -> Option<Vec<u8>> {
    let now_s = (sessions.now_ms / 1_000) as u32;
    let epoch = sessions.epoch(session, plaintext.len())?;
    let mut message = [&[0; OVERHEAD], plaintext].concat();
    epoch.seal(now_s, &mut message).unwrap();
    Some(message)
}

fn point(message: &[u8]) -> Point {
    message[..65].try_into().unwrap()
}

fn nonce(message: &[u8]) -> Nonce {
    message[65..81].try_into().unwrap()
}

fn member(session: &Session) -> u32 {
    session.member - 1
}

/// What the epoch of this session has run out of, if it has and there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Messages,
    Bytes,
    Age,
}

fn end(sessions: &Sessions, session: &Session, plaintext_bytes: usize) -> Option<End> {
    let epoch = sessions.members.get(member(session))?.epoch.as_ref()?;
    let now_s = (sessions.now_ms / 1_000) as u32;
    match () {
        () if epoch.is_spent(0, 0) => Some(End::Messages),
        () if epoch.is_spent(0, plaintext_bytes) => Some(End::Bytes),
        () if epoch.is_spent(now_s, plaintext_bytes) => Some(End::Age),
        () => None,
    }
}

/// A connection of the model.
struct Peer {
    session: Session,
    /// Which of the identities it logged in with.
    who: usize,
    number: u64,
    /// The ephemeral key of its newest message.
    point: Option<Point>,
}

/// A core whose every sealed message is kept account of.
struct Core {
    config: Config,
    sessions: Sessions,
    secrets: Vec<SecretKey>,
    peers: Vec<Option<Peer>>,
    rng: Rng,
    opened: u64,
    /// Every member handle there was, and how many connections had it.
    handles: HashMap<u32, u32>,
    pairs: HashSet<(Point, Nonce)>,
    /// Which connection an ephemeral key was first seen on.
    owners: HashMap<Point, u64>,
    /// Epochs that were followed by another one, by what they had run out of.
    ended: HashMap<End, u32>,
    /// Messages that a turn had no budget for.
    waited: u32,
}

impl Core {
    fn new(seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let limits = limits(&[("crypto_us_per_turn", u64::from(2 * DERIVE_US))]);
        let config = Config { auth: AuthMode::Key, limits, ..Config::default() };
        let mut sessions = Sessions::new(Rng::from_seed([seed ^ 0x80; 32]), Online::new(1));
        sessions.turn(1_000, &config);
        Self {
            sessions,
            secrets: (0..3).map(|_| SecretKey::generate(&mut rng)).collect(),
            peers: (0..6).map(|_| None).collect(),
            rng,
            opened: 0,
            handles: HashMap::new(),
            pairs: HashSet::new(),
            owners: HashMap::new(),
            ended: HashMap::new(),
            waited: 0,
            config,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u32) as usize
    }

    fn step(&mut self) {
        let at = self.below(self.peers.len());
        if self.peers[at].is_none() {
            self.peers[at] = Some(self.log_in());
        }
        match self.below(16) {
            0 => self.disconnect(at),
            1..3 => self.approach(at),
            3..6 => {
                let pause_ms = self.rng.below(EPOCH_S * 1_000 / 3);
                self.sessions.turn(self.sessions.now_ms + u64::from(pause_ms), &self.config);
            }
            _ => self.tell(at),
        }
        assert_eq!(self.sessions.members(), self.peers.iter().flatten().count());
    }

    fn log_in(&mut self) -> Peer {
        let who = self.below(self.secrets.len());
        let Self { sessions, config, secrets, .. } = self;
        let mut session = Session::new(config, sessions.now_ms);
        let mut heard = Heard::default();
        sessions.opened(&mut session, config, HOST, &mut heard);
        let text = format!(r#"{{"t":2,"data":{{"pubKey":"{}"}}}}"#, secrets[who].identity());
        let mut decoder = Decoder::new(&config.limits);
        for message in &decoder.decode(text.as_bytes(), &config.limits, false).unwrap() {
            sessions.message(&mut session, config, &message, &mut heard);
        }
        assert!(session.is_sealed());
        *self.handles.entry(member(&session)).or_default() += 1;
        self.opened += 1;
        Peer { session, who, number: self.opened, point: None }
    }

    fn disconnect(&mut self, at: usize) {
        let peer = self.peers[at].take().unwrap();
        self.sessions.closed(peer.session, peer.number);
    }

    /// Brings an epoch to its last few messages or bytes.
    fn approach(&mut self, at: usize) {
        let (left, by_messages) = (self.rng.below(3), self.rng.below(2) == 0);
        let session = &self.peers[at].as_ref().unwrap().session;
        let Some(member) = self.sessions.members.get_mut(member(session)) else { return };
        let Some(epoch) = &mut member.epoch else { return };
        match by_messages {
            true => epoch.advance(EPOCH_MESSAGES - left, 0),
            false => epoch.advance(0, EPOCH_BYTES - 100 * left),
        }
    }

    /// Seals a few messages to one connection.
    fn tell(&mut self, at: usize) {
        for _ in 0..=self.below(4) {
            let mut plaintext = vec![0; self.below(150)];
            self.rng.fill(&mut plaintext);
            let session = &self.peers[at].as_ref().unwrap().session;
            let end = end(&self.sessions, session, plaintext.len());
            match seal(&mut self.sessions, session, &plaintext) {
                Some(message) => self.check(at, &plaintext, &message, end),
                None => {
                    self.waited += 1;
                    self.sessions.turn(self.sessions.now_ms + 1, &self.config);
                }
            }
        }
    }

    fn check(&mut self, at: usize, plaintext: &[u8], message: &[u8], end: Option<End>) {
        let peer = self.peers[at].as_mut().unwrap();
        let point = point(message);
        assert!(self.pairs.insert((point, nonce(message))), "a nonce comes again");
        let owner = *self.owners.entry(point).or_insert(peer.number);
        assert_eq!(owner, peer.number, "another connection's epoch");
        let before = peer.point.replace(point);
        assert_eq!(before != Some(point), before.is_none() || end.is_some(), "{end:?}");
        if let Some(end) = end {
            *self.ended.entry(end).or_default() += 1;
        }
        for (who, secret) in self.secrets.iter().enumerate() {
            let opened = ecies::decrypt(secret.as_bytes(), message).ok();
            assert_eq!(opened.as_deref(), (who == peer.who).then_some(plaintext), "identity {who}");
        }
    }
}

#[test]
fn no_nonce_comes_twice_whoever_comes_and_goes_and_only_the_right_identity_opens() {
    for seed in 0..2 {
        let mut core = Core::new(seed);
        (0..400).for_each(|_| core.step());
        let ended = [End::Messages, End::Bytes, End::Age].map(|end| core.ended.get(&end).copied());
        assert!(ended.iter().all(|count| *count > Some(5)), "{ended:?}");
        assert!(core.handles.values().all(|connections| *connections > 1), "{:?}", core.handles);
        assert!(core.waited > 5 && core.pairs.len() > 500, "{} {}", core.waited, core.pairs.len());
    }
}

#[test]
fn the_first_message_of_a_rekey_has_another_ephemeral_key_and_the_old_key_is_gone() {
    for cause in [End::Messages, End::Bytes, End::Age] {
        let mut core = Core::new(9);
        let session = core.log_in().session;
        let sessions = &mut core.sessions;
        let old = seal(sessions, &session, b"old").unwrap();
        let epoch = sessions.members.get_mut(member(&session)).unwrap().epoch.as_mut().unwrap();
        let old_key = epoch.key();
        match cause {
            End::Messages => epoch.advance(EPOCH_MESSAGES - 1, 0),
            End::Bytes => epoch.advance(0, EPOCH_BYTES - 4),
            End::Age => {}
        }
        let last = seal(sessions, &session, b"last").unwrap();
        assert_eq!(point(&last), point(&old));
        let pause_ms = if cause == End::Age { u64::from(EPOCH_S) * 1_000 } else { 0 };
        sessions.turn(sessions.now_ms + pause_ms, &core.config);
        assert_eq!(end(sessions, &session, 5), Some(cause));

        // Until there is time for a rekey, the old epoch stays and seals nothing.
        sessions.crypto_left_us = 0;
        assert!(seal(sessions, &session, b"first").is_none());
        assert_eq!(end(sessions, &session, 5), Some(cause));

        sessions.turn(sessions.now_ms, &core.config);
        let first = seal(sessions, &session, b"first").unwrap();
        assert_ne!(point(&first), point(&old));
        assert_eq!(nonce(&first)[8..], [0; 8]);
        assert_eq!(end(sessions, &session, 5), None);
        let epoch = sessions.members.get(member(&session)).unwrap().epoch.as_ref().unwrap();
        assert!(epoch.key() != old_key && epoch.key() != [0; 32]);
        assert_eq!(point(&seal(sessions, &session, b"next").unwrap()), point(&first));
    }
}
