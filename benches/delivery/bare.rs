//! What the kernel alone takes: a loop of send() over the same number of sockets, of frames as long as our
//! sealed ones.

use crate::{EVENT_BYTES, common::process::thread_cpu_ns};
use mida::{
    app::crypto::seal::OVERHEAD,
    engine::wire::{
        Opcode,
        frame::{HEADER_MAX, write_header},
    },
};
use std::{
    io::{BufRead, Read, Write},
    net::{TcpListener, TcpStream},
};

pub fn serve(sockets: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let mut peers: Vec<TcpStream> = (0..sockets)
        .map(|_| {
            let (mut peer, _) = listener.accept().expect("a connection");
            peer.set_nodelay(true).expect("nodelay");
            let mut request = [0; 1_024];
            let read = peer.read(&mut request).expect("a request");
            assert!(request[..read].ends_with(b"\r\n\r\n"));
            peer.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02{}").expect("an answer");
            peer.set_nonblocking(true).expect("nonblocking");
            peer
        })
        .collect();
    let mut header = [0; HEADER_MAX];
    let used = write_header(Opcode::Binary, EVENT_BYTES + OVERHEAD, &mut header);
    let frame = [&header[..used], &[7; EVENT_BYTES + OVERHEAD]].concat();
    let thread = std::process::id().to_string();
    let mut before_ns = 0;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("send", events)) => {
                let events: u64 = events.parse().expect("a number");
                println!("{events}");
                before_ns = thread_cpu_ns(&thread);
                for _ in 0..events {
                    for peer in &mut peers {
                        assert_eq!(peer.write(&frame).expect("room for a frame"), frame.len());
                    }
                }
            }
            _ => println!("{}", thread_cpu_ns(&thread) - before_ns),
        }
    }
}
