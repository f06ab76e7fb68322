//! The wire against tungstenite's `WebSocket` in the server's role: on the same bytes both take or refuse
//! alike and hand out the same messages, but for the differences that [`DIFFERENCES`] names.
//!
//! The decoder of events is held against serde_json where it lives, in `app/protocol/decode/model.rs`, and
//! by the fuzz target `decode`.

use mida::{
    app::crypto::rng::Rng,
    engine::{
        error::Close,
        limits::Limits,
        wire::{Kind, Reader, Received},
    },
};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
};
use tungstenite::{
    Error, Message, WebSocket,
    protocol::{Role, WebSocketConfig, frame::coding::CloseCode},
};

const STREAMS: u32 = 8_000;
const MESSAGE_BYTES: u32 = 700;
const FRAGMENTS: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Closed(Option<u16>),
}

/// How a stream ends: with a close frame or something that is refused, or it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Refused,
    Open,
}

/// A stream on which the two differ, by intention.
struct Difference {
    what: &'static str,
    why: &'static str,
    stream: fn() -> Vec<u8>,
    ours: End,
    theirs: End,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        what: "a length of 16 bits that fits in seven",
        why: "RFC 6455 section 5.2: the minimal number of bytes must be used",
        stream: || [&[0x82, 0xFE, 0, 3][..], &KEY, b"abc"].concat(),
        ours: End::Refused,
        theirs: End::Open,
    },
    Difference {
        what: "a length of 64 bits that fits in sixteen",
        why: "RFC 6455 section 5.2: the minimal number of bytes must be used",
        stream: || [&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0, 200][..], &KEY, &[0; 200]].concat(),
        ours: End::Refused,
        theirs: End::Open,
    },
    Difference {
        what: "a ping with a length of 16 bits",
        why: "RFC 6455 section 5.5: at most 125 bytes, so seven bits are enough",
        stream: || [&[0x89, 0xFE, 0, 1][..], &KEY, b"a"].concat(),
        ours: End::Refused,
        theirs: End::Open,
    },
    Difference {
        what: "more fragments than the limit",
        why: "a message in endless empty frames is never done; tungstenite has no such limit",
        stream: || [frame(0x02, b""), frame(0x00, b"").repeat(FRAGMENTS as usize)].concat(),
        ours: End::Refused,
        theirs: End::Open,
    },
    Difference {
        what: "a close frame with code 1014",
        why: "registered with IANA since RFC 6455 (bad gateway); tungstenite takes it for reserved",
        stream: || frame(0x88, &1014_u16.to_be_bytes()),
        ours: End::Closed,
        theirs: End::Refused,
    },
    Difference {
        what: "a reserved bit, and the rest of the frame has not come",
        why: "the first wrong byte decides; tungstenite waits for the whole frame",
        stream: || vec![0xC2],
        ours: End::Refused,
        theirs: End::Open,
    },
    Difference {
        what: "bad UTF-8, and the rest of the frame has not come",
        why: "RFC 6455 section 8.1 lets it fail at once, and nothing more has to be kept",
        stream: || frame(0x81, b"\xFFabc")[..8].to_vec(),
        ours: End::Refused,
        theirs: End::Open,
    },
    Difference {
        what: "a message that its next frame makes too big, and the frame has not come",
        why: "nothing is kept for a message that will be refused",
        stream: || [frame(0x02, &[0; 400]), frame(0x80, &[0; 400])[..8].to_vec()].concat(),
        ours: End::Refused,
        theirs: End::Open,
    },
];

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A client's frame with `first` as its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn ours(pieces: &[&[u8]]) -> (Vec<Event>, End, Option<Close>) {
    let limits = Limits { message_bytes: MESSAGE_BYTES, fragments: FRAGMENTS, ..Limits::default() };
    let (mut events, mut partial) = (Vec::new(), None);
    for piece in pieces {
        let mut input = piece.to_vec();
        let mut reader = Reader::new(&mut input, &mut partial, &limits, 0);
        loop {
            events.push(match reader.next() {
                Ok(None) => break,
                Ok(Some(Received::Message { kind, payload })) => Event::Message(kind, payload.to_vec()),
                Ok(Some(Received::Ping(payload))) => Event::Ping(payload.to_vec()),
                Ok(Some(Received::Pong(payload))) => Event::Pong(payload.to_vec()),
                Ok(Some(Received::Close(code))) => {
                    events.push(Event::Closed(code));
                    return (events, End::Closed, None);
                }
                Err(close) => return (events, End::Refused, Some(close)),
            });
        }
    }
    (events, End::Open, None)
}

