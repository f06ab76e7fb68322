//! A backend without a kernel: connections are made, fed and read by the test or bench that holds it. Sends
//! can be made to stall or to be taken in small pieces.

pub use super::no_kernel::{Bell, Number};

use super::{Completion, Io, Sending, Sockets, Token, no_kernel::take};
use crate::engine::outbox::Gather;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    time::Duration,
};

/// What the reactor holds of a connection.
#[derive(Debug)]
pub struct End {
    pub number: Number,
}

/// The far side of one connection.
#[derive(Default)]
pub struct Peer {
    /// What the server has sent.
    pub got: Vec<u8>,
    /// The server has shut its direction.
    pub ended: bool,
    /// The server has closed.
    pub closed: bool,
    /// It did so with a reset.
    pub reset: bool,
    /// How many bytes the server may still send; none: any number.
    pub window: Option<usize>,
    token: Option<Token>,
    parked: Option<Box<Gather>>,
}

enum Input {
    Connect(Number, SocketAddr),
    Dealt(Number, SocketAddr),
    Lost(usize),
    NoRoom,
    Bytes(Number, Vec<u8>),
    End(Number, io::Result<()>),
}

/// All connections of one reactor.
#[derive(Default)]
pub struct Memory {
    pub peers: BTreeMap<Number, Peer>,
    /// The address that peers are told to have connected to.
    pub local: Option<SocketAddr>,
    /// What is kept of the sent bytes: with false they are counted in [`Memory::sent_bytes`] and dropped.
    pub discard: bool,
    pub sent_bytes: u64,
    pub sends: u64,
    /// Completions that a turn brings; the others wait.
    pub completions: usize,
    brought: usize,
    /// What was dealt to other reactors.
    pub dealt: Vec<(usize, Number)>,
    input: VecDeque<Input>,
    /// Who has a parked send.
    stalled: BTreeSet<Number>,
    lent: Vec<u8>,
    spare: Vec<Vec<u8>>,
    bell: Bell,
    next: Number,
    pub accepting: bool,
    pub listening: bool,
}

impl Memory {
    pub fn new() -> Self {
        Self { accepting: true, listening: true, completions: usize::MAX, ..Self::default() }
    }

    /// A peer connects.
    pub fn connect(&mut self, from: SocketAddr) -> Number {
        let number = self.next;
        self.next += 1;
        self.peers.insert(number, Peer::default());
        self.input.push_back(Input::Connect(number, from));
        number
    }

    /// Another reactor deals us the connection of a peer.
    pub fn receive_dealt(&mut self, from: SocketAddr) -> Number {
        let number = self.connect(from);
        self.input.pop_back();
        self.input.push_back(Input::Dealt(number, from));
        number
    }

    /// So many that another reactor has dealt us are lost.
    pub fn lose(&mut self, count: usize) {
        self.input.push_back(Input::Lost(count));
    }

    /// A peer's bytes arrive in one piece.
    pub fn feed(&mut self, number: Number, bytes: &[u8]) {
        let mut held = self.spare.pop().unwrap_or_default();
        held.clear();
        held.extend_from_slice(bytes);
        self.input.push_back(Input::Bytes(number, held));
    }

    /// A peer ends its direction.
    pub fn end(&mut self, number: Number) {
        self.input.push_back(Input::End(number, Ok(())));
    }

    /// A peer resets the connection.
    pub fn reset(&mut self, number: Number) {
        self.input.push_back(Input::End(number, Err(io::ErrorKind::ConnectionReset.into())));
    }

    /// The next accept fails for want of descriptors.
    pub fn fail_accept(&mut self) {
        self.input.push_back(Input::NoRoom);
    }

    /// Takes what the server has sent to a peer.
    pub fn take(&mut self, number: Number) -> Vec<u8> {
        self.peers.get_mut(&number).map(|peer| std::mem::take(&mut peer.got)).unwrap_or_default()
    }

    fn unpark(&mut self) -> Option<Completion<'static, End>> {
        let peers = &mut self.peers;
        let number = *self
            .stalled
            .iter()
            .find(|number| peers.get(number).is_some_and(|peer| peer.window != Some(0)))?;
        self.stalled.remove(&number);
        let peer = peers.get_mut(&number)?;
        let (token, gather) = (peer.token?, peer.parked.take()?);
        let sent = accept(peer, &gather);
        Some(Completion::Sent { token, gather, result: Ok(sent) })
    }
}

