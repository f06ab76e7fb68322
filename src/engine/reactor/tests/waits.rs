//! Input and output that wait for a later turn's budget.

use super::*;

/// Runs turns until the reactor has nothing to do at once; how many it took.
fn turns(world: &mut World) -> usize {
    (1..)
        .find(|_| {
            world.turn();
            world.reactor.wakes_ms() > world.now_ms
        })
        .unwrap()
}

fn numbered(range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(|n| text(&n.to_string())).collect()
}

fn expect_numbered(world: &mut World, client: Number, range: std::ops::Range<u32>) {
    let numbers: Vec<_> = range.map(|n| n.to_string()).collect();
    assert_eq!(world.frames(client), texts(numbers.iter().map(|n| &n[..])));
}

#[test]
fn held_input_keeps_its_order_and_loses_nothing() {
    for per_turn in 1..12 {
        let mut world = World::new();
        let client = world.open();
        world.reactor.app.messages_per_turn = per_turn;
        let stream = numbered(0..30);
        // Cut in the middle of a frame; more comes while the first is held.
        for piece in stream.chunks(41) {
            world.feed(client, piece);
        }
        turns(&mut world);
        expect_numbered(&mut world, client, 0..30);
        assert_eq!(world.reactor.holdings(), Holdings::default());
    }
}

#[test]
fn each_turn_takes_what_its_budget_allows() {
    let mut world = World::new();
    let client = world.open();
    world.reactor.app.messages_per_turn = 3;
    world.feed(client, &numbered(0..10));
    expect_numbered(&mut world, client, 0..3);
    assert_eq!(world.reactor.wakes_ms(), 0);
    world.turn();
    expect_numbered(&mut world, client, 3..6);
    world.turn();
    world.turn();
    expect_numbered(&mut world, client, 6..10);
    assert_eq!(world.reactor.wakes_ms(), u64::MAX);
}

#[test]
fn the_budget_goes_round_among_those_who_wait() {
    let mut world = World::new();
    let clients = [world.open(), world.open(), world.open()];
    world.reactor.app.messages_per_turn = 4;
    for client in clients {
        world.reactor.io().feed(client, &numbered(0..100));
    }
    for _ in 0..30 {
        world.turn();
    }
    let counts = clients.map(|client| world.frames(client).len());
    assert_eq!(counts.iter().sum::<usize>(), 120);
    assert!(counts.iter().all(|count| (36..=44).contains(count)), "{counts:?}");
    world.reactor.app.messages_per_turn = usize::MAX;
    turns(&mut world);
    let rest = clients.map(|client| world.frames(client).len());
    assert_eq!(counts.iter().sum::<usize>() + rest.iter().sum::<usize>(), 300);
}

#[test]
fn who_waits_longest_goes_first() {
    let mut world = World::new();
    let clients = [world.open(), world.open(), world.open()];
    world.reactor.app.messages_per_turn = 1;
    for client in clients {
        world.reactor.io().feed(client, &numbered(0..5));
    }
    // All three wait from the first turn on, the first one for its second message.
    for served in [0, 0, 1, 2, 0, 1, 2, 0, 1, 2] {
        world.turn();
        let counts = clients.map(|client| world.frames(client).len());
        assert_eq!(counts, [0, 1, 2].map(|number| usize::from(number == served)));
    }
}

#[test]
fn what_a_client_sent_before_its_end_is_read_though_it_is_held() {
    let mut world = World::new();
    let client = world.open();
    world.reactor.app.messages_per_turn = 1;
    world.reactor.io().feed(client, &numbered(0..5));
    world.reactor.io().feed(client, &numbered(5..10));
    world.end(client);
    turns(&mut world);
    assert!(world.is_closed(client) && world.reactor.app.received == 10);
    expect_numbered(&mut world, client, 0..10);
}

