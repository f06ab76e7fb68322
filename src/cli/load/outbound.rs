//! What one connection has to send: questions, which are all the same bytes, and now and then something else.

use super::stream::{CLOSE, TEXT};
use std::io::{self, Write};

/// Any will do for a load generator; RFC 6455 section 5.3 wants an unpredictable one against proxies.
const MASK: [u8; 4] = [0x1f, 0x2e, 0x3d, 0x4c];
/// Questions written at once, in bytes, if one is not longer.
const AT_ONCE_BYTES: usize = 64 * 1_024;

/// Appends one whole client frame.
pub fn frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A close frame with code 1000.
pub fn close() -> Vec<u8> {
    let mut out = Vec::new();
    frame(CLOSE, &1_000u16.to_be_bytes(), &mut out);
    out
}

/// One frame, ready to be sent many times in one write.
pub struct Question {
    repeated: Vec<u8>,
    /// Bytes of one frame.
    bytes: usize,
    /// Messages in one frame: more than one is a batch.
    pub messages: u64,
    /// Bytes of payload.
    pub payload_bytes: usize,
}

impl Question {
    /// A text frame, of which up to `at_once` are sent together.
    pub fn new(payload: &[u8], messages: u64, at_once: u64) -> Self {
        let mut repeated = Vec::new();
        frame(TEXT, payload, &mut repeated);
        let bytes = repeated.len();
        let times = (AT_ONCE_BYTES / bytes).clamp(1, at_once.max(1) as usize);
        Self { repeated: repeated.repeat(times), bytes, messages, payload_bytes: payload.len() }
    }
}

/// Bytes on their way out.
#[derive(Default)]
pub struct Outbound {
    /// Whole frames that are no questions; they go first, but never into the midst of a question.
    aside: Vec<u8>,
    owed_bytes: u64,
    /// How much of the first owed question has left.
    gone_bytes: usize,
}

impl Outbound {
    pub fn owe(&mut self, questions: u64, question: &Question) {
        self.owed_bytes += questions * question.bytes as u64;
    }

    pub fn say(&mut self, frames: &[u8]) {
        self.aside.extend_from_slice(frames);
    }

    /// Forgets the questions, but for the rest of one that has begun.
    pub fn forget(&mut self, question: &Question) {
        self.owed_bytes = match self.gone_bytes {
            0 => 0,
            gone => (question.bytes - gone) as u64,
        };
    }

    pub fn is_empty(&self) -> bool {
        self.owed_bytes == 0 && self.aside.is_empty()
    }

    /// Writes what the socket takes; false: it takes no more now.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self, socket: &mut impl Write, question: &Question) -> io::Result<bool> {
        while !self.is_empty() {
            let is_aside = self.gone_bytes == 0 && !self.aside.is_empty();
            let bytes = if is_aside {
                &self.aside[..]
            } else {
                // Something aside waits for the end of the question that has begun.
                let room = if self.aside.is_empty() { question.repeated.len() } else { question.bytes };
                let owed = usize::try_from(self.owed_bytes).unwrap_or(usize::MAX);
                let end = room.min(self.gone_bytes.saturating_add(owed));
                &question.repeated[self.gone_bytes..end]
            };
            match socket.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) if is_aside && sent == self.aside.len() => self.aside = Vec::new(),
                Ok(sent) if is_aside => drop(self.aside.drain(..sent)),
                Ok(sent) => {
                    self.owed_bytes -= sent as u64;
                    self.gone_bytes = (self.gone_bytes + sent) % question.bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then none until it is asked again.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
        blocks: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.blocks = !self.blocks;
            if self.blocks {
                let sent = bytes.len().min(self.room);
                self.taken.extend_from_slice(&bytes[..sent]);
                return Ok(sent);
            }
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn however_narrow_the_socket_frames_stay_whole() {
        let question = Question::new(b"0123456789", 1, 3);
        let (one, mut aside) = (question.repeated[..question.bytes].to_vec(), Vec::new());
        frame(CLOSE, b"\x03\xe8bye", &mut aside);
        for room in 1..70 {
            let mut socket = Narrow { taken: Vec::new(), room, blocks: false };
            let mut out = Outbound::default();
            out.owe(7, &question);
            let mut told = false;
            while !out.flush(&mut socket, &question).unwrap() {
                if !told && socket.taken.len() > 20 {
                    told = true;
                    out.say(&aside);
                }
            }
            assert!(told || room >= 3 * one.len());
            let before =
                if told { socket.taken.windows(aside.len()).position(|part| part == aside) } else { None };
            let mut expected = one.repeat(7);
            if told {
                let at = before.unwrap_or_else(|| panic!("room {room}"));
                assert_eq!(at % one.len(), 0, "room {room}");
                expected.splice(at..at, aside.iter().copied());
            }
            assert_eq!(socket.taken, expected, "room {room}");
        }
    }

    #[test]
    fn forgotten_questions_end_with_the_one_that_has_begun() {
        let question = Question::new(b"0123456789", 1, 3);
        for (room, frames) in [(5, 1), (question.bytes, 1), (question.bytes + 1, 2)] {
            let mut socket = Narrow { taken: Vec::new(), room, blocks: false };
            let mut out = Outbound::default();
            out.owe(3, &question);
            assert!(!out.flush(&mut socket, &question).unwrap());
            out.forget(&question);
            while !out.flush(&mut socket, &question).unwrap() {}
            assert_eq!(socket.taken.len(), frames * question.bytes);
        }
    }

    #[test]
    fn the_server_reads_what_is_framed() {
        use mida::engine::wire::frame::{Room, decode, unmask};
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut out = Vec::new();
            frame(TEXT, &payload, &mut out);
            let room = Room { inside_message: false, frames: 0, bytes: 1 << 20 };
            let header = decode(&out, room).unwrap().unwrap();
            assert_eq!((header.fin, header.len as usize), (true, len));
            unmask(&mut out[header.size..], header.key, 0);
            assert_eq!(out[header.size..], payload);
        }
    }
}
