//! How connections end.

use super::*;
use crate::engine::io::Token;

#[test]
fn a_clients_close_is_answered_with_its_code() {
    for (payload, answer) in [(&b""[..], &b""[..]), (b"\x03\xE8", b"\x03\xE8"), (b"\x0F\xA1bye", b"\x0F\xA1")]
    {
        let mut world = World::new();
        let client = world.open();
        world.feed(client, &frame(CLOSE, payload));
        assert_eq!(world.frames(client), [Frame { opcode: CLOSE, payload: answer.to_vec() }]);
        world.expect_the_end(client);
    }
}

#[test]
fn answers_to_what_came_before_a_close_come_before_its_answer() {
    let mut world = World::new();
    let client = world.open();
    world.feed(client, &[text("first"), frame(CLOSE, b"\x03\xE8"), text("dropped")].concat());
    let mut frames = texts(["first"]);
    frames.push(Frame { opcode: CLOSE, payload: b"\x03\xE8".to_vec() });
    assert_eq!(world.frames(client), frames);
    world.expect_the_end(client);
}

#[test]
fn the_application_closes_after_what_it_said_before() {
    let mut world = World::new();
    let client = world.open();
    world.feed(client, &[text("first"), text("one second"), text("close"), text("dropped")].concat());
    let mut frames = texts(["first", "second"]);
    frames.push(closing(Close::Strikes));
    assert_eq!(world.frames(client), frames);
    world.feed(client, &frame(CLOSE, b"\x0F\xA0"));
    assert_eq!(world.frames(client), []);
    world.expect_the_end(client);
}

#[test]
fn the_application_is_told_once_that_a_connection_closes_while_its_queue_is_stuck() {
    let mut world = World::new();
    let (stuck, breaks) = (world.open(), world.open());
    world.window(stuck, Some(0));
    world.feed(stuck, &[text("waits"), text("close")].concat());
    let told = |world: &World| (world.reactor.app().closing, world.reactor.app().closed);
    assert_eq!(told(&world), (1, 0));
    world.window(stuck, Some(1));
    world.turn();
    world.end(breaks);
    world.turn();
    assert_eq!(told(&world), (1, 1), "who breaks off was never closing");
    world.pass(crate::engine::reactor::core::CLOSE_MS + 1);
    assert_eq!(told(&world), (1, 2));
}

#[test]
fn after_the_close_nothing_counts_and_the_deadline_resets() {
    let mut world = World::new();
    let client = world.open();
    world.feed(client, &text("close"));
    assert_eq!(world.frames(client), [closing(Close::Strikes)]);
    for _ in 0..19 {
        world.pass(100);
        world.feed(client, &[text("dropped"), frame(PING, b""), vec![0xFF; 100]].concat());
    }
    world.pass(99);
    assert!(world.is_ended(client) && !world.is_closed(client));
    world.pass(1);
    assert!(world.is_reset(client));
    assert_eq!((world.frames(client), world.reactor.app.received), (vec![], 1));
}

#[test]
fn a_client_that_does_not_read_its_close_is_reset_at_the_deadline() {
    let mut world = World::new();
    let client = world.open();
    world.window(client, Some(3));
    world.feed(client, &text("close"));
    world.pass(1_999);
    assert!(!world.is_ended(client) && !world.is_closed(client));
    world.pass(1);
    assert!(world.is_reset(client));
}

#[test]
fn a_client_that_ended_first_gets_the_close_and_then_the_end() {
    let mut world = World::new();
    let client = world.open();
    world.window(client, Some(3));
    world.feed(client, &frame(CLOSE, b"\x03\xE8"));
    world.end(client);
    assert!(!world.is_closed(client));
    world.window(client, None);
    world.turn();
    assert_eq!(world.frames(client), [Frame { opcode: CLOSE, payload: b"\x03\xE8".to_vec() }]);
    assert!(world.is_closed(client) && !world.is_reset(client));
}

