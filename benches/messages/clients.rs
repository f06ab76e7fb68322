//! Senders, each with a recipient of its own: a sender keeps some messages in flight, and sends the next when it
//! has a receipt. Nothing is opened: on a sender each frame is a receipt, on a recipient a message.

use crate::{
    EVENT_BYTES,
    common::{
        frames,
        log_in::{Login, log_in_with},
        login::Member,
        stream::{BINARY, BadFrame, Frames},
    },
};
use mida::app::crypto::rng::Rng;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use std::{
    io::{BufRead, Read, Write},
    sync::mpsc,
    time::{Duration, Instant},
};

/// An event 0x82 without its body.
const AROUND_BYTES: usize = 163;

struct Peer {
    socket: TcpStream,
    frames: Frames,
    /// Whom it sends to, if it is a sender; how many messages are to go out now, and how many did.
    to: String,
    due: u64,
    sent: u64,
}

pub fn run(address: &str, senders: u64, flight: u64) {
    let mut rng = Rng::from_os().expect("random bytes");
    let mut poll = Poll::new().expect("epoll");
    // First the senders, then their recipients.
    let mut peers: Vec<Peer> = (0..2 * senders)
        .map(|number| {
            let mut socket = connect(address);
            log_in_with(Login::of(Member::numbered(number)), &mut socket, address, &mut rng);
            socket.set_nonblocking(true).expect("nonblocking");
            let mut socket = TcpStream::from_std(socket);
            let token = Token(number as usize);
            poll.registry().register(&mut socket, token, Interest::READABLE).expect("room in epoll");
            let to = if number < senders { key(senders + number) } else { String::new() };
            Peer { socket, frames: Frames::default(), to, due: 0, sent: 0 }
        })
        .collect();
    let (lines, asked) = mpsc::channel();
    let waker = mio::Waker::new(poll.registry(), Token(usize::MAX)).expect("an eventfd");
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = lines.send(line);
            let _ = waker.wake();
        }
        std::process::exit(0);
    });
    println!("ready");
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; 64 * 1_024];
    // Frames that came to senders and to recipients, and how many messages went out.
    let (mut receipts, mut messages, mut sent) = (0u64, 0u64, 0u64);
    let mut awaited: Option<u64> = None;
    let mut until: Option<Instant> = None;
    let mut is_running = false;
    loop {
        poll.poll(&mut events, until.map(|_| Duration::from_millis(1))).expect("epoll");
        let goes_on = until.is_some_and(|until| Instant::now() < until);
        for event in &events {
            let number = event.token().0;
            let Some(peer) = peers.get_mut(number) else { continue };
            let mut got = 0;
            while let Ok(read) = peer.socket.read(&mut buffer) {
                assert!(read > 0, "the server closed a connection");
                let fed: Result<(), BadFrame> = peer.frames.feed(&buffer[..read], |opcode, _| {
                    got += u64::from(opcode == BINARY);
                    Ok(())
                });
                fed.expect("frames");
                if read < buffer.len() {
                    break;
                }
            }
            if peer.to.is_empty() {
                messages += got;
                continue;
            }
            receipts += got;
            if goes_on && is_running {
                peer.due += got;
                sent += got;
                peer.send();
            }
        }
        if is_running && !goes_on && receipts == sent && messages == sent {
            println!("{sent}");
            (is_running, until) = (false, None);
            (receipts, messages, sent) = (0, 0, 0);
        }
        if let Some(count) = awaited
            && receipts + messages >= count
        {
            assert_eq!(receipts + messages, count, "exactly what was sent");
            (receipts, messages, awaited) = (0, 0, None);
            println!("arrived");
        }
        if let Ok(line) = asked.try_recv() {
            let (what, number) = line.split_once(' ').expect("a word and a number");
            let number: u64 = number.parse().expect("a number");
            if what == "await" {
                awaited = Some(number);
                if receipts + messages >= number {
                    (receipts, messages, awaited) = (0, 0, None);
                    println!("arrived");
                }
                continue;
            }
            until = Some(Instant::now() + Duration::from_micros(number));
            is_running = true;
            for peer in peers.iter_mut().filter(|peer| !peer.to.is_empty()) {
                peer.due = flight;
                sent += flight;
                peer.send();
            }
        }
    }
}

impl Peer {
    /// Each message has an id of its own.
    fn send(&mut self) {
        let mut bytes = Vec::new();
        for _ in 0..std::mem::take(&mut self.due) {
            self.sent += 1;
            let (id, to, body) = (self.sent, &self.to, "x".repeat(EVENT_BYTES - AROUND_BYTES - 2));
            let text =
                format!(r#"{{"t":129,"data":{{"id":"{id}","to":"{to}","live":true,"body":"{body}"}}}}"#);
            frames::append(&mut bytes, frames::FIN | frames::TEXT, text.as_bytes());
        }
        if !bytes.is_empty() {
            assert_eq!(self.socket.write(&bytes).expect("room for so little"), bytes.len());
        }
    }
}

/// That of the user of this number.
fn key(number: u64) -> String {
    let auth: serde_json::Value = serde_json::from_str(&Member::numbered(number).auth()).expect("JSON");
    auth["data"]["pubKey"].as_str().expect("a key").to_owned()
}

/// A connection that has been upgraded and has read its rules.
fn connect(address: &str) -> std::net::TcpStream {
    let mut socket = std::net::TcpStream::connect(address).expect("the server listens");
    socket.set_nodelay(true).expect("nodelay");
    socket.write_all(frames::UPGRADE).expect("the server reads");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("the server answers");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let mut first = [0; 2];
    socket.read_exact(&mut first).expect("a frame");
    let len = match first[1] {
        126 => {
            socket.read_exact(&mut first).expect("its length");
            u16::from_be_bytes(first).into()
        }
        len => usize::from(len),
    };
    socket.read_exact(&mut vec![0; len]).expect("its payload");
    socket
}
