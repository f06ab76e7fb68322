//! New connections. Some accepts are always out on each listener, each with memory of its own for the address.

use super::{
    request::{Request, Tag},
    ring::Ring,
    socket::{Place, Socket},
};
use crate::engine::io::listener::{Listener, UNIX_PEER};
use io_uring::cqueue;
use std::{
    cell::UnsafeCell,
    collections::VecDeque,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

/// Accepts that are out on one listener, and connections accepted in one turn.
const ACCEPTS: usize = 16;
/// The same while those who were there before are busy.
const FEW_ACCEPTS: usize = 4;
/// Connections accepted after listening was to stop: what the queues could hold then.
const LAST_ACCEPTS: usize = 65_536;

/// Where the kernel writes a peer's address.
struct Name {
    address: UnsafeCell<libc::sockaddr_storage>,
    length: UnsafeCell<libc::socklen_t>,
}

impl Name {
    #[allow(unsafe_code)]
    fn new() -> Self {
        // SAFETY: an address is plain integers; all zeroes is one of no family.
        let address = unsafe { std::mem::zeroed() };
        Self { address: UnsafeCell::new(address), length: UnsafeCell::new(0) }
    }
}

struct Watched {
    listener: Listener,
    /// Accepts that are out.
    out: usize,
    /// It is given up as soon as none is.
    leaves: bool,
    /// Nobody else waited when the last accept was answered.
    is_empty: bool,
}

/// A connection in its place.
pub struct New {
    pub socket: Socket,
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// Its own address has still to be asked for.
    pub is_local_unknown: bool,
}

/// What an answer to an accept comes to.
pub enum Accepted {
    New(New),
    Failed(io::Error),
    Nothing,
}

pub struct Accepts {
    listeners: Vec<Watched>,
    /// Of each accept that may be out, and on which listener it is.
    names: Box<[Name]>,
    of: Box<[usize]>,
    free: Vec<u32>,
    pub is_on: bool,
    /// Listening is to stop when the queues are empty, or after so many more connections.
    last: Option<usize>,
    /// Came while nothing was to come.
    pub waiting: VecDeque<New>,
    left: usize,
}

impl Accepts {
    pub fn new(listeners: Vec<Listener>) -> Self {
        let count = listeners.len() * ACCEPTS;
        let watched = |listener| Watched { listener, out: 0, leaves: false, is_empty: true };
        Self {
            listeners: listeners.into_iter().map(watched).collect(),
            names: (0..count).map(|_| Name::new()).collect(),
            of: vec![0; count].into(),
            free: (0..count as u32).rev().collect(),
            is_on: true,
            last: None,
            waiting: VecDeque::new(),
            left: 0,
        }
    }

    /// Whether connections may still come.
    pub fn is_source(&self) -> bool {
        !self.waiting.is_empty() || self.listeners.iter().any(|watched| watched.out > 0 || !watched.leaves)
    }

    /// Whether [`Accepts::next_last`] has something to do.
    pub fn has_work(&self) -> bool {
        let is_last = |watched: &Watched| !watched.leaves;
        self.is_on && (!self.waiting.is_empty() || self.last.is_some() && self.listeners.iter().any(is_last))
    }

    /// A turn begins: as many accepts go out as may, with room for so many sockets, and `few` if others would wait for
    /// them. An error: none could.
    pub fn begin_turn(&mut self, ring: &mut Ring, room: usize, few: bool) -> Result<(), io::Error> {
        let most = if few { FEW_ACCEPTS } else { ACCEPTS };
        self.left = ACCEPTS;
        if !self.is_on || self.last.is_some() || self.listeners.is_empty() {
            return Ok(());
        }
        let out: usize = self.listeners.iter().map(|watched| watched.out).sum();
        let mut room = room.saturating_sub(out);
        if room == 0 && out == 0 {
            self.turn_off(ring);
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        for (index, watched) in self.listeners.iter_mut().enumerate() {
            while watched.out < most
                && room > 0
                && let Some(number) = self.free.pop()
            {
                (watched.out, room) = (watched.out + 1, room - 1);
                self.of[number as usize] = index;
                let request = request(&watched.listener, &self.names[number as usize], number);
                ring.push(if watched.is_empty { request.after_poll() } else { request });
            }
        }
        Ok(())
    }

    /// Accepts, or takes back what is out.
    pub fn turn(&mut self, ring: &mut Ring, on: bool) {
        if on {
            self.is_on = true;
        } else {
            self.turn_off(ring);
        }
    }

    fn turn_off(&mut self, ring: &mut Ring) {
        self.is_on = false;
        self.take_back(ring);
    }

    fn take_back(&self, ring: &mut Ring) {
        let is_out = |number: &u32| !self.free.contains(number);
        (0..self.names.len() as u32)
            .filter(is_out)
            .for_each(|number| ring.push(Request::cancel(Tag::Accept(number))));
    }

    /// An accept is answered.
    pub fn answered(&mut self, number: u32, answer: &cqueue::Entry) -> Accepted {
        let Some(watched) = self.of.get(number as usize).and_then(|index| self.listeners.get_mut(*index))
        else {
            return Accepted::Nothing;
        };
        watched.out -= 1;
        watched.is_empty = !cqueue::sock_nonempty(answer.flags());
        self.free.push(number);
        let result = answer.result();
        match u32::try_from(result) {
            Ok(place) => Accepted::New(named(
                Socket::new(Place(place)),
                &watched.listener,
                &self.names[number as usize],
            )),
            Err(_) => match -result {
                _ if self.last.is_some() => Accepted::Nothing,
                libc::ECANCELED | libc::EAGAIN | libc::EINTR | libc::ECONNABORTED | libc::ECONNRESET => {
                    Accepted::Nothing
                }
                error => Accepted::Failed(io::Error::from_raw_os_error(error)),
            },
        }
    }

    /// No more accepts go out. Listeners that somebody else keeps are left to him.
    pub fn stop(&mut self, ring: &mut Ring, passed: bool) {
        self.take_back(ring);
        for watched in &mut self.listeners {
            watched.leaves |= passed || watched.listener.is_shared();
        }
        self.last = Some(LAST_ACCEPTS);
    }

    /// After [`Accepts::stop`]: the next from the queues, with a descriptor; once they are empty, nobody can connect
    /// any more.
    pub fn next_last(&mut self) -> Option<io::Result<(OwnedFd, SocketAddr, Option<SocketAddr>)>> {
        let last = self.last.as_mut()?;
        while self.is_on && self.left > 0 {
            let watched = self.listeners.iter_mut().find(|watched| !watched.leaves)?;
            match watched.listener.accept() {
                Ok(accepted) => {
                    self.left -= 1;
                    *last = last.saturating_sub(1);
                    if *last == 0 {
                        self.listeners.iter_mut().filter(|watched| !watched.leaves).for_each(close);
                    }
                    return Some(Ok(accepted));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => close(watched),
                    io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted => self.left -= 1,
                    _ => return Some(Err(error)),
                },
            }
        }
        None
    }
}

fn close(watched: &mut Watched) {
    watched.leaves = true;
    watched.listener.close();
}

#[allow(unsafe_code)]
fn request(listener: &Listener, name: &Name, number: u32) -> Request {
    // SAFETY: this name is given to no other accept until the answer to this one has come; it stays where it is as
    // long as the ring is open.
    unsafe {
        *name.length.get() = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        Request::accept(listener.raw_fd(), name.address.get().cast(), name.length.get(), number)
    }
}

fn named(socket: Socket, listener: &Listener, name: &Name) -> New {
    if listener.is_unix() {
        return New { socket, peer: Some(UNIX_PEER), local: None, is_local_unknown: false };
    }
    let local = listener.local();
    New { socket, peer: peer(name), local, is_local_unknown: local.is_none() }
}

#[allow(unsafe_code)]
fn peer(name: &Name) -> Option<SocketAddr> {
    let address = name.address.get();
    // SAFETY: the kernel has written the address and is done with it; its family says what it is, and whatever the
    // bytes are, they are an address of that family.
    unsafe {
        match i32::from((*address).ss_family) {
            libc::AF_INET => {
                let address = &*address.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
                Some((ip, u16::from_be(address.sin_port)).into())
            }
            libc::AF_INET6 => {
                let address = &*address.cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                Some((ip, u16::from_be(address.sin6_port)).into())
            }
            _ => None,
        }
    }
}
