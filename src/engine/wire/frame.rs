//! One frame (RFC 6455 section 5.2): headers in and out, and the mask.

use crate::engine::error::Close;

/// Longest header of a frame that the server sends: no mask.
pub const HEADER_MAX: usize = 10;

/// Longest header of a frame that a client sends.
pub const MASKED_HEADER_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;
const CONTROL_MAX: u8 = 125;

/// What a frame is (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub const fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// A client's header that broke no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub fin: bool,
    pub opcode: Opcode,
    /// Bytes of payload.
    pub len: u64,
    /// The mask (RFC 6455 section 5.3).
    pub key: [u8; 4],
    /// Bytes of the header itself.
    pub size: usize,
}

/// What the frames before leave to the next data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// A message has begun and has not ended.
    pub inside_message: bool,
    /// Continuations that the message may still have.
    pub frames: u32,
    /// Bytes that the message may still have.
    pub bytes: u64,
}

/// Decodes the header at the start of `bytes`; `None`: more bytes are needed.
///
/// The rules stand in the order of the bytes they look at, and each is applied as soon as its byte is
/// there: however a header is cut, its first wrong byte decides.
///
/// # Errors
/// The rule of RFC 6455 section 5, or the limit in `room`, that the header breaks.
pub fn decode(bytes: &[u8], room: Room) -> Result<Option<Header>, Close> {
    let [first, rest @ ..] = bytes else { return Ok(None) };
    if first & RSV != 0 {
        return Err(Close::ReservedBits);
    }
    let fin = first & FIN != 0;
    let opcode = Opcode::from_bits(first & 0x0F).ok_or(Close::ReservedOpcode)?;
    match opcode {
        Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => return Err(Close::BadControlFrame),
        Opcode::Continuation if !room.inside_message => return Err(Close::OrphanContinuation),
        Opcode::Continuation if room.frames == 0 => return Err(Close::TooManyFragments),
        Opcode::Text | Opcode::Binary if room.inside_message => return Err(Close::InterleavedMessage),
        _ => {}
    }

    let [second, rest @ ..] = rest else { return Ok(None) };
    if second & MASKED == 0 {
        return Err(Close::Unmasked);
    }
    let short = second & !MASKED;
    if opcode.is_control() && short > CONTROL_MAX {
        return Err(Close::BadControlFrame);
    }
    let (len, rest) = match short {
        126 => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            let len = u16::from_be_bytes(*len);
            if len < 126 {
                return Err(Close::BadLength);
            }
            (u64::from(len), rest)
        }
        127 => {
            // Over 65,535 and below 2^63: seen before the last two bytes are there.
            if rest.first().is_some_and(|byte| byte & 0x80 != 0) || rest.starts_with(&[0; 6]) {
                return Err(Close::BadLength);
            }
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*len), rest)
        }
        len => (u64::from(len), rest),
    };
    if !opcode.is_control() && len > room.bytes {
        return Err(Close::TooBig);
    }

    let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
    Ok(Some(Header { fin, opcode, len, key: *key, size: bytes.len() - rest.len() }))
}

/// Masks or unmasks `payload`, whose first byte is byte `offset` of its frame's payload (RFC 6455 section
/// 5.3).
#[inline]
pub fn unmask(payload: &mut [u8], key: [u8; 4], offset: u64) {
    let key = u32::from_le_bytes(key).rotate_right(8 * (offset % 4) as u32);
    let wide = (u64::from(key) << 32) | u64::from(key);
    // Plain eight-byte steps: the compiler makes vectors of them.
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
    }
    let (words, tail) = tail.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_le_bytes(*word) ^ key).to_le_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.to_le_bytes()) {
        *byte ^= key;
    }
}

/// Writes the header of an unmasked, unfragmented frame with `len` bytes of payload to the start of
/// `out`; returns its size.
#[inline]
pub fn write_header(opcode: Opcode, len: usize, out: &mut [u8; HEADER_MAX]) -> usize {
    let first = FIN | opcode as u8;
    match len {
        0..=125 => place(out, 0, short(first, len)),
        126..=0xFFFF => place(out, 0, medium(first, len)),
        _ => place(out, 0, long(first, len)),
    }
}

/// Makes a frame of `buffer[payload_at..]` by writing its header directly before it; returns where the
/// frame starts. [`HEADER_MAX`] bytes of room are always enough.
///
/// # Panics
/// The header does not fit before `payload_at`, or `payload_at` is outside the buffer.
#[inline]
pub fn prepend_header(buffer: &mut [u8], payload_at: usize, opcode: Opcode) -> usize {
    let first = FIN | opcode as u8;
    let len = buffer.len() - payload_at;
    let size = match len {
        0..=125 => place(buffer, payload_at - 2, short(first, len)),
        126..=0xFFFF => place(buffer, payload_at - 4, medium(first, len)),
        _ => place(buffer, payload_at - HEADER_MAX, long(first, len)),
    };
    payload_at - size
}

const fn short(first: u8, len: usize) -> [u8; 2] {
    [first, len as u8]
}

const fn medium(first: u8, len: usize) -> [u8; 4] {
    let [.., high, low] = len.to_be_bytes();
    [first, 126, high, low]
}

const fn long(first: u8, len: usize) -> [u8; HEADER_MAX] {
    let [a, b, c, d, e, f, g, h] = (len as u64).to_be_bytes();
    [first, 127, a, b, c, d, e, f, g, h]
}

/// A copy of fixed size, so that it is a store and no call.
fn place<const N: usize>(buffer: &mut [u8], at: usize, header: [u8; N]) -> usize {
    buffer[at..at + N].copy_from_slice(&header);
    N
}

#[cfg(test)]
mod tests;