#[test]
fn what_is_queued_when_a_client_ends_goes_out_before_the_close() {
    let mut world = World::new();
    let client = world.open();
    world.reactor.io().feed(client, &["first", "one second", "share 2000", "third"].map(text).concat());
    world.end(client);
    let mut frames = texts(["first", "second", "third"]);
    frames.insert(2, Frame { opcode: BINARY, payload: app::filled(2_000) });
    assert_eq!(world.frames(client), frames);
    assert!(world.is_closed(client) && !world.is_reset(client));
}

#[test]
fn a_connection_that_breaks_is_freed_at_once() {
    for resets in [false, true] {
        for waits in [false, true] {
            let mut world = World::new();
            let client = world.open();
            if waits {
                world.window(client, Some(0));
            }
            world.feed(client, &text("give 100000")[..]);
            world.feed(client, &text("incomplete")[..8]);
            if resets {
                world.reactor.io().reset(client);
            } else {
                world.reactor.io().end(client);
            }
            world.turn();
            assert!(world.is_closed(client));
            assert_eq!((world.reactor.connections(), world.reactor.holdings()), (0, Holdings::default()));
        }
    }
}

#[test]
fn a_connection_may_break_while_it_is_being_closed() {
    let mut world = World::new();
    for stalls in [false, true] {
        let client = world.open();
        if stalls {
            world.window(client, Some(0));
        }
        world.feed(client, &text("close"));
        world.reactor.io().reset(client);
        world.turn();
        assert!(world.is_closed(client));
        assert_eq!(world.reactor.connections(), 0);
    }
}

#[test]
fn each_broken_rule_gets_its_close_frame_and_then_the_end() {
    let table = [
        (vec![0x81, 0x05, b'h'], Close::Unmasked),
        (raw_frame(0xC1, b"x"), Close::ReservedBits),
        (raw_frame(0x83, b"x"), Close::ReservedOpcode),
        (vec![0x81, 0xFE, 0, 5], Close::BadLength),
        (vec![0x81, 0xFF, 0x80], Close::BadLength),
        (raw_frame(0x09, b""), Close::BadControlFrame),
        (frame(PING, &[0; 126]), Close::BadControlFrame),
        (raw_frame(0x80, b"x"), Close::OrphanContinuation),
        ([raw_frame(0x01, b"x"), text("y")].concat(), Close::InterleavedMessage),
        (frame(CLOSE, b"x"), Close::BadClose),
        (frame(CLOSE, b"\x03\xED"), Close::BadClose),
        (frame(CLOSE, b"\x03\xE8\xFF"), Close::BadUtf8),
        (frame(TEXT, b"\xC0\x80"), Close::BadUtf8),
        (raw_frame(0x01, b"\xED\xA0"), Close::BadUtf8),
        ([raw_frame(0x01, b""), raw_frame(0x00, b"").repeat(64)].concat(), Close::TooManyFragments),
        (vec![0x82, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0], Close::TooBig),
        (vec![0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1], Close::TooBig),
    ];
    let mut world = World::new();
    let other = world.open();
    for (bytes, close) in table {
        for one_by_one in [false, true] {
            let client = world.open();
            world.feed(client, &text("fine"));
            if one_by_one {
                bytes.iter().for_each(|byte| world.reactor.io().feed(client, &[*byte]));
                world.turn();
            } else {
                world.feed(client, &bytes);
            }
            let mut frames = texts(["fine"]);
            frames.push(closing(close));
            assert_eq!(world.frames(client), frames, "{bytes:x?}");
            world.expect_the_end(client);
            world.expect_served(other);
        }
    }
    assert_eq!(world.reactor.connections(), 1);
}

