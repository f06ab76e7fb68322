//! The simulated kernel with the sends of a flush begun together, as io_uring has them: they are done in any order,
//! and what became of each is told late, in the order in which they were put off.

use super::{Bell, Number, Sim, Socket};
use crate::engine::{
    io::{Completion, Io, Sending, Sockets, Token},
    outbox::Gather,
};
use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    time::Duration,
};

/// Holds the reactor to what [`Io::put`] asks for: what is put off is asked for before anything else is.
pub struct Together {
    sim: Sim,
    put: Vec<(Token, Number, Box<Gather>)>,
    outcomes: VecDeque<(Number, Sending)>,
    /// Connections whose sends were not told of.
    untold: BTreeSet<Number>,
}

impl From<Sim> for Together {
    fn from(sim: Sim) -> Self {
        Self { sim, put: Vec::new(), outcomes: VecDeque::new(), untold: BTreeSet::new() }
    }
}

impl AsMut<Sim> for Together {
    fn as_mut(&mut self) -> &mut Sim {
        &mut self.sim
    }
}

impl AsMut<Sim> for Sim {
    fn as_mut(&mut self) -> &mut Sim {
        self
    }
}

impl Together {
    fn all_told(&self) {
        assert!(
            self.untold.is_empty() && self.put.is_empty(),
            "a turn goes on before all sends were told of"
        );
    }

    fn is_told(&self, socket: &Socket) {
        assert!(
            !self.untold.contains(&socket.0),
            "something is asked of a connection whose send was put off"
        );
    }
}

impl Io for Together {
    type Socket = Socket;
    type Waker = Bell;

    const TOGETHER: bool = true;

    fn waker(&self) -> Bell {
        self.sim.waker()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.all_told();
        self.sim.wait(timeout)
    }

    fn next(&mut self, sockets: &mut impl Sockets<Socket>) -> Option<Completion<'_, Socket>> {
        self.all_told();
        self.sim.next(sockets)
    }

    fn deal(&mut self, to: usize, socket: Socket, peer: SocketAddr, local: Option<SocketAddr>) {
        self.sim.deal(to, socket, peer, local);
    }

    fn open(&mut self, token: Token, socket: &mut Socket) -> io::Result<()> {
        self.sim.open(token, socket)
    }

    fn send(&mut self, token: Token, socket: &mut Socket, gather: Box<Gather>) -> Sending {
        self.is_told(socket);
        self.sim.send(token, socket, gather)
    }

    fn put(&mut self, token: Token, socket: &mut Socket, gather: Box<Gather>) {
        assert!(self.outcomes.is_empty(), "a group begins before the last was told of");
        assert!(self.untold.insert(socket.0), "two sends of one connection in a group");
        self.put.push((token, socket.0, gather));
    }

    fn outcome(&mut self) -> Option<Sending> {
        if !self.put.is_empty() {
            let mut order: Vec<usize> = (0..self.put.len()).collect();
            self.sim.dice.shuffle(&mut order);
            let mut put: Vec<_> = self.put.drain(..).map(Some).collect();
            let mut done: Vec<_> = put.iter().map(|_| None).collect();
            for at in order {
                let Some((token, number, gather)) = put[at].take() else { continue };
                done[at] = Some((number, self.sim.send(token, &mut Socket(number), gather)));
            }
            self.outcomes.extend(done.into_iter().flatten());
        }
        let (number, sending) = self.outcomes.pop_front()?;
        self.untold.remove(&number);
        Some(sending)
    }

    fn flush(&mut self) {
        self.all_told();
    }

    fn resume(&mut self, token: Token, socket: &mut Socket) {
        self.is_told(socket);
        self.sim.resume(token, socket);
    }

    fn shutdown(&mut self, token: Token, socket: &mut Socket) {
        self.is_told(socket);
        self.sim.shutdown(token, socket);
    }

    fn close(&mut self, token: Token, socket: Socket, reset: bool) {
        self.is_told(&socket);
        self.sim.close(token, socket, reset);
    }

    fn accepting(&mut self, on: bool) {
        self.sim.accepting(on);
    }

    fn stop_listening(&mut self, passed: bool) {
        self.sim.stop_listening(passed);
    }
}
