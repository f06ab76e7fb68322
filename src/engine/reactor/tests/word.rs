//! What connections tell each other, and input that waits for a word.

use super::*;

/// The slot of the nth connection of a fresh reactor: the first free one is taken.
fn slot(nth: usize) -> u32 {
    nth as u32
}

fn post(world: &World, command: Command) {
    assert!(world.reactor.inbox().post(Letter::Command(command)).is_ok());
}

#[test]
fn one_connection_tells_another_in_the_same_turn_and_in_order() {
    for tells_per_call in [1, 2, usize::MAX] {
        let mut world = World::new();
        world.reactor.app.tells_per_call = tells_per_call;
        let [first, second] = [world.open(), world.open()];
        let stream: Vec<u8> = (0..10).flat_map(|n| text(&format!("tell {} {n}", slot(1)))).collect();
        world.feed(first, &stream);
        let said: Vec<_> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(world.frames(second), texts(said.iter().map(|text| &text[..])));
        assert_eq!((world.frames(first), world.reactor.wakes_ms()), (vec![], u64::MAX));
    }
}

#[test]
fn more_than_a_turn_delivers_goes_on_in_the_next() {
    let mut world = World::new();
    world.reactor.app.tells_per_call = 1;
    let [first, second] = [world.open(), world.open()];
    let stream: Vec<u8> = (0..700).flat_map(|n| text(&format!("tell {} {n}", slot(1)))).collect();
    world.reactor.io().feed(first, &stream);
    let mut turns = 0;
    let mut got = 0;
    while got < 700 {
        world.turn();
        turns += 1;
        got += world.frames(second).len();
        assert!(got == 700 || world.reactor.wakes_ms() == world.now_ms);
    }
    assert!(turns > 1, "a turn is bounded");
}

#[test]
fn who_is_gone_or_closing_is_not_told_and_a_panic_closes_one() {
    let mut world = World::new();
    let [first, second] = [world.open(), world.open()];
    let third = world.open_at("/panic/visit");
    world.feed(second, &text("close"));
    world.frames(second);
    for index in [slot(1), slot(7), u32::MAX] {
        world.feed(first, &text(&format!("tell {index} hello")));
    }
    assert_eq!(world.frames(second), []);
    world.feed(first, &text(&format!("tell {} hello", slot(2))));
    world.expect_closed(third, Close::Internal);
    world.feed(first, &[text(&format!("tell {} panic", slot(0))), text("tell 0 still here")].concat());
    assert_eq!(world.frames(first), texts(["still here"]));
    assert_eq!(world.reactor.stats().panics, 2);
    world.feed(first, &text("tell 0 close"));
    world.expect_closed(first, Close::Strikes);
}

#[test]
fn a_deadline_that_another_has_set_is_kept() {
    let mut world = World::new();
    let [first, second] = [world.open(), world.open()];
    world.feed(first, &text(&format!("tell {} late", slot(1))));
    world.pass(4);
    assert_eq!(world.frames(second), []);
    world.pass(1);
    assert_eq!(world.frames(second), texts(["timer"]));
}

#[test]
fn who_waits_for_a_word_about_itself_does_not_spin_and_goes_on_when_it_comes() {
    let mut world = World::new();
    let clients = [world.open(), world.open()];
    for client in clients {
        world.feed(client, &[text("wait"), text("behind")].concat());
        assert_eq!(world.frames(client), []);
        assert_eq!(world.reactor.wakes_ms(), u64::MAX, "it sleeps");
    }
    // What comes meanwhile is not read, and its end not seen.
    world.feed(clients[0], &text("more"));
    post(&world, Command::Aside);
    world.turn();
    assert_eq!(world.reactor.wakes_ms(), u64::MAX);
    post(&world, Command::Wake(slot(0)));
    world.turn();
    assert_eq!(world.reactor.wakes_ms(), 0);
    world.turn();
    assert_eq!(world.frames(clients[0]), texts(["behind", "more"]));
    assert_eq!((world.frames(clients[1]), world.reactor.wakes_ms()), (vec![], u64::MAX));
    // One that waits can be closed, and its end is seen.
    world.feed(clients[0], &text(&format!("tell {} close", slot(1))));
    world.turn();
    world.expect_closed(clients[1], Close::Strikes);
}

