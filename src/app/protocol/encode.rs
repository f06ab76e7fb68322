//! The server's messages, written as they go out (PROTOCOL.md section 3).
//!
//! Every writer appends one whole message to `out`. Integers above 2^53 - 1 are written as that: no client
//! has to read a larger one (PROTOCOL.md section 2), and none of the bounds means anything beyond it.

use super::event::{ErrorCode, Reason, Retry};
use crate::app::{
    crypto::key::Identity,
    mail::{MessageId, Outcome, Receipt, Recipient},
};

/// The largest integer on the wire.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Event 0: what holds for one connection.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub hb_ms: u64,
    pub perms: &'a [&'a str],
    pub batching: bool,
    pub auth: AuthMode,
    /// 0: never.
    pub auth_within_ms: u64,
    /// Bytes of one message from a client.
    pub max_message: u32,
    /// Messages in one batch.
    pub max_batch: u32,
    /// Extensions that are on.
    pub ext: &'a [&'a str],
}

/// How a key is taken, `auth` in the rules and in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// After a signature over a challenge.
    #[default]
    Signature,
    /// As it is: an address to seal to, and no proof.
    Key,
}

impl AuthMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Key => "key",
        }
    }
}

/// Event 1, from the server.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    pub name: &'a str,
    /// Authenticated connections.
    pub online: u64,
    pub uptime_ms: u64,
    pub maintenance_in_ms: Option<u64>,
    pub note: Option<&'a str>,
    /// The operator's fields: members of an object in JSON, with commas between them, no braces; empty if
    /// there are none. Written as they are, so they were checked when they were configured.
    pub public: &'a str,
}

/// Event 0x82.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub id: MessageId,
    /// None: the operator.
    pub from: Option<&'a Identity>,
    pub topic: Option<&'a str>,
    pub ts_ms: u64,
    /// One value of JSON, written as it is.
    pub body: &'a [u8],
}

