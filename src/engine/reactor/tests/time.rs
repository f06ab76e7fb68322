//! Heartbeats and deadlines.

use super::*;

fn ping() -> Frame {
    Frame { opcode: PING, payload: vec![] }
}

/// Lets time pass in steps of a millisecond, up to the client's next frames.
fn next_frames(world: &mut World, client: Number, most_ms: u64) -> (u64, Vec<Frame>) {
    for _ in 0..most_ms {
        world.pass(1);
        let frames = world.frames(client);
        if !frames.is_empty() {
            return (world.now_ms, frames);
        }
    }
    panic!("nothing came in {most_ms} ms");
}

#[test]
fn one_silent_look_brings_a_ping_and_the_second_the_end() {
    for last_ms in [0, 1, 137, 500, 999, 1_000, 4_321] {
        let mut world = World::with_heartbeat(BEAT_MS);
        let client = world.open();
        // The client is not silent until then.
        while world.now_ms < last_ms {
            world.pass(last_ms.min(100));
            world.feed(client, &text(""));
        }
        world.frames(client);
        let last_ms = world.now_ms;
        let (pinged_ms, frames) = next_frames(&mut world, client, 3 * BEAT_MS);
        assert_eq!(frames, [ping()]);
        assert!((last_ms + BEAT_MS..=last_ms + 2 * BEAT_MS).contains(&pinged_ms));
        let (closed_ms, frames) = next_frames(&mut world, client, 3 * BEAT_MS);
        assert_eq!(frames, [closing(Close::HeartbeatMissed)]);
        assert_eq!(closed_ms, pinged_ms + BEAT_MS);
        assert!(closed_ms <= last_ms + 3 * BEAT_MS);
        world.expect_the_end(client);
    }
}

#[test]
fn the_phase_is_kept_for_life_and_a_client_that_answers_stays() {
    let mut world = World::with_heartbeat(BEAT_MS);
    let client = world.open();
    let mut phases = Vec::new();
    for round in 0..200 {
        let (at_ms, frames) = next_frames(&mut world, client, 3 * BEAT_MS);
        assert_eq!(frames, [ping()]);
        phases.push(at_ms % BEAT_MS);
        world.pass(round * 7 % BEAT_MS);
        world.feed(client, &frame(PONG, b""));
    }
    assert!(phases.iter().all(|phase| *phase == phases[0]), "{phases:?}");
}

#[test]
fn any_whole_frame_is_a_sign_of_life_and_half_a_frame_is_none() {
    let long = text(&"a frame of which every byte comes alone".repeat(2));
    let bytewise = long.iter().map(|byte| vec![*byte]).collect();
    let begin = raw_frame(0x01, b"begin");
    let fragments = std::iter::once(begin).chain(vec![raw_frame(0x00, b""); 59]).collect();
    let table: [(&str, Vec<Vec<u8>>, bool); 5] = [
        ("text", vec![text("x"); 60], true),
        ("ping", vec![frame(PING, b""); 60], true),
        ("pong", vec![frame(PONG, b""); 60], true),
        ("fragments", fragments, true),
        ("bytes", bytewise, false),
    ];
    for (name, pieces, lives) in table {
        let limits = Limits { message_ms: u64::MAX, control_per_s: u32::MAX, ..Limits::default() };
        let settings = Settings { heartbeat_ms: BEAT_MS, limits: Arc::new(limits), ..settings() };
        let mut world = World::with(settings);
        let client = world.open();
        for piece in &pieces[..60] {
            world.feed(client, piece);
            world.pass(BEAT_MS / 10);
        }
        let is_closed = world.frames(client).contains(&closing(Close::HeartbeatMissed));
        assert_eq!(is_closed, !lives, "{name}");
    }
}

#[test]
fn after_any_sign_of_life_the_first_silent_look_is_a_ping_again() {
    let mut world = World::with_heartbeat(BEAT_MS);
    let client = world.open();
    for _ in 0..3 {
        assert_eq!(next_frames(&mut world, client, 3 * BEAT_MS).1, [ping()]);
        // It does not answer, but it is there.
        world.expect_served(client);
    }
    assert_eq!(next_frames(&mut world, client, 3 * BEAT_MS).1, [ping()]);
    assert_eq!(next_frames(&mut world, client, 3 * BEAT_MS).1, [closing(Close::HeartbeatMissed)]);
}

#[test]
fn the_looks_at_many_connections_are_spread_over_the_heartbeat() {
    let mut world = World::with_heartbeat(BEAT_MS);
    let clients = world.open_many(1_000);
    // Each is pinged once in two heartbeats, from the start on: half of them in the first.
    for _ in 0..3 {
        let mut parts = [0; 20];
        for part in &mut parts {
            world.pass(BEAT_MS / 10);
            for &client in &clients {
                for _ in world.frames(client) {
                    *part += 1;
                    world.feed(client, &frame(PONG, b""));
                }
            }
        }
        assert_eq!(parts.iter().sum::<usize>(), 1_000);
        assert!(parts.iter().all(|part| (25..=80).contains(part)), "{parts:?}");
    }
}

