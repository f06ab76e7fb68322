//! Readers that are slow, and what waits for them.

use super::*;
use app::filled;

fn given(len: usize) -> Frame {
    Frame { opcode: BINARY, payload: filled(len) }
}

#[test]
fn a_reader_that_stops_is_closed_at_the_hard_limit_and_others_are_served() {
    let limits = Limits { queue_hard_bytes: 100_000, queue_soft_bytes: 90_000, ..Limits::default() };
    let mut world = World::with_limits(limits);
    let [slow, other] = [world.open(), world.open()];
    world.window(slow, Some(0));
    for _ in 0..9 {
        world.feed(slow, &text("give 11100"));
        world.expect_served(other);
    }
    assert!(world.reactor.holdings().queue_bytes > 99_900);
    world.feed(slow, &text("give 1000"));
    // All but what was in flight is dropped, and the close frame comes behind that.
    assert!(world.reactor.holdings().queue_bytes < 12_000);
    world.expect_served(other);
    world.window(slow, None);
    world.turn();
    assert_eq!(world.frames(slow), [given(11_100), closing(Close::TooSlow)]);
    world.expect_the_end(slow);
}

#[test]
fn a_reader_above_the_soft_limit_has_its_time_and_no_more() {
    for reads in [false, true] {
        let mut world = World::new();
        let slow = world.open();
        world.pass(50);
        world.window(slow, Some(100));
        world.feed(slow, &text("give 300000"));
        world.pass(9_000);
        if reads {
            // Below the limit, if only by a few bytes, and above again.
            let over = world.reactor.holdings().queue_bytes - 262_144;
            world.window(slow, Some(over as usize));
            world.turn();
            assert_eq!(world.reactor.holdings().queue_bytes, 262_144);
            world.pass(500);
            world.feed(slow, &text("give 1000"));
            world.pass(9_000);
        }
        world.pass(999);
        assert!(!world.is_closed(slow));
        assert_eq!(world.slots().at(0).unwrap().state, State::Open);
        world.pass(1);
        assert_eq!(world.slots().at(0).unwrap().state, State::Closing, "{reads}");
        world.window(slow, None);
        world.turn();
        assert_eq!(world.frames(slow), [given(300_000), closing(Close::TooSlow)]);
        world.expect_the_end(slow);
    }
}

#[test]
fn what_comes_on_top_does_not_give_a_slow_reader_more_time() {
    let mut world = World::new();
    let slow = world.open();
    world.window(slow, Some(0));
    world.feed(slow, &text("give 300000"));
    for _ in 0..9 {
        world.pass(1_000);
        world.feed(slow, &text("more"));
    }
    world.pass(999);
    assert_eq!(world.slots().at(0).unwrap().state, State::Open);
    world.pass(1);
    assert_eq!(world.slots().at(0).unwrap().state, State::Closing);
}

#[test]
fn a_burst_above_the_hard_limit_goes_out_if_the_reader_takes_it() {
    let limits = Limits { queue_hard_bytes: 100_000, queue_soft_bytes: 90_000, ..Limits::default() };
    for takes in [true, false] {
        let mut world = World::with_limits(limits.clone());
        let client = world.open();
        world.window(client, Some(0));
        world.feed(client, &text("give 200000"));
        assert_eq!(world.slots().at(0).unwrap().state, State::Open);
        if takes {
            world.window(client, None);
        }
        world.feed(client, &text("more"));
        world.window(client, None);
        world.turn();
        let end = if takes { texts(["more"])[0].clone() } else { closing(Close::TooSlow) };
        assert_eq!(world.frames(client), [given(200_000), end]);
    }
}

#[test]
fn a_reader_that_came_back_below_the_soft_limit_is_left_alone() {
    for reads in [40_000, 299_000, 300_010] {
        let mut world = World::new();
        let slow = world.open();
        world.window(slow, Some(0));
        world.feed(slow, &text("give 300000"));
        world.pass(5_000);
        world.window(slow, Some(reads));
        world.turn();
        world.pass(100_000);
        world.window(slow, None);
        world.turn();
        assert_eq!(world.frames(slow), [given(300_000)]);
        world.expect_served(slow);
    }
}

#[test]
fn a_heartbeat_and_a_full_queue_at_one_time_end_with_one_close_frame() {
    let limits = Limits { queue_soft_ms: 2 * BEAT_MS, ..Limits::default() };
    let settings = Settings { heartbeat_ms: BEAT_MS, limits: Arc::new(limits), ..settings() };
    let mut world = World::with(settings);
    let slow = world.open();
    world.window(slow, Some(0));
    world.feed(slow, &text("give 300000"));
    // Both deadlines have passed when the turn comes: the first look, the ping, and then all at once.
    world.pass(2 * BEAT_MS - 1);
    world.stand_still(3 * BEAT_MS);
    world.window(slow, None);
    world.turn();
    let frames = world.frames(slow);
    assert_eq!(frames.iter().filter(|frame| frame.opcode == CLOSE).count(), 1, "{frames:?}");
    assert_eq!(frames.last().map(|frame| frame.opcode), Some(CLOSE));
    world.expect_the_end(slow);
}

