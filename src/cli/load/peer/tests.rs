use super::*;
use crate::cli::load::script::{ACCEPT, Pace};
use mida::app::crypto::{
    challenge::Challenge,
    key::{Identity, SecretKey},
    seal::Epoch,
};
use serde_json::json;

const RULES: &str = r#"{"t":0,"data":{"v":1,"batching":false,"maxBatch":64}}"#;
const NEWS: &str = r#"{"t":1,"data":{"name":"x","online":1,"uptime":2}}"#;

fn kit(mode: Mode, auth: bool, batching: bool) -> Kit {
    let kinds = (mode, false, auth, batching);
    let script = Script::new(kinds, ("localhost:7700", "/"), (Pace::InFlight(8), 8, 0));
    Kit::new(Arc::new(script), Rng::from_seed([1; 32]))
}

fn upgrade() -> Vec<u8> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    format!("{head}sec-websocket-accept: {ACCEPT}\r\n\r\n").into_bytes()
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 10];
    let opcode = match opcode {
        TEXT => mida::engine::wire::Opcode::Text,
        BINARY => mida::engine::wire::Opcode::Binary,
        CLOSE => mida::engine::wire::Opcode::Close,
        _ => mida::engine::wire::Opcode::Ping,
    };
    let used = mida::engine::wire::frame::write_header(opcode, payload.len(), &mut header);
    [&header[..used], payload].concat()
}

/// A connection that waits for the answer to its upgrade, and what it hears.
struct Side {
    peer: Peer,
    kit: Kit,
    heard: Heard,
}

impl Side {
    fn new(kit: Kit) -> Self {
        let mut peer = Peer::default();
        peer.dialling();
        if kit.script.auth {
            peer.log_in_as(5);
        }
        peer.stage = Stage::Upgrading;
        Self { peer, kit, heard: Heard::default() }
    }

    fn hears(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.heard.clear();
        self.peer.received(bytes, &mut self.kit, &mut self.heard)
    }

    /// The JSON that it says, taken out of its only frame.
    fn said(&mut self) -> Value {
        use mida::engine::wire::frame::{Room, decode, unmask};
        let mut said = self.heard.say.clone();
        let room = Room { inside_message: false, frames: 0, bytes: 1 << 20 };
        let header = decode(&said, room).unwrap().unwrap();
        unmask(&mut said[header.size..], header.key, 0);
        serde_json::from_slice(&said[header.size..]).unwrap()
    }
}

fn open(kit: Kit) -> Side {
    let mut side = Side::new(kit);
    side.hears(&[upgrade(), frame(TEXT, RULES.as_bytes())].concat()).unwrap();
    assert!(side.heard.opened && side.peer.stage == Stage::Open);
    side
}

fn sealed(epoch: &mut Epoch, text: &str) -> Vec<u8> {
    let mut message = vec![0; OVERHEAD];
    message.extend_from_slice(text.as_bytes());
    epoch.seal(0, &mut message).unwrap();
    frame(BINARY, &message)
}

