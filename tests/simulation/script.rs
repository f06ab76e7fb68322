//! What each kind of client does when its time comes.

use crate::{
    client::{Client, Due, Kind, Login, Stage},
    login::Member,
    model::Model,
    wire::{self, CLOSE, PING, REQUEST},
};
use mida::{
    app::protocol::encode::AuthMode,
    engine::io::sim::{Dice, Sim},
};

/// Questions that a client may ask in its life without running into its rate.
pub const QUESTIONS: u32 = 45;
/// Users there are: several clients may be the same.
const MEMBERS: u64 = 6;

impl Client {
    /// Its time has come: it does something, and says when it will again.
    pub fn act(&mut self, sim: &mut Sim, model: &Model, dice: &mut Dice) {
        self.wakes_ms = u64::MAX;
        if self.is_over || self.has_reset {
            return;
        }
        self.acts += 1;
        self.reads = self.kind != Kind::Sloth;
        match self.stage {
            Stage::Dialled if self.acts == 1 => self.request(dice),
            Stage::Open => self.speak(sim, model, dice),
            _ => {}
        }
        self.send(sim, model, dice);
        if !self.has_ended && self.wakes_ms == u64::MAX && self.stage != Stage::Dialled {
            self.rest(model, dice);
        }
    }

    /// Sends what it has to send, perhaps a part first; the rest soon.
    pub fn send(&mut self, sim: &mut Sim, model: &Model, dice: &mut Dice) {
        if self.has_ended || self.out.is_empty() {
            return;
        }
        let cuts = dice.one_in(6) && self.stage == Stage::Open;
        let len = if cuts { dice.below(self.out.len() as u64) as usize } else { self.out.len() };
        sim.feed(self.line, &self.out[..len]);
        self.out.drain(..len);
        self.last_frame_ms = model.now_ms;
        if !self.out.is_empty() {
            self.wakes_ms = self.wakes_ms.min(model.now_ms + 1 + dice.below(40));
        }
    }

    /// The end of the run: who is there still, leaves.
    pub fn leave(&mut self) {
        if self.stage == Stage::Open && !self.is_done && self.reads {
            wire::frame(&mut self.out, 0x80 | CLOSE, &1_000u16.to_be_bytes());
            (self.is_done, self.earned) = (true, Some(1_000));
        }
    }

    /// Having been told of the end, it ends too.
    pub fn end_if_told(&mut self, sim: &mut Sim, dice: &mut Dice) {
        let lingers = !self.is_honest() && dice.one_in(3);
        if matches!(self.stage, Stage::Told(_)) && !self.has_ended && !lingers {
            self.has_ended = true;
            sim.end(self.line, false);
        }
    }

    fn rest(&mut self, model: &Model, dice: &mut Dice) {
        // Short against the heartbeat: a client that pauses must not miss it.
        let most_ms = if self.reads { 300 } else { model.pause_ms() };
        self.wakes_ms = model.now_ms + 1 + dice.below(most_ms);
        let is_idle = matches!(self.kind, Kind::Silent | Kind::Dead | Kind::Expired | Kind::HalfMessage);
        if (is_idle && self.acts > 2 || self.is_done) && self.out.is_empty() && self.reads {
            self.wakes_ms = u64::MAX;
        }
    }

    fn request(&mut self, dice: &mut Dice) {
        let bad = [
            REQUEST.replace("GET", "PUT"),
            REQUEST.replace("Sec-WebSocket-Key", "Sec-WebSocket-Kex"),
            REQUEST.replace("Version: 13", "Version: 12"),
            "\r\n \r\n\r\n".to_owned(),
        ];
        match self.kind {
            Kind::BadRequest => self.out.extend_from_slice(bad[dice.below(4) as usize].as_bytes()),
            Kind::HalfRequest => {
                let len = dice.below(REQUEST.len() as u64) as usize;
                self.out.extend_from_slice(&REQUEST.as_bytes()[..len]);
            }
            _ => self.out.extend_from_slice(REQUEST.as_bytes()),
        }
        if self.is_honest() && dice.one_in(3) && self.kind != Kind::Silent {
            // Frames right behind the request.
            self.question(0);
        }
    }

