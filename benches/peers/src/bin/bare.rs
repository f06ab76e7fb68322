//! What the kernel and the mask take: an epoll loop that reads once, unmasks, frames, and writes once.
//!
//! No server: it checks nothing that a client of the comparison does right, knows no fragments and no pings,
//! and closes whoever does not take an echo at once.
//!
//! A read that leaves room in the buffer has emptied the socket; `--until-would-block` reads on regardless.

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use peers::frames::{echo, upgrade};
use slab::Slab;
use std::io::{self, ErrorKind, Read, Write};

const BUFFER_BYTES: usize = 64 * 1_024;
const LISTENER: Token = Token(usize::MAX);

struct Peer {
    socket: TcpStream,
    upgraded: bool,
    /// Bytes of a frame, or of the request, that is not whole yet.
    tail: Vec<u8>,
}

fn main() -> io::Result<()> {
    let until_would_block = std::env::args().any(|arg| arg == "--until-would-block");
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::from_std(peers::listen()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    peers::announce(listener.local_addr()?);
    let mut all: Slab<Peer> = Slab::new();
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut out = Vec::with_capacity(BUFFER_BYTES);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut all)?;
            } else if let Some(peer) = all.get_mut(event.token().0) {
                let to_end = until_would_block || event.is_read_closed();
                if peer.serve(to_end, &mut buffer, &mut out).is_err() {
                    all.remove(event.token().0);
                }
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, all: &mut Slab<Peer>) -> io::Result<()> {
    loop {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        socket.set_nodelay(true)?;
        let entry = all.vacant_entry();
        poll.registry().register(&mut socket, Token(entry.key()), Interest::READABLE)?;
        entry.insert(Peer { socket, upgraded: false, tail: Vec::new() });
    }
}

impl Peer {
    /// An error: it is to be closed.
    fn serve(&mut self, to_end: bool, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let read = match self.socket.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            out.clear();
            if self.upgraded && self.tail.is_empty() {
                let used = echo(&mut buffer[..read], out)?;
                self.tail.extend_from_slice(&buffer[used..read]);
            } else {
                self.tail.extend_from_slice(&buffer[..read]);
                let used = if self.upgraded { echo(&mut self.tail, out)? } else { upgrade(&self.tail, out)? };
                self.upgraded |= used > 0;
                self.tail.drain(..used);
            }
            if !out.is_empty() && self.socket.write(out)? < out.len() {
                return Err(ErrorKind::WouldBlock.into());
            }
            if !to_end && read < buffer.len() {
                return Ok(());
            }
        }
    }
}
