//! What wakes a reactor that sleeps in the kernel, whichever backend it sleeps in.

use super::Wake;
use rustix::event::{EventfdFlags, eventfd};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
};

/// An eventfd. Made before the reactors have file tables of their own: the same descriptor in each. Its counter is
/// never read: each write is an edge.
#[derive(Clone)]
pub struct EventWaker(Arc<OwnedFd>);

impl EventWaker {
    /// # Errors
    /// No descriptor is to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// What a backend watches.
    pub fn raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Wake for EventWaker {
    fn wake(&self) {
        // It can fail only when its counter is full: then the reactor is being woken anyway.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}
