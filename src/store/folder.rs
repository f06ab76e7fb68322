//! The data directory: made for its owner alone, and one process at a time.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

const LOCK: &str = "lock";
const DATABASE: &str = "messages.redb";

/// Why a data directory cannot be used; one line.
#[derive(Debug)]
pub enum FolderError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// By the process with this id, if it said so.
    InUse {
        path: PathBuf,
        pid: Option<u32>,
    },
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "cannot use {}: {error}", path.display()),
            Self::InUse { path, pid: Some(pid) } => {
                write!(
                    f,
                    "the data directory {} is in use by process {pid}: give another with --data",
                    path.display()
                )
            }
            Self::InUse { path, pid: None } => {
                write!(
                    f,
                    "the data directory {} is in use by another process: give another with --data",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for FolderError {}

/// A data directory.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: File,
}

/// A data directory that this process alone uses, until this is dropped.
#[derive(Debug)]
pub struct Locked(Folder);

impl Folder {
    /// Makes it, with mode 0700, if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or nothing be written in it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| FolderError::Io { path: path.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = private().truncate(false).open(path.join(LOCK)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Takes it for this process.
    ///
    /// # Errors
    /// Another process has it, and the folder comes back; or it cannot be told.
    pub fn lock(mut self) -> Result<Locked, (Self, FolderError)> {
        match self.lock.try_lock() {
            Ok(()) => {
                // For people: who comes and finds it locked says whose it is.
                let pid = std::process::id().to_string();
                let _ = self.lock.set_len(0).and_then(|()| self.lock.rewind());
                let _ = self.lock.write_all(pid.as_bytes());
                Ok(Locked(self))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = self.lock.rewind().and_then(|()| self.lock.read_to_string(&mut text));
                let error = FolderError::InUse { path: self.path.clone(), pid: text.trim().parse().ok() };
                Err((self, error))
            }
            Err(TryLockError::Error(error)) => {
                let error = FolderError::Io { path: self.path.clone(), error };
                Err((self, error))
            }
        }
    }
}

/// The file of the database in this directory, made if it is not there.
///
/// # Errors
/// It cannot be opened.
pub fn database(folder: &Path) -> io::Result<File> {
    let file = private().truncate(false).open(folder.join(DATABASE))?;
    // The name is to be there after a crash.
    File::open(folder)?.sync_all()?;
    Ok(file)
}

impl Locked {
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Bytes that the database takes on the disk.
    pub fn disk_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(self.path().join(DATABASE)).map_or(0, |file| file.blocks() * 512)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Threads with file tables of their own may hold the descriptor too: closing it would not do.
        let _ = self.0.lock.unlock();
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}
