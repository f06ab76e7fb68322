//! TCP and accept.

use crate::{
    common::is_uring,
    peer::{CLOSE, CONTINUATION, FIN, PING, Peer, TEXT, UPGRADE, frame, text},
    target::{PATIENCE, Target, UNLIMITED, calm},
};
use rustix::process::Signal;
use std::{
    net::Shutdown,
    time::{Duration, Instant},
};

/// As much room as the kernel gives by itself.
const ROOM: usize = 64 * 1_024;

#[test]
fn l01_without_descriptors_it_rests_and_accepts_again_as_soon_as_there_is_room() {
    if is_uring() {
        return eprintln!("skipped: io_uring's table has its size from the start; its own tests fill it");
    }
    let target = Target::beating(200, &["--cores", "0"]);
    let mut clock = Peer::open(&target);
    target.allow_connections(11);
    let mut peers: Vec<_> = (0..40).map(|_| Peer::dial(&target)).collect();
    peers.iter_mut().for_each(|peer| peer.send(UPGRADE.as_bytes()));
    // The kernel hands connections out in their order.
    let mut waiting = peers.split_off(10);
    peers.iter_mut().for_each(|peer| drop(peer.upgraded()));
    let (begun, cpu) = (Instant::now(), target.cpu());
    (0..4).for_each(|_| clock.ping());
    let (elapsed, cpu) = (begun.elapsed(), target.cpu() - cpu);
    assert!(cpu < elapsed / 20, "{cpu:?} of CPU time in {elapsed:?} without descriptors");
    assert_eq!(target.connections(), 11);

    // Room comes once by connections that end, and once without anything that the server could see.
    let late = waiting.split_off(10);
    for (room, mut served) in [(true, waiting), (false, late)] {
        let begun = Instant::now();
        if room {
            peers.clear();
        } else {
            target.allow_connections(100);
        }
        served.iter_mut().for_each(|peer| drop(peer.upgraded()));
        assert!(begun.elapsed() < Duration::from_secs(1), "accepting took {:?}", begun.elapsed());
        peers = served;
    }
    drop((clock, peers));
    calm(&target);
}

#[test]
fn l02_the_loop_goes_on_when_it_is_interrupted_and_peers_leave_before_they_are_accepted() {
    let target = Target::start(UNLIMITED);
    let mut stays = Peer::open(&target);
    for _ in 0..50 {
        target.signal(Signal::STOP);
        let mut peers: Vec<_> = (0..10).map(|_| Peer::dial(&target)).collect();
        let mut last = peers.pop().unwrap();
        peers.into_iter().for_each(Peer::leave_with_reset);
        // Going on after a stop ends a wait of epoll with EINTR (signal(7)).
        target.signal(Signal::CONT);
        last.upgrade();
        stays.ask();
    }
    drop(stays);
    calm(&target);
}

#[test]
fn l03_at_the_cap_there_is_503_and_room_again_below_nine_tenths_of_it() {
    let target = Target::start(&[UNLIMITED, &["--cores", "0", "--max-connections", "20"]].concat());
    let mut clock = Peer::open(&target);
    let mut open: Vec<_> = (1..20).map(|_| Peer::open(&target)).collect();
    let refused = || {
        let mut peer = Peer::dial(&target);
        peer.send(UPGRADE.as_bytes());
        assert!(peer.refused_with(503).contains("no room"));
    };
    (0..5).for_each(|_| refused());
    open.iter_mut().for_each(Peer::ask);
    open.truncate(17);
    target.holds(18, || clock.ask());
    refused();
    open.truncate(16);
    target.holds(17, || clock.ask());
    open.extend((0..3).map(|_| Peer::open(&target)));
    target.holds(20, || clock.ask());
    refused();
    open.iter_mut().for_each(Peer::ask);
    drop((clock, open));
    calm(&target);
}

