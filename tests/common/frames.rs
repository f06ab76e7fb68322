//! Frames as the clients of tests and benches write them, and read a server's (RFC 6455 section 5.2).

#![allow(dead_code)] // Each uses its part.

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
/// The bit of a frame that ends a message.
pub const FIN: u8 = 0x80;

/// A request that the server upgrades.
pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost:7700\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
pub const UPGRADE: &[u8] = REQUEST.as_bytes();

/// Appends a masked frame with the bits and opcode `first`.
pub fn append(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let mask = [0x1f, 0x2e ^ payload.len() as u8, 0x3d, 0x4c ^ first];
    match payload.len() {
        len @ 0..126 => out.extend_from_slice(&[first, 0x80 | len as u8]),
        len @ 126..65_536 => {
            out.extend_from_slice(&[first, 0x80 | 126]);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.extend_from_slice(&[first, 0x80 | 127]);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A masked frame with the bits and opcode `first`.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    append(&mut frame, first, payload);
    frame
}

/// One whole text.
pub fn text(payload: &str) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_bytes())
}

/// The first frame of `bytes[at..]`, of a server: opcode and payload; none when it is not whole. `at` moves
/// behind it.
pub fn take<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(u8, &'a [u8])> {
    let rest = &bytes[*at..];
    let [first, second, ..] = *rest else { return None };
    assert!(first & 0xF0 == FIN && second < 0x80, "not a whole frame of a server: {first:x} {second:x}");
    let (len, from) = match second {
        126 => (usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(rest.get(2..10)?.try_into().unwrap()) as usize, 10),
        len => (usize::from(len), 2),
    };
    let payload = rest.get(from..from + len)?;
    *at += from + len;
    Some((first & 0x0F, payload))
}

/// The frames of a server's stream, all of them whole: opcode and payload of each.
pub fn parse(stream: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut at = 0;
    let frames =
        std::iter::from_fn(|| take(stream, &mut at).map(|(opcode, payload)| (opcode, payload.to_vec())));
    let frames = frames.collect();
    assert_eq!(at, stream.len(), "whole frames");
    frames
}
