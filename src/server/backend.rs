//! Which way to the kernel the reactors take.

use crate::engine::io::{Io, epoll::Epoll, handover::Desk, listener::Listener, waker::EventWaker};
use std::{io, sync::Arc};

/// What a backend is made of, on its reactor's own thread.
pub struct Means {
    /// Where it accepts; none if others accept for it.
    pub listeners: Vec<Listener>,
    pub waker: EventWaker,
    /// Of all reactors.
    pub desks: Arc<[Desk]>,
    /// Which of them is its own.
    pub number: usize,
    /// Sockets that it is to have room for at once.
    pub sockets: usize,
}

/// A backend that a server can run on.
pub trait Backend: Io<Waker = EventWaker> {
    const NAME: &'static str;
    /// It keeps its sockets apart from all open files: nobody shares that room with it.
    const HAS_OWN_TABLE: bool;

    /// # Errors
    /// The kernel refuses it, or has no room for it.
    fn make(means: Means) -> io::Result<Self>
    where
        Self: Sized;
}

impl Backend for Epoll {
    const NAME: &'static str = "epoll";
    const HAS_OWN_TABLE: bool = false;

    fn make(Means { listeners, waker, desks, number, .. }: Means) -> io::Result<Self> {
        Self::new(listeners, waker, desks, number)
    }
}