#[test]
fn l04_an_address_over_its_share_gets_503_and_takes_no_room_from_others() {
    // Each core has its share of the capacity: on one, all of it is in one place.
    let flags = ["--cores", "0", "--limit", "limit_loopback=1", "--limit", "connections_per_address=40"];
    let target = Target::start(&[&flags[..], &["--max-connections", "100"]].concat());
    let mut greedy: Vec<_> = (0..400).map(|_| Peer::dial_from(&target, [127, 0, 0, 2], ROOM)).collect();
    // Nobody has said a word yet.
    let mut others: Vec<_> = (0..20).map(|_| Peer::dial_from(&target, [127, 0, 0, 3], ROOM)).collect();
    for other in &mut others {
        other.upgrade();
        other.ask();
    }
    let mut accepted = 0;
    for peer in &mut greedy {
        peer.send(UPGRADE.as_bytes());
        match peer.starts_with(b"HTTP/1.1 101 ") {
            true => accepted += 1,
            false => assert!(peer.refused_with(503).contains("from this address")),
        }
    }
    assert_eq!(accepted, 40);
    drop((greedy, others));
    calm(&target);
}

#[test]
fn l05_a_slot_is_freed_when_its_peer_leaves_in_mid_frame() {
    let target = Target::start(UNLIMITED);
    let mut clock = Peer::open(&target);
    let whole = [frame(TEXT, b"{\"t\""), frame(FIN | CONTINUATION, &[b' '; 200])].concat();
    for reset in [true, false] {
        let mut left = Vec::new();
        for cut in 1..whole.len() {
            let mut peer = Peer::open(&target);
            peer.send(&whole[..cut]);
            if reset {
                peer.leave_with_reset();
            } else {
                peer.socket.shutdown(Shutdown::Write).unwrap();
                peer.ends();
                left.push(peer);
            }
        }
        // Those who ended only their direction are still there.
        target.holds(1, || clock.ask());
    }
    drop(clock);
    calm(&target);
}

/// What holds it for every order of events: `engine::reactor::tests`, with a backend that plays them.
#[test]
fn l06_events_of_a_connection_that_is_gone_do_not_touch_its_successor() {
    let target = Target::start(&["--cores", "0"]);
    let mut stays = Peer::open(&target);
    for round in 0..20 {
        let mut before: Vec<_> = (0..50).map(|_| Peer::open(&target)).collect();
        // All of this is one batch of events once it runs again: bytes and the end of the old connections,
        // and new ones that get their slots.
        target.signal(Signal::STOP);
        for peer in &mut before {
            peer.send(&[text(r#"{"t":1}"#), frame(FIN | CLOSE, &[])].concat());
        }
        match round % 2 {
            0 => drop(before),
            _ => before.into_iter().for_each(Peer::leave_with_reset),
        }
        let mut after: Vec<_> = (0..50).map(|_| Peer::dial(&target)).collect();
        after.iter_mut().for_each(|peer| peer.send(UPGRADE.as_bytes()));
        target.signal(Signal::CONT);
        for peer in &mut after {
            peer.upgraded();
            peer.ask();
        }
        stays.ask();
    }
    drop(stays);
    calm(&target);
}

#[test]
fn l07_a_peer_that_is_gone_without_a_word_is_reaped_by_the_heartbeat() {
    let target = Target::beating(300, &[]);
    let (mut clock, mut gone) = (Peer::open(&target), Peer::open(&target));
    let silent = Instant::now();
    target.holds(1, || clock.ping());
    let reaped = silent.elapsed();
    // Pinged, closed, and reset since it does not end TCP either.
    assert!(reaped > Duration::from_millis(300) && reaped < PATIENCE / 2, "reaped after {reaped:?}");
    assert_eq!(gone.any_frame().0, PING);
    assert_eq!(gone.any_frame(), (CLOSE, [&[0x0F, 0xA8][..], b"heartbeat missed"].concat()));
    drop((clock, gone));
    calm(&target);
}
