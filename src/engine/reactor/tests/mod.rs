//! A reactor on the backend without a kernel, in virtual time, against clients that know their bytes.

mod app;
mod close;
mod drain;
mod late;
mod letters;
mod plain;
mod proxied;
mod queues;
mod random;
mod refuse;
mod time;
mod upgrade;
mod waits;
mod word;

use super::*;
use crate::engine::{
    error::Close,
    io::memory::{Memory, Number},
    limits::Limits,
    slots::{AWAITS, CLOGGED, HELD, NO_TAIL, Slots, State},
};
use app::{Call, Command, TestApp};
use std::collections::BTreeMap;

const BEAT_MS: u64 = 1_000;

/// One reactor, its clients and its clock. Dropped, it ends all connections and finds nothing left.
struct World {
    reactor: Reactor<Memory, TestApp>,
    now_ms: u64,
    /// What a client has got and not yet looked at.
    unread: BTreeMap<Number, Vec<u8>>,
}

/// A frame that the server has sent.
#[derive(Clone, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.payload[..self.payload.len().min(200)];
        write!(f, "{:x}:{} bytes:{}", self.opcode, self.payload.len(), start.escape_ascii())
    }
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client's frame: final, masked.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw_frame(0x80 | opcode, payload)
}

fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x5A, payload.len() as u8, 0xC3, first];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

fn text(payload: &str) -> Vec<u8> {
    frame(TEXT, payload.as_bytes())
}

fn texts<'a>(payloads: impl IntoIterator<Item = &'a str>) -> Vec<Frame> {
    payloads.into_iter().map(|payload| Frame { opcode: TEXT, payload: payload.into() }).collect()
}

/// The first frame of `bytes`, taken out of them; none when it is not whole.
fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let [first, second, ..] = bytes[..] else { return None };
    assert!(first & 0xF0 == 0x80 && second < 0x80, "not a frame of a server: {first:x} {second:x}");
    let (len, at) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        len => (usize::from(len), 2),
    };
    let payload = bytes.get(at..at + len)?.to_vec();
    bytes.drain(..at + len);
    Some(Frame { opcode: first & 0x0F, payload })
}

/// A close frame as the server sends it for this reason.
fn closing(close: Close) -> Frame {
    let payload = [&close.code().to_be_bytes()[..], close.phrase().as_bytes()].concat();
    Frame { opcode: CLOSE, payload }
}

