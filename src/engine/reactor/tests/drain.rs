//! The way out of a server: who is told when, and who is still served.

use super::*;
use crate::engine::error::Refusal;

/// Everybody is told within so many milliseconds; nobody else accepts.
fn drain(world: &World, over_ms: u64) {
    let letter = Letter::Drain(Drain { over_ms, passed: false });
    assert!(world.reactor.inbox().post(letter).is_ok());
}

/// Begins to drain, and lets everybody be told who is told at once.
fn drain_at_once(world: &mut World) {
    drain(world, 0);
    world.turn();
    world.pass(0);
}

/// These texts, and then that the server goes.
fn said(what: &[&str]) -> Vec<Frame> {
    let texts = what.iter().flat_map(|what| texts([*what]));
    texts.chain([closing(Close::GoingAway)]).collect()
}

fn refused(text: &str) -> bool {
    text.starts_with("HTTP/1.1 503 ") && text.contains(Refusal::Leaving.text())
}

#[test]
fn draining_closes_everybody_and_ends() {
    let mut world = World::new();
    let clients = world.open_many(1_500);
    drain(&world, 0);
    let late = world.connect();
    world.turn();
    world.pass(0);
    assert!(!world.reactor.is_drained());
    for client in clients {
        world.expect_closed(client, Close::GoingAway);
    }
    assert_eq!(world.reactor.stats().accepted, 1_500);
    assert_eq!(world.take_text(late), String::new());
    assert!(world.reactor.is_drained() && world.reactor.wakes_ms() == u64::MAX);
    world.peer(late).closed = true;
}

#[test]
fn everybody_is_told_evenly_over_the_time_and_served_until_then() {
    let mut world = World::new();
    let clients = world.open_many(100);
    drain(&world, 10_000);
    world.turn();
    let mut told = vec![None; clients.len()];
    for ms in (0..=10_000).step_by(50) {
        for (client, told) in clients.iter().zip(&mut told).filter(|(_, told)| told.is_none()) {
            if world.frames(*client) == [closing(Close::GoingAway)] {
                *told = Some(ms);
                world.end(*client);
            }
        }
        if let Some(last) = told.iter().rposition(Option::is_none) {
            world.expect_served(clients[last]);
        }
        world.pass(50);
    }
    for (nth, ms) in told.iter().enumerate() {
        let due_ms = nth * 100;
        assert!(ms.is_some_and(|ms| (due_ms..=due_ms + 100).contains(&ms)), "{nth} is told at {ms:?} ms");
    }
    assert!(world.reactor.is_drained());
}

#[test]
fn what_came_before_somebody_is_told_is_answered_before() {
    let mut world = World::new();
    let clients = world.open_many(3);
    for client in &clients {
        world.reactor.io().feed(*client, &[text("a"), text("b")].concat());
    }
    drain_at_once(&mut world);
    for client in clients {
        assert_eq!(world.frames(client), said(&["a", "b"]));
    }
}

#[test]
fn letters_from_before_reach_everybody_first() {
    let mut world = World::new();
    let clients = world.open_many(2_500);
    let inbox = world.reactor.inbox();
    let say = |what: &str| assert!(inbox.post(Letter::Command(Command::Say(what.into()))).is_ok());
    say("first");
    world.turn();
    say("second");
    drain_at_once(&mut world);
    for client in clients {
        assert_eq!(world.frames(client), said(&["first", "second"]));
    }
}

#[test]
fn who_comes_in_meanwhile_is_served_and_told_with_the_last() {
    let mut world = World::new();
    let clients = world.open_many(10);
    let waiting = world.connect();
    world.turn();
    drain(&world, 1_000);
    world.turn();
    // The first has gone, and its slot belongs to another.
    world.pass(50);
    world.expect_closed(clients[0], Close::GoingAway);
    let dealt = world.reactor.io().receive_dealt("127.0.0.1:5000".parse().unwrap());
    for client in [dealt, waiting] {
        world.feed(client, &request("/"));
        assert_eq!(world.take_text(client), ACCEPTED);
    }
    world.pass(940);
    world.expect_served(dealt);
    world.pass(10);
    for client in [dealt, waiting] {
        world.expect_closed(client, Close::GoingAway);
    }
}

