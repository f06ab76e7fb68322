//! Frames (RFC 6455 section 5).

use crate::{
    peer::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Peer, TEXT, UPGRADE, frame, text},
    target::{Target, UNLIMITED, calm},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

const ASK: &str = r#"{"t":1}"#;

/// Each of these, on a connection of its own, is closed with this code.
fn closes(target: &Target, code: u16, streams: &[&[u8]]) {
    for stream in streams {
        let mut peer = Peer::open(target);
        peer.send(stream);
        peer.closed_with(code);
    }
}

#[test]
fn l17_a_frame_without_a_mask_gets_1002() {
    let target = Target::start(&[]);
    // The second byte tells, whatever follows it.
    closes(
        &target,
        1002,
        &[b"\x81\x07{\"t\":1}", b"\x81\x00", b"\x89\x00", b"\x88\x00", b"\x82\x7f", b"\x81\x7e"],
    );
    calm(&target);
}

#[test]
fn l18_a_reserved_bit_or_opcode_gets_1002() {
    let target = Target::start(&[]);
    let reserved = (0x03..0x08).chain(0x0B..0x10).map(|opcode| FIN | opcode);
    let bits = [0x10, 0x20, 0x40, 0x70].into_iter().flat_map(|bits| [bits | FIN | TEXT, bits | FIN | PING]);
    for first in reserved.chain(bits) {
        // The first byte is enough, and a whole frame is no better.
        closes(&target, 1002, &[&[first], &frame(first, ASK.as_bytes())]);
    }
    calm(&target);
}

#[test]
fn l19_a_length_that_is_not_in_its_shortest_form_gets_1002() {
    let target = Target::start(&[]);
    let mut streams = Vec::new();
    for len in [0_u16, 1, 7, 125] {
        streams.push([&[FIN | TEXT, 0x80 | 126][..], &len.to_be_bytes()].concat());
        streams.push([&[FIN | TEXT, 0x80 | 127][..], &u64::from(len).to_be_bytes()].concat());
    }
    for len in [126, 65_535, 1 << 63, u64::MAX] {
        streams.push([&[FIN | BINARY, 0x80 | 127][..], &len.to_be_bytes()].concat());
    }
    let streams: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
    closes(&target, 1002, &streams);
    calm(&target);
}

#[test]
fn l20_a_frame_that_claims_2_to_the_62_gets_1009_at_its_header() {
    let target = Target::start(&[]);
    let claim = |first: u8, len: u64| [&[first, 0x80 | 127][..], &len.to_be_bytes()].concat();
    let before = target.memory();
    for len in [1 << 62, 1 << 40, 65_537, 65_536 + 125] {
        closes(&target, 1009, &[&claim(FIN | TEXT, len), &claim(TEXT, len), &claim(FIN | BINARY, len)]);
    }
    // What may come is not reserved either, before it comes: these would be 50 MiB.
    let mut waiting: Vec<_> = (0..800).map(|_| Peer::open(&target)).collect();
    for peer in &mut waiting {
        peer.send(&[&claim(FIN | TEXT, 65_536)[..], &[0; 4], b"{"].concat());
    }
    waiting.truncate(400);
    let mut fresh = Peer::open(&target);
    fresh.ask();
    let after = target.memory();
    let more = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    assert!(more.0 < 8 << 20, "{} bytes more address space", more.0);
    assert!(more.1 < 8 << 20, "{} bytes more memory", more.1);
    drop((waiting, fresh));
    calm(&target);
}

#[test]
fn l21_a_control_frame_in_fragments_or_over_125_bytes_gets_1002() {
    let target = Target::start(&[]);
    for opcode in [PING, PONG, CLOSE] {
        closes(
            &target,
            1002,
            &[
                &frame(opcode, b""),
                &[opcode],
                &frame(FIN | opcode, &[b'x'; 126]),
                &[FIN | opcode, 0x80 | 126],
                &frame(FIN | opcode, &[b'x'; 70_000]),
                &[frame(TEXT, b"{"), frame(opcode, b"x")].concat(),
            ],
        );
    }
    calm(&target);
}

