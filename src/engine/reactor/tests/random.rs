//! Everything at once, in an order that a seed tells: whatever comes between, each client gets the answers
//! to what it asked, in order and once, up to the end that it is told.

use super::*;
use app::filled;
use std::collections::VecDeque;

const STEPS: usize = 1_500;
const CLIENTS: usize = 30;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Says which seed it was, should the run fail.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was seed {}", self.0);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Open,
    /// Refused, or it has got a close frame with this code.
    Told(u16),
}

struct Client {
    number: Number,
    stage: Stage,
    /// What it will send.
    out: Vec<u8>,
    unread: Vec<u8>,
    /// What must come, in order.
    due: VecDeque<Frame>,
    asked: usize,
    letters: usize,
    answers_pings: bool,
    /// It sends nothing more by its own rules: a close frame stands in `out`, or something worse.
    is_done: bool,
    /// It has ended or reset its side, or done something that has the server close.
    is_bad: bool,
}

impl Client {
    /// One more request at the end of `out`.
    fn ask(&mut self, dice: &mut Dice) {
        let number = self.asked;
        self.asked += 1;
        let answer = format!("{number}{}", ".".repeat([0, 0, 100, 1_500][dice.below(4)]));
        let (request, answer) = match dice.below(8) {
            0 | 1 => (text(&answer), texts([&answer[..]])),
            2 => (text(&format!("one {answer}")), texts([&answer[..]])),
            3 => (text(&format!("two {answer}")), texts([&answer[..]])),
            4 => (text(&format!("both {answer}")), texts([&answer[..]])),
            5 => {
                let len = [2, 1_100, 1_300, 9_000][dice.below(4)] + number % 100;
                let word = ["give", "share"][dice.below(2)];
                (text(&format!("{word} {len}")), vec![Frame { opcode: BINARY, payload: filled(len) }])
            }
            6 => {
                let cut = dice.below(answer.len());
                let (begin, end) = answer.as_bytes().split_at(cut);
                let pieces = [raw_frame(0x01, begin), raw_frame(0x00, b""), raw_frame(0x80, end)];
                (pieces.concat(), texts([&answer[..]]))
            }
            _ => {
                let payload = number.to_string().into_bytes();
                (frame(PING, &payload), vec![Frame { opcode: PONG, payload }])
            }
        };
        self.out.extend(request);
        self.due.extend(answer);
    }

    /// Looks at what has come.
    fn read(&mut self, world: &mut World) {
        self.unread.append(&mut world.reactor.io().take(self.number));
        if self.stage == Stage::Upgrading
            && let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n")
        {
            let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
            self.stage = match head[9..12].parse().unwrap() {
                101 => Stage::Open,
                status => Stage::Told(status),
            };
        }
        while self.stage == Stage::Open
            && let Some(frame) = take_frame(&mut self.unread)
        {
            self.got(frame);
        }
        if let Stage::Told(1_000..) = self.stage {
            assert!(self.unread.is_empty(), "something came behind the close frame");
        }
    }

    fn got(&mut self, frame: Frame) {
        match frame.opcode {
            PING if self.answers_pings && !self.is_done => self.out.extend(super::frame(PONG, b"")),
            PING => {}
            CLOSE => {
                let code = u16::from_be_bytes(frame.payload[..2].try_into().unwrap());
                self.stage = Stage::Told(code);
                let is_answer = code == 1_000;
                assert!(!is_answer || self.is_done && self.due.is_empty(), "it is closed before its answers");
                assert!(self.is_bad || code != 1_002, "it broke no rule");
            }
            TEXT if frame.payload.starts_with(b"L") => {
                let number = std::str::from_utf8(&frame.payload[1..]).unwrap().parse().unwrap();
                assert!(number > self.letters, "a letter came twice, or out of order");
                self.letters = number;
            }
            TEXT => {
                for payload in frame.payload.split(|byte| *byte == b'|') {
                    let due = self.due.pop_front();
                    assert_eq!(due, Some(Frame { opcode: TEXT, payload: payload.to_vec() }));
                }
            }
            _ => assert_eq!(self.due.pop_front(), Some(frame)),
        }
    }
}

fn settings() -> Settings {
    let limits = Limits {
        upgrade_ms: 1_000,
        message_ms: 2_000,
        queue_soft_bytes: 5_000,
        queue_soft_ms: 400,
        queue_hard_bytes: 15_000,
        reactor_queue_bytes: 40_000,
        ..Limits::default()
    };
    Settings { limits: Arc::new(limits), proxies: Arc::default(), heartbeat_ms: 400, capacity: 20 }
}

fn connect(world: &mut World, dice: &mut Dice) -> Client {
    let mut path = "/";
    let mut is_bad = false;
    if dice.one_in(8) {
        path = Call::PATHS[dice.below(Call::PATHS.len())].0;
        is_bad = true;
    }
    let number = world.connect();
    if dice.one_in(4) {
        world.window(number, Some(dice.below(3_000)));
    }
    Client {
        number,
        stage: Stage::Upgrading,
        out: request(path),
        unread: Vec::new(),
        due: VecDeque::new(),
        asked: 0,
        letters: 0,
        answers_pings: !dice.one_in(4),
        is_done: false,
        is_bad,
    }
}

