//! The least of WebSocket that an echo takes, for the bare loops.

use std::io::{self, ErrorKind, Write};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Answers the request, if it is whole; returns how many bytes it is.
///
/// # Errors
/// It is no such request.
pub fn upgrade(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(parsed) = request.parse(bytes) else { return Err(ErrorKind::InvalidData.into()) };
    let httparse::Status::Complete(used) = parsed else { return Ok(0) };
    let key = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("Sec-WebSocket-Key"));
    let accept = derive_accept_key(key.ok_or(ErrorKind::InvalidData)?.value);
    write!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    Ok(used)
}

/// Frames every whole message back; returns how many bytes they were.
///
/// # Errors
/// It is anything but a whole message under a mask.
pub fn echo(bytes: &mut [u8], out: &mut Vec<u8>) -> io::Result<usize> {
    let mut at = 0;
    loop {
        let (header, len) = match bytes[at..] {
            [_, 0xFE, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [_, len @ 0x80..=0xFD, ..] => (2, usize::from(len & 0x7F)),
            [] | [_] | [_, 0xFE, ..] => return Ok(at),
            _ => return Err(ErrorKind::InvalidData.into()),
        };
        let Some(([first, ..], rest)) = bytes[at..].split_at_mut_checked(header) else { return Ok(at) };
        let Some((mask, payload)) = rest.split_first_chunk_mut::<4>() else { return Ok(at) };
        let Some(payload) = payload.get_mut(..len) else { return Ok(at) };
        if !matches!(*first, 0x81 | 0x82) {
            return Err(ErrorKind::InvalidData.into());
        }
        unmask(payload, *mask);
        match len {
            0..=125 => out.extend_from_slice(&[*first, len as u8]),
            _ => {
                out.extend_from_slice(&[*first, 126]);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        at += header + 4 + len;
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mask: [u8; 32] = std::array::from_fn(|at| mask[at % 4]);
    let (whole, rest) = payload.as_chunks_mut();
    for bytes in whole.iter_mut().map(|bytes: &mut [u8; 32]| bytes.as_mut_slice()).chain([rest]) {
        bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}