#[test]
fn after_the_time_a_request_is_refused_and_half_of_one_soon_too() {
    let mut world = World::new();
    let [half, slow] = [world.connect(), world.connect()];
    world.feed(half, &request("/")[..20]);
    drain_at_once(&mut world);
    assert_eq!(world.reactor.core.balance.place(0), Ok(0));
    let dealt = world.reactor.io().receive_dealt("127.0.0.1:5000".parse().unwrap());
    world.feed(dealt, &request("/"));
    world.feed(half, &request("/")[20..]);
    for client in [half, dealt] {
        assert!(refused(&world.take_text(client)));
        world.expect_the_end(client);
    }
    world.pass(core::CLOSE_MS - 1);
    assert_eq!(world.take_text(slow), String::new());
    world.pass(1);
    assert!(refused(&world.take_text(slow)));
    world.expect_the_end(slow);
    assert!(world.reactor.is_drained());
}

#[test]
fn draining_waits_no_longer_than_the_close_deadline() {
    let mut world = World::new();
    let [stalled, silent, refused] = [world.open(), world.open(), world.connect()];
    world.window(stalled, Some(0));
    world.feed(stalled, &text("give 100000"));
    world.feed(refused, b"nonsense\r\n\r\n");
    drain_at_once(&mut world);
    world.pass(core::CLOSE_MS - 1);
    assert!(!world.reactor.is_drained());
    world.pass(1);
    assert!(world.reactor.is_drained());
    assert!([stalled, silent, refused].into_iter().all(|client| world.is_reset(client)));
    assert_eq!(world.reactor.stats().cut, 3);
}

#[test]
fn who_is_told_early_may_read_what_is_queued_until_the_end() {
    let mut world = World::new();
    let [slow, silent] = [world.open(), world.open()];
    world.window(slow, Some(0));
    world.feed(slow, &text("give 100000"));
    drain(&world, 9_000);
    world.turn();
    // The first is told now, the second in the middle; it does not answer.
    world.pass(4_500 + core::CLOSE_MS);
    assert!(world.is_reset(silent) && !world.is_closed(slow));
    world.window(slow, None);
    world.turn();
    assert_eq!(world.frames(slow).last(), Some(&closing(Close::GoingAway)));
    world.expect_the_end(slow);
    assert!(world.reactor.is_drained());
}

#[test]
fn a_shorter_time_may_be_set_while_it_drains() {
    let mut world = World::new();
    let clients = world.open_many(4);
    drain(&world, 100_000);
    world.turn();
    world.pass(10);
    drain_at_once(&mut world);
    for client in clients {
        world.expect_closed(client, Close::GoingAway);
    }
    assert!(world.reactor.is_drained());
}

#[test]
fn draining_reaches_held_connections_too() {
    let mut world = World::new();
    let client = world.open();
    world.reactor.app.messages_per_turn = 0;
    world.feed(client, &[text("a"), text("b")].concat());
    drain_at_once(&mut world);
    assert_eq!(world.frames(client), [closing(Close::GoingAway)]);
    world.end(client);
    world.turn();
    assert!(world.reactor.is_drained() && !world.is_reset(client));
}

#[test]
fn an_empty_reactor_drains_at_once_and_sleeps_before() {
    let mut world = World::new();
    assert_eq!(world.reactor.wakes_ms(), u64::MAX);
    world.turn();
    assert!(!world.reactor.is_drained());
    drain(&world, 60_000);
    world.turn();
    assert!(world.reactor.is_drained());
}

#[test]
fn a_reactor_waits_for_what_is_on_its_way_to_it_and_for_who_may_still_deal() {
    let mut world = World::new();
    let balance = Arc::new(Balance::new(1, 2, u32::MAX));
    balance.set_room(1, 10);
    world.reactor.join(balance.clone(), 0);
    drain(&world, 0);
    world.turn();
    assert!(!world.reactor.is_drained(), "the other may deal");
    while balance.place(1) != Ok(0) {}
    balance.retire();
    world.turn();
    assert!(!world.reactor.is_drained(), "one is on its way");
    world.pass(20);
    let dealt = world.reactor.io().receive_dealt("127.0.0.1:5000".parse().unwrap());
    world.feed(dealt, &request("/"));
    assert!(refused(&world.take_text(dealt)));
    world.expect_the_end(dealt);
    assert!(world.reactor.is_drained());
    // What the other was given.
    while !balance.is_done(1) {
        balance.leave(1);
    }
}