#[test]
fn a_turn_that_comes_late_does_not_lose_a_look() {
    let mut world = World::with_heartbeat(BEAT_MS);
    let client = world.open();
    let (look_ms, _) = next_frames(&mut world, client, 3 * BEAT_MS);
    world.feed(client, &frame(PONG, b""));
    // The application's timer comes just before the next look, and the turn after both.
    let next_ms = look_ms + BEAT_MS;
    world.feed(client, &text(&format!("at {}", next_ms - 5 - world.now_ms)));
    world.now_ms = next_ms + 10;
    world.turn();
    assert_eq!(world.frames(client), texts(["timer"]));
    let (pinged_ms, frames) = next_frames(&mut world, client, 3 * BEAT_MS);
    assert_eq!((pinged_ms, frames), (next_ms + BEAT_MS, vec![ping()]));
}

#[test]
fn a_clock_that_jumps_an_hour_brings_one_look_and_nothing_early() {
    let mut world = World::with_heartbeat(BEAT_MS);
    let client = world.open();
    world.stand_still(3_600_000);
    world.pass(BEAT_MS);
    assert_eq!(world.frames(client), [ping()]);
    world.feed(client, &frame(PONG, b""));
    world.expect_served(client);
}

#[test]
fn a_server_that_stood_still_gives_time_for_the_answer_to_its_ping() {
    // The look that would ping comes late, just before the next one; or the ping came in time, and the
    // look behind it is late.
    for (stalled_before_ping, late_ms) in [(true, BEAT_MS / 2 - 1), (false, BEAT_MS / 2 - 100)] {
        let mut world = World::with_heartbeat(BEAT_MS);
        let client = world.open();
        let (mut look_ms, _) = next_frames(&mut world, client, 3 * BEAT_MS);
        if stalled_before_ping {
            world.feed(client, &frame(PONG, b""));
            world.pass(BEAT_MS);
            look_ms += BEAT_MS;
            assert_eq!(world.frames(client), []);
        }
        look_ms += BEAT_MS;
        world.pass(look_ms - 1 - world.now_ms);
        world.stand_still(1 + late_ms);
        assert_eq!(world.frames(client), []);
        assert_eq!(world.now_ms, look_ms + 2 * late_ms);
        world.pass(BEAT_MS - 2 * late_ms);
        assert_eq!((world.now_ms, world.frames(client)), (look_ms + BEAT_MS, vec![ping()]));
        // Whoever is gone is found out all the same, one look later.
        world.pass(BEAT_MS - 1);
        assert_eq!(world.frames(client), []);
        world.pass(1);
        world.expect_closed(client, Close::HeartbeatMissed);
    }
}

#[test]
fn without_a_heartbeat_nobody_is_looked_at() {
    let mut world = World::new();
    let client = world.open();
    assert_eq!(world.reactor.wakes_ms(), u64::MAX);
    world.pass(100_000_000);
    assert_eq!(world.frames(client), []);
    world.expect_served(client);
}

#[test]
fn a_message_must_be_whole_in_time_however_it_drips() {
    let table: [(&str, Vec<Vec<u8>>); 4] = [
        ("half a header", vec![text("x")[..1].to_vec()]),
        ("byte by byte", text("dripping slowly").chunks(1).take(14).map(<[u8]>::to_vec).collect()),
        ("fragments", vec![raw_frame(0x01, b"a"), raw_frame(0x00, b"b"), raw_frame(0x00, b"c")]),
        ("pings between", vec![raw_frame(0x01, b"a"), frame(PING, b""), frame(PING, b"")]),
    ];
    // With looks that come before the deadline, and without.
    for (heartbeat_ms, message_ms) in [(3_600_000, 10_000), (2_000, 3_000)] {
        for (name, pieces) in &table {
            let limits = Limits { message_ms, ..Limits::default() };
            let mut world = World::with(Settings { heartbeat_ms, limits: Arc::new(limits), ..settings() });
            let client = world.open();
            world.pass(123);
            let until_ms = world.now_ms + message_ms;
            for piece in pieces {
                world.feed(client, piece);
                world.pass(message_ms / 20);
            }
            world.pass(until_ms - 1 - world.now_ms);
            assert!(world.frames(client).iter().all(|frame| frame.opcode != CLOSE), "{name}");
            world.pass(1);
            world.expect_closed(client, Close::MessageTooSlow);
        }
    }
}

