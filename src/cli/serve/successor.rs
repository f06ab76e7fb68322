//! SIGUSR2: the same program once more, perhaps from a file that was replaced. It is given every listener, and
//! serves before this one stops accepting.

use mida::server::activation::{self, PREDECESSOR};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};
use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Child,
    time::{Duration, Instant},
};

/// From its start to its word that it serves.
const READY_MOST: Duration = Duration::from_secs(10);
/// That word; what follows it in a later version is not read.
const READY: &[u8] = b"READY=1\n";

/// How this process was started.
pub struct Launch {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Launch {
    /// To be called at the start: the file of a running program may be replaced, and the folder be changed.
    ///
    /// # Errors
    /// One line on what is not known.
    pub fn of_this_process() -> Result<Self, String> {
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_default();
        let by_path = name.to_string_lossy().contains('/');
        // A path may lead elsewhere by the time of the next start, as a link to the current version does.
        let program = match by_path {
            true => env::current_dir().map(|folder| folder.join(&name)),
            false => env::current_exe(),
        };
        let program = program.map_err(|error| format!("cannot tell where this program is: {error}"))?;
        Ok(Self { program: program.into(), arguments: arguments.collect() })
    }

    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// Starts a successor with these sockets and waits until it serves; it is ended if it doesn't, or if the
    /// other end of `cancel` is closed before.
    ///
    /// # Errors
    /// One line on why there is none.
    pub fn start(&self, sockets: &[(String, BorrowedFd<'_>)], cancel: &PipeReader) -> Result<Child, String> {
        let (mut told, tell) = io::pipe().map_err(|error| error.to_string())?;
        let mut passed = sockets.to_vec();
        passed.push((PREDECESSOR.to_owned(), tell.as_fd()));
        let started = activation::spawn(&self.program, &self.arguments, &passed);
        let mut child =
            started.map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        drop(tell);
        let Err(why) = await_ready(&mut told, cancel) else { return Ok(child) };
        let _ = child.kill();
        let ended = child.wait().map_err(|error| error.to_string())?;
        Err(match why {
            Why::Ended => format!("it ended before it served ({ended})"),
            Why::Late => format!("it did not serve within {} s", READY_MOST.as_secs()),
            Why::Cancelled => "this server is told to end".to_owned(),
        })
    }
}

enum Why {
    Ended,
    Late,
    Cancelled,
}

fn await_ready(told: &mut PipeReader, cancel: &PipeReader) -> Result<(), Why> {
    let until = Instant::now() + READY_MOST;
    let mut word = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut both = [PollFd::new(told, PollFlags::IN), PollFd::new(cancel, PollFlags::IN)];
        let polled = poll(&mut both, Some(&left));
        let [has_told, is_cancelled] = both.map(|one| !one.revents().is_empty());
        if is_cancelled {
            return Err(Why::Cancelled);
        }
        if !has_told && polled == Ok(0) {
            return Err(Why::Late);
        }
        let mut bytes = [0; READY.len()];
        if has_told {
            match told.read(&mut bytes) {
                Ok(0) | Err(_) => return Err(Why::Ended),
                Ok(read) => word.extend_from_slice(&bytes[..read]),
            }
        }
        if word.starts_with(READY) {
            return Ok(());
        }
    }
}

/// Tells the server that started this one that it may go.
pub fn tell_predecessor(pipe: OwnedFd) {
    if let Err(error) = PipeWriter::from(pipe).write_all(READY) {
        tracing::warn!(%error, "the server before this one cannot be told to go");
    }
}

/// Has it end too.
pub fn dismiss(child: &Child) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}
