use super::*;
use std::{cell::Cell, num::NonZeroU32};

fn readable(number: u32) -> Readable {
    Readable { token: token(number), to_end: false }
}

fn token(number: u32) -> Token {
    Token { index: number, generation: NonZeroU32::new(number).unwrap() }
}

/// An order in which connections up to `settled` have been there for a while, and those up to `young` have just come.
fn order(settled: u32, young: u32) -> (Order, Instant) {
    let start = Instant::now();
    let mut order = Order::new(start);
    order.opened(token(settled));
    order.begin(start + Standing::PERIOD);
    order.begin(start + 2 * Standing::PERIOD);
    order.opened(token(young));
    (order, start + 2 * Standing::PERIOD)
}

/// Those read from in one turn, where each receive takes so long and all but the last bring all that there is.
fn turn(order: &mut Order, start: Instant, each: Duration) -> Vec<u32> {
    let now = Cell::new(start);
    order.begin(start);
    let mut read = Vec::new();
    while let Some((readable, lane)) = order.next(|| now.get()) {
        order.count(lane);
        read.push(readable.token.index);
        now.set(now.get() + each);
    }
    read
}

#[test]
fn who_was_there_before_is_read_first_and_however_many_come_the_turn_stays_short() {
    let (mut order, now) = order(100, 1_100);
    (101..=1_100).for_each(|number| order.event(readable(number), false));
    (1..=10).for_each(|number| order.event(readable(number), false));
    let each = Duration::from_micros(40);
    let first = turn(&mut order, now, each);
    // Ten of the settled are 400 µs: the young have a quarter of that.
    assert_eq!(first[..10], (1..=10).collect::<Vec<_>>());
    assert_eq!(first[10..], [101, 102, 103]);
    // Alone they get the time of a short turn.
    let next = turn(&mut order, now, each);
    assert_eq!(next, [104, 105, 106]);
    // One in any case, also where each receive takes long.
    assert_eq!(turn(&mut order, now, 2 * SHORT), [107]);
    // All of them in the end, each once, however often the kernel tells of them.
    order.event(readable(1_100), false);
    let mut read = 7;
    while !order.is_empty() {
        read += turn(&mut order, now, each).len();
    }
    assert_eq!(read, 1_000);
}

#[test]
fn a_turn_of_many_ends_when_it_is_long_and_the_rest_come_in_their_order() {
    let (mut order, now) = order(1_000, 1_000);
    (1..=1_000).for_each(|number| order.event(readable(number), false));
    let mut read = Vec::new();
    while !order.is_empty() {
        let more = turn(&mut order, now, Duration::from_micros(100));
        assert!((1..=10 + LOOK_EVERY).contains(&more.len()), "{}", more.len());
        read.extend(more);
    }
    assert_eq!(read, (1..=1_000).collect::<Vec<_>>());
}

#[test]
fn who_has_more_waits_for_everybody_and_is_not_brought_forward() {
    let (mut order, now) = order(100, 110);
    (1..=12).for_each(|number| order.put_back(readable(number)));
    for number in [1, 2, 101, 30] {
        order.event(readable(number), false);
    }
    // One of them in a turn that has been long without them, and some in one that has not.
    assert_eq!(turn(&mut order, now, SHORT / 2), [30, 101, 1]);
    assert_eq!(turn(&mut order, now, SHORT / 2), [2, 3]);
    assert_eq!(turn(&mut order, now, Duration::ZERO), (4..12).collect::<Vec<_>>());
    order.event(readable(30), false);
    assert_eq!(turn(&mut order, now, SHORT), [30, 12]);
    // Reset while it waits: told by its name, and not to be read from once it is forgotten.
    order.put_back(readable(9));
    order.event(Readable { token: token(9), to_end: true }, true);
    assert_eq!(order.broken(), Some(token(9)));
    assert!(order.forget(token(9)) && !order.forget(token(9)));
    assert!(turn(&mut order, now, Duration::ZERO).is_empty());
}

#[test]
fn all_who_are_asked_are_read_from_in_the_next_turn_however_long_it_gets() {
    let (mut order, now) = order(100, 150);
    (1..=20).for_each(|number| order.put_back(readable(number)));
    (101..=150).for_each(|number| order.event(readable(number), false));
    order.event(readable(30), false);
    let asked: Vec<_> = (1..=10).chain(111..=150).collect();
    asked.iter().for_each(|number| order.ask(token(*number)));
    let mut first = turn(&mut order, now, LONG);
    let mut rest = first.split_off(asked.len() + 1);
    // The turn goes on as ever, and nobody is read from twice.
    assert_eq!(first, [&asked[..], &[30]].concat());
    while !order.is_empty() {
        rest.extend(turn(&mut order, now, Duration::ZERO));
    }
    rest.sort_unstable();
    assert_eq!(rest, (11..=20).chain(101..=110).collect::<Vec<_>>());
}

#[test]
fn who_had_more_comes_behind_the_others_for_a_second_or_two() {
    let (mut order, mut now) = order(100, 100);
    order.put_back(readable(1));
    assert_eq!(turn(&mut order, now, Duration::ZERO), [1]);
    for expected in [[2, 1], [2, 1], [1, 2]] {
        (1..=2).for_each(|number| order.event(readable(number), false));
        assert_eq!(turn(&mut order, now, Duration::ZERO), expected);
        now += Standing::PERIOD;
        assert!(turn(&mut order, now, Duration::ZERO).is_empty());
    }
}
