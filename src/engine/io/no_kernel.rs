//! What the backends without a kernel have in common.

use super::Wake;
use crate::engine::outbox::Gather;
use std::{
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Number of a connection, in the order in which they were made.
pub type Number = u32;

/// A waker that is heard when the reactor next asks for completions.
#[derive(Clone, Default)]
pub struct Bell(Arc<AtomicBool>);

impl Wake for Bell {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Bell {
    /// Whether it has rung since it was heard last.
    pub fn is_rung(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Hears it, if it has rung.
    pub fn hear(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// Appends the first bytes of the gather, at most `most`, to `to`; returns how many.
pub fn take(gather: &Gather, most: usize, to: &mut Vec<u8>) -> usize {
    let mut slices = [IoSlice::new(&[]); Gather::SLICES];
    let used = gather.slices(&mut slices);
    let mut left = most;
    for slice in &slices[..used] {
        let taken = left.min(slice.len());
        to.extend_from_slice(&slice[..taken]);
        left -= taken;
    }
    most - left
}
