//! One client, as far as it listens: everything it gets is held against what it must get.

use crate::{
    login::Member,
    model::{Model, PUSHED},
    wire::{self, BINARY, CLOSE, HOST, PING, PONG, TEXT},
};
use mida::{
    app::crypto::rng::Rng,
    engine::io::sim::{Far, Number, Sim},
};
use std::collections::{BTreeSet, VecDeque};

/// A strike counts for so long (PROTOCOL.md section 3).
const STRIKES_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks, answers pings, and closes in an orderly way.
    Steady,
    /// Logs in besides.
    Member,
    /// Only answers pings.
    Silent,
    /// Not even that.
    Dead,
    /// Asks, and never reads.
    Sloth,
    HalfRequest,
    HalfMessage,
    BadRequest,
    BadFrame,
    BadJson,
    Flood,
    Pings,
    /// Solves its challenge wrong.
    Forger,
    /// Never solves it.
    Expired,
    Resets,
    Ends,
}

/// What must come, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Event 1, asked for at this time.
    Metadata(u64),
    /// Event 0x80 with this code, to a message with this number.
    Error(&'static str, Option<u32>),
    /// Event 1 or a refusal because of the rate.
    MetadataOrRate,
    Pong(Vec<u8>),
    Challenge,
    Passed,
    Failed(u64),
    Rules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Dialled,
    Open,
    /// Refused with this status, or closed with this code.
    Told(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    No,
    /// Event 2 is out.
    Asked,
    Challenged,
    Passed,
    Over,
}

pub struct Client {
    pub line: Number,
    pub kind: Kind,
    pub stage: Stage,
    /// What it will send.
    pub out: Vec<u8>,
    unread: Vec<u8>,
    pub due: VecDeque<Due>,
    pub reads: bool,
    pub answers: bool,
    /// It sends nothing more: a close frame stands in `out`, or something worse.
    pub is_done: bool,
    /// The close code that it has earned.
    pub earned: Option<u16>,
    /// It has ended its direction, or reset the connection.
    pub has_ended: bool,
    pub has_reset: bool,
    pub is_over: bool,
    pub was_reset: bool,
    pub acts: u32,
    pub asked: u32,
    pub wakes_ms: u64,
    pub dialled_ms: u64,
    pub opened_ms: u64,
    pub last_frame_ms: u64,
    pub half_ms: u64,
    pub auth_ms: u64,
    pub login: Login,
    pub has_expired: bool,
    pub member: Option<Box<Member>>,
    /// Messages that it has sent, by number to which user, and those that it has no receipt for.
    pub sent: Vec<u64>,
    pub unreceipted: BTreeSet<usize>,
    /// Messages that it has got: whose, and which.
    pub got: Vec<(usize, usize)>,
    is_sealed: bool,
    /// The last note that was pushed to it, and the first that must be.
    pub pushed: Option<u64>,
    must_hear: u64,
    /// Event 0 must follow at once, from this note on.
    rules_due: Option<u64>,
    /// The note of the last answer.
    note: u64,
}

impl Client {
    pub fn new(line: Number, kind: Kind, now_ms: u64) -> Self {
        Self {
            line,
            kind,
            stage: Stage::Dialled,
            out: Vec::new(),
            unread: Vec::new(),
            due: VecDeque::new(),
            reads: true,
            answers: kind != Kind::Dead,
            is_done: false,
            earned: None,
            has_ended: false,
            has_reset: false,
            is_over: false,
            was_reset: false,
            acts: 0,
            asked: 0,
            wakes_ms: now_ms,
            dialled_ms: now_ms,
            opened_ms: 0,
            last_frame_ms: 0,
            half_ms: u64::MAX,
            auth_ms: 0,
            login: Login::No,
            has_expired: false,
            member: None,
            sent: Vec::new(),
            unreceipted: BTreeSet::new(),
            got: Vec::new(),
            is_sealed: false,
            pushed: None,
            must_hear: u64::MAX,
            rules_due: None,
            note: 0,
        }
    }

    /// It breaks nothing, and reads what it gets.
    pub fn is_honest(&self) -> bool {
        matches!(self.kind, Kind::Steady | Kind::Member | Kind::Silent)
    }

    /// Looks at what has come, `most` bytes of it.
    pub fn read(&mut self, sim: &mut Sim, model: &Model, rng: &mut Rng, most: usize) {
        if self.is_over || self.has_reset {
            self.is_over |= sim.is_closed(self.line);
            return;
        }
        if !self.reads {
            // It feels a reset all the same.
            let far = sim.read(self.line, 0, &mut self.unread);
            if far == Far::Reset {
                self.over(sim, model, true);
            }
            return;
        }
        let far = sim.read(self.line, most, &mut self.unread);
        let bytes = std::mem::take(&mut self.unread);
        let mut at = 0;
        if self.stage == Stage::Dialled
            && let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n")
        {
            at = end + 4;
            self.answered(std::str::from_utf8(&bytes[..at]).unwrap(), model);
        }
        while self.stage == Stage::Open
            && let Some((opcode, payload)) = wire::take_frame(&bytes, &mut at)
        {
            self.frame(opcode, payload, model, rng);
        }
        if let Stage::Told(1_000..) = self.stage {
            assert!(bytes.len() == at, "{self:?}: something came behind the close frame");
        }
        self.unread.extend_from_slice(&bytes[at..]);
        if far != Far::Open {
            self.over(sim, model, far == Far::Reset);
        }
    }

    fn answered(&mut self, head: &str, model: &Model) {
        let status = head[9..12].parse().unwrap();
        let is_due = match status {
            101 => !matches!(self.kind, Kind::BadRequest | Kind::HalfRequest),
            400 | 426 => self.kind == Kind::BadRequest,
            408 => {
                let is_late = model.now_ms >= self.dialled_ms + model.limits.upgrade_ms;
                self.kind == Kind::HalfRequest && is_late
            }
            503 => model.is_tight || model.is_draining,
            _ => false,
        };
        assert!(is_due, "{self:?} is answered {status} at {}", model.now_ms);
        self.stage = if status == 101 { Stage::Open } else { Stage::Told(status) };
        self.opened_ms = model.now_ms;
        self.last_frame_ms = model.now_ms;
        self.must_hear = model.last_note() + 1;
        self.due.push_front(Due::Rules);
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], model: &Model, rng: &mut Rng) {
        match opcode {
            PING => {
                if self.answers && !self.is_done && !self.has_ended {
                    wire::frame(&mut self.out, 0x80 | PONG, payload);
                }
            }
            PONG => assert_eq!(self.due.pop_front(), Some(Due::Pong(payload.to_vec())), "{self:?}"),
            CLOSE => self.told(payload, model),
            TEXT => {
                assert!(!self.is_sealed, "{self:?}: text behind sealed messages");
                let text = std::str::from_utf8(payload).unwrap();
                let is_greeting = self.due.front() == Some(&Due::Rules) && self.login != Login::Passed;
                self.messages(text, model.batching && !is_greeting, model, rng);
            }
            BINARY => {
                assert!(matches!(self.login, Login::Asked) || self.is_sealed, "{self:?}: sealed for nobody");
                self.is_sealed = true;
                let mut text = Vec::new();
                let member = self.member.as_mut().expect("who has a key is a member");
                member.open(payload, &mut text).expect("it is sealed to this client");
                self.messages(std::str::from_utf8(&text).unwrap(), model.batching, model, rng);
            }
            _ => panic!("{self:?} gets a frame with opcode {opcode}"),
        }
    }

    fn messages(&mut self, text: &str, batching: bool, model: &Model, rng: &mut Rng) {
        for message in wire::messages(text, batching) {
            self.message(message, model, rng);
        }
    }

    fn message(&mut self, text: &str, model: &Model, rng: &mut Rng) {
        let (t, _) = text.strip_prefix(r#"{"t":"#).and_then(|text| text.split_once(',')).unwrap();
        if let Some(note) = self.rules_due.take() {
            assert!(t == "0", "{self:?}: no rules behind note {note} but {text}");
            return self.rules(text, note, model);
        }
        match t {
            "0" => {
                assert_eq!(self.due.pop_front(), Some(Due::Rules), "{self:?}: {text}");
                self.rules(text, 0, model);
            }
            "1" => match wire::number(text, "uptime").checked_sub(PUSHED) {
                Some(note) => self.pushed(text, note, model),
                None => self.metadata(text, model),
            },
            "3" => self.challenged(text, model, rng),
            "5" => self.result(text, model),
            "128" => self.error(text),
            "130" => self.brought(text),
            "131" => self.receipt(text),
            _ => panic!("{self:?} gets {text}"),
        }
    }

    /// A message: once, to its own key alone, and none of a sender behind a later one of the same.
    fn brought(&mut self, text: &str) {
        let mut numbers =
            wire::member(text, "body").unwrap().split('-').map(|number| number.parse().unwrap());
        let [from, number, to] = [numbers.next(), numbers.next(), numbers.next()].map(Option::unwrap);
        assert!(self.login == Login::Passed && to as u64 == self.user(), "{self:?}: {text}");
        let last = self.got.iter().rev().find(|(other, _)| *other == from);
        assert!(last.is_none_or(|(_, last)| *last < number), "{self:?}: {text} behind {last:?}");
        self.got.push((from, number));
    }

    fn receipt(&mut self, text: &str) {
        let number = wire::member(text, "re").unwrap().parse().unwrap();
        assert!(self.unreceipted.remove(&number), "{self:?}: {text} for nothing");
        let state = wire::member(text, "state");
        let is_offline = state == Some("refused") && wire::member(text, "code") == Some("offline");
        assert!(state == Some("delivered") || is_offline, "{self:?}: {text}");
        // Its own key is there.
        assert!(!is_offline || self.sent[number] != self.user(), "{self:?}: {text}");
    }

    fn rules(&mut self, text: &str, note: u64, model: &Model) {
        let hb_ms = wire::number(text, "hb");
        let known = hb_ms == model.heartbeat_ms || hb_ms > model.rules_hb_ms(1) - 1;
        assert!(known && (note == 0 || hb_ms >= model.rules_hb_ms(note)), "{self:?}: {note}, {text}");
    }

    fn pushed(&mut self, text: &str, note: u64, model: &Model) {
        let is_next = match self.pushed {
            Some(last) => note == last + 1,
            None => note <= self.must_hear,
        };
        assert!(is_next, "{self:?}: note {note} is lost, or comes twice, or late");
        let told = &model.notes[note as usize];
        assert_eq!(text, told.text, "{self:?}");
        self.pushed = Some(note);
        self.rules_due = told.has_rules.then_some(note);
    }

    fn metadata(&mut self, text: &str, model: &Model) {
        let asked_ms = match self.due.pop_front() {
            Some(Due::Metadata(asked_ms)) => asked_ms,
            Some(Due::MetadataOrRate) => 0,
            due => panic!("{self:?}: {text} for {due:?}"),
        };
        let told_ms = wire::number(text, "uptime");
        assert!((asked_ms..=model.now_ms).contains(&told_ms), "{self:?}: {text} of another time");
        let note = wire::member(text, "note").and_then(|note| note[1..].split(':').next()?.parse().ok());
        let note = note.expect("a note with a number");
        // The last note that was pushed may be older than what holds, never newer.
        let known = self.note.max(self.pushed.unwrap_or(0))..=model.last_note();
        assert!(known.contains(&note), "{self:?}: note {note} of {known:?}");
        self.note = note;
    }

    fn challenged(&mut self, text: &str, model: &Model, rng: &mut Rng) {
        assert_eq!(self.due.pop_front(), Some(Due::Challenge), "{self:?}: {text}");
        assert!(self.is_sealed && self.login == Login::Asked);
        self.login = Login::Challenged;
        if self.kind == Kind::Expired || self.is_done || self.has_ended {
            return;
        }
        let event: serde_json::Value = serde_json::from_str(text).unwrap();
        let member = self.member.as_ref().unwrap();
        let host = if self.kind == Kind::Forger { "other.example" } else { HOST };
        let solution = member.solution(host, &event["data"], rng).unwrap();
        if self.kind == Kind::Forger {
            for left in (0..model.limits.auth_attempts.into()).rev() {
                wire::frame(&mut self.out, 0x81, solution.as_bytes());
                self.due.push_back(Due::Failed(left));
            }
            (self.earned, self.is_done) = (Some(4_003), true);
            return;
        }
        wire::frame(&mut self.out, 0x81, solution.as_bytes());
        self.due.extend([Due::Passed, Due::Rules]);
    }

    fn result(&mut self, text: &str, model: &Model) {
        assert!(self.is_sealed, "{self:?}");
        if wire::member(text, "reason") == Some("expired") {
            let is_time = model.now_ms >= self.auth_ms + model.limits.challenge_ms;
            assert!(self.login == Login::Challenged && is_time, "{self:?}: expired too early");
            (self.login, self.has_expired) = (Login::Over, true);
            if self.kind == Kind::Forger {
                // Nobody closes it: it is there still, and answers pings again.
                (self.earned, self.is_done) = (None, false);
            }
            // A solution that is under way comes too late.
            for due in std::mem::take(&mut self.due) {
                match due {
                    Due::Passed | Due::Failed(_) => self.due.push_back(Due::Error("auth_order", None)),
                    Due::Rules => {}
                    due => self.due.push_back(due),
                }
            }
            return;
        }
        match self.due.pop_front() {
            Some(Due::Passed) => {
                assert_eq!(wire::member(text, "passed"), Some("true"), "{self:?}: {text}");
                self.login = Login::Passed;
            }
            Some(Due::Failed(left)) => assert_eq!(wire::number(text, "attemptsLeft"), left, "{self:?}"),
            due => panic!("{self:?}: {text} for {due:?}"),
        }
    }

    fn error(&mut self, text: &str) {
        let code = wire::member(text, "code").unwrap();
        let id = wire::member(text, "id").map(|id| id.parse().unwrap());
        match self.due.pop_front() {
            Some(Due::Error(due, number)) => assert_eq!((code, id), (due, number), "{self:?}"),
            Some(Due::MetadataOrRate) => assert_eq!(code, "rate_limited"),
            due => panic!("{self:?}: {text} for {due:?}"),
        }
    }

    /// A close frame.
    fn told(&mut self, payload: &[u8], model: &Model) {
        let code = u16::from_be_bytes(payload[..2].try_into().unwrap());
        let now_ms = model.now_ms;
        let is_fair = match code {
            1_001 => model.is_draining,
            1_008 if self.kind == Kind::HalfMessage => {
                now_ms >= self.half_ms.saturating_add(model.limits.message_ms)
            }
            1_013 => {
                let waits = matches!(self.login, Login::Asked | Login::Challenged);
                waits && now_ms >= self.auth_ms + model.limits.login_wait_ms
            }
            4_004 => {
                let is_time = now_ms >= self.dialled_ms + model.auth_within_ms;
                model.auth_within_ms > 0 && self.login != Login::Passed && (is_time || self.has_expired)
            }
            // Ten strikes of which a server that stood still has read some later than others close nothing.
            4_008 if self.earned == Some(4_000) && now_ms >= self.last_frame_ms + STRIKES_MS => true,
            // Its last frame may cross that.
            4_008 if self.is_done => !self.answers,
            4_008 => !self.answers && now_ms >= self.last_frame_ms + model.heartbeat_ms,
            4_009 => model.is_tight,
            code => self.earned == Some(code),
        };
        assert!(is_fair, "{self:?} is told {code} at {now_ms}");
        let answers_all = matches!(code, 1_000 | 1_002 | 1_003 | 1_007 | 1_009 | 4_000 | 4_003);
        assert!(!answers_all || self.due.is_empty(), "{self:?}: closed with {code} before its answers");
        assert!(code == 4_009 || self.rules_due.is_none(), "{self:?}: a note without its rules");
        self.stage = Stage::Told(code);
    }

    /// Nothing more will come.
    fn over(&mut self, sim: &Sim, model: &Model, reset: bool) {
        self.is_over = true;
        self.was_reset = reset;
        let is_told = matches!(self.stage, Stage::Told(_));
        let is_upgrading = self.stage == Stage::Dialled && model.is_draining;
        let may_go =
            is_told || self.has_ended || model.is_tight || is_upgrading || sim.open_failed(self.line);
        assert!(may_go || self.kind == Kind::Sloth, "{self:?} is closed without a word at {}", model.now_ms);
        let may_reset = !is_told || self.kind == Kind::Sloth || !self.is_honest() || model.is_tight;
        assert!(!reset || may_reset, "{self:?} is reset behind its close frame at {}", model.now_ms);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "client {} ({:?}, {:?}, {:?}; dialled at {} ms, last sent at {}, {} due: {:?})",
            self.line,
            self.kind,
            self.stage,
            self.login,
            self.dialled_ms,
            self.last_frame_ms,
            self.due.len(),
            self.due.iter().take(4).collect::<Vec<_>>(),
        )
    }
}
