//! Frames as a client writes and reads them, and events as it takes them out of their JSON.

#[path = "../common/frames.rs"]
mod frames;

pub use self::frames::{BINARY, CLOSE, PING, PONG, TEXT, append as frame, take as take_frame};

/// What a client dials, and the host that its solutions name.
pub const HOST: &str = "sim.example";

pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: sim.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The messages of one WebSocket message; with batching it must be a batch, without it none.
pub fn messages(text: &str, batching: bool) -> Vec<&str> {
    if !batching {
        return vec![text];
    }
    let body = text.strip_prefix(r#"{"count":"#).and_then(|text| text.strip_suffix("]}"));
    let (count, body) = body.and_then(|text| text.split_once(r#","data":["#)).expect("a batch");
    // No string of the server's here has this in it.
    let mut starts: Vec<usize> = body.match_indices(r#",{"t":"#).map(|(at, _)| at).collect();
    starts.push(body.len());
    let mut from = 0;
    let mut found = Vec::new();
    for end in starts {
        found.push(&body[from..end]);
        from = end + 1;
    }
    assert_eq!(count, found.len().to_string(), "a batch counts what it holds");
    found
}

/// The number, or the text without its quotes, behind `"name":`.
pub fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(name).filter(|at| text[at + name.len()..].starts_with("\":"))?;
    let value = &text[at + name.len() + 2..];
    match value.strip_prefix('"') {
        Some(value) => value.split('"').next(),
        None => value.split([',', '}']).next(),
    }
}

pub fn number(text: &str, name: &str) -> u64 {
    let value = member(text, name).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no number {name} in {text}"))
}
