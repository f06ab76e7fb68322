//! Frames as a client writes and reads them, and events as it takes them out of their JSON.

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// What a client dials, and the host that its solutions name.
pub const HOST: &str = "sim.example";

pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: sim.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Appends a masked frame with this first byte.
pub fn frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let key = [0x5A, payload.len() as u8, 0xC3, first];
    out.push(first);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// The first frame of `bytes[at..]`: opcode and payload; none when it is not whole. `at` moves behind it.
pub fn take_frame<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(u8, &'a [u8])> {
    let rest = &bytes[*at..];
    let [first, second, ..] = *rest else { return None };
    assert!(first & 0xF0 == 0x80 && second < 0x80, "not a frame of a server: {first:x} {second:x}");
    let (len, from) = match second {
        126 => (usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(rest.get(2..10)?.try_into().unwrap()) as usize, 10),
        len => (usize::from(len), 2),
    };
    let payload = rest.get(from..from + len)?;
    *at += from + len;
    Some((first & 0x0F, payload))
}

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
