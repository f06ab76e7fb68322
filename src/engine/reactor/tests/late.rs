//! A reactor that stood still: what its peers did meanwhile counts before any deadline does.

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
fn a_deadline_that_nobody_met_is_one_turn_later() {
    let mut world = World::new();
    let [silent, half] = [world.connect(), world.open()];
    world.feed(half, &text("x")[..3]);
    world.now_ms += STALL_MS;
    world.turn();
    assert_eq!((world.take_text(silent).len(), world.reactor.wakes_ms()), (0, 0));
    world.turn();
    assert!(world.take_text(silent).starts_with("HTTP/1.1 408 "));
    assert_eq!(world.frames(half), [closing(Close::MessageTooSlow)]);
    assert_ne!(world.reactor.wakes_ms(), 0);
}

#[test]
fn a_flood_puts_deadlines_off_for_no_longer_than_the_reactor_stood_still() {
    for (late_ms, put_off_ms) in [(90, 0), (2_000, 2_000), (STALL_MS, CATCH_UP_MS)] {
        let mut world = World::new();
        let [silent, flood] = [world.connect(), world.open()];
        world.pass(Limits::default().upgrade_ms - 1);
        slow_down(&mut world);
        world.now_ms += 1 + late_ms;
        let begun_ms = world.now_ms;
        loop {
            for _ in 0..3 {
                world.reactor.io().feed(flood, &text(""));
            }
            world.turn();
            if !world.take_text(silent).is_empty() {
                break;
            }
            world.now_ms += 10;
        }
        assert_eq!(world.now_ms - begun_ms, put_off_ms);
    }
}
