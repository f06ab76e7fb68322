//! What the attackers do, each line of it again and again, and the bytes that they do it with.

use crate::common::frames;
use mida::app::crypto::{
    challenge::{Challenge, sign_mida_v1},
    key::SecretKey,
    rng::Rng,
};
use std::time::Duration;

const TEXT: u8 = 0x01;
const CONTINUATION: u8 = 0x00;
const PING: u8 = 0x09;
const FIN: u8 = 0x80;
const ASK: &[u8] = br#"{"t":1}"#;

/// Bytes of an endless stream that are kept to be sent over and over.
const STREAM_BYTES: usize = 64 * 1_024;
/// A fragmented message that stays just below `message_bytes`.
const LARGE: usize = 60_000;

/// One of the things to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// An upgrade request, one byte a second.
    SlowHead,
    /// Fragments without end: empty ones, too many bytes, or most of a message and then one byte at a time.
    Fragments,
    /// Pings without end.
    Pings,
    /// Event 2 and event 4, again and again, all from one address.
    Logins,
    /// Questions without end, and no answer is read.
    Deaf,
    /// Good messages, each byte in a frame of its own.
    Crumbs,
}

impl Line {
    pub const ALL: [Line; 6] =
        [Line::SlowHead, Line::Fragments, Line::Pings, Line::Logins, Line::Deaf, Line::Crumbs];

    pub fn name(self) -> &'static str {
        match self {
            Self::SlowHead => "8 one byte of a request a second",
            Self::Fragments => "23 fragments without end",
            Self::Pings => "26 ping flood",
            Self::Logins => "36 logins from one address",
            Self::Deaf => "38 reader that stops",
            Self::Crumbs => "39 frames of one byte",
        }
    }

    /// Where it comes from: logins from one address, the others from eight more.
    pub fn address(self, number: usize) -> [u8; 4] {
        match self {
            Self::Logins => [127, 0, 1, 1],
            _ => [127, 0, 1, 2 + (number % 8) as u8],
        }
    }

    /// How it ends, one of these: what the server says at last.
    pub fn ends_with(self) -> &'static [&'static str] {
        match self {
            Self::SlowHead => &["408"],
            Self::Fragments => &["1008", "1009"],
            Self::Pings => &["1008"],
            Self::Logins => &["4003"],
            Self::Deaf => &["reset"],
            // It breaks no rule: it is served, and others with it.
            Self::Crumbs => &[],
        }
    }
}

/// What there is to send.
pub struct Script {
    /// A request that is upgraded.
    pub upgrade: &'static [u8],
    /// Of [`Line::Fragments`], by turns. Behind the last one comes [`Script::more`].
    pub fragments: [Vec<u8>; 3],
    /// A fragment of one byte.
    pub more: Vec<u8>,
    pub pings: Vec<u8>,
    /// Event 2.
    pub login: Vec<u8>,
    /// Event 4, three times: well made, and for another challenge.
    pub solutions: Vec<u8>,
    pub questions: Vec<u8>,
    pub crumbs: Vec<u8>,
}

impl Script {
    /// Between two bytes of [`Line::SlowHead`].
    pub const BYTE_EVERY: Duration = Duration::from_secs(1);
    /// Between two of [`Script::more`].
    pub const MORE_EVERY: Duration = Duration::from_millis(500);

    pub fn new() -> Self {
        let mut rng = Rng::from_seed([36; 32]);
        let secret = SecretKey::generate(&mut rng);
        let identity = secret.identity();
        let challenge = Challenge::from_hex(&[b'0'; 64]).expect("64 digits");
        let signature = sign_mida_v1(&secret, "elsewhere.example", &challenge, &identity, &mut rng);
        let key = identity.to_hex();
        let [key, signature] = [&key[..], &signature[..]].map(String::from_utf8_lossy);
        let login = frames::text(&format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#));
        let solution = format!(r#"{{"t":4,"data":{{"scheme":"mida-v1","solution":"{signature}"}}}}"#);
        let large = [frame(TEXT, &[b' '; LARGE]), frame(CONTINUATION, &[b' '; LARGE])].concat();
        let crumbs: Vec<u8> = ASK
            .iter()
            .enumerate()
            .flat_map(|(at, byte)| {
                let opcode = if at == 0 { TEXT } else { CONTINUATION };
                frame(opcode | if at + 1 == ASK.len() { FIN } else { 0 }, &[*byte])
            })
            .collect();
        let question = frame(FIN | TEXT, ASK);
        Self {
            upgrade: frames::UPGRADE,
            fragments: [
                [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(2_000)].concat(),
                large,
                frame(TEXT, &[b' '; LARGE]),
            ],
            more: frame(CONTINUATION, b" "),
            pings: frame(FIN | PING, b"ping").repeat(2_000),
            login,
            solutions: frames::text(&solution).repeat(3),
            questions: question.repeat(STREAM_BYTES / question.len()),
            crumbs: crumbs.repeat(STREAM_BYTES / crumbs.len()),
        }
    }
}

/// A masked frame with the bits and opcode `first`.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x1f, 0x2e, 0x3d, 0x4c];
    let mut frame = match payload.len() {
        len @ 0..126 => vec![first, 0x80 | len as u8],
        len => [&[first, 0x80 | 126], &u16::try_from(len).expect("64 KiB").to_be_bytes()[..]].concat(),
    };
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
