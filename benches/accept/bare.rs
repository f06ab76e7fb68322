//! What the kernel alone takes: an epoll loop that accepts, reads a request and writes an answer it was given.

use crate::account;
use mida::{
    app::crypto::hex,
    server::{file_table, listen},
};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;
use std::{
    io::{ErrorKind, Read, Write},
    sync::mpsc,
};

const LISTENER: Token = Token(usize::MAX);

/// Serves `answer`, given in hex, to everybody.
pub fn serve(answer: &str) {
    let mut bytes = vec![0; answer.len() / 2];
    hex::decode(answer.as_bytes(), &mut bytes).expect("hex");
    let (address, sockets) = listen::listeners(([127, 0, 0, 1], 0).into(), 1).expect("a port");
    let [listener] = <[_; 1]>::try_from(sockets).expect("one socket");
    let (tell, told) = mpsc::channel();
    // With a table of open files of its own: one that is shared makes each system call a little dearer.
    file_table::spawn("bare".to_owned(), move |own_table| {
        own_table.expect("a file table");
        tell.send(rustix::thread::gettid().to_string()).expect("the main thread waits");
        run(TcpListener::from_std(listener.into()), &bytes);
    })
    .expect("a thread");
    let thread = told.recv().expect("the thread runs");
    println!("{address}");
    account(&thread);
}

fn run(mut listener: TcpListener, answer: &[u8]) {
    let mut poll = Poll::new().expect("epoll");
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).expect("room in epoll");
    let mut peers: Slab<TcpStream> = Slab::new();
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        poll.poll(&mut events, None).expect("epoll");
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut peers);
                continue;
            }
            let Some(peer) = peers.get_mut(event.token().0) else { continue };
            match peer.read(&mut buffer) {
                Ok(0) | Err(_) => {
                    peers.remove(event.token().0);
                }
                // The read was short: the socket is empty, and the next edge is the peer's end.
                Ok(read) => {
                    assert!(buffer[..read].ends_with(b"\r\n\r\n"), "a request comes whole");
                    assert_eq!(peer.write(answer).expect("room for an answer"), answer.len());
                }
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, peers: &mut Slab<TcpStream>) {
    loop {
        match listener.accept() {
            Ok((mut socket, _)) => {
                let entry = peers.vacant_entry();
                poll.registry()
                    .register(&mut socket, Token(entry.key()), Interest::READABLE)
                    .expect("room in epoll");
                entry.insert(socket);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("accept: {error}"),
        }
    }
}
