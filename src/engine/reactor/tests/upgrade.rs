//! From the request to the first messages.

use super::*;

#[test]
fn a_client_is_upgraded_and_served() {
    let mut world = World::new();
    let client = world.open();
    world.expect_served(client);
    world.feed(client, &frame(BINARY, &[0, 255, 7]));
    assert_eq!(world.frames(client), [Frame { opcode: BINARY, payload: vec![0, 255, 7] }]);
    world.feed(client, &frame(PING, b"ping"));
    assert_eq!(world.frames(client), [Frame { opcode: PONG, payload: b"ping".to_vec() }]);
    world.feed(client, &frame(PONG, b"unasked"));
    assert_eq!(world.frames(client), []);
    let long = "long ".repeat(10_000);
    world.feed(client, &text(&long));
    assert_eq!(world.frames(client), texts([&long[..]]));
}

#[test]
fn one_turn_answers_with_one_write() {
    let mut world = World::new();
    let client = world.open();
    let sends = world.reactor.io().sends;
    let many: Vec<u8> = (0..300).flat_map(|n| text(&n.to_string())).collect();
    world.feed(client, &many);
    assert_eq!((world.frames(client).len(), world.reactor.io().sends - sends), (300, 1));
}

/// A request with frames behind it, and what must come back.
fn stream() -> (Vec<u8>, Vec<Frame>) {
    let frames =
        [text("begin"), raw_frame(0x01, b"s"), frame(PING, b"p"), raw_frame(0x80, b"plit"), text("")];
    let mut answers = texts(["begin", "split", ""]);
    answers.insert(1, Frame { opcode: PONG, payload: b"p".to_vec() });
    ([request("/"), frames.concat()].concat(), answers)
}

fn expect_stream(world: &mut World, client: Number) {
    let got = world.reactor.io().take(client);
    assert!(got.starts_with(ACCEPTED.as_bytes()));
    world.unread.insert(client, got[ACCEPTED.len()..].to_vec());
    assert_eq!(world.frames(client), stream().1);
    assert!(!world.unread.contains_key(&client));
    assert_eq!(world.reactor.holdings(), Holdings::default());
}

#[test]
fn the_answers_are_the_same_wherever_the_stream_is_cut_in_two() {
    let mut world = World::new();
    let (stream, _) = stream();
    for at in 0..=stream.len() {
        let client = world.connect();
        if at > 0 {
            world.feed(client, &stream[..at]);
        }
        if at < stream.len() {
            world.feed(client, &stream[at..]);
        }
        expect_stream(&mut world, client);
        world.end(client);
    }
}

#[test]
fn the_answers_are_the_same_byte_by_byte() {
    let mut world = World::new();
    for many_a_turn in [false, true] {
        let client = world.connect();
        for byte in stream().0 {
            world.reactor.io().feed(client, &[byte]);
            if !many_a_turn {
                world.turn();
            }
        }
        world.turn();
        expect_stream(&mut world, client);
    }
}

#[test]
fn what_is_queued_at_the_opening_comes_between_the_answer_and_the_first_reply() {
    let mut world = World::new();
    let client = world.connect();
    world.feed(client, &[request("/opened/greet"), text("first")].concat());
    let got = world.reactor.io().take(client);
    assert_eq!(got, [ACCEPTED.as_bytes(), b"\x81\x05hello\x81\x05first"].concat());
}

#[test]
fn a_connection_that_is_closed_at_its_opening_is_told() {
    let mut world = World::new();
    let client = world.connect();
    world.feed(client, &[request("/opened/close"), text("never read")].concat());
    assert!(world.reactor.io().take(client).ends_with(b"too many bad messages"));
    assert_eq!(world.reactor.app.received, 0);
    world.expect_the_end(client);
}

#[test]
fn the_subprotocol_is_the_one_that_the_application_chose() {
    let mut world = World::new();
    for (offers, selects) in [("test", true), ("a, test , b", true), ("a, testing", false)] {
        let client = world.connect();
        let mut head = request("/");
        head.truncate(head.len() - 2);
        head.extend_from_slice(format!("Sec-WebSocket-Protocol: {offers}\r\n\r\n").as_bytes());
        world.feed(client, &head);
        let answer = world.take_text(client);
        assert!(answer.starts_with("HTTP/1.1 101 "));
        assert_eq!(answer.contains("Sec-WebSocket-Protocol: test\r\n"), selects, "{offers}");
        world.expect_served(client);
    }
}

#[test]
fn each_connection_knows_the_address_that_was_dialled_while_there_are_not_too_many() {
    let mut world = World::new();
    for number in (0..300).chain(0..300) {
        let local = format!("192.0.2.1:{}", 1_000 + number);
        world.reactor.io().local = Some(local.parse().unwrap());
        let client = world.open();
        world.feed(client, &text("local"));
        let knows = if number < 256 { &local } else { "nowhere" };
        assert_eq!(world.frames(client), texts([knows]));
    }
    world.reactor.io().local = None;
    let client = world.open();
    world.feed(client, &text("local"));
    assert_eq!(world.frames(client), texts(["nowhere"]));
}

#[test]
fn only_what_is_incomplete_is_held() {
    let mut world = World::new();
    let client = world.connect();
    let head = request("/");
    world.feed(client, &head[..100]);
    let held = world.reactor.holdings();
    assert!(held.tails == 1 && held.tail_bytes >= 100 && held.tail_bytes < 1_000);
    world.feed(client, &head[100..]);
    assert_eq!(world.take_text(client), ACCEPTED);
    assert_eq!(world.reactor.holdings(), Holdings::default());
    let message = text(&"message ".repeat(2_000));
    world.feed(client, &message[..10_000]);
    let held = world.reactor.holdings();
    assert!(held.tails == 1 && held.tail_bytes >= 10_000 && held.tail_bytes < 20_000);
    world.feed(client, &message[10_000..]);
    assert_eq!(world.frames(client).len(), 1);
    assert_eq!(world.reactor.holdings(), Holdings::default());
}

#[test]
fn a_message_cut_anywhere_does_not_disturb_another_client() {
    let mut world = World::new();
    let [one, other] = [world.open(), world.open()];
    let message = text("cut");
    for at in 1..message.len() {
        world.feed(one, &message[..at]);
        world.expect_served(other);
        world.feed(one, &message[at..]);
        assert_eq!(world.frames(one), texts(["cut"]));
    }
}