#[test]
fn a_message_in_fragments_may_be_held_in_its_midst() {
    for at in 0..60 {
        let mut world = World::new();
        let client = world.open();
        world.reactor.app.messages_per_turn = 1;
        let stream =
            [text("a"), raw_frame(0x01, b"frag"), frame(PING, b""), raw_frame(0x80, b"ment"), text("b")]
                .concat();
        let at = at.min(stream.len());
        world.feed(client, &stream[..at]);
        world.feed(client, &stream[at..]);
        turns(&mut world);
        let mut frames = texts(["a", "fragment", "b"]);
        frames.insert(1, Frame { opcode: PONG, payload: vec![] });
        assert_eq!(world.frames(client), frames, "{at}");
    }
}

#[test]
fn the_request_itself_may_bring_more_than_a_turn_takes() {
    let mut world = World::new();
    let client = world.connect();
    world.reactor.app.messages_per_turn = 2;
    world.feed(client, &[request("/"), numbered(0..9)].concat());
    turns(&mut world);
    let got = world.reactor.io().take(client);
    world.unread.insert(client, got[ACCEPTED.len()..].to_vec());
    expect_numbered(&mut world, client, 0..9);
}

#[test]
fn a_connection_may_be_closed_while_its_input_is_held() {
    let mut world = World::new();
    let [client, other] = [world.open(), world.open()];
    world.reactor.app.messages_per_turn = 0;
    world.feed(client, &numbered(0..5));
    world.feed(other, &numbered(0..5));
    assert!(world.reactor.inbox().post(Letter::Command(Command::Close(Close::Strikes))).is_ok());
    world.turn();
    world.reactor.app.messages_per_turn = usize::MAX;
    world.turn();
    assert_eq!(world.reactor.app.received, 0);
    world.expect_closed(client, Close::Strikes);
    world.expect_closed(other, Close::Strikes);
}

#[test]
fn input_that_is_held_is_a_sign_of_life() {
    let mut world = World::with_heartbeat(BEAT_MS);
    let client = world.open();
    while world.frames(client).is_empty() {
        world.pass(1);
    }
    let pinged_ms = world.now_ms;
    world.now_ms += BEAT_MS - 1;
    world.reactor.app.messages_per_turn = 0;
    world.feed(client, &numbered(0..3));
    world.now_ms = pinged_ms + BEAT_MS;
    world.turn();
    world.reactor.app.messages_per_turn = usize::MAX;
    world.turn();
    expect_numbered(&mut world, client, 0..3);
}

#[test]
fn a_held_connection_that_resets_is_forgotten() {
    let mut world = World::new();
    let client = world.open();
    world.reactor.app.messages_per_turn = 0;
    world.feed(client, &numbered(0..5));
    world.reactor.io().reset(client);
    world.turn();
    // Nobody looks at a held connection: its end is seen when it goes on.
    assert!(!world.is_closed(client));
    world.reactor.app.messages_per_turn = usize::MAX;
    turns(&mut world);
    assert!(world.is_closed(client));
}

#[test]
fn messages_with_one_mark_are_closed_together() {
    let mut world = World::new();
    let client = world.open();
    let words = ["one a", "both b", "one c", "two d", "one e", "f", "one g"];
    world.feed(client, &words.map(text).concat());
    assert_eq!(world.frames(client), texts(["a|b|c", "d", "e", "f", "g"]));
}

#[test]
fn what_is_flushed_later_keeps_its_place() {
    for runs_per_turn in 1..4 {
        let mut world = World::new();
        let client = world.open();
        world.reactor.app.runs_per_turn = runs_per_turn;
        let words = ["first", "one a", "two b", "between", "one c", "share 2000", "two d", "last"];
        world.feed(client, &words.map(text).concat());
        assert_eq!(world.reactor.wakes_ms(), 0, "it must not sleep");
        world.feed(client, &text("one e"));
        turns(&mut world);
        let mut frames = texts(["first", "a", "b", "between", "c", "d", "last", "e"]);
        frames.insert(5, Frame { opcode: BINARY, payload: app::filled(2_000) });
        assert_eq!(world.frames(client), frames, "{runs_per_turn}");
        assert_eq!(world.reactor.holdings(), Holdings::default());
    }
}

