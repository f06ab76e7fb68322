//! Memory that a storm needed goes back to the kernel; and it comes in pages, not in huge pages.

use std::{
    io,
    sync::mpsc::{Sender, channel},
    thread::Builder,
    time::{Duration, Instant},
};

/// From one time that memory is given back to the next.
const REST: Duration = Duration::from_secs(1);
/// What is as large as this has pages of its own.
#[cfg(target_env = "gnu")]
const OWN_PAGES_BYTES: libc::c_int = 1 << 20;
/// So long little has to be held before it is believed.
const LOW_FOR: Duration = Duration::from_secs(5);
/// Connections, or bytes held for them, that have gone at least before memory is given back.
const CONNECTIONS: u64 = 256;
const BYTES: u64 = 16 << 20;

/// Has the kernel back this process with small pages only, also where it is set to give huge ones to all: one
/// slot in use would hold two megabytes. To be called before there are threads. Without it only more memory
/// is used: a kernel that refuses changes nothing.
pub fn refuse_huge_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// What the allocator does not do in small parts by itself. Freed pieces are joined as they are freed: those that it
/// puts aside are joined all at once one day, which was 13 ms for the answers of a thousand that did not read. And what
/// grows to megabytes gets pages of its own, which are moved and not copied when it grows, and go when it goes. To be
/// called before there are threads.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn steady_allocator() {
    // SAFETY: two numbers, and no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MXFAST, 0);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES);
    }
}

/// The allocator of this platform has its own way.
#[cfg(not(target_env = "gnu"))]
pub fn steady_allocator() {}

/// A thread that gives memory back when somebody sends to it. That locks each heap for as long as it has free pages,
/// tens of milliseconds after a storm: see [`Tide`]; and it does not come more often than once a second. It ends with the last sender.
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

/// Tells when so much has gone that it pays to give memory back: a walk over the free memory of all threads, each of
/// which waits for it as soon as it wants memory itself. So it is told once a storm has passed, and not while it
/// comes and goes.
#[derive(Debug, Default)]
pub struct Tide {
    connections: Peak,
    bytes: Peak,
}

impl Tide {
    /// After each turn: whether for five seconds there have been no more than half as many connections, or held
    /// bytes, as there were at most since it last said so; and at once when the last connection has gone.
    #[inline]
    pub fn is_out(&mut self, connections: usize, bytes: u64, now: Duration) -> bool {
        let fewer = self.connections.is_left(connections as u64, CONNECTIONS, now);
        // There may be no turn any more.
        let nobody = connections == 0 && (self.connections.is_end(CONNECTIONS) | self.bytes.is_end(BYTES));
        self.bytes.is_left(bytes, BYTES, now) || fewer || nobody
    }
}

#[derive(Debug, Default)]
struct Peak {
    /// Since it was said last that much has gone.
    most: u64,
    /// Since there was nothing.
    most_of_all: u64,
    /// Since when there has been little.
    low_since: Option<Duration>,
}

impl Peak {
    #[inline]
    fn is_left(&mut self, count: u64, least: u64, now: Duration) -> bool {
        self.most = self.most.max(count);
        if count > self.most / 2 || self.most - count < least {
            self.low_since = None;
            return false;
        }
        if now - *self.low_since.get_or_insert(now) < LOW_FOR {
            return false;
        }
        self.most_of_all = self.most_of_all.max(self.most);
        self.most = count;
        self.low_since = None;
        true
    }

    /// There is nothing left: whether there was much. The last ones, few as they are, may have been spread over it.
    fn is_end(&mut self, least: u64) -> bool {
        let most = self.most_of_all.max(self.most);
        *self = Self::default();
        most >= least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    /// Of these counts, a step apart, those at which it is told.
    fn told(tide: &mut Tide, now: &mut Duration, counts: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut is_told = |count: &usize| {
            *now += STEP;
            tide.is_out(*count, 0, *now)
        };
        counts.into_iter().filter(|count| is_told(count)).collect()
    }

    #[test]
    fn it_is_told_when_half_have_been_gone_for_a_while_and_not_for_a_few() {
        let (tide, now) = (&mut Tide::default(), &mut Duration::default());
        let while_ms = LOW_FOR.as_millis() as usize;
        assert_eq!(told(tide, now, 0..=20_000), [0; 0]);
        assert_eq!(told(tide, now, [10_000].repeat(while_ms)), [0; 0]);
        assert_eq!(told(tide, now, [10_000].repeat(3 * while_ms)), [10_000]);
        assert_eq!(told(tide, now, [9_800].repeat(3 * while_ms)), [0; 0]);
        // A tide that comes back within the while is none.
        assert_eq!(
            told(tide, now, [[10_000].repeat(while_ms), [0].repeat(0), [2_000].repeat(while_ms)].concat()),
            [0; 0]
        );
        assert_eq!(told(tide, now, [10_000, 2_000].repeat(3 * while_ms)), [0; 0]);
        assert_eq!(told(tide, now, [2_000].repeat(3 * while_ms)), [2_000]);
        assert_eq!(told(tide, now, [2_000, 0, 0, 200, 0, 200, 0, 1_000, 0]), [0, 0]);
    }

    #[test]
    fn bytes_are_a_tide_of_their_own() {
        let mut tide = Tide::default();
        assert!(!tide.is_out(1, 2 * BYTES, STEP) && !tide.is_out(1, 7, 2 * STEP));
        assert!(!tide.is_out(1, 7, LOW_FOR + STEP) && tide.is_out(1, 7, LOW_FOR + 2 * STEP));
        assert!(!tide.is_out(1, 7, 3 * LOW_FOR));
        assert!(!tide.is_out(1, BYTES, 3 * LOW_FOR) && tide.is_out(0, 0, 3 * LOW_FOR));
    }
}
