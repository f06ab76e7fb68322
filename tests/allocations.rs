//! The way of a message allocates nothing once the server is warm: receive, decode, dispatch, encode, seal,
//! gather; and an idle connection owns no buffer. Alone in its process, because the allocator counts all.

#[path = "common/frames.rs"]
mod frames;

use mida::{
    app::{
        Mida,
        config::Config,
        crypto::{
            challenge::{Challenge, sign_mida_v1},
            key::SecretKey,
            rng::Rng,
        },
        relay::{Command, Online, Reload},
    },
    engine::{
        io::memory::{Memory, Number},
        limits::Limits,
        reactor::{Holdings, Letter, Reactor, Settings},
    },
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u64 = 10_000;

fn config(batching: bool) -> Config {
    let mut limits = Limits::default();
    limits.set("member_messages_per_minute", 0).unwrap();
    Config { batching, limits: Arc::new(limits), ..Config::default() }
}

fn reactor(batching: bool) -> Reactor<Memory, Mida> {
    let config = config(batching);
    let limits = config.limits.clone();
    let app = Mida::new(Arc::new(config), Online::new(1), Rng::from_seed([7; 32]));
    let mut io = Memory::new();
    io.local = Some(([127, 0, 0, 1], 7700).into());
    Reactor::new(
        io,
        app,
        Settings { limits, proxies: Arc::default(), heartbeat_ms: 30_000, capacity: 64 },
        Arc::default(),
        1,
    )
}

/// What the server has sent as messages, opened with the stock crate, batches taken apart.
fn messages(reactor: &mut Reactor<Memory, Mida>, peer: Number, secret: &SecretKey) -> Vec<serde_json::Value> {
    let mut messages = Vec::new();
    for (opcode, payload) in frames::parse(&reactor.io().take(peer)) {
        let text = match opcode {
            2 => ecies::decrypt(secret.as_bytes(), &payload).unwrap(),
            _ => payload,
        };
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        match value.get("count") {
            Some(count) => {
                let batch = value["data"].as_array().unwrap();
                assert_eq!(count.as_u64(), Some(batch.len() as u64));
                messages.extend(batch.iter().cloned());
            }
            None => messages.push(value),
        }
    }
    messages
}

/// A connection that has logged in.
fn login(reactor: &mut Reactor<Memory, Mida>, now_ms: u64) -> (Number, SecretKey) {
    let mut rng = Rng::from_seed([now_ms as u8; 32]);
    let secret = SecretKey::generate(&mut rng);
    let peer = reactor.io().connect(([127, 0, 0, 1], 9).into());
    reactor.io().feed(peer, frames::UPGRADE);
    reactor.turn(now_ms);
    let head = reactor.io().take(peer);
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let auth = format!(r#"{{"t":2,"data":{{"pubKey":"{}"}}}}"#, secret.identity());
    reactor.io().feed(peer, &frames::text(&auth));
    reactor.turn(now_ms);
    let challenge = &messages(reactor, peer, &secret)[0]["data"]["challenge"];
    let challenge = Challenge::from_hex(challenge.as_str().unwrap().as_bytes()).unwrap();
    let solution = sign_mida_v1(&secret, "localhost:7700", &challenge, &secret.identity(), &mut rng);
    let solution = str::from_utf8(&solution).unwrap();
    let solution = format!(r#"{{"t":4,"data":{{"scheme":"mida-v1","solution":"{solution}"}}}}"#);
    reactor.io().feed(peer, &frames::text(&solution));
    reactor.turn(now_ms);
    let answers = messages(reactor, peer, &secret);
    assert_eq!(answers[0]["data"]["passed"], true);
    assert_eq!(
        answers[1]["data"]["perms"],
        serde_json::json!(["metadata", "send", "topic.join", "topic.publish"])
    );
    (peer, secret)
}

/// Allocations of `rounds` rounds in which each peer says `text`.
fn allocations(reactor: &mut Reactor<Memory, Mida>, peers: &[Number], text: &[u8], rounds: u64) -> u64 {
    let mut allocations = 0;
    for _ in 0..rounds {
        for peer in peers {
            reactor.io().feed(*peer, text);
        }
        let before = ALLOCATIONS.load(Relaxed);
        reactor.turn(1_000);
        allocations += ALLOCATIONS.load(Relaxed) - before;
    }
    allocations
}

/// A connection that stays without a key.
fn anonymous(reactor: &mut Reactor<Memory, Mida>) -> Number {
    let peer = reactor.io().connect(([127, 0, 0, 1], 9).into());
    reactor.io().feed(peer, frames::UPGRADE);
    reactor.turn(1_000);
    peer
}

/// Allocations of the turns in which a new note is pushed to everybody.
fn allocations_of_pushes(reactor: &mut Reactor<Memory, Mida>, batching: bool, rounds: u64) -> u64 {
    let base = config(batching);
    let mut allocations = 0;
    for round in 0..rounds {
        let now = Arc::new(Config { note: Some(format!("push {round}")), ..base.clone() });
        let letter = Reload::new(&base, now, &Online::new(1), 1_000);
        assert!(reactor.inbox().post(Letter::Command(Command::Reload(letter))).is_ok());
        let before = ALLOCATIONS.load(Relaxed);
        reactor.turn(1_000);
        allocations += ALLOCATIONS.load(Relaxed) - before;
    }
    allocations
}

#[test]
fn a_message_and_a_push_allocate_nothing_and_an_idle_connection_owns_nothing() {
    for batching in [false, true] {
        let mut reactor = reactor(batching);
        let logins: Vec<_> = (0..20).map(|n| login(&mut reactor, 100 + n)).collect();
        let peers: Vec<_> = logins.iter().map(|(peer, _)| *peer).collect();
        assert_eq!((reactor.connections(), reactor.app().members()), (20, 20));
        assert_eq!(reactor.holdings(), Holdings::default(), "idle and authenticated");

        let one = frames::text(r#"{"t":1,"data":{}}"#);
        let wrong = frames::text(r#"{"t":2,"data":{"pubKey":"ab","id":"x"}}"#);
        let mut many = [&one[..], &wrong[..], &one[..]].concat();
        if batching {
            many.extend(frames::text(r#"{"count":2,"data":[{"t":1},{"t":1}]}"#));
        }
        allocations(&mut reactor, &peers, &many, 20);
        for (peer, secret) in &logins {
            let answers = messages(&mut reactor, *peer, secret);
            assert_eq!(answers.len(), 20 * if batching { 5 } else { 3 });
            assert_eq!((&answers[0]["t"], &answers[1]["data"]["code"]), (&1.into(), &"auth_order".into()));
        }
        reactor.io().discard = true;
        let before = reactor.io().sends;
        assert_eq!(allocations(&mut reactor, &peers[..1], &one, ROUNDS), 0, "one message a turn");
        assert_eq!(reactor.io().sends - before, ROUNDS, "each answered with one write");
        let before = (reactor.io().sends, reactor.io().sent_bytes);
        assert_eq!(allocations(&mut reactor, &peers, &many, ROUNDS / 20), 0, "several from each of many");
        assert_eq!(reactor.io().sends - before.0, ROUNDS, "one write a connection and turn");
        assert!(reactor.io().sent_bytes - before.1 > ROUNDS * 300);
        assert_eq!(reactor.holdings(), Holdings::default(), "idle again");

        // A push: one encoding outside, then every member and stranger is sent to within the turn.
        let strangers: Vec<_> = (0..20).map(|_| anonymous(&mut reactor)).collect();
        allocations_of_pushes(&mut reactor, batching, 20);
        let before = (reactor.io().sends, reactor.io().sent_bytes);
        assert_eq!(allocations_of_pushes(&mut reactor, batching, ROUNDS / 20), 0, "a push to everybody");
        assert_eq!(reactor.io().sends - before.0, ROUNDS / 20 * 40, "one delivery a connection and push");
        assert!(reactor.io().sent_bytes - before.1 > ROUNDS / 20 * 40 * 100);
        assert_eq!(reactor.holdings(), Holdings::default(), "idle again");
        reactor.io().discard = false;
        allocations_of_pushes(&mut reactor, batching, 1);
        let note = |messages: Vec<serde_json::Value>| messages[0]["data"]["note"].as_str().map(str::to_owned);
        let (peer, secret) = &logins[19];
        assert_eq!(note(messages(&mut reactor, *peer, secret)).as_deref(), Some("push 0"), "sealed");
        assert_eq!(note(messages(&mut reactor, strangers[0], secret)).as_deref(), Some("push 0"), "clear");
        reactor.io().discard = true;

        // The counter can count: a frame that comes in two pieces needs memory for the first.
        assert!(allocations(&mut reactor, &peers[..1], &one[..9], 1) > 0);
        assert_eq!(reactor.holdings().tails, 1);
    }
}
