//! Load, slow peers, and the end.

use crate::{
    peer::{CONTINUATION, FIN, PING, PONG, Peer, TEXT, UPGRADE, frame, secret, text},
    target::{PATIENCE, Target, UNLIMITED, calm},
};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustix::process::Signal;
use std::{
    collections::HashSet,
    io::{ErrorKind, Read, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const ASK: &str = r#"{"t":1}"#;
/// Connections at once; 100,000 take more descriptors than a test may count on.
const CROWD: usize = 4_000;

/// A note that makes each answer about so long.
fn note(bytes: usize) -> String {
    format!("--note={}", "n".repeat(bytes))
}

#[test]
fn l38_a_reader_that_stops_is_ended_and_holds_no_more_than_its_queue() {
    const SLOW: usize = 20;
    const ANSWER_BYTES: usize = 60_000;
    let soft = ["--limit", "queue_soft_ms=2000", "--cores", "0"];
    let target = Target::start(&[UNLIMITED, &soft, &[&note(ANSWER_BYTES)]].concat());
    let mut other = Peer::open(&target);
    let before = target.memory().1;
    let mut slow: Vec<_> = (0..SLOW).map(|_| Peer::dial_from(&target, [127, 0, 0, 1], 4_096)).collect();
    slow.iter_mut().for_each(Peer::upgrade);
    let (mut slowest, mut peak) = (Duration::ZERO, 0);
    // 24 MB of answers for each in one write, of which the kernel takes at most some 5.
    slow.iter_mut().for_each(|peer| peer.send(&text(ASK).repeat(400)));
    while target.connections() > 1 {
        let begun = Instant::now();
        other.ask();
        slowest = slowest.max(begun.elapsed());
        peak = peak.max(target.memory().1.saturating_sub(before));
    }
    assert!(slowest < Duration::from_secs(1), "another client waited for {slowest:?}");
    // The hard limit is 1 MiB for each; what one read adds to it is 256 KiB and an answer.
    let most = SLOW * ((1 << 20) + (256 << 10) + ANSWER_BYTES) + (8 << 20);
    assert!(peak < most as u64, "{peak} bytes more memory for {SLOW} of them");
    // The close frame may stand behind more than there was room for.
    slow.iter().for_each(|peer| expect_too_slow(&peer.socket));
    drop(other);
    calm(&target);
}

/// Reads to the end, which is a close with 4009 or a reset.
fn expect_too_slow(mut socket: &std::net::TcpStream) {
    let (mut tail, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => tail.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("neither closed nor reset: {error}"),
        }
        tail.drain(..tail.len().saturating_sub(64));
    }
    let close = b"\x88\x14\x0F\xA9reading too slowly";
    assert!(tail.ends_with(close), "{:?}", String::from_utf8_lossy(&tail));
}

#[test]
fn l39_a_writer_of_one_byte_frames_does_not_starve_others() {
    let endless = ["--limit", "fragments=0", "--limit", "message_ms=0", "--cores", "0"];
    let target = Target::start(&[UNLIMITED, &endless].concat());
    let mut other = Peer::open(&target);
    let (address, done) = (target.address(), AtomicBool::new(false));
    let (slowest, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut peer = Peer::dial_at(address);
            peer.upgrade();
            peer.send(&frame(TEXT, b"{"));
            // Empty ones never end by their bytes.
            let frames = [frame(CONTINUATION, b""), frame(CONTINUATION, b"").repeat(9_999)].concat();
            let mut written = frames.len();
            peer.send(&frame(CONTINUATION, b" ").repeat(60_000));
            while !done.load(Ordering::Relaxed) {
                peer.send(&frames);
                written += frames.len();
            }
            // All of it was taken, and the message can still end.
            peer.send(&frame(FIN | CONTINUATION, b"\"t\":1}"));
            assert_eq!(peer.hear()["t"], 1);
            written
        });
        let (mut slowest, begun) = (Duration::ZERO, Instant::now());
        while begun.elapsed() < Duration::from_secs(2) {
            let begun = Instant::now();
            other.ask();
            slowest = slowest.max(begun.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        (slowest, writer.join().unwrap())
    });
    assert!(written > 1 << 20, "{written} bytes written");
    // Those who send much share a few receives of a turn.
    assert!(slowest < Duration::from_millis(500), "another client waited for {slowest:?}");
    drop(other);
    calm(&target);
}

#[test]
fn l40_a_stream_that_is_read_in_crumbs_is_exact() {
    const MESSAGES: usize = 40;
    let target = Target::start(&[UNLIMITED, &[&note(3_000), "--limit", "queue_soft_ms=0"]].concat());
    for sealed in [false, true] {
        let mut peer = Peer::dial_from(&target, [127, 0, 0, 1], 1_024);
        peer.upgrade();
        if sealed {
            peer.challenged(secret(40));
        }
        peer.send(&text(ASK).repeat(MESSAGES));
        // The kernel has room for little of it: the server sends what fits, again and again.
        peer.reads_at_most(37);
        for number in 0..MESSAGES {
            let heard = if sealed { peer.open_sealed() } else { peer.hear() };
            assert_eq!(heard["data"]["note"].as_str().unwrap().len(), 3_000, "message {number}");
        }
    }
    calm(&target);
}

