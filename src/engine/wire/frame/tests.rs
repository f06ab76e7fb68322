use proptest::prelude::*;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::*;
use crate::engine::wire::tests::config;

const ANY: Room = Room { inside_message: false, frames: 0, bytes: u64::MAX };
const INSIDE: Room = Room { inside_message: true, frames: 1, bytes: 1_000 };
const FULL: Room = Room { inside_message: true, frames: 0, bytes: 1_000 };

const OPCODES: [(Opcode, OpCode); 6] = [
    (Opcode::Continuation, OpCode::Data(Data::Continue)),
    (Opcode::Text, OpCode::Data(Data::Text)),
    (Opcode::Binary, OpCode::Data(Data::Binary)),
    (Opcode::Close, OpCode::Control(Control::Close)),
    (Opcode::Ping, OpCode::Control(Control::Ping)),
    (Opcode::Pong, OpCode::Control(Control::Pong)),
];

const LENGTHS: [usize; 11] = [0, 1, 5, 124, 125, 126, 127, 65_534, 65_535, 65_536, 70_000];

/// The header as tungstenite writes it.
fn reference(opcode: OpCode, is_final: bool, mask: Option<[u8; 4]>, len: usize) -> Vec<u8> {
    let header = FrameHeader { is_final, rsv1: false, rsv2: false, rsv3: false, opcode, mask };
    let mut bytes = Vec::new();
    header.format(len as u64, &mut bytes).unwrap();
    bytes
}

/// Each wrong header is refused from exactly byte `seen` on, and not before.
#[test]
fn a_wrong_header_is_refused_at_its_first_wrong_byte() {
    let table: &[(&[u8], Room, usize, Close)] = &[
        (&[0xC1, 0x85], ANY, 1, Close::ReservedBits),
        (&[0xA1, 0x85], ANY, 1, Close::ReservedBits),
        (&[0x91, 0x85], ANY, 1, Close::ReservedBits),
        (&[0xF9, 0x05], ANY, 1, Close::ReservedBits),
        (&[0x83, 0x85], ANY, 1, Close::ReservedOpcode),
        (&[0x07, 0x85], ANY, 1, Close::ReservedOpcode),
        (&[0x8B, 0x85], ANY, 1, Close::ReservedOpcode),
        (&[0x8F, 0x85], ANY, 1, Close::ReservedOpcode),
        (&[0x08, 0x80], ANY, 1, Close::BadControlFrame),
        (&[0x09, 0x80], ANY, 1, Close::BadControlFrame),
        (&[0x0A, 0x80], INSIDE, 1, Close::BadControlFrame),
        (&[0x80, 0x85], ANY, 1, Close::OrphanContinuation),
        (&[0x00, 0x05], ANY, 1, Close::OrphanContinuation),
        (&[0x81, 0x85], INSIDE, 1, Close::InterleavedMessage),
        (&[0x02, 0x85], INSIDE, 1, Close::InterleavedMessage),
        (&[0x80, 0x80], FULL, 1, Close::TooManyFragments),
        (&[0x81, 0x05, 0x68], ANY, 2, Close::Unmasked),
        (&[0x82, 0x7E, 0xFF], ANY, 2, Close::Unmasked),
        (&[0x89, 0x00], INSIDE, 2, Close::Unmasked),
        (&[0x89, 0xFE, 0x00, 0x7E], ANY, 2, Close::BadControlFrame),
        (&[0x88, 0xFF, 0x00, 0x00], ANY, 2, Close::BadControlFrame),
        (&[0x8A, 0xFE, 0x00, 0x7D], ANY, 2, Close::BadControlFrame),
        (&[0x81, 0xFE, 0x00, 0x7D, 1, 2, 3, 4], ANY, 4, Close::BadLength),
        (&[0x81, 0xFE, 0x00, 0x00, 1, 2, 3, 4], ANY, 4, Close::BadLength),
        (&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], ANY, 3, Close::BadLength),
        (&[0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], ANY, 3, Close::BadLength),
        (&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 1, 2, 3, 4], ANY, 8, Close::BadLength),
        (&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4], INSIDE, 1, Close::InterleavedMessage),
        (&[0x80, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 1, 2, 3, 4], INSIDE, 8, Close::BadLength),
        (&[0x80, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], INSIDE, 10, Close::TooBig),
        (&[0x80, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255, 1], INSIDE, 10, Close::TooBig),
        (&[0x80, 0xFE, 0x03, 0xE9, 1, 2, 3, 4], INSIDE, 4, Close::TooBig),
        (&[0x80, 0xE5, 1, 2, 3, 4], Room { bytes: 100, ..INSIDE }, 2, Close::TooBig),
    ];
    for &(bytes, room, seen, expected) in table {
        for end in 0..=bytes.len() {
            let decoded = decode(&bytes[..end], room);
            let wanted = if end < seen { Ok(None) } else { Err(expected) };
            assert_eq!(decoded, wanted, "{end} bytes of {bytes:02x?}");
        }
    }
}