#[test]
fn a_write_may_be_taken_in_any_pieces() {
    let requests =
        [text("give 300"), text("share 40"), text("one first"), text("share 1200"), text("two last")];
    let answers =
        [given(300), given(40), texts(["first"])[0].clone(), given(1_200), texts(["last"])[0].clone()];
    for piece in (1..60).chain([300, 304, 305, 1_000, 1_555]) {
        let mut world = World::new();
        let client = world.open();
        world.window(client, Some(0));
        world.feed(client, &requests.concat());
        let mut turns = 0;
        while !world.reactor.holdings().eq(&Holdings::default()) {
            world.window(client, Some(piece));
            world.turn();
            turns += 1;
            assert!(turns < 2_000, "it is stuck");
        }
        assert_eq!(world.frames(client), answers, "{piece}");
        world.window(client, None);
        world.expect_served(client);
    }
}

#[test]
fn a_write_of_many_segments_goes_out_whole() {
    for stalls in [false, true] {
        let mut world = World::new();
        let client = world.open();
        if stalls {
            world.window(client, Some(0));
        }
        let many: Vec<u8> =
            (0..200).flat_map(|n| [text("share 1100"), text(&n.to_string())].concat()).collect();
        world.feed(client, &many);
        world.feed(client, &text("behind"));
        world.window(client, None);
        world.turn();
        let frames = world.frames(client);
        assert_eq!(frames.len(), 401);
        assert!((0..200).all(|n| frames[2 * n] == given(1_100)));
        assert!((0..200).all(|n| frames[2 * n + 1] == texts([&n.to_string()[..]])[0]));
        assert_eq!(world.reactor.holdings(), Holdings::default());
        world.expect_served(client);
    }
}

#[test]
fn a_close_behind_many_segments_ends_the_connection() {
    let mut world = World::new();
    let client = world.open();
    world.window(client, Some(0));
    world.feed(client, &[text("share 1100").repeat(100), text("close")].concat());
    world.window(client, None);
    world.turn();
    assert_eq!(world.frames(client).len(), 101);
    world.expect_the_end(client);
}

/// Each of these clients has so much in its queue, all of it with the backend.
fn stalled(world: &mut World, lens: &[usize]) -> Vec<Number> {
    let clients: Vec<_> = lens.iter().map(|_| world.open()).collect();
    for (client, len) in clients.iter().zip(lens) {
        world.window(*client, Some(0));
        world.feed(*client, &text(&format!("give {len}")));
    }
    clients
}