#[test]
fn a_message_that_is_whole_in_time_leaves_no_deadline() {
    let mut world = World::new();
    let client = world.open();
    let message = text("in time");
    for _ in 0..5 {
        world.feed(client, &message[..8]);
        world.pass(9_999);
        world.feed(client, &message[8..]);
        assert_eq!(world.frames(client), texts(["in time"]));
    }
    world.pass(100_000);
    world.expect_served(client);
    assert_eq!(world.reactor.wakes_ms(), u64::MAX);
}

#[test]
fn control_frames_have_a_burst_and_then_a_rate() {
    // The second clock passes 2^32 milliseconds on its way.
    for (opcode, start_ms) in [(PING, 0), (PONG, 0), (PING, u64::from(u32::MAX) - 5_000)] {
        let mut world = World::new();
        world.now_ms = start_ms;
        let client = world.open();
        world.feed(client, &frame(opcode, b"x").repeat(20));
        // Ten a second for ever.
        for _ in 0..100 {
            world.pass(100);
            world.feed(client, &frame(opcode, b"x"));
        }
        let pongs = if opcode == PING { 120 } else { 0 };
        assert_eq!(world.frames(client), vec![Frame { opcode: PONG, payload: b"x".to_vec() }; pongs]);
        world.pass(99);
        world.feed(client, &[frame(opcode, b"x"), text("dropped")].concat());
        world.expect_closed(client, Close::TooManyControls);
    }
}

#[test]
fn a_flood_of_pings_is_answered_until_it_closes() {
    let mut world = World::new();
    let client = world.open();
    world.feed(client, &frame(PING, b"x").repeat(10_000));
    let frames = world.frames(client);
    assert_eq!(frames.len(), 21);
    assert_eq!(frames.last(), Some(&closing(Close::TooManyControls)));
    world.expect_the_end(client);
}

#[test]
fn answers_to_our_pings_are_free() {
    let mut limits = Limits { control_burst: 1, control_per_s: 1, ..Limits::default() };
    limits.message_ms = u64::MAX;
    let settings = Settings { heartbeat_ms: 100, limits: Arc::new(limits), ..settings() };
    let mut world = World::with(settings);
    let client = world.open();
    for _ in 0..100 {
        next_frames(&mut world, client, 300);
        world.feed(client, &frame(PONG, b""));
    }
    world.feed(client, &frame(PONG, b""));
    world.expect_served(client);
    world.feed(client, &frame(PONG, b""));
    world.expect_closed(client, Close::TooManyControls);
}

#[test]
fn the_applications_timer_comes_when_it_was_set_for() {
    for heartbeat_ms in [u64::MAX, BEAT_MS] {
        for path in ["/at/2500", "/opened/2500", "/"] {
            let mut world = World::with_heartbeat(heartbeat_ms);
            let client = world.open_at(path);
            match path {
                "/" => world.feed(client, &text("at 2500")),
                _ => world.feed(client, &frame(PONG, b"")),
            }
            world.pass(1_200);
            world.feed(client, &frame(PONG, b""));
            world.pass(1_299);
            assert!(!world.frames(client).contains(&texts(["timer"])[0]), "{path}");
            world.pass(1);
            assert!(world.frames(client).contains(&texts(["timer"])[0]), "{path}");
        }
    }
}

#[test]
fn the_timer_is_armed_as_soon_as_it_is_set() {
    // Nothing else wakes these connections: neither a heartbeat nor a frame.
    let mut world = World::new();
    let client = world.open_at("/opened/2500");
    world.pass(2_500);
    assert_eq!(world.frames(client), texts(["timer"]));
    assert!(world.reactor.inbox().post(Letter::Command(Command::At(700))).is_ok());
    world.turn();
    world.pass(700);
    assert_eq!(world.frames(client), texts(["timer"]));
    assert_eq!(world.reactor.wakes_ms(), u64::MAX);
}

#[test]
fn a_timer_that_the_application_leaves_in_the_past_does_not_stop_the_reactor() {
    let mut world = World::new();
    let [stuck, other] = [world.open(), world.open()];
    world.feed(stuck, &text("stick 10"));
    world.pass(12);
    assert_eq!(world.frames(stuck), texts(["timer", "timer", "timer"]));
    world.expect_served(other);
}

#[test]
fn a_timer_may_be_moved_and_taken_back() {
    let mut world = World::new();
    let client = world.open();
    world.feed(client, &text("at 1000"));
    world.pass(500);
    world.feed(client, &text("at 1000"));
    world.pass(999);
    assert_eq!(world.frames(client), []);
    world.pass(1);
    assert_eq!(world.frames(client), texts(["timer"]));
    world.feed(client, &text("at 1000"));
    world.feed(client, &text("at 10"));
    world.pass(10);
    assert_eq!(world.frames(client), texts(["timer"]));
    world.pass(10_000);
    assert_eq!(world.frames(client), []);
}
