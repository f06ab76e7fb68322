//! What every connection of a run does: the bytes it sends, and what it expects.

use super::outbound::Question;

/// The example of RFC 6455 section 1.3: a load generator needs no fresh key each time.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Connections that are held.
    Idle,
    /// Connections that come and go.
    Storm,
    /// Questions and answers.
    Echo,
    /// What the server sends by itself.
    Broadcast,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Storm => "storm",
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
        }
    }
}

/// How questions are paced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many messages are unanswered on each connection at any time.
    InFlight(u64),
    /// So many messages are asked a second, on all connections together.
    Rate(f64),
}

/// One run's part of each connection.
pub struct Script {
    pub mode: Mode,
    /// No Mida: frames to an echo server.
    pub plain: bool,
    pub auth: bool,
    /// Questions go in batches.
    pub batching: bool,
    pub pace: Pace,
    /// What `mida-v1` signs.
    pub host: String,
    /// The upgrade.
    pub request: Vec<u8>,
    pub question: Question,
}

impl Script {
    /// `in_batch` messages make a question, and `bytes` a plain one.
    pub fn new(
        (mode, plain, auth, batching): (Mode, bool, bool, bool),
        (host, path): (&str, &str),
        (pace, in_batch, bytes): (Pace, u64, usize),
    ) -> Self {
        let protocol = if plain { "" } else { "Sec-WebSocket-Protocol: mida\r\n" };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
        );
        let payload = match (plain, batching) {
            (true, _) => "x".repeat(bytes),
            (false, false) => r#"{"t":1}"#.to_owned(),
            (false, true) => {
                let batch = vec![r#"{"t":1}"#; in_batch as usize].join(",");
                format!(r#"{{"count":{in_batch},"data":[{batch}]}}"#)
            }
        };
        let messages = if batching { in_batch } else { 1 };
        let at_once = match pace {
            Pace::InFlight(in_flight) => in_flight / messages,
            Pace::Rate(_) => 16,
        };
        let question = Question::new(payload.as_bytes(), messages, at_once);
        let (host, request) = (host.to_owned(), request.into_bytes());
        Self { mode, plain, auth, batching, pace, host, request, question }
    }
}
