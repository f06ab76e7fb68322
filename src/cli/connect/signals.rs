//! Ctrl-C and SIGTERM as something to poll.

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag, low_level,
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, atomic::AtomicBool},
};

/// Readable once a signal has come.
pub struct Signals(UnixStream);

impl Signals {
    /// Takes the signals over. The second one of them ends the process at once, whatever it is doing.
    ///
    /// # Errors
    /// The system is out of file descriptors.
    pub fn new() -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order, so that the first one does not find its own mark.
            flag::register_conditional_default(signal, came.clone())?;
            flag::register(signal, came.clone())?;
            low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Signals(read))
    }

    /// Whether one has come since the last call.
    pub fn came(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 16]), Ok(1..))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
