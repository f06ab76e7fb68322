//! Frames into messages (RFC 6455 sections 5.4 to 5.6, 7.4, 8.1), in the memory they arrived in.

use super::frame::{self, Header, MASKED_HEADER_MAX, Opcode, Room};
use crate::engine::{error::Close, limits::Limits};

/// Smallest assembly, so that a message arriving byte by byte is not moved at each.
const ASSEMBLY_MIN_BYTES: usize = 64;

/// What a message was sent as; the payload of a text is UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message, unmasked. The bytes are the receiver's to change.
    Message {
        kind: Kind,
        payload: &'a mut [u8],
    },
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// A close frame and its code, if it had one. What follows it is to be dropped.
    Close(Option<u16>),
}

/// Takes apart one read; what the end of the read leaves incomplete goes to the connection's [`Partial`].
#[derive(Debug)]
pub struct Reader<'a> {
    input: &'a mut [u8],
    partial: &'a mut Option<Box<Partial>>,
    message_bytes: u32,
    fragments: u32,
    now_ms: u64,
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn new(
        input: &'a mut [u8],
        partial: &'a mut Option<Box<Partial>>,
        limits: &Limits,
        now_ms: u64,
    ) -> Self {
        let Limits { message_bytes, fragments, .. } = *limits;
        Self { input, partial, message_bytes, fragments, now_ms }
    }

    /// The next thing that is whole; `None`: the input is used up. A frame that lies whole in the input is
    /// a slice of it; a message put together is a slice of the [`Partial`], and is gone at the following
    /// call. After `None`, and only then, `partial` is `Some` exactly if something is incomplete.
    ///
    /// # Errors
    /// The rule or limit that the client broke, at the first byte that breaks it. The reader and its
    /// `Partial` are of no use afterwards.
    #[inline(always)] // With a reactor for each backend it has two callers, and would be a call in both.
    #[allow(clippy::should_implement_trait)] // Lends: no iterator can.
    pub fn next(&mut self) -> Result<Option<Received<'_>>, Close> {
        if self.partial.is_none() {
            let (first, size, len, key) = match *self.input {
                [] => return Ok(None),
                [first @ (0x81 | 0x82), len @ 0x80..=0xFD, a, b, c, d, ..] => {
                    (first, 6, usize::from(len & 0x7F), [a, b, c, d])
                }
                [first @ (0x81 | 0x82), 0xFE, high, low, a, b, c, d, ..] if high != 0 || low >= 126 => {
                    (first, 8, usize::from(u16::from_be_bytes([high, low])), [a, b, c, d])
                }
                _ => return self.next_uncommon(),
            };
            if len as u64 <= u64::from(self.message_bytes)
                && let Some(frame) = self.input.split_off_mut(..size + len)
            {
                let payload = &mut frame[size..];
                frame::unmask(payload, key, 0);
                let kind = if first == 0x81 { text(payload)? } else { Kind::Binary };
                return Ok(Some(Received::Message { kind, payload }));
            }
        }
        self.next_uncommon()
    }

    /// The input that is not decoded yet, as it was received: masked. A later reader with the same
    /// `Partial` can go on with it.
    pub fn rest(&mut self) -> &mut [u8] {
        self.input
    }

    /// All that [`Reader::next`] does, for every frame; it treats the common ones by itself.
    #[cold]
    #[inline(never)]
    fn next_uncommon(&mut self) -> Result<Option<Received<'_>>, Close> {
        self.partial.take_if(|partial| partial.delivered);
        let most = u64::from(self.message_bytes);
        loop {
            let Some((header, done)) = self.header()? else { return Ok(None) };
            let Header { fin, opcode, len, key, .. } = header;
            let here = (len - done).min(self.input.len() as u64);
            let whole = done + here == len;
            let inside_message = self.partial.as_ref().is_some_and(|partial| partial.message.is_some());
            let payload = self.input.split_off_mut(..here as usize).unwrap_or_default();
            frame::unmask(payload, key, done);

            if whole && done == 0 && (opcode.is_control() || fin && !inside_message) {
                if !inside_message {
                    *self.partial = None;
                }
                return lone(opcode, payload).map(Some);
            }

            let partial = self.partial.get_or_insert_with(|| Partial::new(self.now_ms));
            if opcode.is_control() {
                if done == 0 {
                    partial.control.clear();
                }
                partial.control.extend_from_slice(payload);
            } else if whole || here > 0 {
                // A frame of which only the header is here may yet be handed out from the input.
                let most = if fin { partial.assembly.len() as u64 + len - done } else { most };
                partial.assemble(opcode, payload, most as usize, fin && whole)?;
            }
            if !whole {
                partial.frame = Some((header, done + here));
                return Ok(None);
            }
            if opcode.is_control() || fin {
                return self.deliver(opcode).map(Some);
            }
            partial.frames += 1;
        }
    }

    /// The frame at hand and how much of its payload has been taken; `None`: the input is used up.
    fn header(&mut self) -> Result<Option<(Header, u64)>, Close> {
        let mut room = Room { inside_message: false, frames: 0, bytes: u64::from(self.message_bytes) };
        let mut bytes = [0; MASKED_HEADER_MAX];
        let mut held = 0;
        if let Some(partial) = self.partial.as_deref_mut() {
            if let Some(frame) = partial.frame.take() {
                return Ok(Some(frame));
            }
            room.inside_message = partial.message.is_some();
            room.frames = self.fragments.saturating_sub(partial.frames);
            room.bytes = room.bytes.saturating_sub(partial.assembly.len() as u64);
            bytes = partial.header;
            held = usize::from(partial.header_bytes);
        }
        let known = bytes.len().min(held + self.input.len());
        for (to, from) in bytes.iter_mut().skip(held).zip(self.input.iter()) {
            *to = *from;
        }
        let header = frame::decode(bytes.get(..known).unwrap_or_default(), room)?;
        let used = header.map_or(known, |header| header.size).saturating_sub(held);
        let _ = self.input.split_off_mut(..used);
        if header.is_none() && known > 0 {
            let partial = self.partial.get_or_insert_with(|| Partial::new(self.now_ms));
            partial.header = bytes;
            partial.header_bytes = known as u8;
        } else if let Some(partial) = self.partial.as_deref_mut() {
            partial.header_bytes = 0;
        }
        Ok(header.map(|header| (header, 0)))
    }

    /// Hands out what the `Partial` has put together.
    fn deliver(&mut self, opcode: Opcode) -> Result<Received<'_>, Close> {
        let partial = self.partial.get_or_insert_default();
        if opcode.is_control() {
            partial.delivered = partial.message.is_none();
            return lone(opcode, &mut partial.control);
        }
        partial.delivered = true;
        let kind = partial.message.unwrap_or(Kind::Binary);
        Ok(Received::Message { kind, payload: &mut partial.assembly })
    }
}