/// Logged in, with the epoch that the server seals with.
fn logged_in() -> (Side, Epoch) {
    let mut side = Side::new(kit(Mode::Echo, true, false));
    side.hears(&[upgrade(), frame(TEXT, RULES.as_bytes())].concat()).unwrap();
    assert!(!side.heard.opened);
    let auth = side.said();
    let (_, point) = Identity::parse_hex(auth["data"]["pubKey"].as_str().unwrap().as_bytes()).unwrap();
    let mut rng = Rng::from_seed([2; 32]);
    let mut epoch = Epoch::derive(&point, 0, &mut rng);
    let challenge = Challenge::fresh(&mut rng).to_hex();
    let challenge = json!({"t": 3, "data": {
        "schemes": ["mida-v1"], "challenge": str::from_utf8(&challenge).unwrap()
    }});
    side.hears(&sealed(&mut epoch, &challenge.to_string())).unwrap();
    assert_eq!(side.said()["t"], 4);
    side.hears(&sealed(&mut epoch, r#"{"t":5,"data":{"passed":true}}"#)).unwrap();
    assert!(!side.heard.opened);
    side.hears(&sealed(&mut epoch, RULES)).unwrap();
    assert!(side.heard.opened);
    (side, epoch)
}

#[test]
fn an_answer_to_the_upgrade_may_come_in_pieces() {
    let stream = [upgrade(), frame(TEXT, RULES.as_bytes()), frame(TEXT, NEWS.as_bytes())].concat();
    for cut in 0..stream.len() {
        let mut side = Side::new(kit(Mode::Echo, false, false));
        side.hears(&stream[..cut]).unwrap();
        let (opened, messages) = (side.heard.opened, side.heard.messages);
        side.hears(&stream[cut..]).unwrap();
        assert!(opened ^ side.heard.opened, "cut at {cut}");
        assert_eq!(messages + side.heard.messages, 1, "cut at {cut}");
    }
}

#[test]
fn refusals_are_told_by_their_status() {
    for (head, failure) in [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\nfull\n", Failure::Status(503)),
        ("HTTP/1.1 200 OK\r\n\r\n", Failure::Status(200)),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Failure::NoUpgrade),
        ("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: AAAA\r\n\r\n", Failure::NoUpgrade),
        ("SSH-2.0-OpenSSH\r\n", Failure::NoUpgrade),
    ] {
        let mut side = Side::new(kit(Mode::Idle, false, false));
        assert_eq!(side.hears(head.as_bytes()), Err(failure), "{head}");
    }
    let mut side = Side::new(kit(Mode::Idle, false, false));
    side.hears(b"HTTP/1.1 ").unwrap();
    let endless = (0..1_000).find_map(|_| side.hears(&[b' '; 64]).err());
    assert_eq!(endless, Some(Failure::NoUpgrade));
}

#[test]
fn a_sample_and_every_new_length_are_read_and_the_rest_counted() {
    let mut side = open(kit(Mode::Echo, false, false));
    let news = frame(TEXT, NEWS.as_bytes());
    for _ in 0..128 {
        side.hears(&news.repeat(8)).unwrap();
        assert_eq!((side.heard.messages, side.heard.errors), (8, 0));
    }
    assert_eq!(side.kit.checked, 16);
    let longer = NEWS.replace(":2}", ":22}");
    side.hears(&frame(TEXT, longer.as_bytes())).unwrap();
    assert_eq!((side.heard.messages, side.kit.checked), (1, 17));
}

#[test]
fn errors_are_never_taken_for_answers() {
    let mut side = open(kit(Mode::Echo, false, false));
    let error = r#"{"t":128,"data":{"code":"rate_limited","msg":"m","re":1}}"#;
    // An answer of just that length has been seen.
    let padded = NEWS.replace(r#""x""#, &format!(r#""{}""#, "x".repeat(1 + error.len() - NEWS.len())));
    assert_eq!(padded.len(), error.len());
    side.hears(&frame(TEXT, padded.as_bytes())).unwrap();
    for _ in 0..3 {
        side.hears(&frame(TEXT, error.as_bytes())).unwrap();
        assert_eq!((side.heard.messages, side.heard.errors), (0, 1));
    }
    side.hears(&frame(TEXT, br#"{"t":128,"data":{"code":"\u001b[2J"}}"#)).unwrap();
    assert_eq!(side.kit.errors, BTreeMap::from([("rate_limited", 3), ("other", 1)]));
}

#[test]
fn batches_count_what_is_in_them() {
    let mut kit = kit(Mode::Echo, false, true);
    let rules = RULES.replace("false", "true");
    let mut side = Side::new(std::mem::replace(&mut kit, self::kit(Mode::Echo, false, true)));
    side.hears(&[upgrade(), frame(TEXT, rules.as_bytes())].concat()).unwrap();
    let batch = |count: usize, said: usize| {
        let batch = format!(r#"{{"count":{said},"data":[{}]}}"#, vec![NEWS; count].join(","));
        frame(TEXT, batch.as_bytes())
    };
    for count in [8, 3, 8, 3, 1] {
        side.hears(&batch(count, count)).unwrap();
        assert_eq!(side.heard.messages, count as u64);
    }
    assert_eq!(side.kit.checked, 12);
    assert_eq!(side.hears(&batch(4, 5)), Err(Failure::BadMessage));

    let mut side = Side::new(kit);
    let done = side.hears(&[upgrade(), frame(TEXT, RULES.as_bytes())].concat());
    assert_eq!(done, Err(Failure::NoBatching));
}

#[test]
fn a_login_ends_with_the_second_rules_and_all_of_the_sample_opens() {
    let (mut side, mut epoch) = logged_in();
    let checked = side.kit.checked;
    for _ in 0..128 {
        side.hears(&sealed(&mut epoch, NEWS)).unwrap();
        assert_eq!(side.heard.messages, 1);
    }
    assert_eq!(side.kit.checked - checked, 2, "the first, and one of 64");
}

#[test]
fn what_does_not_open_is_found_at_the_latest_by_the_sample() {
    let (mut side, mut epoch) = logged_in();
    let mut bad = sealed(&mut epoch, NEWS);
    *bad.last_mut().unwrap() ^= 1;
    side.hears(&sealed(&mut epoch, NEWS)).unwrap();
    let found = (0..SAMPLE).find_map(|_| side.hears(&bad).err());
    assert_eq!(found, Some(Failure::BadSeal));
    // A clear message behind a sealed one is found at once.
    let (mut side, _) = logged_in();
    assert_eq!(side.hears(&frame(TEXT, NEWS.as_bytes())), Err(Failure::BadSeal));
}

#[test]
fn a_refused_login_is_told_by_its_reason() {
    for (event, failure) in [
        (r#"{"t":5,"data":{"passed":false,"reason":"wrong_host"}}"#, Failure::Login("wrong_host")),
        (r#"{"t":128,"data":{"code":"rate_limited","re":4}}"#, Failure::Login("rate_limited")),
        (r#"{"t":3,"data":{"schemes":["ecdsa"],"challenge":""}}"#, Failure::Login("no_mida_v1")),
    ] {
        let mut side = Side::new(kit(Mode::Idle, true, false));
        side.hears(&[upgrade(), frame(TEXT, RULES.as_bytes())].concat()).unwrap();
        let key = SecretKey::from_hex(&[b'9'; 64]).unwrap();
        side.peer.member = Some(Box::new(Member::new(key)));
        let point = SecretKey::from_hex(&[b'9'; 64]).unwrap().identity().point();
        let mut epoch = Epoch::derive(&point, 0, &mut Rng::from_seed([2; 32]));
        assert_eq!(side.hears(&sealed(&mut epoch, event)), Err(failure));
    }
}

#[test]
fn pings_are_answered_and_a_close_says_its_code() {
    let mut side = open(kit(Mode::Idle, false, false));
    side.hears(&frame(PING, b"are you there")).unwrap();
    let mut pong = Vec::new();
    outbound::frame(PONG, b"are you there", &mut pong);
    assert_eq!((side.heard.pings, &side.heard.say), (1, &pong));
    assert_eq!(side.hears(&frame(CLOSE, &[0x0f, 0xaa])), Err(Failure::Closed(4_010)));
    assert_eq!(side.hears(&frame(CLOSE, &[])), Err(Failure::Closed(1_005)));
}

#[test]
fn echoes_have_the_length_of_what_was_sent() {
    let script = Script::new((Mode::Echo, true, false, false), ("a", "/"), (Pace::InFlight(1), 1, 20));
    let mut side = Side::new(Kit::new(Arc::new(script), Rng::from_seed([1; 32])));
    side.hears(&upgrade()).unwrap();
    assert!(side.heard.opened, "no rules are waited for");
    side.hears(&frame(TEXT, &[b'x'; 20]).repeat(3)).unwrap();
    assert_eq!(side.heard.messages, 3);
    assert_eq!(side.hears(&frame(TEXT, &[b'x'; 21])), Err(Failure::BadEcho));
}
