//! Memory that a storm needed goes back to the kernel; and it comes in pages, not in huge pages.

use std::{
    io,
    sync::mpsc::{Sender, channel},
    thread::Builder,
    time::{Duration, Instant},
};

/// From one time that memory is given back to the next.
const REST: Duration = Duration::from_secs(1);
/// Connections, or bytes held for them, that have gone at least before memory is given back.
const CONNECTIONS: u64 = 256;
const BYTES: u64 = 16 << 20;

/// Has the kernel back this process with small pages only, also where it is set to give huge ones to all: one
/// slot in use would hold two megabytes. To be called before there are threads. Without it only more memory
/// is used: a kernel that refuses changes nothing.
pub fn refuse_huge_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// A thread that gives memory back when somebody sends to it: a walk over all heaps that no reactor has to wait
/// for, and that does not come more often than once a second. It ends with the last sender.
///
/// # Errors
/// There is no thread to be had.
pub fn keeper() -> io::Result<Sender<()>> {
    let (tell, told) = channel();
    Builder::new().name("mida-memory".to_owned()).spawn(move || {
        while told.recv().is_ok() {
            give_back();
            let rests_until = Instant::now() + REST;
            let mut again = false;
            while let Ok(()) = told.recv_timeout(rests_until.saturating_duration_since(Instant::now())) {
                again = true;
            }
            if again {
                give_back();
            }
        }
    })?;
    Ok(tell)
}

/// Gives every free page of every thread's heap back to the kernel.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: it takes no pointer, locks what it works on, and leaves what is in use alone.
    unsafe { libc::malloc_trim(0) };
}

/// The allocator of this platform has its own way.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}

/// Tells when so much has gone that it pays to give memory back: a walk over the free memory of all threads.
#[derive(Debug, Default)]
pub struct Tide {
    connections: Peak,
    bytes: Peak,
}

impl Tide {
    /// After each turn: whether there are half as many connections, or held bytes, as there were at most since
    /// it last said so, and when the last has gone.
    #[inline]
    pub fn is_out(&mut self, connections: usize, bytes: u64) -> bool {
        let fewer = self.connections.is_left(connections as u64, CONNECTIONS);
        self.bytes.is_left(bytes, BYTES) || fewer
    }
}

#[derive(Debug, Default)]
struct Peak {
    /// Since it was said last that much has gone.
    most: u64,
    /// Since there was nothing.
    most_of_all: u64,
}

impl Peak {
    fn is_left(&mut self, now: u64, least: u64) -> bool {
        self.most = self.most.max(now);
        self.most_of_all = self.most_of_all.max(now);
        let is_half = now <= self.most / 2 && self.most - now >= least;
        // The last ones, few as they are, may have been spread over much memory.
        let is_end = now == 0 && self.most_of_all >= least;
        if is_half || is_end {
            self.most = now;
        }
        if now == 0 {
            self.most_of_all = 0;
        }
        is_half || is_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_each_time_that_half_have_gone_and_not_for_a_few() {
        let mut tide = Tide::default();
        let told = |tide: &mut Tide, counts: &[usize]| -> Vec<usize> {
            counts.iter().copied().filter(|count| tide.is_out(*count, 0)).collect()
        };
        let up: Vec<usize> = (0..=20_000).collect();
        let down: Vec<usize> = (0..=20_000).rev().collect();
        assert_eq!(told(&mut tide, &up), [0; 0]);
        assert_eq!(told(&mut tide, &down), [10_000, 5_000, 2_500, 1_250, 625, 312, 56, 0]);
        assert_eq!(told(&mut tide, &[200, 0, 200, 0]), [0; 0]);
        assert_eq!(told(&mut tide, &[1_000, 0, 0, 256, 0, 0]), [0, 0]);
        assert!(!tide.is_out(0, 2 * BYTES) && tide.is_out(0, 7));
        assert!(tide.is_out(0, 0) && !tide.is_out(0, 0));
    }
}