/// What survives between two reads of a connection; there is one only while something is incomplete.
#[derive(Debug, Default)]
pub struct Partial {
    started_ms: u64,
    /// The bytes of a header that is not whole.
    header: [u8; MASKED_HEADER_MAX],
    header_bytes: u8,
    /// What `next` lent last was all there is here.
    delivered: bool,
    /// A frame whose payload is not whole, and how much of that was taken.
    frame: Option<(Header, u64)>,
    /// The message that has begun.
    message: Option<Kind>,
    /// Whole frames of the message.
    frames: u32,
    /// Payload of the message, unmasked.
    assembly: Vec<u8>,
    /// How much of the assembly is UTF-8; at most three bytes of a text are not.
    utf8_bytes: usize,
    /// Payload of a control frame, unmasked: it may come amid a message.
    control: Vec<u8>,
}

impl Partial {
    fn new(started_ms: u64) -> Box<Self> {
        Box::new(Self { started_ms, ..Self::default() })
    }

    /// When the first byte came of the message, or else of the frame, that is incomplete.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// Whole frames of the message that has begun.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes of memory that this holds, itself included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.assembly.capacity() + self.control.capacity()
    }

    /// Adds payload to the message, which will have at most `most` bytes. Memory is taken for what has
    /// arrived, doubling, and never for more than `most`.
    fn assemble(&mut self, opcode: Opcode, payload: &[u8], most: usize, ended: bool) -> Result<(), Close> {
        match opcode {
            Opcode::Text => self.message = Some(Kind::Text),
            Opcode::Binary => self.message = Some(Kind::Binary),
            _ => {}
        }
        let held = self.assembly.len();
        let needed = held + payload.len();
        if needed > self.assembly.capacity() {
            let capacity = (2 * self.assembly.capacity()).max(ASSEMBLY_MIN_BYTES).min(most).max(needed);
            self.assembly.reserve_exact(capacity - held);
        }
        self.assembly.extend_from_slice(payload);
        if self.message == Some(Kind::Text) {
            let unchecked = self.assembly.get(self.utf8_bytes..).unwrap_or_default();
            match std::str::from_utf8(unchecked) {
                Ok(_) => self.utf8_bytes = needed,
                Err(e) if e.error_len().is_none() && !ended => self.utf8_bytes += e.valid_up_to(),
                Err(_) => return Err(Close::BadUtf8),
            }
        }
        Ok(())
    }
}

/// A frame that needs no other.
fn lone(opcode: Opcode, payload: &mut [u8]) -> Result<Received<'_>, Close> {
    Ok(match opcode {
        Opcode::Text => Received::Message { kind: text(payload)?, payload },
        Opcode::Binary | Opcode::Continuation => Received::Message { kind: Kind::Binary, payload },
        Opcode::Ping => Received::Ping(payload),
        Opcode::Pong => Received::Pong(payload),
        Opcode::Close => Received::Close(close_code(payload)?),
    })
}

#[inline]
fn text(payload: &[u8]) -> Result<Kind, Close> {
    match std::str::from_utf8(payload) {
        Ok(_) => Ok(Kind::Text),
        Err(_) => Err(Close::BadUtf8),
    }
}

/// RFC 6455 sections 5.5.1 and 7.4: no payload, or a code that may be sent and a reason in UTF-8.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Close> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Close::BadClose) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Close::BadClose);
    }
    text(reason)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests;