#[test]
fn a_panic_closes_the_connection_that_it_is_about_and_no_other() {
    let mut world = World::new();
    let other = world.open();
    for (number, (path, call)) in Call::PATHS.into_iter().enumerate() {
        let client = world.connect();
        world.feed(client, &request(path));
        let mut before = vec![];
        match call {
            Call::Timer => {
                world.feed(client, &text("at 5"));
                world.pass(5);
            }
            Call::Visit => {
                assert!(world.reactor.inbox().post(Letter::Command(Command::Say("all".into()))).is_ok());
                world.turn();
                assert_eq!(world.frames(other), texts(["all"]));
            }
            Call::Flush => {
                world.feed(client, &[text("first"), text("one second"), text("third")].concat());
                before = texts(["first"]);
            }
            Call::Holds | Call::Received => world.feed(client, &text("hello")),
            Call::Closing | Call::Closed => world.feed(client, &text("close")),
            Call::Upgrade | Call::Opened | Call::Deadline => {}
        }
        if call == Call::Upgrade {
            assert!(world.take_text(client).starts_with("HTTP/1.1 503 "));
        } else {
            let got = world.reactor.io().take(client);
            assert!(got.starts_with(ACCEPTED.as_bytes()), "{call:?}");
            world.unread.insert(client, got[ACCEPTED.len()..].to_vec());
            let is_late = matches!(call, Call::Closing | Call::Closed);
            before.push(closing(if is_late { Close::Strikes } else { Close::Internal }));
            assert_eq!(world.frames(client), before, "{call:?}");
        }
        world.expect_the_end(client);
        assert_eq!(world.reactor.stats().panics, number as u64 + 1, "{call:?}");
        world.expect_served(other);
    }
}

#[test]
fn a_panic_that_is_about_no_connection_closes_none() {
    let mut world = World::new();
    let client = world.open();
    world.reactor.app.turn_panics = true;
    world.expect_served(client);
    assert!(world.reactor.inbox().post(Letter::Command(Command::Panic)).is_ok());
    world.expect_served(client);
    assert_eq!(world.reactor.stats().panics, 2);
}

#[test]
fn a_flush_that_panics_after_the_close_was_queued_still_ends_with_a_close_frame() {
    let mut world = World::new();
    let client = world.open_at("/panic/flush");
    world.feed(client, &[text("one message"), text("close")].concat());
    world.expect_closed(client, Close::Internal);
}

#[test]
fn a_token_of_a_connection_that_is_gone_moves_nothing() {
    let mut world = World::new();
    let old = world.open();
    let token = |world: &mut World| {
        let generation = world.slots().at(0).unwrap().generation;
        Token { index: 0, generation }
    };
    let stale = token(&mut world);
    world.end(old);
    let new = world.open();
    assert_ne!(token(&mut world), stale);
    let Reactor { core, app, io, .. } = &mut world.reactor;
    core.received(app, stale, &mut text("for the old one"));
    core.ended(stale, Ok(()));
    core.ended(stale, Err(io::ErrorKind::ConnectionReset.into()));
    core.sent(io, stale, Box::default(), Ok(5));
    core.sent(io, stale, Box::default(), Err(io::ErrorKind::BrokenPipe.into()));
    core.hold(stale, crate::engine::app::Hold::Turn);
    world.turn();
    assert_eq!(world.frames(new), []);
    world.expect_served(new);
    assert!(world.slots().stale >= 5);
}

#[test]
fn a_slot_that_is_taken_again_in_the_same_turn_begins_anew() {
    let mut world = World::new();
    let old = world.open();
    world.window(old, Some(0));
    world.feed(old, &[text("never read"), text("incomplete")[..9].to_vec()].concat());
    // All in one turn: an answer is queued, the slot is freed, taken and used.
    world.reactor.io().feed(old, &text("one message")[2..]);
    world.reactor.io().reset(old);
    let new = world.connect();
    world.reactor.io().feed(new, &request("/"));
    world.reactor.io().feed(new, &text("new"));
    world.turn();
    let got = world.reactor.io().take(new);
    assert_eq!(got, [ACCEPTED.as_bytes(), b"\x81\x03new"].concat());
    assert_eq!((world.reactor.connections(), world.slots().end()), (1, 1));
}
