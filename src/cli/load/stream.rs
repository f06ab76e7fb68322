//! A server's stream, taken apart into frames (RFC 6455 section 5.2).

/// A frame longer than this is none that a load generator asked for.
const FRAME_BYTES: u64 = 16 << 20;

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Reserved bits, fragments, a mask, an opcode that is none, or a frame that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

/// Takes a stream apart, wherever it is cut; holds only what is incomplete.
#[derive(Default)]
pub struct Frames {
    held: Vec<u8>,
}

impl Frames {
    /// Calls `with` with opcode and payload of each frame that is whole now.
    ///
    /// # Errors
    /// [`BadFrame`], or what `with` returns: the rest of the stream is of no use then.
    #[inline]
    pub fn feed<E: From<BadFrame>>(
        &mut self,
        bytes: &[u8],
        mut with: impl FnMut(u8, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.held.is_empty() {
            let used = whole(bytes, &mut with)?;
            self.held.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        self.held.extend_from_slice(bytes);
        let used = whole(&self.held, &mut with)?;
        if used == self.held.len() {
            self.held = Vec::new();
        } else {
            self.held.drain(..used);
        }
        Ok(())
    }
}

/// Hands out the whole frames at the start of `bytes`; returns how many bytes they are.
#[inline]
fn whole<E: From<BadFrame>>(
    bytes: &[u8],
    with: &mut impl FnMut(u8, &[u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let mut at = 0;
    while let Some((&[first, len], rest)) = bytes[at..].split_first_chunk() {
        let (header, len) = match len {
            126 => match rest.first_chunk() {
                Some(len) => (4, u64::from(u16::from_be_bytes(*len))),
                None => break,
            },
            127 => match rest.first_chunk() {
                Some(len) => (10, u64::from_be_bytes(*len)),
                None => break,
            },
            len => (2, u64::from(len)),
        };
        let opcode = first & 0x0F;
        if first & 0xF0 != 0x80 || !matches!(opcode, TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(BadFrame.into());
        }
        // A mask shows as a length that no frame has.
        if len > FRAME_BYTES || (header == 2 && len > 125) {
            return Err(BadFrame.into());
        }
        let Some(payload) = bytes.get(at + header..at + header + len as usize) else { break };
        with(opcode, payload)?;
        at += header + len as usize;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, len: usize) -> Vec<u8> {
        let mut header = [0; 10];
        let used = match len {
            0..=125 => {
                header[1] = len as u8;
                2
            }
            126..=65_535 => {
                header[1] = 126;
                header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                4
            }
            _ => {
                header[1] = 127;
                header[2..].copy_from_slice(&(len as u64).to_be_bytes());
                10
            }
        };
        header[0] = 0x80 | opcode;
        let mut frame = header[..used].to_vec();
        frame.extend((0..len).map(|n| n as u8));
        frame
    }

    #[test]
    fn every_cut_gives_the_same_frames() {
        let sizes = [(TEXT, 0), (PING, 5), (BINARY, 125), (TEXT, 126), (BINARY, 300), (CLOSE, 2)];
        let stream: Vec<u8> = sizes.iter().flat_map(|(opcode, len)| frame(*opcode, *len)).collect();
        for cut in 0..=stream.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                let done: Result<(), BadFrame> = frames.feed(part, |opcode, payload| {
                    assert!(payload.iter().enumerate().all(|(n, byte)| *byte == n as u8));
                    seen.push((opcode, payload.len()));
                    Ok(())
                });
                done.unwrap();
            }
            assert_eq!(seen, sizes, "cut at {cut}");
            assert!(frames.held.is_empty());
        }
    }

    #[test]
    fn long_frames_come_in_many_reads() {
        let stream = frame(BINARY, 70_000);
        let (mut frames, mut seen) = (Frames::default(), 0);
        for part in stream.chunks(999) {
            let done: Result<(), BadFrame> = frames.feed(part, |_, payload| {
                seen += payload.len();
                Ok(())
            });
            done.unwrap();
        }
        assert_eq!(seen, 70_000);
    }

    #[test]
    fn what_no_server_may_send_ends_it() {
        for bytes in [
            &[0x01, 0x00][..],
            &[0x80, 0x00],
            &[0xC1, 0x00],
            &[0x83, 0x00],
            &[0x81, 0x80, 0, 0, 0, 0],
            &[0x81, 0xFE, 0, 0],
            &[0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let done = Frames::default().feed(bytes, |_, _| Ok(()));
            assert_eq!(done, Err(BadFrame), "{bytes:02x?}");
        }
    }
}
