//! How a connection ended, and what that means for the user (PROTOCOL.md section 10).

use super::escape;
use tungstenite::protocol::CloseFrame;

/// A close frame without a code (RFC 6455 section 7.1.5).
const NO_STATUS: u16 = 1005;
/// No close frame at all.
const ABNORMAL: u16 = 1006;

/// The end of a connection, as its close frame told it.
pub struct Farewell {
    pub code: u16,
    reason: String,
}

impl Farewell {
    /// The server's close frame.
    pub fn from_frame(frame: Option<CloseFrame>) -> Farewell {
        match frame {
            Some(frame) => Farewell { code: frame.code.into(), reason: frame.reason.as_str().to_owned() },
            None => Farewell { code: NO_STATUS, reason: String::new() },
        }
    }

    /// The connection broke without one.
    pub fn lost() -> Farewell {
        Farewell { code: ABNORMAL, reason: String::new() }
    }

    /// For scripts.
    pub fn json(&self) -> String {
        let close = serde_json::json!({ "close": { "code": self.code, "reason": self.reason } });
        escape::json(&close.to_string())
    }

    /// For people; with what it means, if the server wanted it.
    pub fn line(&self, by_server: bool) -> String {
        let mut line = format!("< closed {}", self.code);
        if !self.reason.is_empty() {
            line += &format!(" ({})", escape::plain(&self.reason));
        }
        if by_server {
            line = line + ": " + meaning(self.code);
        }
        line
    }
}

fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "the server ended the connection; connect again if you still want to",
        1001 => "the server stops or restarts; connect again",
        1002 => "this client broke the rules of WebSocket, which is a bug; the same again will fail again",
        1003 => "a binary message was sent; the server takes text",
        NO_STATUS => "the server gave no reason; connect again",
        ABNORMAL => "the connection broke; connect again",
        1007 => "a message was not UTF-8; the same again will fail again",
        1008 => "too many pings, too many fragments or too slow a message; the same again will fail again",
        1009 => "a message was larger than the rules' maxMessage; send smaller ones",
        1011 => "a fault of the server; wait, then connect again",
        1013 => "the server has too much to do; wait, then connect again",
        4000 => "ten bad messages within a minute; mend them before you connect again",
        4003 => "the login failed too often, or the key is blocked; do not try again with this key",
        4004 => "this server wants a login, in time; connect again with --key FILE",
        4008 => "the server did not hear from this client in time; connect again",
        4009 => "this client read too slowly; connect again, and read its output faster",
        4010 => "too many messages; wait 10 seconds or more, then connect again",
        _ => "PROTOCOL.md does not know this code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mida::engine::error::Close;
    use tungstenite::protocol::frame::Utf8Bytes;

    #[test]
    fn every_code_of_the_server_has_a_meaning() {
        let codes = Close::ALL.iter().map(|close| close.code());
        for code in codes.chain([NO_STATUS, ABNORMAL]) {
            assert!(!meaning(code).contains("does not know"), "{code}");
        }
        assert!(meaning(4999).contains("does not know"));
    }

    #[test]
    fn the_reason_is_shown_and_not_obeyed() {
        let reason = Utf8Bytes::from_static("server\u{1b}[2J\u{9b}\"");
        let farewell = Farewell::from_frame(Some(CloseFrame { code: 4008.into(), reason }));
        assert_eq!(farewell.json(), r#"{"close":{"code":4008,"reason":"server\u001b[2J\u009b\""}}"#);
        assert_eq!(farewell.line(false), r#"< closed 4008 (server\u{1b}[2J\u{9b}")"#);
        assert!(farewell.line(true).ends_with("connect again"));
        assert_eq!(Farewell::from_frame(None).line(false), "< closed 1005");
        assert_eq!(Farewell::lost().json(), r#"{"close":{"code":1006,"reason":""}}"#);
    }
}