/// Event 0.
pub fn rules(out: &mut Vec<u8>, rules: &Rules<'_>) {
    put(out, r#"{"t":0,"data":{"hb":"#);
    integer(out, rules.hb_ms);
    put(out, r#","perms":"#);
    strings(out, rules.perms);
    put(out, r#","batching":"#);
    put(out, if rules.batching { "true" } else { "false" });
    put(out, r#","v":1,"auth":""#);
    put(out, rules.auth.name());
    put(out, r#"","authWithin":"#);
    integer(out, rules.auth_within_ms);
    put(out, r#","maxMessage":"#);
    integer(out, rules.max_message.into());
    put(out, r#","maxBatch":"#);
    integer(out, rules.max_batch.into());
    put(out, r#","ext":"#);
    strings(out, rules.ext);
    put(out, "}}");
}

/// Event 1.
pub fn metadata(out: &mut Vec<u8>, metadata: &Metadata<'_>) {
    put(out, r#"{"t":1,"data":{"name":"#);
    string(out, metadata.name);
    put(out, r#","online":"#);
    integer(out, metadata.online);
    put(out, r#","uptime":"#);
    integer(out, metadata.uptime_ms);
    if let Some(maintenance_in_ms) = metadata.maintenance_in_ms {
        put(out, r#","maintenanceIn":"#);
        integer(out, maintenance_in_ms);
    }
    if let Some(note) = metadata.note {
        put(out, r#","note":"#);
        string(out, note);
    }
    if !metadata.public.is_empty() {
        put(out, ",");
        put(out, metadata.public);
    }
    put(out, "}}");
}

/// Event 3.
pub fn challenge(out: &mut Vec<u8>, challenge: &[u8; 32], schemes: &[&str], expires_in_ms: u64) {
    put(out, r#"{"t":3,"data":{"challenge":""#);
    for byte in challenge {
        out.extend_from_slice(&hex(*byte));
    }
    put(out, r#"","schemes":"#);
    strings(out, schemes);
    put(out, r#","expiresIn":"#);
    integer(out, expires_in_ms);
    put(out, "}}");
}

/// Event 5, `passed` true. Who has no `displayName` gets none.
pub fn result_passed(out: &mut Vec<u8>, display_name: Option<&str>, unread_messages: u64) {
    put(out, r#"{"t":5,"data":{"passed":true,"user":{"#);
    if let Some(display_name) = display_name {
        put(out, r#""displayName":"#);
        string(out, display_name);
        put(out, ",");
    }
    put(out, r#""unreadMessages":"#);
    integer(out, unread_messages);
    put(out, "}}}");
}

/// Event 5, `passed` false.
pub fn result_failed(out: &mut Vec<u8>, reason: Reason, attempts_left: u32) {
    put(out, r#"{"t":5,"data":{"passed":false,"reason":""#);
    put(out, reason.name());
    put(out, r#"","attemptsLeft":"#);
    integer(out, attempts_left.into());
    put(out, "}}");
}

/// Event 0x80. `re` and `id` are those of the message it answers; `retry_after_ms` goes out only with a
/// code that backs off.
pub fn error(out: &mut Vec<u8>, code: ErrorCode, re: Option<u8>, id: Option<&str>, retry_after_ms: u64) {
    put(out, code.head());
    match re {
        Some(t) => integer(out, t.into()),
        None => put(out, "null"),
    }
    if let Some(id) = id {
        put(out, r#","id":"#);
        string(out, id);
    }
    put(out, r#","retry":""#);
    put(out, code.retry().name());
    put(out, r#"""#);
    if code.retry() == Retry::Backoff {
        put(out, r#","retryAfter":"#);
        integer(out, retry_after_ms);
    }
    put(out, "}}");
}

/// Event 0x82.
pub fn message(out: &mut Vec<u8>, message: &Message<'_>) {
    put(out, r#"{"t":130,"data":{"id":""#);
    out.extend_from_slice(&message.id.to_hex());
    if let Some(from) = message.from {
        put(out, r#"","from":""#);
        out.extend_from_slice(&from.to_hex());
    }
    if let Some(topic) = message.topic {
        put(out, r#"","topic":"#);
        string(out, topic);
        put(out, r#","ts":"#);
    } else {
        put(out, r#"","ts":"#);
    }
    integer(out, message.ts_ms);
    put(out, r#","body":"#);
    out.extend_from_slice(message.body);
    put(out, "}}");
}

/// Event 0x83: what became of a message for one recipient.
pub fn receipt(out: &mut Vec<u8>, receipt: &Receipt) {
    put(out, r#"{"t":131,"data":{"re":"#);
    string(out, &receipt.re);
    put(out, r#","to":"#);
    match &receipt.to {
        Recipient::Key(identity) => {
            put(out, r#"""#);
            out.extend_from_slice(&identity.to_hex());
            put(out, r#"""#);
        }
        Recipient::Topic(topic) => string(out, topic),
    }
    if let Some(id) = receipt.id {
        put(out, r#","id":""#);
        out.extend_from_slice(&id.to_hex());
        put(out, r#"""#);
    }
    match receipt.outcome {
        Outcome::Stored => put(out, r#","state":"stored"}}"#),
        Outcome::Delivered => put(out, r#","state":"delivered"}}"#),
        Outcome::Refused(refused) => {
            put(out, r#","state":"refused","code":""#);
            put(out, refused.name());
            put(out, r#""}}"#);
        }
    }
}

/// A string, quoted and escaped (RFC 8259 section 7): only what must be escaped is.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Most strings have nothing to escape. Without a way out in between, the compiler looks at 16 bytes at once.
    if !rest.iter().fold(false, |found, byte| found | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\')) {
        out.extend_from_slice(rest);
        out.push(b'"');
        return;
    }
    while let Some(at) = rest.iter().position(|byte| escape(*byte) != 0) {
        let (clean, tail) = rest.split_at(at);
        let [byte, behind @ ..] = tail else { break };
        out.extend_from_slice(clean);
        match escape(*byte) {
            b'u' => {
                put(out, "\\u00");
                out.extend_from_slice(&hex(*byte));
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// An integer in decimal, at most [`INTEGER_MAX`].
pub fn integer(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0; 20];
    out.extend_from_slice(decimal(&mut digits, n.min(INTEGER_MAX)));
}

/// Writes `n` in decimal at the end of `room` and returns it; what does not fit is lost from the front.
pub(super) fn decimal(room: &mut [u8], mut n: u64) -> &[u8] {
    let mut at = room.len();
    for place in room.iter_mut().rev() {
        *place = b'0' + (n % 10) as u8;
        at -= 1;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    room.get(at..).unwrap_or_default()
}

fn strings(out: &mut Vec<u8>, texts: &[&str]) {
    put(out, "[");
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            put(out, ",");
        }
        string(out, text);
    }
    put(out, "]");
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// The letter behind the backslash, 0 for a byte that stands for itself.
const fn escape(byte: u8) -> u8 {
    const LETTERS: [u8; 256] = {
        let mut letters = [0; 256];
        let mut control = 0;
        while control < 0x20 {
            letters[control] = b'u';
            control += 1;
        }
        letters[0x08] = b'b';
        letters[0x09] = b't';
        letters[0x0A] = b'n';
        letters[0x0C] = b'f';
        letters[0x0D] = b'r';
        letters[b'"' as usize] = b'"';
        letters[b'\\' as usize] = b'\\';
        letters
    };
    LETTERS[byte as usize]
}

/// Two lowercase digits.
const fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

#[cfg(test)]
mod tests;
