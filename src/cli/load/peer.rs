//! One connection of ours, without its socket: bytes in; what they mean, and what to say, out.

use super::{
    failure::Failure,
    login::Member,
    outbound,
    script::{Mode, Script},
    stream::{BINARY, BadFrame, CLOSE, Frames, PING, PONG, TEXT},
};
use mida::app::crypto::{rng::Rng, seal::OVERHEAD};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// One message in so many is opened and read as JSON, whatever it looks like.
const SAMPLE: u32 = 64;
/// The longest head of an answer to an upgrade.
const HEAD_BYTES: usize = 16 * 1_024;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// There is no connection.
    #[default]
    Vacant,
    Dialling,
    Upgrading,
    Rules,
    Challenge,
    LoginResult,
    MemberRules,
    /// Nothing: it is ready.
    Open,
    /// The server's close.
    Leaving,
}

impl Stage {
    /// From the dial until it is ready.
    pub fn is_in_progress(self) -> bool {
        !matches!(self, Self::Vacant | Self::Open | Self::Leaving)
    }
}

/// The state of one connection.
#[derive(Default)]
pub struct Peer {
    pub stage: Stage,
    /// The first rules said so.
    batching: bool,
    /// A sealed message has come; none may come in the clear from then on.
    sealed: bool,
    frames: Frames,
    /// The beginning of the answer to the upgrade.
    head: Vec<u8>,
    member: Option<Box<Member>>,
}

/// What came in one read.
#[derive(Default)]
pub struct Heard {
    /// Messages that answer a question, or were pushed.
    pub messages: u64,
    /// Errors, each in the place of an answer.
    pub errors: u64,
    pub pings: u64,
    /// The connection is ready now.
    pub opened: bool,
    /// Frames to send.
    pub say: Vec<u8>,
}

impl Heard {
    pub fn clear(&mut self) {
        let mut say = std::mem::take(&mut self.say);
        say.clear();
        *self = Self { say, ..Self::default() };
    }
}

/// What the connections of one thread share.
pub struct Kit {
    pub script: Arc<Script>,
    pub rng: Rng,
    /// Opened, or read as JSON.
    pub checked: u64,
    /// Errors by code.
    pub errors: BTreeMap<&'static str, u64>,
    unchecked: u32,
    known: Known,
    text: Vec<u8>,
}

impl Kit {
    pub fn new(script: Arc<Script>, rng: Rng) -> Self {
        Self {
            script,
            rng,
            checked: 0,
            errors: BTreeMap::new(),
            unchecked: 0,
            known: Known([(0, 0); 64]),
            text: Vec::new(),
        }
    }
}

/// Lengths of messages that were read and were nothing but events 1, and how many they were: what has the
/// same length, and is not in the sample, is taken for the same.
struct Known([(usize, u64); 64]);

impl Known {
    fn get(&self, opcode: u8, len: usize) -> Option<u64> {
        let (known, messages) = self.0[len % 64];
        (known == Self::name(opcode, len)).then_some(messages)
    }

    fn set(&mut self, opcode: u8, len: usize, messages: u64) {
        self.0[len % 64] = (if messages > 0 { Self::name(opcode, len) } else { 0 }, messages);
    }

    const fn name(opcode: u8, len: usize) -> usize {
        len << 4 | opcode as usize
    }
}

impl Peer {
    /// A connection that is being dialled; the user it logs in as stays the same.
    pub fn dialling(&mut self) {
        *self = Self { stage: Stage::Dialling, member: self.member.take(), ..Self::default() };
    }

    /// Gives it the user of this number, if it has none.
    pub fn log_in_as(&mut self, number: u64) {
        self.member.get_or_insert_with(|| Box::new(Member::numbered(number)));
    }

    /// Takes what was received.
    ///
    /// # Errors
    /// The connection is of no use any more.
    #[inline]
    pub fn received(&mut self, bytes: &[u8], kit: &mut Kit, heard: &mut Heard) -> Result<(), Failure> {
        if self.stage == Stage::Upgrading {
            return self.upgraded(bytes, kit, heard);
        }
        let mut frames = std::mem::take(&mut self.frames);
        let fed = frames.feed(bytes, |opcode, payload| self.frame(opcode, payload, kit, heard));
        self.frames = frames;
        fed
    }

