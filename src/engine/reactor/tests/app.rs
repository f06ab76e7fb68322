//! An application that does what its clients tell it.

use crate::engine::{
    app::{Accept, Answer, App, Hold, Later, Link, Others, Reach},
    error::{Close, Refusal},
    inbox::Post,
    outbox::{Form, Gather, Run, Shared},
    wire::{
        Kind, Opcode, frame,
        upgrade::{Plain, Request},
    },
};
use bytes::Bytes;
use std::{collections::VecDeque, panic::resume_unwind, sync::Arc};

/// The calls of the reactor that are about one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Upgrade,
    Opened,
    Holds,
    Received,
    Deadline,
    Timer,
    Visit,
    Flush,
    Closing,
    Closed,
}

impl Call {
    /// Who asks for this path makes that call panic, for itself.
    pub const PATHS: [(&str, Call); 10] = [
        ("/panic/upgrade", Call::Upgrade),
        ("/panic/opened", Call::Opened),
        ("/panic/holds", Call::Holds),
        ("/panic/received", Call::Received),
        ("/panic/deadline", Call::Deadline),
        ("/panic/timer", Call::Timer),
        ("/panic/visit", Call::Visit),
        ("/panic/flush", Call::Flush),
        ("/panic/closing", Call::Closing),
        ("/panic/closed", Call::Closed),
    ];
}

#[derive(Debug, Default)]
pub struct Conn {
    panics_in: Option<Call>,
    /// What [`App::opened`] does, after `/opened/`: sets the timer, or greets.
    opened: Option<String>,
    /// Its deadline stays when it has come.
    sticks: bool,
    pub deadline_ms: Option<u64>,
    /// Its input waits for a word about it, or for `answer` from another thread.
    waits: bool,
}

impl Conn {
    /// Panics in this call, without a word on standard error.
    fn trip(&self, call: Call) {
        if self.panics_in == Some(call) {
            resume_unwind(Box::new(call));
        }
    }
}

pub struct TestApp {
    pub messages_per_turn: usize,
    messages_left: usize,
    pub runs_per_turn: usize,
    runs_left: usize,
    pub turn_panics: bool,
    /// Messages received, letters read and connections gone.
    pub received: usize,
    pub commands: usize,
    pub closed: usize,
    /// Connections that are being closed, or were.
    pub closing: usize,
    /// Plain requests answered.
    pub answered: usize,
    /// Calls of [`App::flush`].
    pub flushes: usize,
    /// What connections tell others: to which slot, and what.
    told: VecDeque<(u32, String)>,
    /// How many of these one call delivers.
    pub tells_per_call: usize,
    /// Messages for which there is an answer still to come, and how many there may be.
    pub unanswered: usize,
    pub unanswered_max: usize,
    /// For the next reactor, in order, and the ways.
    pub abroad: VecDeque<Command>,
    number: usize,
    ways: Vec<Arc<dyn Post<Command>>>,
}

impl Default for TestApp {
    fn default() -> Self {
        Self {
            messages_per_turn: usize::MAX,
            messages_left: usize::MAX,
            runs_per_turn: usize::MAX,
            runs_left: usize::MAX,
            turn_panics: false,
            received: 0,
            commands: 0,
            closed: 0,
            closing: 0,
            answered: 0,
            flushes: 0,
            told: VecDeque::new(),
            tells_per_call: usize::MAX,
            unanswered: 0,
            unanswered_max: usize::MAX,
            abroad: VecDeque::new(),
            number: 0,
            ways: Vec::new(),
        }
    }
}

/// What other threads say.
pub enum Command {
    /// Everyone gets this text.
    Say(String),
    /// Everyone's timer is set to so many milliseconds from now.
    At(u64),
    Close(Close),
    /// Only the application hears it.
    Aside,
    /// The connection in this slot is told.
    Tell(u32, String),
    /// So many of what was asked are answered.
    Answer(usize),
    /// This connection need not wait any more.
    Wake(u32),
    Panic,
}

