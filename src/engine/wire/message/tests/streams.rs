//! Properties over random streams: how they are cut must not matter.

use std::io;

use proptest::{collection::vec, prelude::*, sample::Index};
use tungstenite::{
    Message, WebSocket,
    protocol::{
        CloseFrame, Role,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::*;
use crate::engine::wire::tests::config;

/// A ping (or else a pong) and its payload.
type Control = (bool, Vec<u8>);

/// A message and the control frames amid it.
#[derive(Clone, Debug)]
struct Sent {
    kind: Kind,
    payload: Vec<u8>,
    /// Where the payload is cut into fragments, and what stands behind each but the last.
    cuts: Vec<(Index, Vec<Control>)>,
}

impl Sent {
    fn fragments(&self) -> Vec<(&[u8], &[Control])> {
        let mut cuts: Vec<_> =
            self.cuts.iter().map(|(at, controls)| (at.index(self.payload.len() + 1), controls)).collect();
        cuts.sort_by_key(|(at, _)| *at);
        let mut start = 0;
        let mut fragments = Vec::new();
        for (at, controls) in cuts {
            fragments.push((&self.payload[start..at], controls.as_slice()));
            start = at;
        }
        fragments.push((&self.payload[start..], &[]));
        fragments
    }

    fn opcode(&self, fragment: usize) -> u8 {
        match self.kind {
            _ if fragment > 0 => CONTINUATION,
            Kind::Text => TEXT,
            Kind::Binary => BINARY,
        }
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (_, controls) in self.fragments() {
            events.extend(controls.iter().cloned().map(control_event));
        }
        events.push(Event::Message(self.kind, self.payload.clone()));
        events
    }

    fn bytes(&self) -> Vec<u8> {
        let fragments = self.fragments();
        let mut bytes = Vec::new();
        for (at, (payload, controls)) in fragments.iter().enumerate() {
            let fin = if at + 1 == fragments.len() { FIN } else { 0 };
            bytes.extend(masked(fin | self.opcode(at), payload));
            for (ping, payload) in *controls {
                bytes.extend(masked(if *ping { PING } else { PONG }, payload));
            }
        }
        bytes
    }
}

fn control_event((ping, payload): Control) -> Event {
    if ping { Event::Ping(payload) } else { Event::Pong(payload) }
}

fn sent() -> impl Strategy<Value = Sent> {
    let payload = prop_oneof![
        "[a-zé€😀]{0,40}".prop_map(|text| (Kind::Text, text.into_bytes())),
        vec(any::<u8>(), 0..20).prop_map(|bytes| (Kind::Binary, bytes)),
        (120..140_usize).prop_map(|len| (Kind::Text, vec![b'#'; len])),
    ];
    let control = (any::<bool>(), prop_oneof![vec(any::<u8>(), 0..6), Just(vec![7; 125])]);
    let cuts = vec((any::<Index>(), vec(control, 0..2)), 0..4);
    (payload, cuts).prop_map(|((kind, payload), cuts)| Sent { kind, payload, cuts })
}

/// Reads the stream in one piece, at every split point in two, in equal chunks of each size up to 16, and
/// holds the outcomes against each other.
fn same_however_cut(stream: &[u8], limits: &Limits) -> (Vec<Event>, Option<Close>) {
    let expected = outcome(stream, limits);
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        let (events, close, partial) = read_pieces([head, tail], limits);
        assert_eq!((&events, close), (&expected.0, expected.1), "cut at {at}");
        assert!(partial.is_none_or(|partial| partial.bytes() < 2 * stream.len() + 400));
    }
    for size in 1..=16 {
        let (events, close, _) = read_pieces(stream.chunks(size), limits);
        assert_eq!((&events, close), (&expected.0, expected.1), "chunks of {size}");
    }
    expected
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn every_split_of_a_valid_stream_gives_the_same_events(sent in vec(sent(), 1..4), close: Option<bool>) {
        let mut bytes: Vec<u8> = sent.iter().flat_map(Sent::bytes).collect();
        let mut events: Vec<Event> = sent.iter().flat_map(Sent::events).collect();
        if let Some(reason) = close {
            bytes.extend(masked(CLOSE, if reason { b"\x03\xE8over" } else { b"" }));
            events.push(Event::Close(reason.then_some(1000)));
        }
        prop_assert_eq!(same_however_cut(&bytes, &Limits::default()), (events, None));
    }

    #[test]
    fn every_split_of_a_damaged_stream_gives_the_same_events_and_error(
        sent in vec(sent(), 1..4),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        message_bytes in prop_oneof![Just(30), Just(150), Just(u32::MAX)],
        fragments in 1..4_u32,
    ) {
        let mut bytes: Vec<u8> = sent.iter().flat_map(Sent::bytes).collect();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) ^= byte;
        }
        same_however_cut(&bytes, &limits(message_bytes, fragments));
    }

    #[test]
    fn random_bytes_never_panic(
        mut bytes in vec(prop_oneof![any::<u8>(), 0x80..=0x8A_u8, 0..4_u8, Just(0xFE)], 0..200),
        ordinary in any::<bool>(),
    ) {
        if ordinary && bytes.len() > 2 {
            (bytes[0], bytes[1]) = (FIN | BINARY, 0x80 | (bytes[1] % 100));
        }
        same_however_cut(&bytes, &limits(1_000, 5));
    }

    #[test]
    fn any_bytes_are_taken_as_text_exactly_if_they_are_utf_8(
        bytes in vec(prop_oneof![any::<u8>(), Just(0xE2), Just(0x82), Just(0xAC), 0xED..0xF5_u8], 0..12),
    ) {
        let (events, close) = same_however_cut(&masked(FIN | TEXT, &bytes), &Limits::default());
        match String::from_utf8(bytes) {
            Ok(text) => prop_assert_eq!((events, close), (vec![text_event(&text)], None)),
            Err(_) => prop_assert_eq!((events, close), (vec![], Some(Close::BadUtf8))),
        }
    }

    #[test]
    fn what_a_reference_client_sends_comes_out(sent in vec(sent(), 1..5), cut in 1..40_usize) {
        let mut client = WebSocket::from_raw_socket(Pipe::default(), Role::Client, None);
        for message in &sent {
            let fragments = message.fragments();
            for (at, (payload, controls)) in fragments.iter().enumerate() {
                let data = match message.opcode(at) {
                    CONTINUATION => Data::Continue,
                    TEXT => Data::Text,
                    _ => Data::Binary,
                };
                let fin = at + 1 == fragments.len();
                let frame = Frame::message(payload.to_vec(), OpCode::Data(data), fin);
                client.send(Message::Frame(frame)).unwrap();
                for (ping, payload) in *controls {
                    let payload = payload.clone().into();
                    client.send(if *ping { Message::Ping(payload) } else { Message::Pong(payload) }).unwrap();
                }
            }
        }
        client.close(Some(CloseFrame { code: 4321.into(), reason: "bye".into() })).unwrap();

        let mut events: Vec<Event> = sent.iter().flat_map(Sent::events).collect();
        events.push(Event::Close(Some(4321)));
        let bytes = &client.get_ref().0;
        prop_assert_eq!(outcome(bytes, &Limits::default()), (events.clone(), None));
        let pieces = read_pieces(bytes.chunks(cut), &Limits::default());
        prop_assert_eq!((pieces.0, pieces.1), (events, None));
    }
}

