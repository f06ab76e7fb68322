//! Messages to a reactor from other threads: bounded, and one wake-up however many are waiting.

use self::sync::{AtomicBool, Mutex, Ordering};
use super::io::Wake;
use std::sync::PoisonError;

/// A way to another thread.
pub trait Post<T>: Send + Sync {
    /// Leaves a letter.
    ///
    /// # Errors
    /// There is no room now; the letter comes back.
    fn post(&self, letter: T) -> Result<(), T>;
}

impl<T: Send, W: Wake> Post<T> for Inbox<T, W> {
    fn post(&self, letter: T) -> Result<(), T> {
        Inbox::post(self, letter)
    }
}

/// The letterbox of one reactor.
pub struct Inbox<T, W> {
    letters: Mutex<Vec<T>>,
    /// A wake-up is under way that will see everything posted so far.
    woken: AtomicBool,
    waker: W,
    capacity: usize,
}

impl<T, W: Wake> Inbox<T, W> {
    /// A letterbox for at most `capacity` letters at once.
    pub fn new(waker: W, capacity: usize) -> Self {
        Self { letters: Mutex::new(Vec::new()), woken: AtomicBool::new(false), waker, capacity }
    }

    /// Leaves a letter and wakes the reactor if nobody has yet.
    ///
    /// # Errors
    /// The box is full; the letter comes back.
    pub fn post(&self, letter: T) -> Result<(), T> {
        self.post_all([letter])
    }

    /// Leaves letters that the reactor will find together.
    ///
    /// # Errors
    /// The box is full; the first letter that did not fit comes back, those before it are delivered.
    pub fn post_all(&self, letters: impl IntoIterator<Item = T>) -> Result<(), T> {
        let mut refused = None;
        {
            let mut held = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
            for letter in letters {
                if held.len() >= self.capacity {
                    refused = Some(letter);
                    break;
                }
                held.push(letter);
            }
        }
        #[cfg(feature = "plant-lost-wake")]
        if refused.is_some() {
            return refused.map_or(Ok(()), Err);
        }
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
        refused.map_or(Ok(()), Err)
    }

    /// Takes all letters, in the order they were left, into the empty `letters`.
    pub fn take(&self, letters: &mut Vec<T>) {
        // First the flag: a letter left after this wakes again, one left before it is taken now.
        // Swapped and not stored, so that it stands in one order with the swaps of those who post.
        self.woken.swap(false, Ordering::AcqRel);
        std::mem::swap(letters, &mut self.letters.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Under loom, what tries every order of threads: `RUSTFLAGS="--cfg loom" cargo test --release --lib inbox`.
mod sync {
    #[cfg(loom)]
    pub use loom::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };
    #[cfg(not(loom))]
    pub use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::{sync::Arc, thread};

    /// As an eventfd: it stays rung until the reactor has heard it.
    #[derive(Clone)]
    struct Bell(Arc<AtomicBool>);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn no_letter_waits_without_a_wake_up_whatever_the_order() {
        loom::model(|| {
            let bell = Bell(Arc::new(AtomicBool::new(false)));
            let inbox = Arc::new(Inbox::new(bell.clone(), 3));
            let posters = [vec![1, 2], vec![3]].map(|letters| {
                let inbox = inbox.clone();
                thread::spawn(move || assert_eq!(inbox.post_all(letters), Ok(())))
            });
            let (mut letters, mut all) = (Vec::new(), Vec::new());
            // Woken for nothing, or for some of them.
            for _ in 0..2 {
                bell.0.store(false, Ordering::SeqCst);
                inbox.take(&mut letters);
                all.append(&mut letters);
            }
            posters.into_iter().for_each(|poster| poster.join().unwrap());
            assert!(all.len() == 3 || bell.0.load(Ordering::SeqCst), "letters wait and nobody was woken");
            inbox.take(&mut letters);
            all.append(&mut letters);
            assert!(all.iter().filter(|letter| **letter != 3).eq(&[1, 2]) && all.len() == 3);
        });
    }

    #[test]
    fn a_box_that_overflows_wakes_too() {
        loom::model(|| {
            let bell = Bell(Arc::new(AtomicBool::new(false)));
            let inbox = Arc::new(Inbox::new(bell.clone(), 1));
            let other = inbox.clone();
            let poster = thread::spawn(move || other.post_all([1, 2]));
            let mut letters = Vec::new();
            bell.0.store(false, Ordering::SeqCst);
            inbox.take(&mut letters);
            assert_eq!(poster.join().unwrap(), Err(2));
            assert!(letters == [1] || bell.0.load(Ordering::SeqCst));
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::{Arc, atomic::AtomicUsize};

    #[derive(Clone, Default)]
    struct Bell(Arc<AtomicUsize>);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn many_letters_ring_once_and_a_full_box_gives_the_letter_back() {
        let bell = Bell::default();
        let inbox = Inbox::new(bell.clone(), 3);
        assert_eq!((1..=4).map(|n| inbox.post(n)).collect::<Vec<_>>(), [Ok(()), Ok(()), Ok(()), Err(4)]);
        assert_eq!(bell.0.load(Ordering::SeqCst), 1);
        let mut letters = Vec::new();
        inbox.take(&mut letters);
        assert_eq!(letters, [1, 2, 3]);
        inbox.post(5).unwrap();
        assert_eq!(bell.0.load(Ordering::SeqCst), 2);
    }
}
