//! What the kernel knows of this process.

use rustix::time::{ClockId, clock_gettime};
use std::{fs, os::unix::fs::MetadataExt};

/// Memory in use, in bytes; none where there is no /proc.
pub fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Seconds of CPU time, of all threads.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Open descriptors of a thread's table: of the process's own, or of the reactor that runs on `thread`.
pub fn open_files(thread: Option<u64>) -> Option<u64> {
    let folder = thread.map_or("/proc/self/fd".to_owned(), |thread| format!("/proc/self/task/{thread}/fd"));
    // Linux 6.2 and newer tell it as the folder's size: a reactor may have a million of them to count.
    match fs::metadata(&folder).ok()?.size() {
        0 => Some(fs::read_dir(&folder).ok()?.count() as u64),
        size => Some(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(cpu_seconds() > 0.0);
        let held: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let thread = rustix::thread::gettid().as_raw_nonzero().get() as u64;
        assert!(open_files(None).is_some_and(|files| files >= held.len() as u64));
        assert!(open_files(Some(thread)).is_some_and(|files| files >= held.len() as u64));
    }
}
