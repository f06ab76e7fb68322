//! Client frames for tests that speak to a reactor without a socket.

/// A request that the server upgrades.
pub const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:7700\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// One whole text frame, masked (RFC 6455 section 5.3).
pub fn text(payload: &str) -> Vec<u8> {
    let mask = [0x1f, 0x2e, 0x3d, 0x4c];
    let mut frame = vec![0x81];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(len).expect("a short text").to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The frames of a server's stream: opcode and payload of each.
pub fn parse(mut stream: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, len, rest @ ..] = stream {
        let (len, rest) = match *len {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => panic!("no test gets so long a frame"),
            len => (usize::from(len), rest),
        };
        assert_eq!(first & 0xF0, 0x80, "whole frames, no reserved bits");
        frames.push((first & 0x0F, rest[..len].to_vec()));
        stream = &rest[len..];
    }
    frames
}
