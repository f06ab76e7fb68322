//! Keeps messages until they are acked, and the accounts of keys, on disk (PROTOCOL.md, "Messages between keys").
//!
//! A thread of its own does what sessions ask ([`Job`](crate::app::mail::Job)), a group at a time: one transaction, on
//! disk before anything is said of it ([`Word`](crate::app::mail::Word)). What a reactor has to do:
//!
//! ```no_run
//! # use mida::{app::mail::Word, store::{Store, Caps}};
//! # fn example(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//! // Before the reactors start, for as many of them; a successor waits for the directory: `Store::open_later`.
//! let store = Store::open(dir, Caps::default(), 2)?;
//! // For each reactor, who leaves its jobs there once a turn: `jobs.post_all(these)`. What comes back did not fit, and
//! // goes next turn.
//! let jobs = store.inbox(0);
//! // When the inboxes of the reactors are known. It must not block: `Words` has what to do with a full inbox.
//! let running = store.start(Box::new(|word: Word| drop(word)))?;
//! // When a successor serves, or at the end. What comes after that is refused.
//! running.close();
//! # Ok(()) }
//! ```
//!
//! The way of a job: [`thread`] takes it from an inbox, [`desk`] has a [`keeper`] do it, which asks the [`book`] for caps and
//! [`repeats`] for what is remembered, and gives what is to be said to the [`disk`], which makes [`rows`] of it. What fails
//! on the way there is answered by the desk. On disk messages lie in the order of their [`ids`], not by mailbox: a group is written in
//! one place. Whose they are is in memory, read from all rows at the start.

pub mod book;
pub mod caps;
pub mod desk;
pub mod disk;
pub mod folder;
pub mod ids;
pub mod keeper;
pub mod repeats;
pub mod rows;
pub mod thread;

#[cfg(test)]
mod tests;

pub use caps::Caps;
pub use thread::{Figures, Jobs, Running, ThreadWaker, Words};

use self::{
    desk::{Desk, open_file},
    disk::DiskError,
    folder::{Folder, FolderError, Locked},
    thread::{Clock, Place},
};
use std::{fmt, io, path::Path, sync::Arc};

/// Why a store cannot be opened; one line.
#[derive(Debug)]
pub enum OpenError {
    Folder(FolderError),
    Disk { path: Box<Path>, error: DiskError },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => write!(f, "{error}"),
            Self::Disk { path, error } => write!(f, "cannot open the store in {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

/// A store that can be started.
pub struct Store {
    place: Place,
    caps: Caps,
    clock: Clock,
    inboxes: Vec<Arc<Jobs>>,
    bell: ThreadWaker,
}

impl Store {
    /// Opens the store in this directory, which is made if it is not there, for so many reactors.
    ///
    /// # Errors
    /// Another process has it, or it cannot be read.
    pub fn open(dir: &Path, caps: Caps, reactors: usize) -> Result<Self, OpenError> {
        let locked = Folder::open(dir).and_then(|folder| folder.lock().map_err(|(_, error)| error));
        let locked = locked.map_err(OpenError::Folder)?;
        let clock = Clock::default();
        let failed = |error| OpenError::Disk { path: dir.into(), error };
        let desk = Desk::open(caps.clone(), opener(&locked), clock.now()).map_err(failed)?;
        Ok(Self::new(Place::Own(locked, Box::new(desk)), caps, clock, reactors))
    }

    /// Opens it as soon as the process that has it lets it go; until then jobs wait.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn open_later(dir: &Path, caps: Caps, reactors: usize) -> Result<Self, OpenError> {
        let folder = Folder::open(dir).map_err(OpenError::Folder)?;
        Ok(Self::new(Place::Later(folder), caps, Clock::default(), reactors))
    }

    fn new(place: Place, caps: Caps, clock: Clock, reactors: usize) -> Self {
        let bell = ThreadWaker::default();
        let inboxes = (0..reactors).map(|_| Arc::new(Jobs::new(bell.clone(), caps.inbox_jobs))).collect();
        Self { place, caps, clock, inboxes, bell }
    }

    /// Where this reactor leaves its jobs.
    ///
    /// # Panics
    /// The store was opened for fewer.
    pub fn inbox(&self, reactor: usize) -> Arc<Jobs> {
        self.inboxes[reactor].clone()
    }

    /// Starts its thread, which tells `words` what it has done.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(self, words: Box<dyn Words>) -> io::Result<Running> {
        let caps = self.caps.clone();
        Running::start(
            self.place,
            Box::new(move |locked| Desk::shut(caps, opener(locked))),
            self.caps,
            self.clock,
            self.inboxes,
            self.bell,
            words,
        )
    }
}

/// Opens the database of a directory, again and again.
fn opener(locked: &Locked) -> desk::Opener {
    let path = locked.path().to_owned();
    Box::new(move || open_file(&path))
}