#[test]
fn who_waits_for_any_letter_goes_on_in_order_as_answers_come() {
    let mut world = World::new();
    world.reactor.app.unanswered_max = 2;
    let clients = [world.open(), world.open(), world.open()];
    for client in clients {
        world.feed(client, &[text("ask"), text("x"), text("ask"), text("y")].concat());
    }
    let heard = |world: &mut World| clients.map(|client| world.frames(client).len());
    // The first asks twice, and its second answer waits; the others wait with all.
    assert_eq!((heard(&mut world), world.reactor.wakes_ms()), ([1, 0, 0], u64::MAX));
    let mut total = 1;
    for _ in 0..6 {
        let asked = world.reactor.app.unanswered;
        assert!(asked <= 2);
        post(&world, Command::Answer(1));
        world.turn();
        while world.reactor.wakes_ms() == 0 {
            world.turn();
        }
        assert_eq!(world.reactor.wakes_ms(), u64::MAX, "it sleeps until the next answer");
        total += heard(&mut world).iter().sum::<usize>();
        if world.reactor.app.unanswered == 0 {
            break;
        }
    }
    assert_eq!((total, world.reactor.app.unanswered), (6, 0));
}

#[test]
fn who_waits_and_leaves_is_forgotten() {
    let mut world = World::new();
    world.reactor.app.unanswered_max = 0;
    for _ in 0..2_500 {
        let client = world.open();
        world.feed(client, &text("x"));
        let index = world.slots().end() - 1;
        post(&world, Command::Tell(index, "close".to_owned()));
        world.turn();
        world.turn();
        world.expect_closed(client, Close::Strikes);
    }
    assert!(world.reactor.core.parked.len() < 1_500);
}

#[test]
fn a_budget_is_not_waited_for_behind_those_who_wait_for_a_letter() {
    let mut world = World::new();
    let [first, second] = [world.open(), world.open()];
    world.reactor.app.unanswered_max = 0;
    world.feed(first, &text("parked"));
    world.reactor.app.unanswered_max = usize::MAX;
    world.reactor.app.messages_per_turn = 1;
    world.feed(second, &[text("a"), text("b"), text("c")].concat());
    // From here on both wait in the same turns.
    for _ in 0..4 {
        world.turn();
    }
    assert_eq!((world.frames(first), world.frames(second)), (texts(["parked"]), texts(["a", "b", "c"])));
}

#[test]
fn two_reactors_write_to_each_other_and_what_does_not_fit_goes_later_in_order() {
    let mut worlds = [World::new(), World::new()];
    let inboxes = worlds.each_ref().map(|world| world.reactor.inbox());
    for (number, world) in worlds.iter_mut().enumerate() {
        world.reactor.join(Arc::new(Balance::new(1, 2, 100)), number);
        world.reactor.meet(&inboxes);
    }
    let [here, there] = &mut worlds;
    let (sender, hearer) = (here.open(), there.open());
    // Its box is full but for three letters.
    for _ in 0..INBOX - 3 {
        post(there, Command::Aside);
    }
    let stream: Vec<u8> = (0..10).flat_map(|n| text(&format!("abroad 0 {n}"))).collect();
    here.feed(sender, &stream);
    assert_eq!((here.reactor.app.abroad.len(), here.reactor.wakes_ms()), (7, here.now_ms + 1));
    here.pass(1);
    assert_eq!(here.reactor.app.abroad.len(), 7);
    there.turn();
    here.pass(1);
    assert_eq!((here.reactor.app.abroad.len(), here.reactor.wakes_ms()), (0, u64::MAX));
    there.turn();
    let said: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(there.frames(hearer), texts(said.iter().map(|text| &text[..])));
}