/// Bytes to read, and nothing where the answers go.
struct Pipe(io::Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.0.read(bytes)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            size => Ok(size),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Theirs {
    socket: WebSocket<Pipe>,
    events: Vec<Event>,
    end: End,
}

impl Theirs {
    fn read(stream: &[u8]) -> Self {
        let most = Some(MESSAGE_BYTES as usize);
        let config =
            WebSocketConfig::default().read_buffer_size(256).max_message_size(most).max_frame_size(most);
        let pipe = Pipe(io::Cursor::new(Vec::new()));
        let socket = WebSocket::from_raw_socket(pipe, Role::Server, Some(config));
        let mut theirs = Self { socket, events: Vec::new(), end: End::Open };
        theirs.more(stream);
        theirs
    }

    fn more(&mut self, bytes: &[u8]) {
        self.socket.get_mut().0.get_mut().extend_from_slice(bytes);
        while self.end == End::Open {
            let event = match self.socket.read() {
                Ok(Message::Text(text)) => Event::Message(Kind::Text, text.as_bytes().to_vec()),
                Ok(Message::Binary(payload)) => Event::Message(Kind::Binary, payload.to_vec()),
                Ok(Message::Ping(payload)) => Event::Ping(payload.to_vec()),
                Ok(Message::Pong(payload)) => Event::Pong(payload.to_vec()),
                // What it makes of a code that may not be sent.
                Ok(Message::Close(Some(close)))
                    if close.code == CloseCode::Protocol && close.reason == "Protocol violation" =>
                {
                    self.end = End::Refused;
                    return;
                }
                Ok(Message::Close(close)) => {
                    self.end = End::Closed;
                    Event::Closed(close.map(|close| close.code.into()))
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_)) => {
                    self.end = End::Refused;
                    return;
                }
                other => panic!("{other:?}"),
            };
            self.events.push(event);
        }
    }
}

/// Whether it was refused by a rule that tungstenite has not.
fn is_stricter(close: Option<Close>, stream: &[u8]) -> bool {
    match close {
        Some(Close::TooManyFragments) => true,
        Some(Close::BadLength | Close::BadControlFrame) => has_overlong(stream).unwrap_or(false),
        _ => false,
    }
}

/// Whether a frame's length stands in a longer form than it needs; `None`: the stream ends before that.
fn has_overlong(mut stream: &[u8]) -> Option<bool> {
    loop {
        let [_, len, rest @ ..] = stream else { return None };
        // Seen before all of the length is there.
        if len & 0x7F == 127 && rest.starts_with(&[0; 6]) {
            return Some(true);
        }
        let (len, rest) = match len & 0x7F {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), rest.get(2..)?),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), rest.get(8..)?),
            len => (len.into(), rest),
        };
        if len < 126 && rest.len() + 2 < stream.len() {
            return Some(true);
        }
        stream = rest.get(KEY.len() + usize::try_from(len).ok()?..)?;
    }
}

/// A stream of valid frames, broken in half of the cases.
struct Generator {
    rng: Rng,
    inside_message: bool,
}

