//! Requests that are refused, and connections for which there is no room.

use super::*;

#[track_caller]
fn expect_refused(world: &mut World, client: Number, status: u16) -> String {
    let answer = world.take_text(client);
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    world.expect_the_end(client);
    answer
}

#[test]
fn a_request_has_an_absolute_deadline() {
    for drips in [false, true] {
        let mut world = World::new();
        world.now_ms = 777;
        let client = world.connect();
        world.turn();
        for byte in request("/").iter().take(9) {
            if drips {
                world.feed(client, &[*byte]);
            }
            world.pass(1_000);
        }
        world.pass(999);
        assert_eq!(world.take_text(client), "");
        world.pass(1);
        expect_refused(&mut world, client, 408);
    }
}

#[test]
fn a_request_that_is_complete_in_time_has_no_deadline_left() {
    let mut world = World::new();
    let client = world.connect();
    world.turn();
    world.pass(9_999);
    world.feed(client, &request("/"));
    assert_eq!(world.take_text(client), ACCEPTED);
    world.pass(1_000_000);
    world.expect_served(client);
}

/// A request whose head has exactly this length.
fn head(len: usize) -> Vec<u8> {
    let mut head = request("/");
    head.truncate(head.len() - 2);
    let filler = len - head.len() - "X: \r\n\r\n".len();
    head.extend_from_slice(format!("X: {}\r\n\r\n", "x".repeat(filler)).as_bytes());
    head
}

#[test]
fn a_head_may_be_as_long_as_the_limit_and_no_longer() {
    for (len, is_taken) in [(8_191, true), (8_192, true), (8_193, false), (60_000, false)] {
        for piece in [usize::MAX, 1_000, 4_096] {
            let mut world = World::new();
            let client = world.connect();
            let head = head(len);
            assert_eq!(head.len(), len);
            for piece in head.chunks(piece.min(len)) {
                world.feed(client, piece);
            }
            if is_taken {
                assert_eq!(world.take_text(client), ACCEPTED, "{len} in pieces of {piece}");
            } else {
                expect_refused(&mut world, client, 431);
            }
        }
    }
}

#[test]
fn a_head_without_end_is_refused_as_soon_as_it_is_too_long() {
    let mut world = World::new();
    let client = world.connect();
    world.feed(client, &head(60_000)[..8_191]);
    assert_eq!(world.take_text(client), "");
    world.feed(client, b"x");
    expect_refused(&mut world, client, 431);
}

#[test]
fn frames_behind_the_head_do_not_count_towards_its_length() {
    let mut world = World::new();
    for piece in [8_192, 8_000, 20_000] {
        let client = world.connect();
        let message = "m".repeat(20_000);
        let stream = [head(8_192), text(&message)].concat();
        for piece in stream.chunks(piece) {
            world.feed(client, piece);
        }
        let got = world.reactor.io().take(client);
        assert_eq!(got.len(), ACCEPTED.len() + 4 + message.len());
    }
}

