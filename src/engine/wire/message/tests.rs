use super::*;

mod streams;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = FIN | 8;
const PING: u8 = FIN | 9;
const PONG: u8 = FIN | 10;

/// A client's frame with `first` as its first byte.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; frame::HEADER_MAX];
    let size = frame::write_header(Opcode::Text, payload.len(), &mut header);
    header[0] = first;
    header[1] |= 0x80;
    let mut bytes = header[..size].to_vec();
    bytes.extend_from_slice(&KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

impl From<Received<'_>> for Event {
    fn from(received: Received<'_>) -> Self {
        match received {
            Received::Message { kind, payload } => Self::Message(kind, payload.to_vec()),
            Received::Ping(payload) => Self::Ping(payload.to_vec()),
            Received::Pong(payload) => Self::Pong(payload.to_vec()),
            Received::Close(code) => Self::Close(code),
        }
    }
}

fn text_event(text: &str) -> Event {
    Event::Message(Kind::Text, text.as_bytes().to_vec())
}

/// Feeds one read; adds what comes out to `events`.
fn feed(
    bytes: &[u8],
    partial: &mut Option<Box<Partial>>,
    limits: &Limits,
    events: &mut Vec<Event>,
) -> Result<(), Close> {
    let mut input = bytes.to_vec();
    let mut reader = Reader::new(&mut input, partial, limits, 0);
    while let Some(received) = reader.next()? {
        events.push(received.into());
    }
    assert!(reader.rest().is_empty(), "next gave None with input left");
    Ok(())
}

/// All that comes out of the pieces, and the error that ended it.
fn read_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> (Vec<Event>, Option<Close>, Option<Box<Partial>>) {
    let (mut events, mut partial) = (Vec::new(), None);
    for piece in pieces {
        if let Err(close) = feed(piece, &mut partial, limits, &mut events) {
            return (events, Some(close), partial);
        }
    }
    (events, None, partial)
}

fn outcome(bytes: &[u8], limits: &Limits) -> (Vec<Event>, Option<Close>) {
    let (events, close, _) = read_pieces([bytes], limits);
    (events, close)
}

fn limits(message_bytes: u32, fragments: u32) -> Limits {
    Limits { message_bytes, fragments, ..Limits::default() }
}

#[test]
fn whole_frames_are_slices_of_the_input_and_take_no_memory() {
    let large = vec![b'x'; 70_000];
    let payloads: [&[u8]; 9] =
        [b"hello", b"", &large[..125], &large[..126], &large[..65_535], &large, b"ping", b"pong", b"last"];
    let firsts =
        [FIN | TEXT, FIN | TEXT, FIN | BINARY, FIN | TEXT, FIN | TEXT, FIN | BINARY, PING, PONG, FIN | TEXT];
    let mut input: Vec<u8> =
        firsts.iter().zip(payloads).flat_map(|(first, payload)| masked(*first, payload)).collect();
    let span = input.as_ptr_range();
    let (mut partial, limits) = (None, limits(70_000, 1));
    for payload in payloads {
        // A reader for each, so that the box can be looked at while nothing is lent.
        let mut reader = Reader::new(&mut input, &mut partial, &limits, 0);
        let (at, copy) = match reader.next().unwrap().unwrap() {
            Received::Message { payload, .. } => (payload.as_ptr_range(), payload.to_vec()),
            Received::Ping(payload) | Received::Pong(payload) => (payload.as_ptr_range(), payload.to_vec()),
            close @ Received::Close(_) => panic!("{close:?}"),
        };
        assert!(copy == payload, "{} bytes differ", payload.len());
        assert!(span.start <= at.start && at.end <= span.end);
        let rest = reader.rest().len();
        assert!(partial.is_none());
        input.drain(..input.len() - rest);
    }
    assert_eq!(Reader::new(&mut input, &mut partial, &limits, 0).next(), Ok(None));
    assert!(partial.is_none());
}

