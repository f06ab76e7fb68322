//! A table of open files for one thread: the limit on open files then bounds a thread, not the process.
//!
//! A descriptor is a number in a table: in a thread of [`spawn`] the same number may mean another file than
//! elsewhere. What threads share (wake-ups, standard streams) is therefore open before the thread is made,
//! and nothing that is opened later is handed from one to another.

use std::{
    fs, io,
    thread::{Builder, JoinHandle},
};

/// Starts a thread that has a file table of its own, with all that is open now, and runs `work` on it;
/// `work` is told if there is no such table and the thread shares that of the process.
///
/// # Errors
/// There is no /proc, or no thread to be had.
pub fn spawn(name: String, work: impl FnOnce(io::Result<()>) + Send + 'static) -> io::Result<JoinHandle<()>> {
    let end = open_files()?.end;
    Builder::new().name(name).spawn(move || work(unshare(end)))
}

/// The descriptors of a table.
#[derive(Clone, Copy, Debug)]
pub struct OpenFiles {
    /// One more than the highest.
    pub end: u32,
    pub count: u64,
}

/// The descriptors of the process.
///
/// # Errors
/// There is no /proc.
pub fn open_files() -> io::Result<OpenFiles> {
    let mut files = OpenFiles { end: 3, count: 0 };
    for entry in fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        files.end = files.end.max(number.ok_or(io::ErrorKind::InvalidData)? + 1);
        files.count += 1;
    }
    Ok(files)
}

/// Gives the calling thread a table of its own, with the files below `end`.
///
/// # Errors
/// The kernel is older than 5.9, or forbids it: the table is shared as before.
#[allow(unsafe_code)]
fn unshare(end: u32) -> io::Result<()> {
    // SAFETY: the call touches no memory. Other threads keep their descriptors, and this thread, which has
    // just begun, has none from `end` on: what it was given was open when `end` was taken.
    let done = unsafe { libc::syscall(libc::SYS_close_range, end, u32::MAX, libc::CLOSE_RANGE_UNSHARE) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsRawFd, sync::mpsc};

    #[test]
    fn what_a_thread_opens_and_closes_is_its_own() {
        let before = File::open("/dev/null").unwrap();
        let files = open_files().unwrap();
        assert!(files.end > before.as_raw_fd() as u32 && files.count >= 4);
        let (tell, told) = mpsc::channel();
        let thread = spawn("own table".to_owned(), move |done| {
            let own: Vec<File> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
            let open_in = |table: &str| {
                let is_open = |file: &&File| {
                    fs::symlink_metadata(format!("/proc/{table}/fd/{}", file.as_raw_fd())).is_ok()
                };
                own.iter().filter(is_open).count()
            };
            tell.send((done.is_ok(), open_in("thread-self"), open_in("self"))).unwrap();
        });
        thread.unwrap().join().unwrap();
        let (done, here, elsewhere) = told.recv().unwrap();
        // Other tests may have some of the numbers for files of theirs.
        assert!(done && here == 50 && elsewhere < 50, "{here} here, {elsewhere} elsewhere");
        assert!(before.metadata().is_ok());
    }
}