impl Generator {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.below(n) == 0
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n as u32) as usize
    }

    fn stream(&mut self) -> Vec<u8> {
        self.inside_message = false;
        let mut stream = Vec::new();
        for _ in 0..=self.rng.below(6) {
            let start = stream.len();
            stream.extend(self.frame());
            if self.one_in(8) {
                self.damage(&mut stream, start);
            }
        }
        if self.one_in(5) {
            let len = self.below(stream.len());
            stream.truncate(len);
        }
        stream
    }

    fn frame(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => frame(0x89, &vec![b'i'; self.below(126)]),
            1 => frame(0x8A, &vec![b'o'; self.below(126)]),
            2 => {
                let payload = self.close();
                frame(0x88, &payload)
            }
            _ => {
                let opcode = if self.inside_message { 0 } else { 1 + self.rng.below(2) as u8 };
                let fin = !self.one_in(3);
                self.inside_message = !fin;
                let payload = self.payload();
                frame(opcode | u8::from(fin) << 7, &payload)
            }
        }
    }

    fn close(&mut self) -> Vec<u8> {
        let codes = [
            1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000,
        ];
        let code: u16 = codes[self.below(codes.len())];
        match self.rng.below(8) {
            0 => Vec::new(),
            1 => vec![3],
            2 => [&code.to_be_bytes()[..], b"\xC3"].concat(),
            _ => [&code.to_be_bytes()[..], "grüß".as_bytes()].concat(),
        }
    }

    /// Text in UTF-8, sometimes cut amid a character; its lengths lie around those that change the header.
    fn payload(&mut self) -> Vec<u8> {
        let lengths = [0, 1, 5, 30, 124, 125, 126, 127, 300, MESSAGE_BYTES as usize];
        let len = lengths[self.below(lengths.len())];
        let mut text: Vec<u8> = "aé€😀".bytes().cycle().take(len).collect();
        if !self.one_in(4) {
            let valid = str::from_utf8(&text).map_or_else(|error| error.valid_up_to(), str::len);
            text[valid..].fill(b'.');
        }
        text
    }

    /// Breaks the frame that begins at `start`, mostly.
    fn damage(&mut self, stream: &mut Vec<u8>, start: usize) {
        let at = start + self.below(stream.len() - start);
        match self.rng.below(9) {
            0 => stream[start] ^= 0x10 << self.rng.below(4),
            1 => stream[start] = stream[start] & 0xF0 | self.rng.below(16) as u8,
            2 => stream[start + 1] ^= 0x80,
            3 => stream[at] ^= 1 << self.rng.below(8),
            4 => drop(stream.remove(at)),
            5 => stream.insert(at, self.rng.next_u32() as u8),
            6 => stream[start] ^= 0x80,
            7 => {
                // The same length in a longer form, or another one.
                let len = stream[start + 1] & 0x7F;
                if len < 126 {
                    let wide = [0, if self.one_in(2) { len } else { 0xFF }];
                    stream[start + 1] = 0xFE;
                    stream.splice(start + 2..start + 2, wide);
                }
            }
            _ => {
                let high = [0, 0, 0x40, 0x80][self.below(4)];
                stream[start + 1] = 0xFF;
                stream.splice(start + 2..start + 2, [high, 0, 0, 0, 0, 0, self.rng.below(4) as u8, 9]);
            }
        }
    }

    /// The stream in up to four pieces.
    fn cut<'a>(&mut self, stream: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = vec![stream];
        for _ in 0..self.rng.below(4) {
            let last = pieces.pop().unwrap_or_default();
            let (a, b) = last.split_at(self.below(last.len() + 1));
            pieces.extend([a, b]);
        }
        pieces
    }
}

#[test]
fn both_take_and_refuse_the_same_streams_and_hand_out_the_same_messages() {
    let mut generator = Generator { rng: Rng::from_seed([23; 32]), inside_message: false };
    let mut refused: HashMap<Close, u32> = HashMap::new();
    let mut ends: HashMap<String, u32> = HashMap::new();
    for number in 0..STREAMS {
        let stream = generator.stream();
        let (events, end, close) = ours(&generator.cut(&stream));
        let mut theirs = Theirs::read(&stream);
        let name = || format!("stream {number}: {}: {close:?}", stream.escape_ascii());
        if let Some(close) = close {
            *refused.entry(close).or_default() += 1;
        }
        let difference = match (end, theirs.end) {
            _ if is_stricter(close, &stream) => {
                // They go on.
                theirs.events.truncate(events.len());
                "stricter"
            }
            (End::Closed, End::Refused) if events.last() == Some(&Event::Closed(Some(1014))) => {
                theirs.events.push(Event::Closed(Some(1014)));
                "1014"
            }
            (End::Refused, End::Open) => {
                // They refuse it once the frame is whole, and hand out nothing. (Zeros could make a length
                // that is too long in form.)
                for _ in 0..MESSAGE_BYTES + 14 {
                    theirs.more(&[1]);
                }
                assert_eq!(theirs.end, End::Refused, "{}", name());
                "earlier"
            }
            (ours, theirs) => {
                assert_eq!(ours, theirs, "{}", name());
                "none"
            }
        };
        assert_eq!(events, theirs.events, "{}", name());
        *ends.entry(format!("{end:?}, difference: {difference}")).or_default() += 1;
    }
    for end in ["Open", "Closed", "Refused"] {
        let count = ends.get(&format!("{end}, difference: none")).copied().unwrap_or(0);
        assert!(count > 500, "{count} alike and {end}: {ends:?}");
    }
    for close in [
        Close::Unmasked,
        Close::ReservedBits,
        Close::ReservedOpcode,
        Close::BadLength,
        Close::BadControlFrame,
        Close::OrphanContinuation,
        Close::InterleavedMessage,
        Close::BadClose,
        Close::BadUtf8,
        Close::TooManyFragments,
        Close::TooBig,
    ] {
        assert!(refused.get(&close).is_some_and(|count| *count > 10), "{close}: {refused:?}");
    }
}

#[test]
fn each_deliberate_difference_is_there_and_has_a_reason() {
    for Difference { what, why, stream, ours: our_end, theirs: their_end } in DIFFERENCES {
        let stream = stream();
        assert!(our_end != their_end && !why.is_empty(), "{what}");
        assert_eq!(ours(&[&stream]).1, *our_end, "{what}");
        assert_eq!(Theirs::read(&stream).end, *their_end, "{what}");
    }
}
