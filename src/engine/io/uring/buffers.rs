//! Memory that the kernel receives into: it picks the next free buffer when bytes are there, so that a connection
//! that waits has none.

use super::{
    request::{BUFFERS, Request},
    ring::Ring,
    socket::Place,
};
use crate::engine::io::Token;
use io_uring::{cqueue, types::BufRingEntry};
use std::{
    cell::UnsafeCell,
    io,
    sync::atomic::{AtomicU16, Ordering},
};

/// Bytes of one.
pub const BUFFER_BYTES: usize = 4 * 1_024;
/// Bytes that one receive may drop unseen.
pub const DROP_BYTES: usize = 64 * 1_024;
/// How many there are: a power of two, whose list is one page.
pub const COUNT: u16 = 256;

#[repr(C, align(4096))]
struct Page([u8; 4_096]);

const _: () = assert!(size_of::<Page>() == BUFFER_BYTES);
const _: () = assert!(size_of::<Page>() == COUNT as usize * size_of::<BufRingEntry>());

/// A buffer that the kernel has filled. It is the only handle of it until it is given back.
#[derive(Debug)]
pub struct Filled {
    number: u16,
    pub length: usize,
}

impl Filled {
    /// The one that came with this answer.
    #[inline]
    pub fn of(answer: &cqueue::Entry) -> Option<Self> {
        let number = cqueue::buffer_select(answer.flags())?;
        Some(Self { number, length: usize::try_from(answer.result()).unwrap_or(0).min(BUFFER_BYTES) })
    }
}

pub struct Buffers {
    /// The list that the kernel picks from: entries, and in the first one the tail.
    list: Box<UnsafeCell<Page>>,
    pages: Box<[UnsafeCell<Page>]>,
    /// For what is dropped. TCP writes nothing there, others do, and nobody reads it.
    dropped: Box<[UnsafeCell<u8>]>,
    tail: u16,
}

impl Buffers {
    /// Registers them with this ring, which has to be closed before they go.
    ///
    /// # Errors
    /// The kernel refuses it.
    #[allow(unsafe_code)]
    pub fn new(ring: &Ring) -> io::Result<Self> {
        let page = || UnsafeCell::new(Page([0; 4_096]));
        let mut buffers = Self {
            list: Box::new(page()),
            pages: (0..COUNT).map(|_| page()).collect(),
            dropped: (0..DROP_BYTES).map(|_| UnsafeCell::new(0)).collect(),
            tail: 0,
        };
        let list = buffers.list.get() as u64;
        // SAFETY: the list has COUNT entries, and stays where it is until the ring is closed.
        unsafe { ring.inner().submitter().register_buf_ring_with_flags(list, COUNT, BUFFERS, 0)? };
        (0..COUNT).for_each(|number| buffers.give_back(Filled { number, length: 0 }));
        Ok(buffers)
    }

    /// What was received.
    #[inline]
    #[allow(unsafe_code)]
    pub fn bytes(&mut self, filled: &Filled) -> &mut [u8] {
        let page = self.pages[usize::from(filled.number)].get();
        // SAFETY: the kernel has handed this buffer over, with the one handle of it, and gets it back only with that.
        let page = unsafe { &mut *page };
        &mut page.0[..filled.length]
    }

    /// Receives once, and drops what comes.
    #[allow(unsafe_code)]
    pub fn drop_unseen(&self, token: Token, place: Place) -> Request {
        // SAFETY: the memory stays where it is until the ring is closed, and nobody reads it.
        unsafe {
            Request::drop_unseen(token, place, self.dropped.as_ptr().cast_mut().cast(), DROP_BYTES as u32)
        }
    }

    /// The kernel may fill it again, after all others that it has.
    #[inline]
    #[allow(unsafe_code)]
    pub fn give_back(&mut self, Filled { number, .. }: Filled) {
        let entries = self.list.get().cast::<BufRingEntry>();
        let at = usize::from(self.tail & (COUNT - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the kernel reads an entry only once the tail is past it, and this one is behind the old tail. The
        // tail lies where no entry has anything of its own.
        unsafe {
            let entry = &mut *entries.add(at);
            entry.set_addr(self.pages[usize::from(number)].get() as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(number);
            let tail = BufRingEntry::tail(entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}
