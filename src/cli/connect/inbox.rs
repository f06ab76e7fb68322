//! What came to the user's key: shown, kept for `/inbox`, and acked so that the server forgets it.

use super::{known::Known, show};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::collections::VecDeque;

pub const MESSAGE: u8 = 0x82;
pub const ACK: u8 = 0x84;

/// Ids in one ack.
const IDS_MAX: usize = 1_000;
/// Messages that `/inbox` shows, and bytes of their bodies.
const KEPT_MAX: usize = 100;
const KEPT_BYTES: usize = 4 << 20;

/// Event 0x82.
#[derive(Deserialize)]
pub struct Message {
    pub id: String,
    /// Absent: the operator.
    pub from: Option<String>,
    pub topic: Option<String>,
    pub ts: u64,
    pub body: Box<RawValue>,
}

/// Messages to the key; those of topics are no part of it.
#[derive(Default)]
pub struct Inbox {
    keeps: bool,
    /// Of these the login told.
    unread: u64,
    came: u64,
    unacked: Vec<String>,
    kept: VecDeque<Message>,
    kept_bytes: usize,
}

impl Inbox {
    /// `keeps`: nothing is acked, it all stays with the server.
    pub fn new(keeps: bool) -> Inbox {
        Inbox { keeps, ..Inbox::default() }
    }

    /// The login said that so many messages wait.
    pub fn logged_in(&mut self, unread: u64) {
        self.unread = unread;
    }

    /// A message was shown.
    pub fn take(&mut self, message: Message) {
        self.came += 1;
        if !self.keeps {
            self.unacked.push(message.id.clone());
        }
        self.kept_bytes += message.body.get().len();
        self.kept.push_back(message);
        while self.kept.len() > KEPT_MAX || self.kept_bytes > KEPT_BYTES {
            let oldest = self.kept.pop_front();
            self.kept_bytes -= oldest.map_or(0, |message| message.body.get().len());
        }
    }

    /// How many of those that waited at the login have not come yet. They come before all newer ones.
    pub fn to_come(&self) -> u64 {
        self.unread.saturating_sub(self.came)
    }

    /// Event 0x84 for what was shown since the last one.
    pub fn ack(&mut self) -> Option<String> {
        let ids: Vec<_> = self.unacked.drain(..self.unacked.len().min(IDS_MAX)).collect();
        (!ids.is_empty()).then(|| json!({ "t": ACK, "data": { "ids": ids } }).to_string())
    }

    /// For people: how many came and are to come, and the newest with their whole keys, to be copied from here.
    pub fn lines(&self, known: &Known, now_ms: u64) -> Vec<String> {
        let fate = if self.keeps { "kept at the server" } else { "acked" };
        let to_come = match self.to_come() {
            0 => String::new(),
            more => format!(", {more} more to come"),
        };
        let mut lines = vec![match self.came {
            0 if to_come.is_empty() => "inbox: empty".to_owned(),
            came => format!("inbox: {came} came ({fate}){to_come}"),
        }];
        let left_out = self.came - self.kept.len() as u64;
        if left_out > 0 {
            lines.push(format!("  … {left_out} older"));
        }
        lines.extend(self.kept.iter().map(|message| {
            let from = match message.from.as_deref() {
                Some(from) if known.own() == Some(from) => "you",
                from => from.unwrap_or("the operator"),
            };
            format!("  {:<8} {from}: {}", show::age(message.ts, now_ms), show::body(&message.body))
        }));
        lines
    }

    /// For scripts.
    pub fn json(&self) -> String {
        let message = |message: &Message| {
            let from =
                message.from.as_ref().map_or(String::new(), |from| format!(r#","from":{}"#, json!(from)));
            let (id, ts) = (json!(message.id), message.ts);
            format!(r#"{{"id":{id}{from},"ts":{ts},"body":{}}}"#, message.body.get())
        };
        let messages: Vec<_> = self.kept.iter().map(message).collect();
        format!(
            r#"{{"inbox":{{"came":{},"toCome":{},"acked":{},"messages":[{}]}}}}"#,
            self.came,
            self.to_come(),
            !self.keeps,
            messages.join(",")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: usize, body: &str) -> Message {
        serde_json::from_str(&format!(r#"{{"id":"m{id}","from":"02ab","ts":5000,"body":{body}}}"#)).unwrap()
    }

    #[test]
    fn what_was_shown_is_acked_once_in_messages_of_at_most_1000() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.ack(), None);
        (0..1_001).for_each(|id| inbox.take(message(id, "1")));
        let first: serde_json::Value = serde_json::from_str(&inbox.ack().unwrap()).unwrap();
        assert_eq!((&first["t"], first["data"]["ids"].as_array().unwrap().len()), (&json!(132), 1_000));
        assert_eq!(inbox.ack().unwrap(), r#"{"data":{"ids":["m1000"]},"t":132}"#);
        assert_eq!(inbox.ack(), None);
        let mut keeps = Inbox::new(true);
        keeps.take(message(1, "1"));
        assert_eq!(keeps.ack(), None);
    }

    #[test]
    fn it_tells_what_came_and_what_is_to_come() {
        let mut inbox = Inbox::default();
        let mut known = Known::default();
        known.set_own("02cd".to_owned());
        assert_eq!(inbox.lines(&known, 5_000), ["inbox: empty"]);
        inbox.logged_in(3);
        assert_eq!(inbox.lines(&known, 5_000), ["inbox: 0 came (acked), 3 more to come"]);
        inbox.take(message(1, r#""hello\u0007""#));
        inbox.take(message(2, r#"{"a": [1]}"#));
        let lines = [
            "inbox: 2 came (acked), 1 more to come",
            r"  60 s     02ab: hello\u{7}",
            r#"  60 s     02ab: {"a": [1]}"#,
        ];
        assert_eq!(inbox.lines(&known, 65_000), lines);
        let json = r#"{"inbox":{"came":2,"toCome":1,"acked":true,"messages":[{"id":"m1","from":"02ab","ts":5000,"body":"hello\u0007"},{"id":"m2","from":"02ab","ts":5000,"body":{"a": [1]}}]}}"#;
        assert_eq!(inbox.json(), json);
        inbox.take(message(3, "1"));
        inbox.take(message(4, "1"));
        assert_eq!((inbox.to_come(), inbox.came), (0, 4));
    }

    #[test]
    fn it_keeps_no_more_than_its_share() {
        let mut inbox = Inbox::default();
        (0..150).for_each(|id| inbox.take(message(id, "1")));
        assert_eq!((inbox.kept.len(), inbox.kept[0].id.as_str()), (100, "m50"));
        assert_eq!(inbox.lines(&Known::default(), 5_000)[1], "  … 50 older");
        let large = format!(r#""{}""#, "x".repeat(KEPT_BYTES));
        inbox.take(message(200, &large));
        assert_eq!((inbox.kept.len(), inbox.kept_bytes), (0, 0));
    }
}