#[test]
fn l41_a_crowd_that_leaves_at_once_and_comes_back_is_served() {
    mida::server::files::raise_limit();
    let target = Target::start(&[]);
    let mut stays = Peer::open(&target);
    let crowd = || -> Vec<Peer> {
        let mut crowd: Vec<_> = (0..CROWD).map(|_| Peer::dial(&target)).collect();
        crowd.iter_mut().for_each(|peer| peer.send(UPGRADE.as_bytes()));
        crowd.iter_mut().for_each(|peer| drop(peer.upgraded()));
        crowd
    };
    let first = crowd();
    let begun = Instant::now();
    for (number, peer) in first.into_iter().enumerate() {
        if number % 2 == 0 {
            peer.leave_with_reset();
        }
    }
    let second = crowd();
    assert!(begun.elapsed() < Duration::from_secs(20), "coming back took {:?}", begun.elapsed());
    stays.ask();
    drop((stays, second));
    calm(&target);
}

#[test]
fn l42_the_heartbeats_of_those_who_came_together_are_spread() {
    const PEERS: usize = 400;
    const BEAT_MS: u64 = 2_000;
    let target = Target::beating(BEAT_MS, &[]);
    let mut peers: Vec<_> = (0..PEERS).map(|_| Peer::dial(&target)).collect();
    peers.iter_mut().for_each(|peer| peer.send(UPGRADE.as_bytes()));
    peers.iter_mut().for_each(|peer| drop(peer.upgraded()));
    // Half of them are pinged at their first look, which may have come with the greeting.
    let mut pinged = HashSet::new();
    for (number, peer) in peers.iter_mut().enumerate().filter(|(_, peer)| peer.has_more()) {
        peer.ping();
        pinged.insert(number);
    }
    let mut poll = Poll::new().unwrap();
    let mut sockets: Vec<_> = peers
        .into_iter()
        .enumerate()
        .map(|(number, peer)| {
            peer.socket.set_nonblocking(true).unwrap();
            let mut socket = TcpStream::from_std(peer.socket);
            poll.registry().register(&mut socket, Token(number), Interest::READABLE).unwrap();
            socket
        })
        .collect();
    let (begun, mut tenths, mut events) = (Instant::now(), [0; 10], Events::with_capacity(PEERS));
    while pinged.len() < PEERS {
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(!events.is_empty(), "no ping for a long time");
        let tenth = begun.elapsed().as_millis() as u64 % BEAT_MS * 10 / BEAT_MS;
        for event in &events {
            let (mut ping, socket) = ([0; 2], &mut sockets[event.token().0]);
            if socket.read(&mut ping).is_ok_and(|read| read == 2) && pinged.insert(event.token().0) {
                assert_eq!(ping, [FIN | PING, 0]);
                socket.write_all(&frame(FIN | PONG, b"")).unwrap();
                tenths[tenth as usize] += 1;
            }
        }
    }
    assert!(tenths.iter().all(|pings| *pings < PEERS / 4), "pings in each tenth of a heartbeat: {tenths:?}");
    assert!(
        tenths.iter().all(|pings| *pings > PEERS / 100),
        "pings in each tenth of a heartbeat: {tenths:?}"
    );
    drop(sockets);
    calm(&target);
}

#[test]
fn l44_sigterm_says_1001_to_all_accepts_nobody_and_ends_whoever_stays() {
    let target = Target::start(&["--drain-seconds", "1"]);
    let address = target.address();
    let mut polite: Vec<_> = (0..50).map(|_| Peer::open(&target)).collect();
    // These do not end TCP, or have not said what they want.
    let mut rude: Vec<_> = (0..50).map(|_| Peer::open(&target)).collect();
    let mut upgrading = Peer::dial(&target);
    upgrading.send(&UPGRADE.as_bytes()[..20]);
    polite[0].ask();
    let begun = Instant::now();
    target.signal(Signal::TERM);
    polite.iter_mut().for_each(|peer| peer.closed_with(1001));
    drop(polite);
    let refused = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    rude.iter_mut().for_each(|peer| peer.closed_with(1001));
    upgrading.refused_with(503);
    assert_eq!(target.wait().code, Some(0));
    // README: 4.5 seconds after the last was told.
    assert!(begun.elapsed() < Duration::from_secs(6), "it ended after {:?}", begun.elapsed());
    drop((rude, upgrading));
}

#[test]
fn l45_a_second_sigterm_ends_it_at_once() {
    let target = Target::start(&["--drain-seconds", "3600"]);
    let address = target.address();
    let rude: Vec<_> = (0..50).map(|_| Peer::open(&target)).collect();
    target.signal(Signal::TERM);
    // It has understood when it takes nobody in.
    while std::net::TcpStream::connect(address).is_ok() {}
    target.signal(Signal::TERM);
    // An hour later it would be 0.
    assert_eq!(target.wait().code, Some(1));
    drop(rude);
}