/// Takes what the window has room for.
fn accept(peer: &mut Peer, gather: &Gather) -> usize {
    let sent = take(gather, peer.window.unwrap_or(usize::MAX), &mut peer.got);
    peer.window = peer.window.map(|window| window - sent);
    sent
}

impl Io for Memory {
    type Socket = End;
    type Waker = Bell;

    fn waker(&self) -> Bell {
        self.bell.clone()
    }

    fn wait(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn next(&mut self, sockets: &mut impl Sockets<End>) -> Option<Completion<'_, End>> {
        if self.brought == self.completions {
            self.brought = 0;
            return None;
        }
        self.brought += 1;
        if self.bell.hear() {
            return Some(Completion::Woken);
        }
        if let Some(sent) = self.unpark() {
            return Some(sent);
        }
        loop {
            // What can't be taken yet keeps its place, so that each connection's input stays in order.
            let ready = self.input.iter().position(|input| match input {
                Input::Connect(..) | Input::NoRoom => self.accepting && self.listening,
                Input::Dealt(..) | Input::Lost(_) => true,
                Input::Bytes(number, _) | Input::End(number, _) => match self.peers.get(number) {
                    Some(Peer { token: Some(token), .. }) => sockets.receiving(*token).is_some(),
                    peer => peer.is_none_or(|peer| peer.closed),
                },
            });
            let Some(at) = ready else {
                self.brought = 0;
                return None;
            };
            let input = self.input.remove(at)?;
            let token = match input {
                Input::Bytes(number, _) | Input::End(number, _) => {
                    self.peers.get(&number).and_then(|p| p.token)
                }
                _ => None,
            };
            match (input, token) {
                (Input::Connect(number, peer), _) => {
                    return Some(Completion::Accepted { socket: End { number }, peer, local: self.local });
                }
                (Input::Dealt(number, peer), _) => {
                    return Some(Completion::Dealt { socket: End { number }, peer, local: self.local });
                }
                (Input::Lost(count), _) => return Some(Completion::Lost(count)),
                (Input::NoRoom, _) => {
                    return Some(Completion::AcceptFailed(io::ErrorKind::OutOfMemory.into()));
                }
                (Input::Bytes(_, bytes), Some(token)) => {
                    self.spare.push(std::mem::replace(&mut self.lent, bytes));
                    return Some(Completion::Received { token, bytes: &mut self.lent });
                }
                (Input::End(_, result), Some(token)) => return Some(Completion::Ended { token, result }),
                (_, None) => {}
            }
        }
    }

    fn deal(&mut self, to: usize, socket: End, _peer: SocketAddr, _local: Option<SocketAddr>) {
        self.peers.remove(&socket.number);
        self.dealt.push((to, socket.number));
    }

    fn open(&mut self, token: Token, socket: &mut End) -> io::Result<()> {
        self.peers.entry(socket.number).or_default().token = Some(token);
        Ok(())
    }

    fn send(&mut self, _token: Token, socket: &mut End, mut gather: Box<Gather>) -> Sending {
        self.sends += 1;
        if self.discard {
            let sent = gather.len();
            self.sent_bytes += sent as u64;
            return Sending::Done(gather, Ok(sent));
        }
        let peer = self.peers.entry(socket.number).or_default();
        let sent = accept(peer, &gather);
        if sent == gather.len() || sent > 0 && peer.window != Some(0) {
            return Sending::Done(gather, Ok(sent));
        }
        gather.advance(sent);
        gather.compact();
        peer.parked = Some(gather);
        self.stalled.insert(socket.number);
        Sending::Pending(sent)
    }

    fn resume(&mut self, _token: Token, _socket: &mut End) {}

    fn shutdown(&mut self, _token: Token, socket: &mut End) {
        self.peers.entry(socket.number).or_default().ended = true;
    }

    fn close(&mut self, _token: Token, socket: End, reset: bool) {
        self.stalled.remove(&socket.number);
        let peer = self.peers.entry(socket.number).or_default();
        (peer.closed, peer.reset, peer.token, peer.parked) = (true, reset, None, None);
    }

    fn accepting(&mut self, on: bool) {
        self.accepting = on;
    }

    fn stop_listening(&mut self, _passed: bool) {
        self.listening = false;
    }
}
