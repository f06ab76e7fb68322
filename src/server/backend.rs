//! Which way to the kernel the reactors take.

use crate::engine::io::{
    Io,
    epoll::Epoll,
    handover::Desk,
    listener::Listener,
    uring::{SOCKETS_MAX, Uring},
    waker::EventWaker,
};
use serde::Deserialize;
use std::{fmt, io, str::FromStr, sync::Arc};

/// What the operator asks for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    Epoll,
    Uring,
    /// The better one that works here.
    #[default]
    Auto,
}

impl FromStr for Choice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "epoll" => Ok(Self::Epoll),
            "uring" => Ok(Self::Uring),
            "auto" => Ok(Self::Auto),
            _ => Err("it is epoll, uring or auto"),
        }
    }
}

/// What reactors run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    #[default]
    Epoll,
    Uring,
}

impl Interface {
    pub fn name(self) -> &'static str {
        match self {
            Self::Epoll => Epoll::NAME,
            Self::Uring => Uring::NAME,
        }
    }

    /// Which it is, and why. `probe` tells what is in the way of io_uring, and is not asked unless it counts.
    ///
    /// # Errors
    /// io_uring was asked for, and there is none: one sentence on why.
    pub fn choose<L: fmt::Display>(
        choice: Choice,
        probe: impl FnOnce() -> Result<(), L>,
    ) -> Result<(Self, String), String> {
        match choice {
            Choice::Epoll => Ok((Self::Epoll, "as asked".to_owned())),
            Choice::Uring => match probe() {
                Ok(()) => Ok((Self::Uring, "as asked".to_owned())),
                Err(lack) => Err(format!("--io uring: {lack}; --io auto takes epoll then")),
            },
            Choice::Auto => match probe() {
                Ok(()) => Ok((Self::Uring, "the kernel has all that it needs".to_owned())),
                Err(lack) => Ok((Self::Epoll, lack.to_string())),
            },
        }
    }
}

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
    /// Connections of one reactor at most, whatever the limit on open files.
    const ROOM_MAX: usize;

    /// # Errors
    /// The kernel refuses it, or has no room for it.
    fn make(means: Means) -> io::Result<Self>
    where
        Self: Sized;
}

impl Backend for Epoll {
    const NAME: &'static str = "epoll";
    const HAS_OWN_TABLE: bool = false;
    const ROOM_MAX: usize = usize::MAX;

    fn make(Means { listeners, waker, desks, number, .. }: Means) -> io::Result<Self> {
        Self::new(listeners, waker, desks, number)
    }
}

impl Backend for Uring {
    const NAME: &'static str = "io_uring";
    const HAS_OWN_TABLE: bool = true;
    /// The rest of its table is for those who are taken only to be refused.
    const ROOM_MAX: usize = SOCKETS_MAX as usize - 1_024;

    fn make(Means { listeners, waker, desks, number, sockets }: Means) -> io::Result<Self> {
        let sockets = u32::try_from(sockets).unwrap_or(u32::MAX);
        Self::new(listeners, waker, desks, number, sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_uring_is_taken_where_it_works_and_never_in_silence() {
        let works = || Ok::<_, &str>(());
        let lacks = || Err("no ring");
        let of = |choice, probe: &dyn Fn() -> Result<(), &'static str>| Interface::choose(choice, probe);
        assert_eq!(of(Choice::Auto, &works).unwrap().0, Interface::Uring);
        assert_eq!(of(Choice::Auto, &lacks), Ok((Interface::Epoll, "no ring".to_owned())));
        assert_eq!(of(Choice::Uring, &works).unwrap().0, Interface::Uring);
        assert!(
            of(Choice::Uring, &lacks).is_err_and(|said| said.contains("no ring") && !said.contains('\n'))
        );
        let unasked = || -> Result<(), &str> { panic!("the kernel is not asked for epoll") };
        assert_eq!(of(Choice::Epoll, &unasked).unwrap().0, Interface::Epoll);
    }
}