#[test]
fn a_message_may_be_changed_where_it_lies() {
    let mut input = [masked(FIN | TEXT, b"abc"), masked(FIN | TEXT, b"def")].concat();
    let mut partial = None;
    let mut reader = Reader::new(&mut input, &mut partial, &Limits::default(), 0);
    while let Some(Received::Message { payload, .. }) = reader.next().unwrap() {
        payload.fill(0xFF);
    }
    assert!(reader.rest().is_empty());
}

/// Name, frames, how many events they give, and what they end with.
type Stream = (&'static str, Vec<Vec<u8>>, usize, Option<Close>);

#[test]
fn broken_streams_are_refused_and_what_came_before_is_not_lost() {
    let hi = || masked(FIN | TEXT, b"hi");
    let long = vec![b'a'; 101];
    let table: [Stream; 23] = [
        ("unmasked", vec![hi(), vec![0x81, 0x02, b'h', b'i']], 1, Some(Close::Unmasked)),
        ("reserved bit", vec![hi(), masked(0xC1, b"hi")], 1, Some(Close::ReservedBits)),
        ("reserved opcode", vec![hi(), masked(0x83, b"")], 1, Some(Close::ReservedOpcode)),
        ("length", vec![hi(), vec![0x81, 0xFE, 0, 2, 0, 0, 0, 0, 0, 0]], 1, Some(Close::BadLength)),
        ("fragmented ping", vec![hi(), masked(9, b"")], 1, Some(Close::BadControlFrame)),
        ("long ping", vec![masked(PING, &[0; 126])], 0, Some(Close::BadControlFrame)),
        ("longest ping", vec![masked(PING, &[0; 125])], 1, None),
        ("orphan", vec![hi(), masked(FIN, b"x")], 1, Some(Close::OrphanContinuation)),
        ("orphan, unfinished", vec![masked(0, b"x")], 0, Some(Close::OrphanContinuation)),
        (
            "orphan after a message",
            vec![masked(TEXT, b"x"), masked(FIN, b"y"), masked(FIN, b"z")],
            1,
            Some(Close::OrphanContinuation),
        ),
        ("interleaved", vec![masked(TEXT, b"x"), hi()], 0, Some(Close::InterleavedMessage)),
        ("interleaved binary", vec![masked(TEXT, b""), masked(2, b"")], 0, Some(Close::InterleavedMessage)),
        ("too big", vec![hi(), masked(FIN | TEXT, &long)], 1, Some(Close::TooBig)),
        ("as big as may be", vec![masked(FIN | TEXT, &long[..100])], 1, None),
        (
            "too big over fragments",
            vec![masked(TEXT, &long[..60]), masked(PING, &long), masked(FIN, &long[..41])],
            1,
            Some(Close::TooBig),
        ),
        (
            "as big as may be over fragments",
            vec![masked(TEXT, &long[..60]), masked(0, b""), masked(FIN, &long[..40]), hi()],
            2,
            None,
        ),
        (
            "too many empty fragments",
            vec![masked(TEXT, b""), masked(0, b""), masked(0, b""), masked(FIN, b"")],
            0,
            Some(Close::TooManyFragments),
        ),
        (
            "as many fragments as may be",
            vec![masked(BINARY, b""), masked(0, b""), masked(PONG, b""), masked(FIN, b""), hi()],
            3,
            None,
        ),
        ("bad UTF-8", vec![hi(), masked(FIN | TEXT, b"caf\xE9!")], 1, Some(Close::BadUtf8)),
        ("the same bytes as binary", vec![masked(FIN | BINARY, b"caf\xE9!")], 1, None),
        ("close of one byte", vec![hi(), masked(CLOSE, &[3])], 1, Some(Close::BadClose)),
        ("close 1005", vec![masked(CLOSE, &1005_u16.to_be_bytes())], 0, Some(Close::BadClose)),
        ("close, bad reason", vec![masked(CLOSE, b"\x03\xE8\xFF")], 0, Some(Close::BadUtf8)),
    ];
    let limits = limits(100, 3);
    for (name, frames, before, expected) in table {
        let stream = frames.concat();
        let (events, close) = outcome(&stream, &limits);
        assert_eq!((events.len(), close), (before, expected), "{name}");
        let bytes = read_pieces(stream.chunks(1), &limits);
        assert_eq!((bytes.0, bytes.1), (events, close), "{name}, byte by byte");
    }
}

#[test]
fn a_claim_of_2_to_62_bytes_is_refused_at_the_header_with_nothing_reserved() {
    let claim = [0x82, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0];
    for piece in [1, 3, 10] {
        let (events, close, partial) = read_pieces(claim.chunks(piece), &Limits::default());
        assert_eq!((events.len(), close), (0, Some(Close::TooBig)));
        assert!(partial.is_none_or(|partial| partial.bytes() == size_of::<Partial>()));
    }
    // Sums do not wrap either: a message without a limit, continued by the longest frame there is.
    let stream = [masked(BINARY, b"x"), vec![0x80, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255]].concat();
    assert_eq!(outcome(&stream, &limits(u32::MAX, u32::MAX)).1, Some(Close::TooBig));
}

#[test]
fn memory_follows_what_has_arrived_and_never_the_claim() {
    for (first, message_bytes) in [(FIN | BINARY, u32::MAX), (TEXT, 60_000)] {
        let limits = limits(message_bytes, 64);
        let frame = masked(first, &vec![b'm'; 60_000]);
        let (mut partial, mut events, mut sizes) = (None, Vec::new(), Vec::new());
        for (at, chunk) in frame.chunks(10).enumerate() {
            feed(chunk, &mut partial, &limits, &mut events).unwrap();
            let Some(partial) = &partial else { continue };
            let most = (2 * 10 * (at + 1)).clamp(ASSEMBLY_MIN_BYTES, 60_000);
            assert!(partial.bytes() <= size_of::<Partial>() + most, "{at}: {}", partial.bytes());
            sizes.push(partial.bytes());
        }
        assert_eq!(events.len(), usize::from(first & FIN != 0));
        assert_eq!(partial.is_none(), first & FIN != 0);
        sizes.dedup();
        assert!(sizes.len() <= 12, "moved too often: {sizes:?}");
    }
    assert!(size_of::<Partial>() <= 144);
}

#[test]
fn a_payload_whose_header_came_before_is_still_a_slice_of_the_input() {
    let frame = masked(FIN | TEXT, b"payload");
    for cut in 1..=6 {
        let (mut partial, limits) = (None, Limits::default());
        feed(&frame[..cut], &mut partial, &limits, &mut Vec::new()).unwrap();
        assert_eq!(partial.as_ref().unwrap().bytes(), size_of::<Partial>());
        let mut input = frame[cut..].to_vec();
        let span = input.as_ptr_range();
        let mut reader = Reader::new(&mut input, &mut partial, &limits, 0);
        let Ok(Some(Received::Message { payload, .. })) = reader.next() else { panic!("{cut}") };
        assert_eq!(payload, b"payload");
        assert!(span.contains(&payload.as_ptr()));
        assert!(partial.is_none());
    }
}

#[test]
fn a_whole_control_frame_amid_a_message_takes_no_memory() {
    let (mut partial, mut events, limits) = (None, Vec::new(), Limits::default());
    let begin = [masked(TEXT, b"begin"), masked(0, b", go on")[..8].to_vec()].concat();
    feed(&begin[..11], &mut partial, &limits, &mut events).unwrap();
    let before = partial.as_ref().unwrap().bytes();
    feed(&masked(PING, &[1; 125]), &mut partial, &limits, &mut events).unwrap();
    feed(&begin[11..], &mut partial, &limits, &mut events).unwrap();
    assert_eq!((partial.unwrap().bytes(), events), (before, vec![Event::Ping(vec![1; 125])]));
}

#[test]
fn the_partial_is_there_exactly_while_something_is_incomplete() {
    let limits = Limits::default();
    let (mut partial, mut events) = (None, Vec::new());
    let mut step = |bytes: &[u8], incomplete: bool, count: usize| {
        feed(bytes, &mut partial, &limits, &mut events).unwrap();
        assert_eq!((partial.is_some(), events.len()), (incomplete, count), "{bytes:02x?}");
    };
    let text = masked(FIN | TEXT, b"text");
    step(&text[..1], true, 0);
    step(&[], true, 0);
    step(&text[1..], false, 1);
    step(&text[..7], true, 1);
    step(&text[7..], false, 2);
    step(&text[..6], true, 2);
    step(&text[6..], false, 3);
    step(&text[..8], true, 3);
    step(&[&text[8..], &text].concat(), false, 5);
    step(&[&text[..], &text[..3]].concat(), true, 6);
    step(&text[3..], false, 7);
    let ping = masked(PING, b"ping");
    step(&ping[..9], true, 7);
    step(&ping[9..], false, 8);
    step(&masked(TEXT, b""), true, 8);
    step(&[&ping[..], &ping[..8]].concat(), true, 9);
    step(&ping[8..], true, 10);
    step(&masked(FIN, b""), false, 11);
}

#[test]
fn the_age_counts_from_the_first_byte_of_what_is_incomplete() {
    let (limits, mut partial) = (Limits::default(), None);
    let mut step = |mut bytes: Vec<u8>, now_ms: u64| {
        let mut reader = Reader::new(&mut bytes, &mut partial, &limits, now_ms);
        while reader.next().unwrap().is_some() {}
        partial.as_ref().map(|partial| partial.started_ms())
    };
    let (begin, end, ping) = (masked(TEXT, b"ab"), masked(FIN, b"cd"), masked(PING, b"p"));
    assert_eq!(step(begin[..1].to_vec(), 10), Some(10));
    assert_eq!(step(begin[1..].to_vec(), 20), Some(10));
    assert_eq!(step(ping[..7].to_vec(), 30), Some(10));
    assert_eq!(step([&ping[7..], &end[..3]].concat(), 40), Some(10));
    assert_eq!(step([&end[3..], &begin[..]].concat(), 50), Some(50));
    assert_eq!(step([&end[..], &ping[..2]].concat(), 60), Some(60));
    assert_eq!(step([&ping[2..], &begin[..7]].concat(), 70), Some(70));
    assert_eq!(step([&begin[7..], &end[..]].concat(), 80), None);
}

#[test]
fn a_reader_can_be_left_and_another_goes_on_with_the_rest() {
    let frames = [
        masked(TEXT, b"one "),
        masked(PING, b"!"),
        masked(FIN, b"message"),
        masked(FIN | TEXT, b"two"),
        masked(FIN | BINARY, b"three"),
    ];
    let stream = frames.concat();
    let expected = outcome(&stream, &Limits::default());
    assert_eq!(expected.0.len(), 4);
    let (mut input, mut partial, mut events) = (stream, None, Vec::<Event>::new());
    loop {
        let mut reader = Reader::new(&mut input, &mut partial, &Limits::default(), 0);
        let Some(received) = reader.next().unwrap() else { break };
        events.push(received.into());
        let rest = reader.rest().to_vec();
        input = rest;
    }
    assert_eq!(events, expected.0);
    assert!(partial.is_none());
}

/// Texts that are not UTF-8, and how many of their bytes are seen before that is certain.
const BROKEN: &[(&[u8], usize)] = &[
    (b"\x80", 1),
    (b"ab\xFFcd", 3),
    (b"\xC0\xAF", 1),
    (b"\xC1\xBF", 1),
    (b"\xE0\x9F\xBF", 2),
    (b"\xF0\x8F\xBF\xBF", 2),
    (b"\xF5\x80\x80\x80", 1),
    (b"\xF4\x90\x80\x80", 2),
    (b"\xED\xA0\x80", 2),
    (b"\xED\xBF\xBF", 2),
    (b"\xE2\x82x", 3),
    (b"\xF0\x9F\x98x", 4),
    (b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xF4\x90\x80\x80edited", 13),
    (b"\xCE\xBA\xC3\xC3", 4),
];

#[test]
fn text_is_refused_at_the_first_byte_that_cannot_be_utf_8() {
    for &(bad, seen) in BROKEN {
        let payload = [bad, b" and more that never comes"].concat();
        let whole = masked(FIN | TEXT, &payload);
        assert_eq!(outcome(&whole, &Limits::default()).1, Some(Close::BadUtf8));
        let header = whole.len() - payload.len();
        for first in [whole[0], TEXT] {
            let mut frame = whole.clone();
            frame[0] = first;
            // In one read up to that byte, and byte by byte.
            for piece in [1, usize::MAX] {
                let before = read_pieces(frame[..header + seen - 1].chunks(piece), &Limits::default());
                assert_eq!(before.1, None, "{bad:02x?}");
                let there = read_pieces(frame[..header + seen].chunks(piece), &Limits::default());
                assert_eq!((there.0.len(), there.1), (0, Some(Close::BadUtf8)), "{bad:02x?}");
            }
        }
        // A fragment for each byte.
        let fragments: Vec<_> =
            payload.iter().zip(0..).map(|(byte, at)| masked(u8::from(at == 0), &[*byte])).collect();
        let none = limits(1_000, u32::MAX);
        assert_eq!(outcome(&fragments[..seen - 1].concat(), &none).1, None, "{bad:02x?}");
        assert_eq!(outcome(&fragments[..seen].concat(), &none).1, Some(Close::BadUtf8), "{bad:02x?}");
    }
}

#[test]
fn a_code_point_may_span_fragments_but_not_the_message_end() {
    let whole = "κόσμε €😀";
    for cut in 0..=whole.len() {
        let (head, tail) = whole.as_bytes().split_at(cut);
        let stream = [masked(TEXT, head), masked(PING, b""), masked(CONTINUATION, b""), masked(FIN, tail)];
        let expected = vec![Event::Ping(Vec::new()), text_event(whole)];
        assert_eq!(outcome(&stream.concat(), &Limits::default()), (expected, None));

        let fits = whole.is_char_boundary(cut);
        for ended in [
            masked(FIN | TEXT, head),
            [masked(TEXT, head), masked(FIN, b"")].concat(),
            [masked(TEXT, b""), masked(FIN, head)].concat(),
        ] {
            let close = (!fits).then_some(Close::BadUtf8);
            let expected = if fits { vec![text_event(&whole[..cut])] } else { vec![] };
            assert_eq!(outcome(&ended, &Limits::default()), (expected.clone(), close));
            let bytes = read_pieces(ended.chunks(1), &Limits::default());
            assert_eq!((bytes.0, bytes.1), (expected, close));
        }
    }
}

#[test]
fn every_close_code_is_taken_or_refused_as_the_rfc_says() {
    for code in 0..=u16::MAX {
        let (events, close) = outcome(&masked(CLOSE, &code.to_be_bytes()), &Limits::default());
        let allowed = match code {
            1000..=1003 | 1007..=1014 => true,
            0..=2999 => false,
            3000..=4999 => true,
            5000.. => false,
        };
        if allowed {
            assert_eq!((events, close), (vec![Event::Close(Some(code))], None));
        } else {
            assert_eq!((events, close), (vec![], Some(Close::BadClose)), "{code}");
        }
    }
}

#[test]
fn a_close_may_have_no_code_or_a_reason_and_come_in_pieces() {
    let longest = [&1000_u16.to_be_bytes()[..], "é".repeat(61).as_bytes(), b"."].concat();
    for (payload, code) in
        [(&b""[..], None), (b"\x03\xE9", Some(1001)), (b"\x0F\xA0bye", Some(4000)), (&longest, Some(1000))]
    {
        let frame = masked(CLOSE, payload);
        for piece in [1, 3, 7, 200] {
            let read = read_pieces(frame.chunks(piece), &Limits::default());
            assert_eq!((read.0, read.1), (vec![Event::Close(code)], None));
        }
    }
    let cut = [&1000_u16.to_be_bytes()[..], b"\xC3"].concat();
    assert_eq!(outcome(&masked(CLOSE, &cut), &Limits::default()).1, Some(Close::BadUtf8));
}
