//! What other threads tell the reactor.

use super::*;

fn post(world: &World, letter: Letter<Command>) {
    assert!(world.reactor.inbox().post(letter).is_ok());
}

fn say(world: &World, text: &str) {
    post(world, Letter::Command(Command::Say(text.into())));
}

#[test]
fn a_letter_for_everyone_reaches_each_open_connection_once() {
    let mut world = World::new();
    let clients = world.open_many(2_500);
    let upgrading = world.connect();
    world.turn();
    let closing_one = world.open();
    world.feed(closing_one, &text("close"));
    assert_eq!(world.frames(closing_one).len(), 1);
    say(&world, "all");
    let turns = (1..)
        .find(|_| {
            world.turn();
            world.reactor.wakes_ms() != 0
        })
        .unwrap();
    assert_eq!(turns, 3);
    for client in clients {
        assert_eq!(world.frames(client), texts(["all"]));
    }
    assert_eq!(world.take_text(upgrading), "");
    assert_eq!(world.frames(closing_one), []);
}

#[test]
fn letters_come_in_order_to_everybody() {
    let mut world = World::new();
    let clients = world.open_many(1_500);
    let said: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    for (number, text) in said.iter().enumerate() {
        say(&world, text);
        if number % 3 == 0 {
            world.turn();
        }
    }
    world.turn();
    world.pass(0);
    for client in clients {
        assert_eq!(world.frames(client), texts(said.iter().map(|text| &text[..])));
    }
}

#[test]
fn a_letter_reaches_all_who_stay_while_others_come_and_go() {
    let mut world = World::new();
    let mut old = world.open_many(3_000);
    let mut gone = Vec::new();
    say(&world, "all");
    let mut turns = 0;
    let mut new = Vec::new();
    while turns == 0 || world.reactor.wakes_ms() == 0 {
        // From both ends and the middle, so that slots below and above the visitor are freed and taken.
        for at in [0, old.len() / 2, old.len() - 1] {
            gone.push(old.remove(at.min(old.len() - 1)));
            world.reactor.io().end(gone[gone.len() - 1]);
        }
        for _ in 0..2 {
            let client = world.connect();
            world.reactor.io().feed(client, &request("/"));
            new.push(client);
        }
        world.turn();
        turns += 1;
        assert!(turns < 10);
    }
    for client in old {
        assert_eq!(world.frames(client), texts(["all"]));
    }
    for client in new {
        let got = world.reactor.io().take(client);
        world.unread.insert(client, got[ACCEPTED.len()..].to_vec());
        assert!(world.frames(client).len() <= 1, "nobody gets it twice");
    }
}

#[test]
fn a_letter_for_the_application_goes_no_further() {
    let mut world = World::new();
    let client = world.open();
    post(&world, Letter::Command(Command::Aside));
    world.turn();
    assert_eq!((world.reactor.app.commands, world.frames(client)), (1, vec![]));
}

#[test]
fn a_letter_may_close_everybody() {
    let mut world = World::new();
    let clients = world.open_many(10);
    post(&world, Letter::Command(Command::Close(Close::Overloaded)));
    say(&world, "too late");
    world.turn();
    world.turn();
    for client in clients {
        world.expect_closed(client, Close::Overloaded);
    }
}

#[test]
fn new_limits_hold_for_old_connections() {
    let mut world = World::new();
    let client = world.open();
    world.feed(client, &text("12345"));
    assert_eq!(world.frames(client), texts(["12345"]));
    let limits = Limits { message_bytes: 4, ..Limits::default() };
    post(&world, Letter::Settings(Settings { limits: Arc::new(limits), ..settings() }));
    world.turn();
    world.feed(client, &text("12345"));
    world.expect_closed(client, Close::TooBig);
}

#[test]
fn a_new_heartbeat_holds_for_old_connections() {
    for before_ms in [u64::MAX, 3_600_000] {
        let mut world = World::with_heartbeat(before_ms);
        let clients = world.open_many(1_200);
        post(&world, Letter::Settings(Settings { heartbeat_ms: BEAT_MS, ..settings() }));
        world.turn();
        world.pass(3 * BEAT_MS);
        for client in clients {
            let frames = world.frames(client);
            assert_eq!(frames.iter().map(|frame| frame.opcode).collect::<Vec<_>>(), [PING, CLOSE]);
            world.end(client);
        }
    }
}
