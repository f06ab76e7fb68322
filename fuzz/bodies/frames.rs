//! A client's frames through the reader, cut anywhere.

use super::input::Input;
use mida::engine::{
    error::Close,
    limits::Limits,
    wire::{Kind, Partial, Reader, Received},
};

/// Payload of a control frame (RFC 6455 section 5.5).
const CONTROL_BYTES: usize = 125;

/// Limits, how the stream is cut, the stream: whole, byte by byte and cut it gives the same.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = Limits {
        message_bytes: input.pick(&[65_536, 0, 1, 30, 125, 126, 1_000, u32::MAX]),
        fragments: input.pick(&[1, 2, 3, 64, u32::MAX]),
        ..Limits::default()
    };
    let holds = input.pick(&[usize::MAX, 1, 2]);
    let sizes = [0; 4].map(|_| usize::from(input.byte()) + 1);
    let stream = input.rest();

    let whole = read([stream], &limits, usize::MAX);
    let bytes = read(stream.chunks(1), &limits, usize::MAX);
    assert_eq!(whole, bytes, "whole and byte by byte");
    let cut = read(pieces(stream, &sizes), &limits, holds);
    assert_eq!(whole, cut, "whole and in pieces of {sizes:?}, {holds} a read");
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Closed(Option<u16>),
    Failed(Close),
}

fn pieces<'a>(mut stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at((*size).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

/// What comes out of the pieces, one a read, up to what ends the connection. A reader hands out at most
/// `holds` events, as one whose application waits; what it leaves goes before the next piece.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits, holds: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut partial = None;
    let mut seen = Vec::new();
    let mut starts_ms = Vec::new();
    for (now_ms, piece) in (7..).zip(pieces) {
        seen.extend_from_slice(piece);
        starts_ms.resize(seen.len(), now_ms);
        let mut held = piece.to_vec();
        loop {
            let mut reader = Reader::new(&mut held, &mut partial, limits, now_ms);
            let used_up = match take(&mut reader, limits, holds, &mut events) {
                Ok(used_up) => used_up,
                Err(()) => return events,
            };
            held = reader.rest().to_vec();
            check_bounds(partial.as_deref(), limits, seen.len());
            if used_up {
                break;
            }
        }
        let start = incomplete(&seen).map(|at| starts_ms[at]);
        assert_eq!(partial.as_ref().map(|partial| partial.started_ms()), start, "what is incomplete");
    }
    events
}

/// Whether the input is used up; the error is that the connection has ended.
fn take(reader: &mut Reader<'_>, limits: &Limits, holds: usize, events: &mut Vec<Event>) -> Result<bool, ()> {
    for _ in 0..holds {
        let event = match reader.next() {
            Ok(Some(received)) => own(received, limits),
            Ok(None) => {
                assert!(reader.rest().is_empty(), "bytes are left, and no event");
                return Ok(true);
            }
            Err(close) => Event::Failed(close),
        };
        let ends = matches!(event, Event::Closed(_) | Event::Failed(_));
        events.push(event);
        if ends {
            return Err(());
        }
    }
    Ok(false)
}

fn own(received: Received<'_>, limits: &Limits) -> Event {
    match received {
        Received::Message { kind, payload } => {
            assert!(payload.len() <= limits.message_bytes as usize);
            assert!(kind == Kind::Binary || str::from_utf8(payload).is_ok());
            let payload_before = payload.to_vec();
            // The receiver may change it, and nothing else changes by that.
            payload.fill(0xA5);
            Event::Message(kind, payload_before)
        }
        Received::Ping(payload) => {
            assert!(payload.len() <= CONTROL_BYTES);
            Event::Ping(payload.to_vec())
        }
        Received::Pong(payload) => {
            assert!(payload.len() <= CONTROL_BYTES);
            Event::Pong(payload.to_vec())
        }
        Received::Close(code) => {
            assert!(code.is_none_or(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)));
            Event::Closed(code)
        }
    }
}

/// Memory is taken for what has arrived, not for what was announced.
fn check_bounds(partial: Option<&Partial>, limits: &Limits, arrived: usize) {
    let Some(partial) = partial else { return };
    let message = (2 * arrived).max(64).min(limits.message_bytes as usize);
    let control = 2 * CONTROL_BYTES;
    assert!(partial.bytes() <= size_of::<Partial>() + message + control, "{} bytes", partial.bytes());
    assert!(partial.frames() <= limits.fragments.saturating_add(1));
}

/// Where the message, or else the frame, begins that the end of an unobjectionable stream leaves
/// incomplete.
fn incomplete(stream: &[u8]) -> Option<usize> {
    let mut message = None;
    let mut at = 0;
    while let Some(frame) = stream.get(at..).filter(|frame| !frame.is_empty()) {
        let start = message.unwrap_or(at);
        let Some((size, len)) = lengths(frame) else { return Some(start) };
        if ((frame.len() - size) as u64) < len {
            return Some(start);
        }
        match frame[0] {
            0x80.. if frame[0] & 0x08 == 0 => message = None,
            0x00..0x80 => message = Some(start),
            _ => {}
        }
        at += size + len as usize;
    }
    message
}

/// Bytes of a whole header and of its payload.
fn lengths(frame: &[u8]) -> Option<(usize, u64)> {
    let (size, len) = match frame.get(1)? & 0x7F {
        126 => (8, u16::from_be_bytes(*frame.get(2..)?.first_chunk()?).into()),
        127 => (14, u64::from_be_bytes(*frame.get(2..)?.first_chunk()?)),
        len => (6, len.into()),
    };
    (frame.len() >= size).then_some((size, len))
}
