//! Messages to a reactor from other threads: bounded, and one wake-up however many are waiting.

use super::io::Wake;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

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
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
        refused.map_or(Ok(()), Err)
    }

    /// Takes all letters, in the order they were left, into the empty `letters`.
    pub fn take(&self, letters: &mut Vec<T>) {
        // First the flag: a letter left after this wakes again, one left before it is taken now.
        self.woken.store(false, Ordering::Release);
        std::mem::swap(letters, &mut self.letters.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
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
