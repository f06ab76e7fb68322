//! Requests that ask for no upgrade, and an application that answers some of them.

use super::{
    app::filled,
    core::{ANSWER_MS, CLOSE_MS},
    *,
};

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// What is sent for `/page/BYTES`.
fn page(bytes: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
    [head, filled(bytes)].concat()
}

#[test]
fn the_answer_is_sent_whole_and_is_the_last() {
    let mut world = World::new();
    for bytes in [0, 1, 100, 1_024, 40_000, 700_000] {
        for pieces in [1, 7] {
            let client = world.connect();
            let request = [get(&format!("/page/{bytes}")), text("dropped")].concat();
            for piece in request.chunks(request.len().div_ceil(pieces)) {
                world.feed(client, piece);
            }
            assert_eq!(world.reactor.io().take(client), page(bytes));
            world.feed(client, &get("/page/1"));
            world.expect_the_end(client);
        }
    }
    let head = String::from_utf8(get("/page/9")).unwrap().replace("GET", "HEAD");
    let client = world.connect();
    world.feed(client, head.as_bytes());
    assert_eq!(world.take_text(client), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    world.expect_the_end(client);
    assert_eq!((world.reactor.app.received, world.reactor.app.answered), (0, 13));
    assert_eq!(world.reactor.stats().refusals.iter().sum::<u64>(), 0);
}

#[test]
fn what_it_does_not_answer_is_refused_as_before() {
    let mut world = World::new();
    let head = |line: &str, field: &str| format!("{line}\r\nHost: localhost\r\n{field}\r\n").into_bytes();
    for (request, status) in [
        (get("/"), "400"),
        (head("POST /page/1 HTTP/1.1", ""), "400"),
        (head("GET /page/1 HTTP/1.0", ""), "400"),
        (head("GET /page/1 HTTP/1.1", "Content-Length: 0\r\n"), "400"),
        (head("GET /page/1 HTTP/1.1", "Host: other\r\n"), "400"),
        (head("GET /page/1 HTTP/1.1", "Sec-WebSocket-Key: x\r\n"), "400"),
        (head("GET /page/1 HTTP/1.1", "Upgrade: h2c\r\n"), "400"),
        (get("/panic/plain"), "503"),
    ] {
        let client = world.connect();
        world.feed(client, &request);
        let answer = world.take_text(client);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        world.expect_the_end(client);
    }
    let stats = world.reactor.stats();
    assert_eq!((world.reactor.app.answered, stats.panics, stats.refusals.iter().sum::<u64>()), (0, 1, 8));
}

#[test]
fn a_slow_reader_has_its_time_and_is_then_reset() {
    let mut world = World::new();
    for takes_it in [true, false] {
        let client = world.connect();
        world.window(client, Some(1_000));
        world.feed(client, &get("/page/40000"));
        world.pass(CLOSE_MS + 1);
        assert!(!world.is_closed(client));
        if takes_it {
            world.window(client, None);
            world.turn();
            world.pass(ANSWER_MS - CLOSE_MS - 2);
            assert_eq!(world.reactor.io().take(client), page(40_000));
            world.expect_the_end(client);
        } else {
            world.pass(ANSWER_MS - CLOSE_MS - 2);
            assert!(!world.is_closed(client));
            world.pass(1);
            assert!(world.is_reset(client));
        }
    }
}

#[test]
fn slow_readers_are_bounded_as_all_queues_are() {
    let mut world = World::new();
    let clients: Vec<_> = (0..50).map(|_| world.connect()).collect();
    for &client in &clients {
        world.window(client, Some(0));
        world.feed(client, &get("/page/700000"));
    }
    world.reactor.core.settings.limits = Arc::new(Limits { reactor_queue_bytes: 0, ..Limits::default() });
    world.turn();
    assert!(clients.iter().all(|client| world.is_reset(*client)));
}

#[test]
fn where_there_is_no_room_nobody_is_answered() {
    let mut world = World::with(Settings { capacity: 1, ..settings() });
    let open = world.open();
    let client = world.connect();
    world.feed(client, &get("/page/1"));
    assert!(world.take_text(client).starts_with("HTTP/1.1 503 "));
    world.expect_the_end(client);
    world.expect_served(open);
}
