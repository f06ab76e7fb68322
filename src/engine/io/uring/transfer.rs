//! Where a socket needs a descriptor after all: on its way to another reactor, for its addresses, and for its end,
//! which the kernel would otherwise leave to a thread of its own.

use super::{
    request::Request,
    ring::Ring,
    socket::{Place, Socket},
};
use crate::engine::io::{
    Token,
    handover::{Desk, Parcel},
};
use io_uring::cqueue;
use rustix::net::{Shutdown, getpeername, getsockname, shutdown};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::Arc,
};

/// Things that are done by one submission.
const TOGETHER: usize = 128;

pub struct Transfers {
    /// Where each reactor takes in what is dealt to it.
    desks: Arc<[Desk]>,
    /// Ours; none in a server of one reactor.
    pub desk: Option<usize>,
    /// True until our desk said WouldBlock.
    pub desk_ready: bool,
    /// To be dealt, in their places; and on the way out, for each reactor.
    dealt: Vec<(usize, Parcel<Socket>)>,
    outgoing: Vec<Vec<Parcel<OwnedFd>>>,
    /// How many of both.
    leaving: usize,
    incoming: Vec<Parcel<OwnedFd>>,
    /// In their places.
    adopted: VecDeque<Parcel<Socket>>,
    pub lost: usize,
    /// Whose direction is to end.
    shut: Vec<(Token, Place)>,
    /// Asked for and answered; descriptors, and then places, of those who come.
    answers: Vec<i32>,
    numbers: Vec<RawFd>,
}