/// A payload of this length whose neighbours differ.
pub fn filled(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

impl App for TestApp {
    type Conn = Conn;
    type Command = Command;

    fn turn(&mut self, _now_ms: u64) {
        (self.messages_left, self.runs_left) = (self.messages_per_turn, self.runs_per_turn);
        if std::mem::take(&mut self.turn_panics) {
            resume_unwind(Box::new(()));
        }
    }

    /// `/at/MS` sets the timer, `/opened/WHAT` has [`App::opened`] do something.
    fn upgrade(&mut self, request: &Request<'_>) -> Result<Accept<Conn>, Refusal> {
        let conn = Conn {
            panics_in: Call::PATHS.iter().find(|(path, _)| *path == request.path).map(|(_, call)| *call),
            opened: request.path.strip_prefix("/opened/").map(str::to_owned),
            sticks: false,
            deadline_ms: request.path.strip_prefix("/at/").map(|ms| ms.parse().unwrap()),
            waits: false,
        };
        conn.trip(Call::Upgrade);
        if request.path == "/forbidden" {
            return Err(Refusal::BadOrigin);
        }
        Ok(Accept { conn, subprotocol: request.protocols().any(|offer| offer == "test").then_some("test") })
    }

    /// `/page/N` has a body of N bytes.
    fn plain(&mut self, request: &Plain<'_>) -> Option<Answer> {
        if request.path == "/panic/plain" {
            resume_unwind(Box::new(()));
        }
        let bytes = request.path.strip_prefix("/page/")?.parse().unwrap();
        self.answered += 1;
        let body = if request.is_head { Bytes::new() } else { filled(bytes).into() };
        Some(Answer { head: format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").into(), body })
    }

    fn opened(&mut self, link: &mut Link<'_, Conn>) {
        link.conn.trip(Call::Opened);
        match link.conn.opened.as_deref() {
            Some("close") => link.close(Close::Strikes),
            Some("greet") => link.frame(Opcode::Text, b"hello"),
            Some(ms) => link.conn.deadline_ms = Some(link.now_ms + ms.parse::<u64>().unwrap()),
            None => {}
        }
    }

    fn holds(&self, conn: &Conn) -> Hold {
        conn.trip(Call::Holds);
        match () {
            () if conn.waits => Hold::Change,
            () if self.unanswered >= self.unanswered_max => Hold::Letter,
            () if self.messages_left == 0 => Hold::Turn,
            () => Hold::Go,
        }
    }

    fn meet(&mut self, number: usize, ways: Vec<Arc<dyn Post<Command>>>) {
        (self.number, self.ways) = (number, ways);
    }

    fn has_letters(&self) -> bool {
        !self.told.is_empty()
    }

    fn deliver(&mut self, others: &mut dyn Others<Conn>) {
        for _ in 0..self.tells_per_call {
            let Some((index, text)) = self.told.pop_front() else { return };
            match &*text {
                "panic" => resume_unwind(Box::new(())),
                "wake" => {
                    others.visit(index, &mut |link| link.conn.waits = false);
                    others.changed(index);
                }
                "late" => {
                    others.visit(index, &mut |link| link.conn.deadline_ms = Some(link.now_ms + 5));
                    others.changed(index);
                }
                _ => {
                    others.visit(index, &mut |link| {
                        link.conn.trip(Call::Visit);
                        match &*text {
                            "close" => link.close(Close::Strikes),
                            text => link.frame(Opcode::Text, text.as_bytes()),
                        }
                    });
                }
            }
        }
    }

    fn end_turn(&mut self, now_ms: u64) -> u64 {
        while let Some(command) = self.abroad.pop_front() {
            let next = (self.number + 1) % self.ways.len();
            if let Err(command) = self.ways[next].post(command) {
                self.abroad.push_front(command);
                return now_ms + 1;
            }
        }
        if self.told.is_empty() { u64::MAX } else { now_ms }
    }

    /// `one TEXT` and `two TEXT` are answered by messages with these marks, `both TEXT` by a shared one with
    /// mark 1; `tell SLOT TEXT` tells another, `ask` counts one that waits for its answer, `abroad SLOT TEXT` tells one of the
    /// next reactor, `wait` holds what follows; `give N` and `share N` by a frame with N bytes; `at MS` sets the timer, and `stick MS` for good; `local` tells the address that was dialled; `close` closes. The
    /// rest is echoed.
    fn received(&mut self, link: &mut Link<'_, Conn>, kind: Kind, payload: &mut [u8]) {
        self.messages_left -= 1;
        self.received += 1;
        if link.conn.panics_in == Some(Call::Received) {
            link.encoded_frame(Opcode::Text, |out| {
                out.extend_from_slice(b"half of it");
                resume_unwind(Box::new(()));
            });
        }
        if kind == Kind::Binary {
            return link.frame(Opcode::Binary, payload);
        }
        let text = std::str::from_utf8(payload).expect("text is UTF-8");
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let number = || rest.parse::<usize>().unwrap();
        match word {
            "one" => link.message(1, |out| out.extend_from_slice(rest.as_bytes())),
            "two" => link.message(2, |out| out.extend_from_slice(rest.as_bytes())),
            "both" => {
                let shared = Shared::new(Opcode::Text, |out| out.extend_from_slice(rest.as_bytes()));
                link.share(Form::Message(1), &shared);
            }
            "give" => link.encoded_frame(Opcode::Binary, |out| out.extend(filled(number()))),
            "share" => {
                let shared = Shared::new(Opcode::Binary, |out| out.extend(filled(number())));
                link.share(Form::Frame, &shared);
            }
            "at" | "stick" => {
                link.conn.deadline_ms = Some(link.now_ms + number() as u64);
                link.conn.sticks = word == "stick";
            }
            "local" => {
                let local = link.local_addr().map_or("nowhere".into(), |local| local.to_string());
                link.frame(Opcode::Text, local.as_bytes());
            }
            "close" => link.close(Close::Strikes),
            "tell" | "abroad" => {
                let (slot, text) = rest.split_once(' ').unwrap();
                let (slot, text) = (slot.parse().unwrap(), text.to_owned());
                match word {
                    "tell" => self.told.push_back((slot, text)),
                    _ => self.abroad.push_back(Command::Tell(slot, text)),
                }
            }
            "ask" => self.unanswered += 1,
            "wait" => link.conn.waits = true,
            _ => link.frame(Opcode::Text, payload),
        }
    }

    fn deadline_ms(&self, conn: &Conn) -> u64 {
        conn.trip(Call::Deadline);
        conn.deadline_ms.unwrap_or(u64::MAX)
    }

    fn timer(&mut self, link: &mut Link<'_, Conn>) {
        link.conn.trip(Call::Timer);
        link.conn.deadline_ms.take_if(|_| !link.conn.sticks);
        link.frame(Opcode::Text, b"timer");
    }

    fn command(&mut self, command: &mut Command) -> Reach {
        self.commands += 1;
        match command {
            Command::Aside => Reach::Nobody,
            Command::Tell(index, text) => {
                self.told.push_back((*index, std::mem::take(text)));
                Reach::Nobody
            }
            Command::Answer(count) => {
                self.unanswered -= *count;
                Reach::Nobody
            }
            Command::Wake(index) => {
                self.told.push_back((*index, "wake".to_owned()));
                Reach::Nobody
            }
            Command::Panic => resume_unwind(Box::new(())),
            _ => Reach::Everyone,
        }
    }

    fn visit(&mut self, link: &mut Link<'_, Conn>, command: &Command) {
        link.conn.trip(Call::Visit);
        match command {
            Command::Say(text) => link.frame(Opcode::Text, text.as_bytes()),
            Command::At(ms) => link.conn.deadline_ms = Some(link.now_ms + ms),
            Command::Close(close) => link.close(*close),
            _ => unreachable!("it reaches nobody"),
        }
    }

    /// A run is one text, its messages parted by bars.
    fn flush(&mut self, conn: &mut Conn, run: &mut Run<'_>, out: &mut Gather) -> Result<(), Later> {
        self.flushes += 1;
        if conn.panics_in == Some(Call::Flush) {
            out.bytes.extend_from_slice(b"\x81\x7Dhalf of it");
            run.advance();
            conn.trip(Call::Flush);
        }
        if self.runs_left == 0 {
            return Err(Later);
        }
        self.runs_left -= 1;
        let mut payload = Vec::new();
        while let Some(message) = run.peek() {
            if !payload.is_empty() {
                payload.push(b'|');
            }
            payload.extend_from_slice(message);
            run.advance();
        }
        let mut header = [0; frame::HEADER_MAX];
        let used = frame::write_header(Opcode::Text, payload.len(), &mut header);
        out.bytes.extend_from_slice(&header[..used]);
        out.bytes.extend_from_slice(&payload);
        Ok(())
    }

    fn closing(&mut self, conn: &mut Conn) {
        self.closing += 1;
        conn.trip(Call::Closing);
    }

    fn closed(&mut self, conn: Conn, _number: u64) {
        self.closed += 1;
        conn.trip(Call::Closed);
    }
}