#[test]
fn a_header_is_decoded_as_it_was_written_and_only_when_whole() {
    let key = [0x37, 0xFA, 0x21, 0x3D];
    for (opcode, reference_opcode) in OPCODES {
        for len in LENGTHS.into_iter().filter(|&len| !opcode.is_control() || len <= 125) {
            for fin in [true, false].into_iter().filter(|&fin| !opcode.is_control() || fin) {
                let mut bytes = reference(reference_opcode, fin, Some(key), len);
                let size = bytes.len();
                bytes.extend_from_slice(b"payload");
                let inside_message = opcode == Opcode::Continuation;
                let room = Room { inside_message, frames: 1, bytes: len as u64 };
                for end in 0..size {
                    assert_eq!(decode(&bytes[..end], room), Ok(None));
                }
                let header = Header { fin, opcode, len: len as u64, key, size };
                assert_eq!(decode(&bytes[..size], room), Ok(Some(header)));
                assert_eq!(decode(&bytes, room), Ok(Some(header)));
            }
        }
    }
}

#[test]
fn control_frames_pass_where_no_data_may() {
    let room = Room { inside_message: true, frames: 0, bytes: 0 };
    let header = decode(&[0x89, 0x83, 1, 2, 3, 4], room).unwrap().unwrap();
    assert_eq!((header.opcode, header.len, header.size), (Opcode::Ping, 3, 6));
}

#[test]
fn unmasking_goes_on_at_any_offset() {
    let key = [0x6D, 0xB6, 0xB2, 0x80];
    let plain: Vec<u8> = (0..150).map(|i| (i * 7) as u8).collect();
    let masked: Vec<u8> = plain.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    for start in 0..12 {
        for end in start..=masked.len() {
            let mut part = masked[start..end].to_vec();
            unmask(&mut part, key, start as u64);
            assert_eq!(part, plain[start..end], "{start}..{end}");
        }
    }
    let mut far = *b"far";
    unmask(&mut far, key, (1 << 40) + 3);
    assert_eq!(far, [b'f' ^ key[3], b'a' ^ key[0], b'r' ^ key[1]]);
}

#[test]
fn headers_are_written_as_the_reference_writes_them() {
    for (opcode, reference_opcode) in OPCODES {
        for len in LENGTHS {
            let expected = reference(reference_opcode, true, None, len);
            let mut header = [0xEE; HEADER_MAX];
            let size = write_header(opcode, len, &mut header);
            assert_eq!(header[..size], expected);
            assert!(header[size..].iter().all(|&byte| byte == 0xEE));

            for room in [size, HEADER_MAX, 40] {
                let mut buffer = vec![0xEE; room + len];
                let start = prepend_header(&mut buffer, room, opcode);
                assert_eq!(buffer[start..room], expected);
                assert!(buffer[..start].iter().chain(&buffer[room..]).all(|&byte| byte == 0xEE));
            }
        }
    }
    assert_eq!(write_header(Opcode::Text, usize::MAX >> 1, &mut [0; HEADER_MAX]), HEADER_MAX);
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn any_header_says_the_same_however_much_of_it_is_there(
        first in any::<u8>(),
        second in any::<u8>(),
        zeros in 0..9_usize,
        mut tail in prop::collection::vec(any::<u8>(), 12),
        inside_message in any::<bool>(),
        frames in 0..2_u32,
        bytes in prop_oneof![Just(0), Just(200), Just(70_000), any::<u64>()],
    ) {
        tail[..zeros].fill(0);
        let header = [&[first, second], tail.as_slice()].concat();
        let room = Room { inside_message, frames, bytes };
        let whole = decode(&header, room);
        prop_assert_ne!(whole, Ok(None));
        let mut settled = false;
        for end in 0..header.len() {
            let part = decode(&header[..end], room);
            settled |= part != Ok(None);
            prop_assert_eq!(part, if settled { whole } else { Ok(None) });
        }
    }
}