    fn speak(&mut self, sim: &mut Sim, model: &Model, dice: &mut Dice) {
        if self.is_done || self.has_ended {
            return;
        }
        match self.kind {
            Kind::Silent | Kind::Dead | Kind::HalfRequest | Kind::BadRequest => {}
            Kind::Member | Kind::Expired | Kind::Forger if self.login == Login::No => self.ask_in(model),
            Kind::Expired | Kind::Forger => {}
            Kind::HalfMessage if self.half_ms == u64::MAX => {
                wire::frame(&mut self.out, 0x01, b"{\"t\":");
                self.half_ms = model.now_ms;
            }
            Kind::HalfMessage => {}
            Kind::BadFrame if dice.one_in(4) => self.break_frame(dice),
            Kind::BadJson if dice.one_in(3) => self.strike(dice),
            Kind::Flood if dice.one_in(3) => {
                for _ in 0..130 {
                    wire::frame(&mut self.out, 0x81, br#"{"t":1}"#);
                    self.due.push_back(Due::MetadataOrRate);
                }
                (self.is_done, self.earned) = (true, Some(4_010));
            }
            Kind::Pings if dice.one_in(3) => {
                for number in 0..60u8 {
                    wire::frame(&mut self.out, 0x80 | PING, &[number]);
                    self.due.push_back(Due::Pong(vec![number]));
                }
                (self.is_done, self.earned) = (true, Some(1_008));
            }
            Kind::Resets | Kind::Ends if dice.one_in(5) => {
                self.has_ended = true;
                self.has_reset = self.kind == Kind::Resets;
                sim.feed(self.line, &std::mem::take(&mut self.out));
                sim.end(self.line, self.has_reset);
            }
            _ => self.ask(model, dice),
        }
    }

    /// Whatever an honest client may say.
    fn ask(&mut self, model: &Model, dice: &mut Dice) {
        for _ in 0..dice.below(4) {
            if self.asked + 6 >= QUESTIONS {
                break;
            }
            match dice.below(8) {
                0 if self.kind != Kind::Sloth => {
                    let payload = self.asked.to_be_bytes();
                    self.asked += 3;
                    wire::frame(&mut self.out, 0x80 | PING, &payload);
                    self.due.push_back(Due::Pong(payload.to_vec()));
                }
                1..4 if !matches!(self.login, Login::Asked | Login::Challenged) => {
                    let number = self.count();
                    self.frame_text(
                        &format!(r#"{{"t":4,"data":{{"solution":"00","id":"{number}"}}}}"#),
                        dice,
                    );
                    self.due.push_back(Due::Error("auth_order", Some(number)));
                }
                4 if model.batching => {
                    let texts: Vec<_> = (0..1 + dice.below(4)).map(|_| r#"{"t":1}"#).collect();
                    self.asked += texts.len() as u32;
                    self.due.extend(texts.iter().map(|_| Due::Metadata(model.now_ms)));
                    let batch = format!(r#"{{"count":{},"data":[{}]}}"#, texts.len(), texts.join(","));
                    self.frame_text(&batch, dice);
                }
                4 => {
                    self.asked += 1;
                    self.due.push_back(Due::Error("batching_disabled", None));
                    self.frame_text(r#"{"count":1,"data":[{"t":1}]}"#, dice);
                }
                5 | 6 if self.login == Login::Passed && model.auth == AuthMode::Signature => self.write(dice),
                _ => self.question(model.now_ms),
            }
        }
        // A pause, in which it does not read.
        let pauses = dice.one_in(5);
        self.reads &= !pauses || model.is_quiet;
        if self.acts > 6 && (self.asked + 6 >= QUESTIONS || dice.one_in(12)) {
            self.leave();
        }
    }

    /// A message to somebody, perhaps to itself.
    fn write(&mut self, dice: &mut Dice) {
        self.asked += 1;
        let (number, to) = (self.sent.len(), dice.below(MEMBERS));
        let auth = Member::numbered(to).auth();
        let key = wire::member(&auth, "pubKey").unwrap();
        let body = format!("{}-{number}-{to}", self.line);
        let text =
            format!(r#"{{"t":129,"data":{{"id":"{number}","to":"{key}","live":true,"body":"{body}"}}}}"#);
        self.frame_text(&text, dice);
        self.sent.push(to);
        self.unreceipted.insert(number);
    }

    /// Which user it logs in as.
    pub fn user(&self) -> u64 {
        u64::from(self.line) % MEMBERS
    }

    fn question(&mut self, now_ms: u64) {
        self.asked += 1;
        wire::frame(&mut self.out, 0x81, br#"{"t":1,"data":{}}"#);
        self.due.push_back(Due::Metadata(now_ms));
    }

    fn count(&mut self) -> u32 {
        self.asked += 1;
        self.asked
    }

    /// A text in one frame or in several.
    fn frame_text(&mut self, text: &str, dice: &mut Dice) {
        let (begin, end) = text.as_bytes().split_at(dice.below(text.len() as u64) as usize);
        if dice.one_in(4) {
            wire::frame(&mut self.out, 0x01, begin);
            wire::frame(&mut self.out, 0x00, b"");
            return wire::frame(&mut self.out, 0x80, end);
        }
        wire::frame(&mut self.out, 0x81, text.as_bytes());
    }

    fn ask_in(&mut self, model: &Model) {
        let member = Member::numbered(self.user());
        wire::frame(&mut self.out, 0x81, member.auth().as_bytes());
        self.member = Some(Box::new(member));
        (self.login, self.auth_ms) = (Login::Asked, model.now_ms);
        match model.auth {
            AuthMode::Key => self.due.extend([Due::Passed, Due::Rules]),
            AuthMode::Signature => self.due.push_back(Due::Challenge),
        }
    }

    fn break_frame(&mut self, dice: &mut Dice) {
        let (bytes, code): (&[u8], u16) = dice.pick([
            (&[0xC1, 0x80, 0, 0, 0, 0], 1_002),
            (&[0x83, 0x80, 0, 0, 0, 0], 1_002),
            (&[0x81, 0x02, b'{', b'}'], 1_002),
            (&[0x80, 0x80, 0, 0, 0, 0], 1_002),
            (&[0x81, 0x81, 0, 0, 0, 0, 0xFF], 1_007),
            (&[0x82, 0x80, 0, 0, 0, 0], 1_003),
            (&[0x81, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0], 1_009),
        ]);
        self.out.extend_from_slice(bytes);
        (self.is_done, self.earned) = (true, Some(code));
    }

    fn strike(&mut self, dice: &mut Dice) {
        for _ in 0..10 {
            let (text, code, id): (&str, &str, Option<u32>) = dice.pick([
                ("{", "bad_json", None),
                ("[]", "bad_envelope", None),
                (r#"{"t":256}"#, "bad_envelope", None),
                (r#"{"t":7,"data":{"id":"5"}}"#, "unknown_event", Some(5)),
            ]);
            wire::frame(&mut self.out, 0x81, text.as_bytes());
            self.due.push_back(Due::Error(code, id));
        }
        (self.is_done, self.earned) = (true, Some(4_000));
    }
}