impl Transfers {
    pub fn new(desks: Arc<[Desk]>, own: usize) -> Self {
        Self {
            desk: (desks.len() > 1).then_some(own),
            desk_ready: false,
            dealt: Vec::new(),
            outgoing: desks.iter().map(|_| Vec::new()).collect(),
            desks,
            leaving: 0,
            incoming: Vec::new(),
            adopted: VecDeque::new(),
            lost: 0,
            shut: Vec::new(),
            answers: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// The descriptor of our desk, to be watched.
    pub fn desk_fd(&self) -> Option<RawFd> {
        self.desk.map(|own| self.desks[own].raw_fd())
    }

    pub fn leaving(&self) -> usize {
        self.leaving
    }

    pub fn deal(&mut self, to: usize, parcel: Parcel<Socket>) {
        self.dealt.push((to, parcel));
        self.leaving += 1;
    }

    pub fn shut_down(&mut self, token: Token, place: Place) {
        self.shut.push((token, place));
    }

    /// The connection closes, which ends its direction too.
    pub fn close(&mut self, token: Token) {
        self.shut.retain(|(known, _)| *known != token);
    }

    /// Whether nobody needs a descriptor.
    pub fn is_idle(&self) -> bool {
        self.shut.is_empty() && self.dealt.is_empty()
    }

    /// It is time, even within a turn.
    pub fn is_many(&self) -> bool {
        self.shut.len() + self.dealt.len() >= TOGETHER
    }

    /// Begins to get descriptors for those whose direction is to end and for those who are dealt; how many.
    pub fn begin(&mut self, ring: &mut Ring) -> usize {
        let shut = self.shut.iter().map(|(_, place)| *place);
        let places: Vec<_> = shut.chain(self.dealt.iter().map(|(_, parcel)| parcel.socket.place())).collect();
        let count = places.len().min(TOGETHER);
        self.ask(ring, &places[..count]);
        count
    }

    fn ask(&mut self, ring: &mut Ring, places: &[Place]) {
        self.answers.clear();
        self.answers.resize(places.len(), -libc::EIO);
        for (number, place) in places.iter().enumerate() {
            ring.push(Request::install(*place, number as u32));
        }
    }

    /// What [`Transfers::begin`] asked for has been answered; returns how many places have become free.
    pub fn end(&mut self, ring: &mut Ring, count: usize) -> usize {
        let ends = count.min(self.shut.len());
        for (number, _) in self.shut.drain(..ends).enumerate() {
            // Without a descriptor its end comes with its close. The peer may have closed first: nothing is to do.
            if let Some(descriptor) = installed(&mut self.answers, number) {
                let _ = shutdown(&descriptor, Shutdown::Write);
            }
        }
        for (number, (to, parcel)) in (ends..count).zip(self.dealt.drain(..count - ends)) {
            ring.push(Request::close(parcel.socket.place()));
            match installed(&mut self.answers, number) {
                Some(socket) => {
                    self.outgoing[to].push(Parcel { socket, peer: parcel.peer, local: parcel.local });
                }
                // For want of a descriptor the peer finds itself cut off.
                None => self.leaving -= 1,
            }
        }
        count - ends
    }

    /// Sends what is on the way out, as far as there is room.
    pub fn hand_over(&mut self) {
        for (desk, parcels) in self.desks.iter().zip(&mut self.outgoing) {
            while !parcels.is_empty()
                && let Ok(sent) = desk.send(parcels)
            {
                self.leaving -= sent;
            }
        }
    }

    /// Takes one message from our desk; false when there is none.
    pub fn collect(&mut self) -> bool {
        let Some(own) = self.desk.filter(|_| self.desk_ready) else { return false };
        match self.desks[own].receive(|parcel| self.incoming.push(parcel)) {
            Ok(lost) => {
                self.lost += lost;
                true
            }
            Err(error) => {
                self.desk_ready = error.kind() == io::ErrorKind::Interrupted;
                false
            }
        }
    }

    /// Takes one connection that came with a descriptor.
    pub fn take(&mut self, parcel: Parcel<OwnedFd>) {
        self.incoming.push(parcel);
    }

    /// Begins to find places for what came with descriptors.
    #[allow(unsafe_code)]
    pub fn begin_adopt(&mut self, ring: &mut Ring) {
        self.numbers = self.incoming.iter().map(|parcel| parcel.socket.as_raw_fd()).collect();
        self.answers.clear();
        self.answers.push(-libc::EIO);
        // SAFETY: the list is neither moved nor touched before Transfers::end_adopt, after the submission.
        ring.push(unsafe { Request::adopt(&mut self.numbers) });
    }

    /// That has been answered; returns how many have found one. The others are lost.
    pub fn end_adopt(&mut self) -> usize {
        let done = usize::try_from(self.answers.first().copied().unwrap_or(0)).unwrap_or(0);
        let count = self.incoming.len();
        for (parcel, place) in self.incoming.drain(..).zip(&self.numbers).take(done) {
            let socket = Socket::new(Place(*place as u32));
            self.adopted.push_back(Parcel { socket, peer: parcel.peer, local: parcel.local });
        }
        self.lost += count - done;
        done
    }

    pub fn next_adopted(&mut self) -> Option<Parcel<Socket>> {
        self.adopted.pop_front()
    }

    pub fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    pub fn has_work(&self) -> bool {
        self.desk_ready || !self.adopted.is_empty() || self.lost > 0
    }

    /// Asks for one descriptor.
    pub fn begin_one(&mut self, ring: &mut Ring, place: Place) {
        self.ask(ring, &[place]);
    }

    pub fn end_one(&mut self) -> Option<OwnedFd> {
        installed(&mut self.answers, 0)
    }

    pub fn answered(&mut self, number: u32, answer: &cqueue::Entry) {
        if let Some(place) = self.answers.get_mut(number as usize) {
            *place = answer.result();
        }
    }
}

/// The descriptor that came with this answer, for the first who asks.
#[allow(unsafe_code)]
fn installed(answers: &mut [i32], number: usize) -> Option<OwnedFd> {
    let descriptor = std::mem::replace(answers.get_mut(number)?, -1);
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    (descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) })
}

pub fn local_of(descriptor: &OwnedFd) -> Option<SocketAddr> {
    SocketAddr::try_from(getsockname(descriptor).ok()?).ok()
}

pub fn peer_of(descriptor: &OwnedFd) -> Option<SocketAddr> {
    SocketAddr::try_from(getpeername(descriptor).ok()??).ok()
}
