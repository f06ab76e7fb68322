//! Those who storm: they connect and upgrade, then log in, then leave, each when they are told.

use crate::common::{
    log_in::Login,
    stream::{BadFrame, Frames},
};
use mida::app::crypto::{hex, rng::Rng};
use mio::{Events, Interest, Poll, Token};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Prints the server's answer to an upgrade in hex; then does what each line of standard input says, and
/// prints `done`.
pub fn run(address: &str, sockets: usize, in_flight: usize) {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    let answer = answer(address, &request);
    let mut text = Vec::new();
    hex::append(&answer, &mut text);
    println!("{}", String::from_utf8_lossy(&text));
    let mut clients = Clients {
        address,
        poll: Poll::new().expect("epoll"),
        events: Events::with_capacity(1_024),
        buffer: vec![0; 16 * 1_024],
        open: Vec::new(),
        in_flight,
    };
    let mut rng = Rng::from_os().expect("random bytes");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.as_str() {
            "open" => clients.open(sockets, &request, &answer),
            "log in" => clients.log_in(address, &mut rng),
            "close" => clients.open.drain(..).for_each(reset),
            _ => panic!("not told like this: {line}"),
        }
        println!("done");
    }
}

/// What the server says to one who upgrades: the response and the first frame, byte for byte.
fn answer(address: &str, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    socket.write_all(request).expect("the server reads");
    let (mut answer, mut frames) = (Vec::new(), 0);
    while frames == 0 {
        let mut buffer = [0; 4_096];
        let read = socket.read(&mut buffer).expect("the server answers");
        assert!(read > 0, "the server closed a connection");
        answer.extend_from_slice(&buffer[..read]);
        let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let fed: Result<(), BadFrame> = Frames::default().feed(&answer[head + 4..], |_, _| {
            frames += 1;
            Ok(())
        });
        fed.expect("frames");
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 ") && frames == 1);
    answer
}

struct Clients<'a> {
    address: &'a str,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    open: Vec<mio::net::TcpStream>,
    /// Connections that wait for the server at any time.
    in_flight: usize,
}

impl Clients<'_> {
    /// Opens all connections; each has had the expected answer then.
    fn open(&mut self, sockets: usize, request: &[u8], answer: &[u8]) {
        let mut received = vec![0; sockets];
        let mut answered = 0;
        while answered < sockets {
            while self.open.len() < sockets.min(answered + self.in_flight) {
                let mut socket = self.connect();
                let token = Token(self.open.len());
                self.poll.registry().register(&mut socket, token, Interest::READABLE).expect("epoll");
                socket.write_all(request).expect("room for a request");
                self.open.push(socket);
            }
            self.readable(|_, number, bytes| {
                let rest = &answer[received[number]..];
                assert!(rest.starts_with(bytes), "the same answer as before");
                received[number] += bytes.len();
                answered += usize::from(received[number] == answer.len());
            });
        }
    }

    /// Logs in on all connections, each with a key of its own.
    fn log_in(&mut self, host: &str, rng: &mut Rng) {
        let mut logins: Vec<_> = self.open.iter().map(|_| Login::new(rng)).collect();
        let (mut begun, mut over) = (0, 0);
        while over < logins.len() {
            while begun < logins.len().min(over + self.in_flight) {
                self.open[begun].write_all(&logins[begun].first()).expect("room for a frame");
                begun += 1;
            }
            self.readable(|socket, number, bytes| {
                if let Some(frame) = logins[number].read(bytes, host, rng) {
                    socket.write_all(&frame).expect("room for a frame");
                }
                over += usize::from(logins[number].is_over());
            });
        }
    }

    /// Waits, and hands out what has been received, and by whom.
    fn readable(&mut self, mut with: impl FnMut(&mut mio::net::TcpStream, usize, &[u8])) {
        self.poll.poll(&mut self.events, Some(Duration::from_secs(10))).expect("epoll");
        assert!(!self.events.is_empty(), "the server answers within 10 s");
        for event in &self.events {
            let number = event.token().0;
            let socket = &mut self.open[number];
            loop {
                match socket.read(&mut self.buffer) {
                    Ok(0) => panic!("the server closed a connection"),
                    Ok(read) => with(socket, number, &self.buffer[..read]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("reading: {error}"),
                }
            }
        }
    }

    fn connect(&self) -> mio::net::TcpStream {
        let socket = TcpStream::connect(self.address).expect("the server listens");
        socket.set_nodelay(true).expect("nodelay");
        socket.set_nonblocking(true).expect("nonblocking");
        mio::net::TcpStream::from_std(socket)
    }
}

/// Closes with a reset, so that no port stays taken.
fn reset(socket: mio::net::TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("linger");
}