    fn upgraded(&mut self, bytes: &[u8], kit: &mut Kit, heard: &mut Heard) -> Result<(), Failure> {
        self.head.extend_from_slice(bytes);
        let Some(used) = answer(&self.head)? else { return Ok(()) };
        let head = std::mem::take(&mut self.head);
        self.stage = if kit.script.plain { Stage::Open } else { Stage::Rules };
        heard.opened = kit.script.plain;
        self.received(&head[used..], kit, heard)
    }

    #[inline]
    fn frame(&mut self, opcode: u8, payload: &[u8], kit: &mut Kit, heard: &mut Heard) -> Result<(), Failure> {
        match opcode {
            _ if self.stage == Stage::Leaving => Ok(()),
            TEXT | BINARY if self.stage == Stage::Open => self.message(opcode, payload, kit, heard),
            TEXT | BINARY => {
                self.read(opcode, payload, kit)?;
                let text = std::mem::take(&mut kit.text);
                let done = each_event(&text, |event| self.event(event, kit, heard));
                kit.text = text;
                done
            }
            PING => {
                heard.pings += 1;
                outbound::frame(PONG, payload, &mut heard.say);
                Ok(())
            }
            CLOSE => {
                Err(Failure::Closed(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))))
            }
            _ => Ok(()),
        }
    }

    /// A message on a connection that is ready: a glance, unless it has to be looked at.
    #[inline]
    fn message(
        &mut self,
        opcode: u8,
        payload: &[u8],
        kit: &mut Kit,
        heard: &mut Heard,
    ) -> Result<(), Failure> {
        if kit.script.plain {
            if kit.script.mode == Mode::Echo && payload.len() != kit.script.question.payload_bytes {
                return Err(Failure::BadEcho);
            }
            heard.messages += 1;
            return Ok(());
        }
        kit.unchecked += 1;
        let fits = match opcode {
            TEXT => !self.sealed && !payload.starts_with(br#"{"t":128"#),
            _ => self.sealed && payload.len() >= OVERHEAD && payload[0] == 4,
        };
        match kit.known.get(opcode, payload.len()) {
            Some(messages) if fits && kit.unchecked < SAMPLE => {
                heard.messages += messages;
                Ok(())
            }
            _ => self.check(opcode, payload, kit, heard),
        }
    }

    #[inline(never)]
    fn check(&mut self, opcode: u8, payload: &[u8], kit: &mut Kit, heard: &mut Heard) -> Result<(), Failure> {
        kit.unchecked = 0;
        self.read(opcode, payload, kit)?;
        let text = std::mem::take(&mut kit.text);
        let (mut messages, mut others) = (0, 0);
        let done = each_event(&text, |event| {
            match event["t"].as_u64() {
                Some(1) if event["data"]["name"].is_string() => messages += 1,
                Some(128) => {
                    *kit.errors.entry(code(event)).or_default() += 1;
                    heard.errors += 1;
                    others += 1;
                }
                // New rules; what answers nothing.
                Some(0 | 5) => {
                    heard.messages += u64::from(kit.script.mode != Mode::Echo);
                    others += 1;
                }
                _ => return Err(Failure::BadMessage),
            }
            Ok(())
        });
        kit.text = text;
        done?;
        kit.checked += messages + others;
        heard.messages += messages;
        kit.known.set(opcode, payload.len(), if others == 0 { messages } else { 0 });
        Ok(())
    }

    /// Puts the JSON of a message into `kit.text`.
    fn read(&mut self, opcode: u8, payload: &[u8], kit: &mut Kit) -> Result<(), Failure> {
        if opcode == TEXT {
            kit.text.clear();
            kit.text.extend_from_slice(payload);
            return if self.sealed { Err(Failure::BadSeal) } else { Ok(()) };
        }
        self.sealed = true;
        let member = self.member.as_mut().ok_or(Failure::BadMessage)?;
        member.open(payload, &mut kit.text).map_err(|_| Failure::BadSeal)
    }

    /// An event before the connection is ready.
    fn event(&mut self, event: &Value, kit: &mut Kit, heard: &mut Heard) -> Result<(), Failure> {
        let data = &event["data"];
        match (self.stage, event["t"].as_u64().ok_or(Failure::BadMessage)?) {
            (Stage::Rules, 0) => self.rules(data, kit, heard)?,
            (Stage::Rules, _) => return Err(Failure::BadMessage),
            (Stage::MemberRules, 0) => self.open(heard),
            (Stage::Challenge | Stage::LoginResult, 3 | 5) if !self.sealed => return Err(Failure::BadSeal),
            (Stage::Challenge, 3) => {
                let member = self.member.as_ref().ok_or(Failure::BadMessage)?;
                let solution = member.solution(&kit.script.host, data, &mut kit.rng);
                let solution = solution.ok_or(Failure::Login("no_mida_v1"))?;
                outbound::frame(TEXT, solution.as_bytes(), &mut heard.say);
                self.stage = Stage::LoginResult;
            }
            // A server with auth "key" asks for no proof.
            (Stage::Challenge | Stage::LoginResult, 5) => match data["passed"].as_bool() {
                Some(true) => self.stage = Stage::MemberRules,
                _ => return Err(Failure::login(data["reason"].as_str().unwrap_or_default())),
            },
            (Stage::Challenge | Stage::LoginResult, 128) => return Err(Failure::Login(code(event))),
            _ => {}
        }
        Ok(())
    }

    fn rules(&mut self, data: &Value, kit: &Kit, heard: &mut Heard) -> Result<(), Failure> {
        if data["v"].as_u64() != Some(1) {
            return Err(Failure::BadMessage);
        }
        self.batching = data["batching"].as_bool().ok_or(Failure::BadMessage)?;
        let most = data["maxBatch"].as_u64().unwrap_or(0);
        if kit.script.batching && (!self.batching || most < kit.script.question.messages) {
            return Err(Failure::NoBatching);
        }
        match &self.member {
            Some(member) => {
                outbound::frame(TEXT, member.auth().as_bytes(), &mut heard.say);
                self.stage = Stage::Challenge;
            }
            None => self.open(heard),
        }
        Ok(())
    }

    fn open(&mut self, heard: &mut Heard) {
        self.stage = Stage::Open;
        heard.opened = true;
    }
}