/// Keeps what is written; has nothing to read.
#[derive(Default)]
struct Pipe(Vec<u8>);

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for Pipe {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[test]
fn frames_of_every_length_may_be_cut_anywhere_near_their_edges() {
    let limits = limits(200_000, 8);
    for len in [125, 126, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> =
            "aé€😀".bytes().cycle().take(len / 10 * 10).chain([b'.'; 9]).take(len).collect();
        let event = Event::Message(Kind::Text, payload.clone());
        let lone = masked(FIN | TEXT, &payload);
        let (head, tail) = payload.split_at(len - len / 3);
        let ping = masked(PING, b"amid");
        let fragmented = [masked(TEXT, head), ping.clone(), masked(FIN, tail)].concat();
        for (stream, events) in [
            ([&lone[..], &ping].concat(), [event.clone(), Event::Ping(b"amid".to_vec())]),
            (fragmented, [Event::Ping(b"amid".to_vec()), event]),
        ] {
            assert!(outcome(&stream, &limits) == (events.to_vec(), None), "{len}");
            let second = stream.len() - len / 3 - 30;
            let edges = (0..30).chain(second..second + 50).chain(stream.len() - 30..=stream.len());
            for at in edges.chain((0..stream.len()).step_by(7_919)) {
                let (head, tail) = stream.split_at(at);
                let read = read_pieces([head, tail], &limits);
                assert!(read.0 == events && read.1.is_none(), "{len} bytes, cut at {at}");
            }
        }
    }
}

#[test]
fn a_reference_client_reads_the_servers_frames() {
    let lengths = [0, 1, 125, 126, 65_535, 65_536, 100_000];
    let mut bytes = Vec::new();
    for len in lengths {
        let mut frame = vec![b'.'; frame::HEADER_MAX + len];
        let start = frame::prepend_header(&mut frame, frame::HEADER_MAX, Opcode::Text);
        bytes.extend_from_slice(&frame[start..]);
    }
    let mut client = WebSocket::from_partially_read(Pipe::default(), bytes, Role::Client, None);
    for len in lengths {
        assert_eq!(client.read().unwrap().into_text().unwrap().len(), len);
    }
}
