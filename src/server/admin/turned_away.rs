//! Who came when too many were served, and was told 503. A socket that is closed with something unread resets its
//! connection, and the answer goes with it: so each is read from until its peer has ended, or for a second.

use super::{Answer, http::LINGER_MOST};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{RecvFlags, recv},
};
use std::{
    collections::VecDeque,
    io::Write,
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// So many at once; of more the first is closed.
const MOST: usize = 16;
const SCRAP_BYTES: usize = 4_096;

#[derive(Default)]
pub struct TurnedAway {
    /// In order of when it is over.
    sockets: VecDeque<(TcpStream, Instant)>,
}

impl TurnedAway {
    /// Says once that there is no room, and waits for nothing.
    pub fn add(&mut self, mut socket: TcpStream) {
        let answer = Answer::error((503, "busy"), "Too many requests at once; try again.");
        let bytes = answer.head() + &answer.body;
        let is_told = socket.set_nonblocking(true).is_ok()
            && socket.write_all(bytes.as_bytes()).is_ok()
            && socket.shutdown(Shutdown::Write).is_ok();
        if is_told {
            if self.sockets.len() == MOST {
                self.sockets.pop_front();
            }
            self.sockets.push_back((socket, Instant::now() + LINGER_MOST));
        }
    }

    /// What to wait for.
    pub fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.sockets.iter().map(|(socket, _)| PollFd::new(socket, PollFlags::IN))
    }

    /// And for how long: until the first has lingered enough.
    pub fn timeout(&self) -> Option<Timespec> {
        let (_, until) = self.sockets.front()?;
        // Not a little less than that, or the last of it is waited for in many pieces.
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        left.try_into().ok()
    }

    /// Drops what they have sent, and closes who has ended or lingered enough.
    pub fn drain(&mut self) {
        let now = Instant::now();
        self.sockets.retain(|(socket, until)| {
            let mut scrap = [0; SCRAP_BYTES];
            now < *until
                && match recv(socket, &mut scrap, RecvFlags::empty()) {
                    Ok((0, _)) => false,
                    Ok(_) | Err(Errno::AGAIN | Errno::INTR) => true,
                    Err(_) => false,
                }
        });
    }
}
