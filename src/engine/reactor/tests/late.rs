//! A reactor that stood still: what its peers did meanwhile counts, and they get that time again.

use super::*;

const STALL_MS: u64 = 60_000;

/// The backend brings two completions a turn from now on.
fn slow_down(world: &mut World) {
    world.reactor.io().completions = 2;
}

#[test]
fn a_message_that_was_completed_meanwhile_is_in_time() {
    let mut world = World::new();
    let clients = world.open_many(9);
    let message = text("in time");
    for &client in &clients {
        world.feed(client, &message[..9]);
    }
    world.pass(5_000);
    slow_down(&mut world);
    for &client in &clients {
        world.reactor.io().feed(client, &message[9..]);
    }
    world.stand_still(STALL_MS);
    for client in clients {
        assert_eq!(world.frames(client), texts(["in time"]));
        world.expect_served(client);
    }
}

#[test]
fn a_request_that_was_completed_meanwhile_is_in_time() {
    let mut world = World::new();
    let clients: Vec<_> = (0..9).map(|_| world.connect()).collect();
    world.turn();
    slow_down(&mut world);
    for &client in &clients {
        world.reactor.io().feed(client, &request("/"));
    }
    world.stand_still(STALL_MS);
    for client in clients {
        assert_eq!(world.take_text(client), ACCEPTED);
        world.expect_served(client);
    }
}

#[test]
fn a_reader_that_made_room_meanwhile_is_not_too_slow() {
    let mut world = World::new();
    let clients = world.open_many(9);
    for &client in &clients {
        world.window(client, Some(0));
        world.feed(client, &text("give 300000"));
        world.feed(client, &text("give 300000"));
    }
    world.pass(5_000);
    slow_down(&mut world);
    for &client in &clients {
        world.window(client, None);
    }
    world.stand_still(STALL_MS);
    for client in clients {
        assert_eq!(world.frames(client).len(), 2);
        world.expect_served(client);
    }
}

#[test]
fn a_peer_that_ended_meanwhile_is_not_reset() {
    let mut world = World::new();
    let clients = world.open_many(9);
    for &client in &clients {
        world.feed(client, &frame(CLOSE, &1_000_u16.to_be_bytes()));
        assert!(world.is_ended(client));
    }
    slow_down(&mut world);
    for &client in &clients {
        world.reactor.io().end(client);
    }
    world.stand_still(STALL_MS);
    for client in clients {
        assert!(world.is_closed(client) && !world.is_reset(client));
    }
}

#[test]
fn what_came_meanwhile_and_is_held_for_a_budget_counts_too() {
    let mut world = World::new();
    let client = world.open_at("/at/9000");
    world.reactor.app.messages_per_turn = 1;
    world.reactor.io().feed(client, &[text("a"), text("b"), text("c")].concat());
    world.stand_still(STALL_MS);
    assert_eq!(world.frames(client), texts(["a", "b", "c", "timer"]));
}

#[test]
fn a_deadline_comes_later_by_as_long_as_the_reactor_stood_still_and_no_flood_changes_that() {
    for (late_ms, again_ms) in [(99, 0), (100, 100), (2_000, 2_000), (STALL_MS, CATCH_UP_MS)] {
        for floods in [false, true] {
            let mut world = World::new();
            let [silent, flood] = [world.connect(), world.open()];
            world.pass(Limits::default().upgrade_ms - 1);
            slow_down(&mut world);
            world.now_ms += 1 + late_ms;
            let begun_ms = world.now_ms;
            loop {
                for _ in 0..if floods { 3 } else { 0 } {
                    world.reactor.io().feed(flood, &text(""));
                }
                world.turn();
                let answer = world.take_text(silent);
                if !answer.is_empty() {
                    assert!(answer.starts_with("HTTP/1.1 408 "));
                    break;
                }
                let wakes_ms = world.reactor.wakes_ms();
                assert!(wakes_ms > world.now_ms, "it spins");
                world.now_ms = if floods { world.now_ms + 10 } else { wakes_ms };
            }
            assert_eq!(world.now_ms - begun_ms, again_ms);
        }
    }
}

#[test]
fn a_reader_that_needs_many_turns_for_what_was_left_has_them() {
    let mut world = World::new();
    let client = world.open();
    world.window(client, Some(0));
    world.feed(client, &[text("give 50000"), frame(CLOSE, &1_000_u16.to_be_bytes())].concat());
    world.now_ms += STALL_MS;
    world.turn();
    while !world.is_ended(client) {
        world.window(client, Some(1_000));
        world.now_ms += 20;
        world.turn();
        assert!(!world.is_closed(client));
    }
    assert_eq!(world.frames(client).len(), 2);
    world.expect_the_end(client);
}