#[test]
fn l22_a_continuation_of_nothing_and_a_message_inside_a_message_get_1002() {
    let target = Target::start(&[]);
    closes(&target, 1002, &[&frame(CONTINUATION, b""), &frame(FIN | CONTINUATION, b"x"), &[CONTINUATION]]);
    for second in [TEXT, FIN | TEXT, BINARY, FIN | BINARY] {
        closes(&target, 1002, &[&[frame(TEXT, b"{"), frame(second, b"x")].concat()]);
    }
    // A message that has ended takes no more.
    let mut peer = Peer::open(&target);
    peer.send(
        &[frame(TEXT, br#"{"t":"#), frame(FIN | CONTINUATION, b"1}"), frame(CONTINUATION, b"x")].concat(),
    );
    assert_eq!(peer.hear()["t"], 1);
    peer.closed_with(1002);
    drop(peer);
    calm(&target);
}

#[test]
fn l23_fragments_without_end_get_1008_or_1009() {
    let target = Target::beating(200, &["--limit", "message_ms=1000"]);
    for piece in [&b""[..], b" "] {
        let more = frame(CONTINUATION, piece);
        closes(&target, 1008, &[&[frame(TEXT, piece), more.repeat(100)].concat()]);
        // As many as may be, and then an end.
        let mut peer = Peer::open(&target);
        peer.send(&[frame(TEXT, piece), more.repeat(62), frame(FIN | CONTINUATION, ASK.as_bytes())].concat());
        assert_eq!(peer.hear()["t"], 1);
    }
    let large = vec![b' '; 16_384];
    closes(&target, 1009, &[&[frame(TEXT, &large), frame(CONTINUATION, &large).repeat(4)].concat()]);
    closes(&target, 1009, &[&[frame(TEXT, &large), frame(CONTINUATION, &[b' '; 49_153])].concat()]);
    // Slowly: one fragment a ping, which is life, but no reason to wait longer for the end.
    let mut slow = Peer::open(&target);
    slow.send(&frame(TEXT, b"{"));
    slow.answers_until_closed_with(1008, &frame(CONTINUATION, b" "));
    drop(slow);
    calm(&target);
    // And a header, or a payload, that is never whole. A pong would make it whole: nobody is pinged.
    let target = Target::beating(3_600_000, &["--limit", "message_ms=1000"]);
    for stalled in [&frame(FIN | TEXT, ASK.as_bytes())[..1], &frame(FIN | TEXT, ASK.as_bytes())[..9]] {
        let (begun, mut slow) = (Instant::now(), Peer::open(&target));
        slow.send(stalled);
        slow.closed_with(1008);
        assert!(begun.elapsed() < Duration::from_millis(2_500), "closed after {:?}", begun.elapsed());
    }
    calm(&target);
}

#[test]
fn l24_bad_utf8_gets_1007_as_soon_as_it_is_seen() {
    let target = Target::start(&[]);
    for bad in [
        &b"\xFF"[..],
        b"\xC3\x28",
        b"\xC0\x80",
        b"\xC0\xAF",
        b"\xE0\x80\xAF",
        b"\xED\xA0\x80",
        b"\xED\xBF\xBF",
        b"\xF0\x80\x80\x80",
        b"\xF4\x90\x80\x80",
        b"\xF8\x88\x80\x80\x80",
        b"\x80",
        b"\xC3\xA9\xC3\xC3",
    ] {
        let stream = [b"{\"", bad, b"  "].concat();
        closes(&target, 1007, &[&frame(FIN | TEXT, &stream), &frame(TEXT, &stream)]);
        // Split at each byte over two fragments.
        for cut in 0..stream.len() {
            let (start, end) = stream.split_at(cut);
            closes(&target, 1007, &[&[frame(TEXT, start), frame(CONTINUATION, end)].concat()]);
        }
        // The frame it is in has not ended, nor has its message.
        let long = frame(TEXT, &[&stream[..], &[b' '; 50_000]].concat());
        closes(&target, 1007, &[&long[..8 + stream.len()]]);
    }
    // A character that does not end is wrong only where the message ends.
    closes(&target, 1007, &[&frame(FIN | TEXT, b"\"\xE2\x82")]);
    let mut peer = Peer::open(&target);
    peer.send(&[frame(TEXT, b"{\"t\":1,\"\xE2\x82"), frame(FIN | CONTINUATION, b"\xAC\":0}")].concat());
    assert_eq!(peer.hear()["t"], 1);
    drop(peer);
    calm(&target);
}

/// What holds it for every stream and every way to cut it: the properties of `engine::wire::message::tests`.
#[test]
fn l25_a_stream_means_the_same_wherever_it_is_cut() {
    let target = Target::start(&[UNLIMITED, &["--cores", "0", "--limit", "control_per_s=0"]].concat());
    let stream = [
        text(ASK),
        frame(TEXT, br#"{"t":"#),
        frame(FIN | PING, b"amid"),
        frame(CONTINUATION, b""),
        frame(FIN | CONTINUATION, "1,\"\u{20ac}\":0}".as_bytes()),
        frame(FIN | PONG, b""),
        frame(FIN | TEXT, format!("{{\"t\":1,\"x\":\"{}\"}}", "x".repeat(130)).as_bytes()),
        frame(FIN | TEXT, b"{"),
        frame(FIN | CLOSE, &[0x0F, 0xA0, b'b', b'y', b'e']),
    ]
    .concat();
    // One core has read the first piece when it has answered what was sent after it.
    let mut barrier = Peer::open(&target);
    for cut in 1..stream.len() {
        let mut peer = Peer::open(&target);
        peer.send(&stream[..cut]);
        barrier.ask();
        peer.send(&stream[cut..]);
        let said = peer.rest_until(4000);
        let opcodes: Vec<u8> = said.iter().map(|(opcode, _)| *opcode).collect();
        assert_eq!(opcodes, [TEXT, PONG, TEXT, TEXT, TEXT], "cut at {cut}");
        assert_eq!(said[1].1, b"amid");
        assert!(String::from_utf8_lossy(&said[4].1).contains("bad_json"), "cut at {cut}");
    }
    drop(barrier);
    calm(&target);
}

#[test]
fn l26_a_flood_of_pings_gets_1008_and_queues_nothing() {
    let target = Target::start(&[]);
    let pings = |numbers: std::ops::Range<u32>| -> Vec<u8> {
        numbers.flat_map(|number| frame(FIN | PING, &number.to_be_bytes())).collect()
    };
    let mut peer = Peer::open(&target);
    peer.send(&pings(0..15));
    let mut newest = 0;
    while newest < 14 {
        let (opcode, payload) = peer.frame();
        assert_eq!(opcode, PONG);
        newest = u32::from_be_bytes(payload.try_into().unwrap());
    }
    let before = target.memory().1;
    peer.send(&pings(15..20_000));
    let pongs = peer.rest_until(1008);
    assert!(pongs.len() <= 20, "{} pongs", pongs.len());
    let more = target.memory().1.saturating_sub(before);
    assert!(more < 4 << 20, "{more} bytes more memory");
    drop(peer);
    calm(&target);
}

#[test]
fn l27_a_pong_that_nobody_asked_for_is_ignored() {
    let target = Target::start(&[]);
    let mut peer = Peer::open(&target);
    for payload in [&b""[..], b"unasked", &[0xFF; 125]] {
        peer.send(&frame(FIN | PONG, payload));
        peer.ask();
    }
    peer.send(
        &[frame(TEXT, br#"{"t":"#), frame(FIN | PONG, b"amid"), frame(FIN | CONTINUATION, b"1}")].concat(),
    );
    assert_eq!(peer.hear()["t"], 1);
    peer.send(&frame(FIN | PONG, b"").repeat(1_000));
    peer.closed_with(1008);
    drop(peer);
    calm(&target);
}

#[test]
fn l28_a_close_frame_that_may_not_be_gets_1002_or_1007() {
    let target = Target::start(&[]);
    let close = |code: u16, reason: &[u8]| frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat());
    closes(&target, 1002, &[&frame(FIN | CLOSE, &[3]), &frame(FIN | CLOSE, &[0])]);
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        closes(&target, 1002, &[&close(code, b""), &close(code, b"\xFF")]);
    }
    for reason in [&b"\xFF"[..], b"bye\xC3", b"\xED\xA0\x80"] {
        closes(&target, 1007, &[&close(1000, reason)]);
    }
    // A right one is answered with its own code.
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 4999] {
        closes(&target, code, &[&close(code, b"bye")]);
    }
    let mut peer = Peer::open(&target);
    peer.send(&frame(FIN | CLOSE, b""));
    assert_eq!(peer.frame(), (CLOSE, vec![]));
    peer.ends();
    drop(peer);
    calm(&target);
}

#[test]
fn l29_data_after_a_close_is_dropped_and_a_timer_ends_it() {
    let target = Target::start(&[]);
    let close = frame(FIN | CLOSE, &1000_u16.to_be_bytes());
    let mut peer = Peer::open(&target);
    let begun = Instant::now();
    peer.send(&[close.clone(), text(ASK), text("no JSON"), b"\xFF\xFF".to_vec(), close].concat());
    peer.closed_with(1000);
    // It goes on and does not end TCP: that it is reset then is all that is left.
    for _ in 0..100 {
        peer.send(&text(ASK));
    }
    let mut reset = [PollFd::new(&peer.socket, PollFlags::empty())];
    poll(&mut reset, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
    assert!(reset[0].revents().contains(PollFlags::HUP), "{:?}", reset[0].revents());
    let ended = begun.elapsed();
    assert!((1_900..4_000).contains(&ended.as_millis()), "reset after {ended:?}");
    drop(peer);
    calm(&target);
}

#[test]
fn l30_compression_is_declined() {
    let target = Target::start(&[]);
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-unknown\r\n\r\n";
    let mut peer = Peer::dial(&target);
    peer.send(UPGRADE.replace("\r\n\r\n", offer).as_bytes());
    assert!(!peer.upgraded().to_lowercase().contains("extensions"));
    peer.ask();
    // Compressed all the same: the bit stands for nothing that was agreed on.
    peer.send(&frame(FIN | 0x40 | TEXT, ASK.as_bytes()));
    peer.closed_with(1002);
    drop(peer);
    calm(&target);
}