#[test]
fn a_close_waits_for_messages_that_are_flushed_later() {
    let mut world = World::new();
    let client = world.open();
    world.reactor.app.runs_per_turn = 0;
    world.feed(client, &["one a", "close"].map(text).concat());
    world.turn();
    assert_eq!(world.frames(client), []);
    world.reactor.app.runs_per_turn = 1;
    world.turn();
    let mut frames = texts(["a"]);
    frames.push(closing(Close::Strikes));
    assert_eq!(world.frames(client), frames);
    world.expect_the_end(client);
}

#[test]
fn a_connection_may_go_while_its_flush_waits() {
    let mut world = World::new();
    let clients = [world.open(), world.open()];
    world.reactor.app.runs_per_turn = 0;
    for client in clients {
        world.feed(client, &text("one a"));
    }
    world.end(clients[0]);
    let new = world.open();
    world.reactor.app.runs_per_turn = usize::MAX;
    turns(&mut world);
    assert_eq!((world.frames(clients[1]), world.frames(new)), (texts(["a"]), vec![]));
}

#[test]
fn who_has_waited_too_long_for_a_budget_is_told_to_come_back() {
    let mut world = World::with_limits(Limits { login_wait_ms: 1_000, ..Limits::default() });
    let clients = [world.open(), world.open(), world.open()];
    world.reactor.app.messages_per_turn = 0;
    for client in clients {
        world.feed(client, &numbered(0..2));
        world.now_ms += 400;
    }
    world.now_ms = 999;
    world.turn();
    assert!(clients.iter().all(|client| world.frames(*client).is_empty()));
    world.now_ms = 1_000;
    world.turn();
    world.expect_closed(clients[0], Close::Overloaded);
    // Who is late, but not too late for this turn's budget, is served, and waits anew with what follows.
    world.now_ms = 1_400;
    world.reactor.app.messages_per_turn = 1;
    world.turn();
    expect_numbered(&mut world, clients[1], 0..1);
    world.reactor.app.messages_per_turn = 0;
    world.now_ms = 2_399;
    world.turn();
    world.expect_closed(clients[2], Close::Overloaded);
    assert_eq!(world.frames(clients[1]), []);
    world.now_ms = 2_400;
    world.turn();
    world.expect_closed(clients[1], Close::Overloaded);
    assert_eq!((world.reactor.app.received, world.reactor.core.held.len()), (1, 0));
}

#[test]
fn without_a_bound_they_wait_for_as_long_as_it_takes() {
    let mut world = World::with_limits(Limits { login_wait_ms: u64::MAX, ..Limits::default() });
    // Seen in 32 bits, time begins anew on the way.
    world.now_ms = u64::from(u32::MAX) - 10;
    let client = world.open();
    world.reactor.app.messages_per_turn = 0;
    world.feed(client, &numbered(0..2));
    world.now_ms += 40_000_000;
    world.turn();
    world.reactor.app.messages_per_turn = usize::MAX;
    world.turn();
    expect_numbered(&mut world, client, 0..2);
}

#[test]
fn flushes_that_wait_go_on_in_order_and_only_the_first_one_asks() {
    let mut world = World::new();
    let clients: Vec<_> = (0..50).map(|_| world.open()).collect();
    world.reactor.app.runs_per_turn = 0;
    for &client in &clients {
        world.feed(client, &text("one a"));
    }
    world.reactor.app.flushes = 0;
    world.turn();
    assert_eq!(world.reactor.app.flushes, 1);
    // More for one that waits already: it keeps its one place.
    world.feed(clients[2], &text("one b"));
    world.reactor.app.runs_per_turn = 1;
    for (served, &client) in clients.iter().enumerate() {
        world.turn();
        assert_eq!(world.frames(client), texts([if served == 2 { "a|b" } else { "a" }]));
        assert_eq!(world.reactor.core.later.len(), clients.len() - served - 1);
    }
}

#[test]
fn a_flush_for_which_there_was_no_budget_does_not_delay_the_word_that_there_is_none() {
    let mut world = World::new();
    let client = world.open();
    world.reactor.app.runs_per_turn = 0;
    world.feed(client, &text("one a"));
    assert!(world.reactor.inbox().post(Letter::Command(Command::Close(Close::Overloaded))).is_ok());
    world.turn();
    world.expect_closed(client, Close::Overloaded);
}