#[test]
fn over_the_reactors_bound_the_largest_queue_goes_first() {
    let limits = Limits {
        reactor_queue_bytes: 100_000,
        queue_hard_bytes: 90_000,
        queue_soft_bytes: 80_000,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let clients = stalled(&mut world, &[30_000, 40_000, 20_000]);
    assert!(clients.iter().all(|client| !world.is_closed(*client)));
    let fourth = stalled(&mut world, &[15_000])[0];
    let closed: Vec<_> = clients.iter().map(|client| world.is_closed(*client)).collect();
    assert_eq!((closed, world.is_reset(clients[1])), (vec![false, true, false], true));
    assert!(!world.is_closed(fourth));
    // What is queued behind what is in flight counts as well.
    world.feed(clients[2], &text("give 40000"));
    assert!(world.is_closed(clients[2]));
    world.window(clients[0], None);
    world.turn();
    assert_eq!(world.frames(clients[0]), [given(30_000)]);
    world.expect_served(clients[0]);
}

#[test]
fn incomplete_messages_count_towards_the_reactors_bound() {
    let limits = Limits {
        reactor_queue_bytes: 100_000,
        queue_hard_bytes: 90_000,
        queue_soft_bytes: 80_000,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let small = stalled(&mut world, &[5_000])[0];
    let message = text(&"x".repeat(60_000));
    let clients = [world.open(), world.open(), world.open()];
    for (client, len) in clients.into_iter().zip([30_000, 31_000, 45_000]) {
        world.feed(client, &message[..len]);
        let held = world.reactor.holdings();
        assert!(held.queue_bytes + held.tail_bytes <= 100_000);
    }
    let closed: Vec<_> = clients.iter().map(|client| world.is_closed(*client)).collect();
    assert_eq!(closed, [false, false, true]);
    world.feed(clients[0], &message[30_000..]);
    assert_eq!(world.frames(clients[0]).len(), 1);
    assert!(!world.is_closed(small));
}

#[test]
fn many_slow_readers_are_held_to_the_bound_together() {
    let limits = Limits {
        reactor_queue_bytes: 1_000_000,
        queue_hard_bytes: 90_000,
        queue_soft_bytes: 80_000,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let clients = world.open_many(300);
    for &client in &clients {
        world.window(client, Some(0));
        world.reactor.io().feed(client, &text("give 20000"));
    }
    world.turn();
    let closed = clients.iter().filter(|client| world.peer(**client).closed).count();
    assert!((250..=252).contains(&closed), "{closed}");
}

/// What one read may add to the queue of a reader that stopped, with the answer to its last message.
const READ_BYTES: u64 = ARENA_BYTES as u64 + 60_004;

#[test]
fn a_reader_that_stopped_is_not_answered_before_it_reads() {
    for soft_bytes in [100_000, 262_144] {
        let limits = Limits { queue_soft_bytes: soft_bytes, queue_soft_ms: u64::MAX, ..Limits::default() };
        let mut world =
            World::with(Settings { heartbeat_ms: BEAT_MS, limits: Arc::new(limits), ..settings() });
        let slow = world.open();
        world.window(slow, Some(0));
        world.feed(slow, &text("give 60000").repeat(400));
        world.feed(slow, &text("more"));
        // Neither a turn nor a look is anything to it, and its queue stays as it is.
        world.pass(60 * BEAT_MS);
        let held = world.reactor.holdings();
        let most = u64::from(soft_bytes) + 60_004;
        assert!((u64::from(soft_bytes)..=most).contains(&held.queue_bytes), "{held:?}");
        let received = world.reactor.app.received;
        // Down to the limit, and one byte more or less.
        world.window(slow, Some((held.queue_bytes - u64::from(soft_bytes)) as usize - 1));
        world.turn();
        world.pass(10);
        assert_eq!(world.reactor.app.received, received);
        world.window(slow, Some(1));
        world.turn();
        world.pass(10);
        assert!(world.reactor.app.received > received);
        assert!(world.reactor.holdings().queue_bytes <= u64::from(soft_bytes) + READ_BYTES);
        world.window(slow, None);
        world.turn();
        world.pass(10);
        let frames = world.frames(slow);
        assert_eq!((frames.len(), frames.last()), (401, texts(["more"]).first()));
        assert!(frames[..400].iter().all(|frame| *frame == given(60_000)));
        assert_eq!(world.reactor.holdings(), Holdings::default());
    }
}

#[test]
fn a_reader_that_takes_all_is_answered_whatever_one_read_asks_for() {
    let mut world = World::new();
    let client = world.open();
    world.feed(client, &[text("give 60000").repeat(400), text("last")].concat());
    let mut frames = world.frames(client);
    assert_eq!(frames.len(), ARENA_BYTES / 60_000 + 1);
    world.pass(1);
    frames.extend(world.frames(client));
    assert_eq!((frames.len(), frames.last()), (401, texts(["last"]).first()));
    assert_eq!(world.reactor.wakes_ms(), u64::MAX);
}

#[test]
fn one_read_of_a_reader_that_stopped_ends_at_the_soft_limits_time_or_the_hard_limit() {
    for hard_bytes in [400_000, 1_048_576] {
        let limits = Limits { queue_hard_bytes: hard_bytes, ..Limits::default() };
        let mut world = World::with_limits(limits);
        let slow = world.open();
        world.window(slow, Some(0));
        world.feed(slow, &text("give 60000").repeat(400));
        if hard_bytes == 400_000 {
            // What others say to it is queued all the same.
            let letter = Letter::Command(Command::Say("x".repeat(100_001)));
            assert!(world.reactor.inbox().post(letter).is_ok());
            world.turn();
        } else {
            world.pass(9_999);
            assert_eq!(world.slots().at(0).unwrap().state, State::Open);
            world.pass(1);
        }
        assert_eq!(world.slots().at(0).unwrap().state, State::Closing);
        assert_eq!(world.reactor.holdings().tails, 0);
        world.window(slow, None);
        world.turn();
        let frames = world.frames(slow);
        assert_eq!((frames.len(), frames.last()), (6, Some(&closing(Close::TooSlow))));
        world.turn();
        world.expect_the_end(slow);
    }
}

#[test]
fn others_are_answered_at_once_beside_large_answers() {
    let mut world = World::new();
    let [large, small] = [world.open(), world.open()];
    world.reactor.io().feed(large, &text("give 60000").repeat(4));
    world.reactor.io().feed(small, &text("x").repeat(100));
    world.turn();
    assert_eq!((world.frames(large).len(), world.frames(small).len()), (4, 100));
}