#[test]
fn wrong_requests_get_the_answer_that_names_the_mistake() {
    let head = String::from_utf8(request("/")).unwrap();
    let table = [
        (head.replace("GET", "POST"), 400, "send GET"),
        (head.replace("Upgrade: websocket\r\n", ""), 400, "Upgrade: websocket"),
        (head.replace("Host: localhost\r\n", ""), 400, "Host"),
        (head.replace("dGhl", "dG"), 400, "Sec-WebSocket-Key"),
        (head.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n"), 400, "body"),
        (head.replace("HTTP/1.1", "HTTP/1.0"), 400, "HTTP/1.1"),
        (head.replace("Version: 13", "Version: 8"), 426, "Sec-WebSocket-Version: 13\r\n"),
        (head.replace("GET / ", "GET /forbidden "), 403, "origin"),
        (head.replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: y\r\n".repeat(64))), 431, "larger"),
    ];
    let mut world = World::new();
    for (head, status, says) in table {
        let client = world.connect();
        world.feed(client, &[head.as_bytes(), &text("dropped")].concat());
        let answer = expect_refused(&mut world, client, status);
        assert!(answer.contains(says), "{answer}");
    }
    assert_eq!(world.reactor.app.received, 0);
}

#[test]
fn a_refused_client_that_does_not_leave_is_reset() {
    let mut world = World::new();
    let client = world.connect();
    world.feed(client, b"nonsense\r\n\r\n");
    assert!(world.take_text(client).starts_with("HTTP/1.1 400 "));
    world.pass(1_999);
    world.feed(client, &request("/"));
    assert!(world.is_ended(client) && !world.is_closed(client));
    world.pass(1);
    assert!(world.is_reset(client));
    assert_eq!(world.take_text(client), "");
}

#[test]
fn a_client_that_ends_before_its_request_is_whole_is_forgotten() {
    let mut world = World::new();
    for resets in [false, true] {
        let client = world.connect();
        world.feed(client, &request("/")[..50]);
        if resets {
            world.reactor.io().reset(client);
        } else {
            world.reactor.io().end(client);
        }
        world.turn();
        assert!(world.is_closed(client));
        assert_eq!((world.take_text(client), world.reactor.connections()), (String::new(), 0));
    }
}

#[test]
fn a_refusal_reaches_a_client_that_ended_behind_its_request() {
    let mut world = World::new();
    let client = world.connect();
    world.reactor.io().feed(client, &request("/forbidden"));
    world.end(client);
    assert!(world.take_text(client).starts_with("HTTP/1.1 403 "));
    assert!(world.is_closed(client) && !world.is_reset(client));
}

#[test]
fn a_full_server_refuses_and_serves_again_below_nine_tenths() {
    for capacity in [1, 2, 5, 9, 10, 11, 15, 19, 20, 100] {
        let mut world = World::with(Settings { capacity, ..settings() });
        let mut clients: Vec<_> = (0..capacity).map(|_| world.open()).collect();
        loop {
            let open = world.reactor.connections();
            assert_eq!(open, clients.len());
            let client = world.connect();
            world.feed(client, &request("/"));
            // Integers on purpose: below nine tenths of the capacity.
            if open * 10 < capacity * 9 {
                assert_eq!(world.take_text(client), ACCEPTED, "{open} of {capacity}");
                clients.push(client);
                break;
            }
            expect_refused(&mut world, client, 503);
            world.end(clients.pop().unwrap());
        }
        while clients.len() < capacity {
            clients.push(world.open());
        }
        let client = world.connect();
        world.feed(client, &request("/"));
        expect_refused(&mut world, client, 503);
        clients.iter().for_each(|client| world.expect_served(*client));
    }
}

#[test]
fn at_the_end_of_the_reserve_connections_wait_until_there_is_room() {
    let mut world = World::with(Settings { capacity: 2, ..settings() });
    let clients: Vec<_> = (0..2 + RESERVE + 3).map(|_| world.connect()).collect();
    world.turn();
    assert_eq!(world.reactor.connections(), 2 + RESERVE);
    assert!(!world.reactor.io().accepting);
    world.pass(1_000);
    assert_eq!(world.reactor.connections(), 2 + RESERVE);
    world.end(clients[10]);
    world.turn();
    assert_eq!(world.reactor.connections(), 2 + RESERVE);
    assert_eq!(world.reactor.stats().accepted, 2 + RESERVE as u64 + 1);
    for &client in &clients[..10] {
        world.end(client);
    }
    world.turn();
    assert!(world.reactor.io().accepting);
    assert_eq!(world.reactor.stats().accepted, clients.len() as u64);
}

#[test]
fn an_accept_without_descriptors_is_tried_again_without_spinning() {
    let mut world = World::new();
    let old = world.open();
    world.reactor.io().fail_accept();
    let new = world.connect();
    world.reactor.io().feed(new, &request("/"));
    world.turn();
    assert_eq!((world.reactor.stats().accept_failures, world.reactor.connections()), (1, 1));
    assert_eq!(world.reactor.wakes_ms(), ACCEPT_REST_MS);
    world.pass(ACCEPT_REST_MS - 1);
    assert_eq!(world.reactor.connections(), 1);
    world.pass(1);
    world.turn();
    assert_eq!(world.take_text(new), ACCEPTED);

    // A connection that ends gives its descriptor back: there is no need to wait.
    world.reactor.io().fail_accept();
    let third = world.connect();
    world.turn();
    world.end(old);
    world.turn();
    world.feed(third, &request("/"));
    assert_eq!(world.take_text(third), ACCEPTED);
}

#[test]
fn an_address_has_its_share_and_others_get_in() {
    let mut world = World::with_limits(Limits { connections_per_address: 2, ..Limits::default() });
    let [first, second] = [world.connect_from("10.0.0.1:5"), world.connect_from("10.0.0.1:6")];
    for client in [first, second] {
        world.feed(client, &request("/"));
        assert_eq!(world.take_text(client), ACCEPTED);
    }
    for (address, is_taken) in [("10.0.0.1:9", false), ("10.0.0.2:9", true), ("127.0.0.1:9", true)] {
        let client = world.connect_from(address);
        world.feed(client, &request("/"));
        if is_taken {
            assert_eq!(world.take_text(client), ACCEPTED, "{address}");
        } else {
            assert!(expect_refused(&mut world, client, 503).contains("from this address"));
        }
    }
    world.end(first);
    let client = world.connect_from("10.0.0.1:10");
    world.feed(client, &request("/"));
    assert_eq!(world.take_text(client), ACCEPTED);
}

#[test]
fn what_is_accepted_beyond_ones_share_is_dealt_and_what_is_dealt_is_served() {
    let balance = Arc::new(Balance::new(1, 2, u32::MAX));
    let [mut first, mut second] = [World::new(), World::new()];
    first.reactor.join(balance.clone(), 0);
    second.reactor.join(balance.clone(), 1);
    let clients: Vec<_> = (0..10).map(|_| first.connect()).collect();
    first.turn();
    assert_eq!((first.reactor.connections(), first.reactor.stats().dealt), (5, 5));
    // Equal shares, in turn.
    let dealt: Vec<_> = clients.iter().skip(1).step_by(2).map(|client| (1, *client)).collect();
    assert_eq!(std::mem::take(&mut first.reactor.io().dealt), dealt);
    assert_eq!((balance.taken(), second.reactor.connections()), (10, 0));

    let address = "127.0.0.1:5000".parse().unwrap();
    let mut there: Vec<_> = (0..4).map(|_| second.reactor.io().receive_dealt(address)).collect();
    second.turn();
    second.reactor.io().lose(1);
    second.turn();
    assert_eq!((second.reactor.connections(), second.reactor.stats().lost), (4, 1));
    assert_eq!(balance.taken(), 9);
    let served = there.pop().unwrap();
    second.feed(served, &request("/"));
    assert_eq!(second.take_text(served), ACCEPTED);
    second.end(served);
    second.turn();
    assert_eq!(balance.taken(), 8);

    // The next two go where it is emptier.
    first.connect();
    first.connect();
    first.turn();
    assert_eq!((first.reactor.connections(), first.reactor.io().dealt.len()), (5, 2));
    // Nobody takes those on.
    first.reactor.io().dealt.clear();
    (0..2).for_each(|_| balance.leave(1));
    drop((first, second));
    assert_eq!(balance.taken(), 0);
}

#[test]
fn an_address_over_its_share_takes_no_room_by_saying_nothing() {
    let limits = Arc::new(Limits { connections_per_address: 2, ..Limits::default() });
    let mut world = World::with(Settings { limits, capacity: 10, ..settings() });
    let greedy: Vec<_> = (0..300).map(|_| world.connect_from("10.0.0.1:5")).collect();
    world.turn();
    world.turn();
    assert_eq!(world.reactor.connections(), 2 + PATIENT);
    for &client in &greedy[2 + PATIENT..] {
        assert!(world.take_text(client).contains("from this address"));
        assert!(world.is_closed(client) && !world.is_reset(client));
    }
    // All the room there is goes to others.
    let others: Vec<_> = (0..8).map(|_| world.open()).collect();
    let client = world.connect();
    world.feed(client, &request("/"));
    assert!(expect_refused(&mut world, client, 503).contains("no room"));
    others.iter().for_each(|client| world.expect_served(*client));
    world.feed(greedy[2], &request("/"));
    assert!(expect_refused(&mut world, greedy[2], 503).contains("from this address"));
    // As soon as those who were refused are gone, requests are waited for again.
    greedy[2..2 + PATIENT].iter().for_each(|client| world.end(*client));
    world.turn();
    let client = world.connect_from("10.0.0.1:5");
    world.turn();
    assert_eq!(world.take_text(client), "");
    world.feed(client, &request("/"));
    expect_refused(&mut world, client, 503);
}
