//! A thousand clients on every core there is: each gets its heartbeat, one that is stopped is closed with 4008,
//! and the others stay. Time is told by the heartbeats themselves.

mod common;
#[path = "common/frames.rs"]
#[allow(dead_code)] // Each test file uses its part.
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

/// Connected and past the rules.
fn client(server: &Server) -> std::net::TcpStream {
    let mut socket = std::net::TcpStream::connect(server.address()).unwrap();
    socket.write_all(frames::UPGRADE).unwrap();
    let (mut head, mut buffer) = (Vec::new(), [0; 1_024]);
    // The rules end the first write of the server, and hold the only "ext".
    while !head.ends_with(br#""ext":[]}}"#) {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "upgraded");
        head.extend_from_slice(&buffer[..read]);
    }
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Answers pings until every client has had `pings` of them.
fn beat(poll: &mut Poll, clients: &mut [Client], pings: u32) {
    let mut events = Events::with_capacity(1_024);
    while clients.iter().any(|client| client.pings < pings) {
        poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
        assert!(!events.is_empty(), "no ping for a long time");
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
    }
}

#[test]
fn everybody_gets_a_heartbeat_and_who_is_stopped_is_closed_with_4008() {
    mida::server::files::raise_limit();
    let server = Server::start(&["--heartbeat", "300"]);
    let mut poll = Poll::new().unwrap();
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut socket = TcpStream::from_std(client(&server));
            poll.registry().register(&mut socket, Token(number), Interest::READABLE).unwrap();
            Client { socket, pings: 0 }
        })
        .collect();
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