/// Reads the answer to the upgrade: how many bytes it has, once it is whole.
fn answer(head: &[u8]) -> Result<Option<usize>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(head).map_err(|_| Failure::NoUpgrade)?;
    let Some(status) = response.code else {
        return if head.len() > HEAD_BYTES { Err(Failure::NoUpgrade) } else { Ok(None) };
    };
    if status != 101 {
        return Err(Failure::Status(status));
    }
    let httparse::Status::Complete(used) = parsed else {
        return if head.len() > HEAD_BYTES { Err(Failure::NoUpgrade) } else { Ok(None) };
    };
    let accept =
        response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("Sec-WebSocket-Accept"));
    match accept {
        Some(field) if field.value == super::script::ACCEPT.as_bytes() => Ok(Some(used)),
        _ => Err(Failure::NoUpgrade),
    }
}

/// Calls `with` with each event of a message or a batch.
fn each_event(text: &[u8], mut with: impl FnMut(&Value) -> Result<(), Failure>) -> Result<(), Failure> {
    let message: Value = serde_json::from_slice(text).map_err(|_| Failure::BadMessage)?;
    let Some(count) = message.get("count") else { return with(&message) };
    let batch = message["data"].as_array().ok_or(Failure::BadMessage)?;
    if count.as_u64() != Some(batch.len() as u64) {
        return Err(Failure::BadMessage);
    }
    batch.iter().try_for_each(with)
}

/// The code of an event 128 (PROTOCOL.md section 9).
fn code(event: &Value) -> &'static str {
    const CODES: [&str; 10] = [
        "bad_json",
        "bad_envelope",
        "bad_batch",
        "unknown_event",
        "bad_data",
        "bad_key",
        "auth_order",
        "forbidden",
        "batching_disabled",
        "rate_limited",
    ];
    let code = event["data"]["code"].as_str().unwrap_or_default();
    CODES.into_iter().find(|known| *known == code).unwrap_or("other")
}

impl From<BadFrame> for Failure {
    fn from(_: BadFrame) -> Self {
        Self::BadFrame
    }
}

#[cfg(test)]
mod tests;
