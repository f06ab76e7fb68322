//! A thousand clients on every core there is: each gets its heartbeat, one that is stopped is closed with 4008,
//! and the others stay. Time is told by the heartbeats themselves.

mod common;
#[path = "common/frames.rs"]
mod frames;

use common::{Process, Server};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustix::process::Signal;
use std::{
    io::{Read, Write},
    time::Duration,
};

const CLIENTS: usize = 999;
/// An unmasked, empty ping, as servers send it.
const PING: [u8; 2] = [0x89, 0];
/// An empty pong under a mask of zeros.
const PONG: [u8; 6] = [0x8A, 0x80, 0, 0, 0, 0];

struct Client {
    socket: TcpStream,
    pings: u32,
}

/// Connected and past the rules. It answers the pings that have come behind them.
fn client(server: &Server) -> std::net::TcpStream {
    let mut socket = std::net::TcpStream::connect(server.address()).unwrap();
    socket.write_all(frames::UPGRADE).unwrap();
    let (mut head, mut buffer) = (Vec::new(), [0; 1_024]);
    // The rules hold the only "ext".
    let end = br#""ext":["msg"]}}"#;
    let behind = loop {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "upgraded");
        head.extend_from_slice(&buffer[..read]);
        if let Some(at) = head.windows(end.len()).position(|bytes| bytes == end) {
            break head.split_off(at + end.len());
        }
    };
    let (pings, rest) = behind.as_chunks::<2>();
    assert!(rest.is_empty() && pings.iter().all(|frame| *frame == PING), "only pings come");
    pings.iter().for_each(|_| socket.write_all(&PONG).unwrap());
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Answers pings until every client has had `pings` of them.
fn beat(poll: &mut Poll, clients: &mut [Client], pings: u32) {
    while clients.iter().any(|client| client.pings < pings) {
        assert!(answer(poll, clients, Duration::from_secs(30)), "no ping for a long time");
    }
}

/// Answers the pings that are there, or come within `wait`; false if there are none.
fn answer(poll: &mut Poll, clients: &mut [Client], wait: Duration) -> bool {
    let mut events = Events::with_capacity(1_024);
    poll.poll(&mut events, Some(wait)).unwrap();
    for event in &events {
        let client = &mut clients[event.token().0];
        let mut buffer = [0; 64];
        while let Ok(read) = client.socket.read(&mut buffer) {
            assert!(read > 0, "nobody but the stopped client is closed");
            let (pings, rest) = buffer[..read].as_chunks::<2>();
            assert!(rest.is_empty() && pings.iter().all(|frame| *frame == PING), "only pings come");
            for _ in pings {
                client.pings += 1;
                client.socket.write_all(&PONG).unwrap();
            }
        }
    }
    !events.is_empty()
}

#[test]
fn everybody_gets_a_heartbeat_and_who_is_stopped_is_closed_with_4008() {
    mida::server::files::raise_limit();
    let server = Server::start(&["--heartbeat", "300"]);
    let mut poll = Poll::new().unwrap();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut socket = TcpStream::from_std(client(&server));
        poll.registry().register(&mut socket, Token(number), Interest::READABLE).unwrap();
        clients.push(Client { socket, pings: 0 });
        // On a busy machine the last comes when the first would have been closed, and a few dozen take a heartbeat.
        answer(&mut poll, &mut clients, Duration::ZERO);
    }
    let mut stopped = Process::start(&["connect", &server.url(), "--json"]);
    assert!(stopped.line().contains(r#""t":0"#));
    beat(&mut poll, &mut clients, 1);

    stopped.signal(Signal::STOP);
    clients.iter_mut().for_each(|client| client.pings = 0);
    // Who only answers is pinged at every other look: the third ping is more than four heartbeats later.
    beat(&mut poll, &mut clients, 3);
    stopped.signal(Signal::CONT);
    let mut line = stopped.line();
    while !line.contains("close") {
        line = stopped.line();
    }
    assert!(line.contains(r#""code":4008"#), "{line}");
    assert_eq!(stopped.wait().code, Some(1));

    // It was one of two kinds of silence; who answers stays.
    beat(&mut poll, &mut clients, 5);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code, Some(0));
}
