//! Those who are sent to: they connect, log in if they are to, and then count the frames that come.

use crate::common::{
    frames,
    log_in::log_in,
    stream::{BINARY, BadFrame, Frames, TEXT},
};
use mida::app::crypto::rng::Rng;
use mio::{Events, Interest, Poll, Token};
use std::{
    io::{BufRead, Read, Write},
    net::TcpStream,
    sync::mpsc,
};

pub fn run(address: &str, sockets: u64, greeted: bool, logs_in: bool) {
    let mut rng = Rng::from_os().expect("random bytes");
    let mut poll = Poll::new().expect("epoll");
    let mut peers: Vec<Peer> = (0..sockets)
        .map(|number| {
            let mut peer = connect(address, greeted);
            if logs_in {
                log_in(&mut peer, address, &mut rng);
            }
            peer.set_nonblocking(true).expect("nonblocking");
            let mut socket = mio::net::TcpStream::from_std(peer);
            poll.registry()
                .register(&mut socket, Token(number as usize), Interest::READABLE)
                .expect("room in epoll");
            Peer { socket, frames: Frames::default() }
        })
        .collect();
    let (lines, asked) = mpsc::channel();
    let waker = mio::Waker::new(poll.registry(), Token(usize::MAX)).expect("an eventfd");
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let count: u64 = line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
            let _ = lines.send(count);
            let _ = waker.wake();
        }
        std::process::exit(0);
    });
    println!("ready");
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; 64 * 1_024];
    let (mut arrived, mut awaited) = (0, None);
    loop {
        poll.poll(&mut events, None).expect("epoll");
        for event in &events {
            let Some(peer) = peers.get_mut(event.token().0) else { continue };
            while let Ok(read) = peer.socket.read(&mut buffer) {
                assert!(read > 0, "the server closed a connection");
                let fed: Result<(), BadFrame> = peer.frames.feed(&buffer[..read], |opcode, _| {
                    // A ping is no delivery.
                    arrived += u64::from(matches!(opcode, TEXT | BINARY));
                    Ok(())
                });
                fed.expect("frames");
                if read < buffer.len() {
                    break;
                }
            }
        }
        awaited = awaited.or_else(|| asked.try_recv().ok());
        if let Some(count) = awaited
            && arrived >= count
        {
            assert_eq!(arrived, count, "exactly what was sent");
            (arrived, awaited) = (0, None);
            println!("arrived");
        }
    }
}

struct Peer {
    socket: mio::net::TcpStream,
    frames: Frames,
}

/// A connection that has been upgraded and, if it is greeted, has read its first message.
fn connect(address: &str, greeted: bool) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    socket.set_nodelay(true).expect("nodelay");
    socket.write_all(frames::UPGRADE).expect("the server reads");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("the server answers");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    if !greeted {
        return socket;
    }
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
