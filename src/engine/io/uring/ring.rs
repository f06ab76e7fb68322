//! The two queues that are shared with the kernel, and the one system call.

use super::request::Request;
use io_uring::{
    EnterFlags, IoUring,
    cqueue::Entry,
    types::{SubmitArgs, Timespec},
};
use std::{io, time::Duration};

/// Requests that wait to be submitted.
const REQUESTS: u32 = 512;
/// Answers that wait to be read; more are kept by the kernel, at some cost.
const ANSWERS: u32 = 4_096;
/// Tries of a submission for which the kernel has no room just now.
const TRIES: u32 = 64;

pub struct Ring {
    ring: IoUring,
    /// A submission has failed for good: who asked gets its memory back, so the kernel is never told of the rest.
    is_broken: bool,
}

impl Ring {
    /// A ring for the calling thread alone, with places for so many sockets.
    ///
    /// # Errors
    /// The kernel does not have, or does not allow, io_uring with all of this.
    pub fn new(sockets: u32) -> io::Result<Self> {
        let build = |without_array: bool| {
            let mut builder = IoUring::builder();
            builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
            builder.setup_submit_all().setup_cqsize(ANSWERS).dontfork();
            if without_array {
                builder.setup_no_sqarray();
            }
            builder.build(REQUESTS)
        };
        let ring = match build(true) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(false)?,
            ring => ring?,
        };
        ring.submitter().register_files_sparse(sockets)?;
        Ok(Self { ring, is_broken: false })
    }

    pub(super) fn inner(&self) -> &IoUring {
        &self.ring
    }

    /// Asks; the kernel hears of it at the next submission.
    #[inline]
    #[allow(unsafe_code)]
    pub fn push(&mut self, Request(entry): Request) {
        loop {
            // SAFETY: whoever made the request has seen to it that its pointers are valid.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            if self.submit().is_err() {
                // The ring is broken: the next wait says so.
                return;
            }
        }
    }

    pub fn has_requests(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Has the kernel do what can be done at once, and begin the rest. What other threads or the network have done
    /// is not looked at.
    ///
    /// # Errors
    /// The ring is broken.
    #[allow(unsafe_code)]
    pub fn submit(&mut self) -> io::Result<()> {
        for _ in 0..TRIES {
            self.is_whole()?;
            let count = self.ring.submission().len() as u32;
            if count == 0 {
                return Ok(());
            }
            // SAFETY: no argument is passed on.
            let done = unsafe { self.ring.submitter().enter::<libc::sigset_t>(count, 0, 0, None) };
            match done {
                Ok(_) => {}
                Err(error) if is_for_now(&error) => {}
                Err(error) => {
                    self.is_broken = true;
                    return Err(error);
                }
            }
        }
        self.is_broken = true;
        Err(io::ErrorKind::OutOfMemory.into())
    }

    fn is_whole(&self) -> io::Result<()> {
        if self.is_broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Submits, and waits for `want` answers, but not beyond `timeout`; after `batch_us` for one.
    ///
    /// # Errors
    /// The ring is broken.
    #[allow(unsafe_code)]
    pub fn wait(&mut self, want: u32, batch_us: u32, timeout: Option<Duration>) -> io::Result<()> {
        self.is_whole()?;
        let count = self.ring.submission().len() as u32;
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        let args = SubmitArgs::new().min_wait_usec(batch_us);
        let until = timeout.map(Timespec::from).unwrap_or_default();
        let args = if timeout.is_some() { args.timespec(&until) } else { args };
        // SAFETY: the argument is what EXT_ARG says it is, and lives until the call returns.
        match unsafe { self.ring.submitter().enter(count, want, flags, Some(&args)) } {
            Ok(_) => Ok(()),
            Err(error) if is_for_now(&error) || error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the kernel has more answers than it has written.
    pub fn has_more(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// The answers that are there.
    #[inline]
    pub fn reap(&mut self, mut answer: impl FnMut(Entry)) {
        for entry in self.ring.completion() {
            answer(entry);
        }
    }
}

/// The kernel has begun nothing, or not everything, and may next time.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}