fn request(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// The answer to [`request`]: the key and its answer are those of RFC 6455 section 1.3.
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn settings() -> Settings {
    Settings {
        limits: Arc::new(Limits::default()),
        proxies: Arc::default(),
        heartbeat_ms: u64::MAX,
        capacity: 100_000,
    }
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with_limits(limits: Limits) -> Self {
        Self::with(Settings { limits: Arc::new(limits), ..settings() })
    }

    fn with_heartbeat(heartbeat_ms: u64) -> Self {
        Self::with(Settings { heartbeat_ms, ..settings() })
    }

    fn with(settings: Settings) -> Self {
        let reactor =
            Reactor::new(Memory::new(), TestApp::default(), settings, Arc::default(), 0x6455_6455_6455);
        Self { reactor, now_ms: 0, unread: BTreeMap::new() }
    }

    /// A turn, after which everything must fit together.
    fn turn(&mut self) {
        self.reactor.turn(self.now_ms);
        self.check();
    }

    /// Lets time pass as the loop of a thread does: a turn whenever one is due.
    fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        let mut turns = 0;
        while self.reactor.wakes_ms() <= until {
            self.now_ms = self.now_ms.max(self.reactor.wakes_ms());
            self.turn();
            turns += 1;
            assert!(turns < 1_000_000, "the reactor spins");
        }
        self.now_ms = until;
    }

    /// The reactor stands still, and then gives the time back.
    fn stand_still(&mut self, ms: u64) {
        self.now_ms += ms;
        self.turn();
        while self.now_ms < self.reactor.late_until_ms {
            assert!(self.reactor.wakes_ms() > self.now_ms || self.reactor.core.has_leftovers(), "it spins");
            self.now_ms += 1;
            self.turn();
        }
    }

    fn connect(&mut self) -> Number {
        self.connect_from("127.0.0.1:5000")
    }

    fn connect_from(&mut self, address: &str) -> Number {
        self.reactor.io().connect(address.parse().unwrap())
    }

    /// A connection that has been upgraded.
    fn open(&mut self) -> Number {
        self.open_at("/")
    }

    fn open_at(&mut self, path: &str) -> Number {
        let client = self.connect();
        self.feed(client, &request(path));
        assert_eq!(self.take_text(client), ACCEPTED);
        client
    }

    /// As many as asked for, upgraded in one turn.
    fn open_many(&mut self, count: usize) -> Vec<Number> {
        let clients: Vec<_> = (0..count).map(|_| self.connect()).collect();
        for &client in &clients {
            self.reactor.io().feed(client, &request("/"));
        }
        self.turn();
        for &client in &clients {
            assert_eq!(self.take_text(client), ACCEPTED);
        }
        clients
    }

    /// Bytes of a client, and a turn.
    fn feed(&mut self, client: Number, bytes: &[u8]) {
        self.reactor.io().feed(client, bytes);
        self.turn();
    }

    /// A client ends its direction, and a turn.
    fn end(&mut self, client: Number) {
        self.reactor.io().end(client);
        self.turn();
    }

    fn window(&mut self, client: Number, window: Option<usize>) {
        self.peer(client).window = window;
    }

    fn peer(&mut self, client: Number) -> &mut crate::engine::io::memory::Peer {
        self.reactor.io().peers.get_mut(&client).unwrap()
    }

    /// What the client has got, as text.
    fn take_text(&mut self, client: Number) -> String {
        let text = String::from_utf8(self.reactor.io().take(client)).unwrap();
        assert!(!self.unread.contains_key(&client));
        text
    }

    /// The frames that a client has got whole.
    fn frames(&mut self, client: Number) -> Vec<Frame> {
        let got = self.reactor.io().take(client);
        let mut bytes = self.unread.remove(&client).unwrap_or_default();
        bytes.extend_from_slice(&got);
        let frames = std::iter::from_fn(|| take_frame(&mut bytes)).collect();
        if !bytes.is_empty() {
            self.unread.insert(client, bytes);
        }
        frames
    }

    fn is_ended(&mut self, client: Number) -> bool {
        self.peer(client).ended
    }

    fn is_closed(&mut self, client: Number) -> bool {
        self.peer(client).closed
    }

    fn is_reset(&mut self, client: Number) -> bool {
        self.peer(client).closed && self.peer(client).reset
    }

    /// The client was told this reason, our direction has ended, and it answers with its own end.
    #[track_caller]
    fn expect_closed(&mut self, client: Number, close: Close) {
        assert_eq!(self.frames(client), [closing(close)]);
        self.expect_the_end(client);
    }

    #[track_caller]
    fn expect_the_end(&mut self, client: Number) {
        assert!(self.is_ended(client) && !self.is_closed(client));
        self.end(client);
        assert!(self.is_closed(client) && !self.is_reset(client));
    }

    /// It is served as if nothing had happened.
    #[track_caller]
    fn expect_served(&mut self, client: Number) {
        self.feed(client, &text("still there?"));
        assert_eq!(self.frames(client), texts(["still there?"]));
    }

    fn slots(&mut self) -> &mut Slots<crate::engine::io::memory::End, app::Conn> {
        &mut self.reactor.core.slots
    }

    /// What the reactor counts is what its slots hold, and whatever has to happen has its timer.
    fn check(&mut self) {
        let found = self.reactor.audit();
        assert_eq!((found.undone, found.holdings), (0, self.reactor.holdings()));
        let fired_ms = if self.reactor.late_until_ms > self.now_ms { 0 } else { self.now_ms };
        let core = &mut self.reactor.core;
        let (mut states, mut held) = ([0; State::ALL.len()], 0);
        let leaves_ms = core.leaves_ms.unwrap_or(0).max(self.now_ms);
        for index in 0..core.slots.end() {
            let Some(slot) = core.slots.at(index) else { continue };
            states[slot.state as usize] += 1;
            let timer_ms = slot.timer.deadline_ms();
            assert!(timer_ms > fired_ms, "a timer did not fire");
            let token = crate::engine::io::Token { index, generation: slot.generation };
            let is_listed = slot.flags & (HELD | CLOGGED) == HELD
                && (slot.state != State::Open || slot.flags & AWAITS == 0);
            held += usize::from(is_listed);
            if slot.flags & CLOGGED != 0 {
                let bytes = core.outbox.get(slot.queue).map_or(0, |queue| queue.bytes());
                assert!(slot.flags & HELD != 0 && slot.state == State::Open);
                assert!(bytes > core.settings.limits.queue_soft_bytes, "nobody takes it up");
            }
            match slot.state {
                State::Open => {
                    let due_ms = slot.conn.deadline_ms.map_or(u64::MAX, |at_ms| at_ms.max(self.now_ms + 1));
                    // A new heartbeat reaches some connections a turn.
                    let is_arming = !self.reactor.round.0.is_empty() || !self.reactor.waiting.is_empty();
                    let look_ms = if is_arming { u64::MAX } else { core.next_look_ms(token) };
                    assert!(timer_ms <= look_ms.min(due_ms), "a deadline has no timer");
                }
                State::Upgrading => assert!(timer_ms <= self.now_ms + core.settings.limits.upgrade_ms),
                State::Closing | State::Draining => {
                    let most_ms =
                        if self.reactor.app.answered > 0 { core::ANSWER_MS } else { core::CLOSE_MS };
                    assert!(timer_ms <= leaves_ms + most_ms && slot.tail == NO_TAIL);
                }
            }
        }
        assert!(held <= core.held.len());
        let Holdings { queue_bytes, tail_bytes, .. } = found.holdings;
        assert!(queue_bytes + tail_bytes <= core.settings.limits.reactor_queue_bytes);
        assert_eq!(self.reactor.stats().connections, states);
    }

    /// All clients leave; nothing of them may stay.
    fn finish(&mut self) {
        let app = &mut self.reactor.app;
        (app.messages_per_turn, app.runs_per_turn) = (usize::MAX, usize::MAX);
        self.reactor.io().completions = usize::MAX;
        let clients: Vec<_> = self.reactor.io().peers.keys().copied().collect();
        for client in clients {
            self.window(client, None);
            self.reactor.io().end(client);
        }
        self.turn();
        self.pass(core::ANSWER_MS.max(2 * core::CLOSE_MS));
        assert!(self.reactor.io().peers.values().all(|peer| peer.closed));
        let core = &self.reactor.core;
        assert!(core.slots.is_empty() && core.held.is_empty() && !core.has_leftovers());
        assert!(core.clients.is_empty());
        assert_eq!(core.wheel.next_ms(), None);
        assert_eq!(self.reactor.holdings(), Holdings::default());
        let (app, stats) = (&self.reactor.app, self.reactor.stats());
        let had = stats.accepted - stats.dealt + stats.taken_over;
        assert!(app.closed as u64 == had && app.closing <= app.closed);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.finish();
        }
    }
}