/// What one client does.
fn act(world: &mut World, client: &mut Client, dice: &mut Dice) {
    match dice.below(60) {
        0 => {
            world.reactor.io().end(client.number);
            client.is_bad = true;
        }
        1 => {
            world.reactor.io().reset(client.number);
            client.is_bad = true;
        }
        2 if !client.is_done => {
            client.out.extend(
                [&[0xC1, 0x80][..], &[0x83], &[0x81, 0x02], &[0x81, 0x81, 0, 0, 0, 0, 0xFF]][dice.below(4)],
            );
            (client.is_done, client.is_bad) = (true, true);
        }
        3 if !client.is_done => {
            client.out.extend(frame(CLOSE, b"\x03\xE8"));
            client.is_done = true;
        }
        4 if !client.is_done => {
            client.out.extend(text("close"));
            (client.is_done, client.is_bad) = (true, true);
        }
        5..9 => world.window(client.number, Some(dice.below(4_000))),
        9..14 => world.window(client.number, None),
        14..35 if !client.is_done => client.ask(dice),
        _ => {
            let most = [1, 20, 500, usize::MAX][dice.below(4)];
            let len = client.out.len().min(most);
            if len > 0 {
                let piece: Vec<_> = client.out.drain(..len).collect();
                world.reactor.io().feed(client.number, &piece);
            }
        }
    }
}

/// What happens to all.
fn happen(world: &mut World, dice: &mut Dice, letters: &mut usize) {
    let app = &mut world.reactor.app;
    match dice.below(16) {
        0 => app.messages_per_turn = dice.below(3),
        1 => app.runs_per_turn = dice.below(3),
        2..5 => (app.messages_per_turn, app.runs_per_turn) = (usize::MAX, usize::MAX),
        5 => {
            *letters += 1;
            let letter = Letter::Command(Command::Say(format!("L{letters}")));
            assert!(world.reactor.inbox().post(letter).is_ok());
        }
        6 if dice.one_in(10) => {
            let letter = Letter::Command(Command::Close(Close::Overloaded));
            assert!(world.reactor.inbox().post(letter).is_ok());
        }
        7 if dice.one_in(5) => world.reactor.io().fail_accept(),
        8 if dice.one_in(5) => {
            let heartbeat_ms = [300, 400, 1_000][dice.below(3)];
            let letter = Letter::Settings(Settings { heartbeat_ms, ..settings() });
            assert!(world.reactor.inbox().post(letter).is_ok());
        }
        9..12 => world.now_ms += dice.below(150) as u64,
        _ => {}
    }
    world.turn();
}

/// The end of a run: everybody reads, and everything that was put off is done.
fn settle(world: &mut World, clients: &mut [Client]) {
    let app = &mut world.reactor.app;
    (app.messages_per_turn, app.runs_per_turn) = (usize::MAX, usize::MAX);
    for _ in 0..3 {
        for client in clients.iter_mut() {
            world.window(client.number, None);
            let out = std::mem::take(&mut client.out);
            world.reactor.io().feed(client.number, &out);
        }
        world.turn();
        world.turn();
        // Connections that waited to be accepted.
        world.now_ms += ACCEPT_REST_MS;
        world.turn();
        clients.iter_mut().for_each(|client| client.read(world));
    }
}

fn run(seed: u64) -> BTreeMap<u16, usize> {
    let _seed = Seed(seed);
    let mut dice = Dice(seed);
    let mut world = World::with(settings());
    let (mut clients, mut letters, mut told) = (Vec::<Client>::new(), 0, BTreeMap::new());
    let mut is_over = |world: &mut World, client: &Client| {
        let peer = world.peer(client.number);
        let (closed, reset) = (peer.closed, peer.reset);
        if closed {
            let code = if let Stage::Told(code) = client.stage { code } else { 0 };
            assert!(code > 0 || reset || client.is_bad, "it was closed without a word");
            *told.entry(code).or_default() += 1;
        }
        closed
    };
    for _ in 0..STEPS {
        if clients.len() < CLIENTS && dice.one_in(6) {
            clients.push(connect(&mut world, &mut dice));
        }
        for _ in 0..dice.below(6) {
            if !clients.is_empty() {
                let which = dice.below(clients.len());
                act(&mut world, &mut clients[which], &mut dice);
            }
        }
        happen(&mut world, &mut dice, &mut letters);
        for client in &mut clients {
            client.read(&mut world);
            if matches!(client.stage, Stage::Told(_)) && !client.is_bad {
                client.is_bad = true;
                world.reactor.io().end(client.number);
            }
        }
        clients.retain(|client| !is_over(&mut world, client));
    }
    settle(&mut world, &mut clients);
    for client in &clients {
        if client.stage == Stage::Open && !is_over(&mut world, client) {
            assert!(client.due.is_empty() && client.unread.is_empty(), "answers are missing");
        }
    }
    told
}

#[test]
fn each_client_gets_its_answers_in_order_whatever_comes_between() {
    let mut told: BTreeMap<u16, usize> = BTreeMap::new();
    for seed in 1..=40 {
        for (code, count) in run(seed) {
            *told.entry(code).or_insert(0) += count;
        }
    }
    // The runs are worth their time: all of these ends were seen.
    for code in [0, 408, 503, 1_000, 1_002, 1_007, 1_008, 1_011, 1_013, 4_000, 4_008, 4_009] {
        assert!(told.contains_key(&code), "{code} is not among {told:?}");
    }
}
