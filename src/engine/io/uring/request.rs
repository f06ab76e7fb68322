//! What the kernel is asked for, and how its answer is known again. A request without pointers is made safely; one
//! with pointers is made by the type that owns what they point to.

use super::socket::Place;
use crate::engine::io::Token;
use io_uring::{
    opcode,
    squeue::{Entry, Flags},
    types::{DestinationSlot, Fd, Fixed, Timespec},
};
use std::{num::NonZeroU32, os::fd::RawFd, time::Duration};

/// Whether a connection is busy or quiet is told in ticks.
pub const TICK: Duration = Duration::from_millis(250);
/// Buffers that receives pick from.
pub const BUFFERS: u16 = 0;
/// Offsets of `ioprio` and `optlen` in an entry, which `io_uring` has no names for in an accept and in a receive.
const IOPRIO_AT: usize = 2;
const OPTLEN_AT: usize = 44;
/// `IORING_ACCEPT_POLL_FIRST`.
const POLL_FIRST: u16 = 1 << 2;

/// What an answer belongs to, as the 64 bits that come back with it: a connection's generation stands in the upper
/// half, which no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Nobody cares.
    None,
    Poll(Token),
    Receive(Token),
    /// A send that waits for room.
    Send(Token),
    /// Of a group of sends, the one with this number.
    Now(u32),
    /// Of what is asked of a socket itself and done at once, likewise.
    Asked(u32),
    /// One of the accepts that are out.
    Accept(u32),
    Waker,
    Desk,
    Tick,
}

const INDEX_BITS: u32 = 24;
const INDEX: u64 = (1 << INDEX_BITS) - 1;

impl Tag {
    pub fn bits(self) -> u64 {
        let of = |kind: u64, token: Token| token.number() | kind << INDEX_BITS;
        match self {
            Tag::None => 0,
            Tag::Poll(token) => of(1, token),
            Tag::Receive(token) => of(2, token),
            Tag::Send(token) => of(3, token),
            Tag::Now(number) => 4 << INDEX_BITS | u64::from(number) & INDEX,
            Tag::Accept(number) => 5 << INDEX_BITS | u64::from(number) & INDEX,
            Tag::Waker => 6 << INDEX_BITS,
            Tag::Desk => 7 << INDEX_BITS,
            Tag::Tick => 8 << INDEX_BITS,
            Tag::Asked(number) => 9 << INDEX_BITS | u64::from(number) & INDEX,
        }
    }

    #[inline]
    pub fn of(bits: u64) -> Self {
        let index = (bits & INDEX) as u32;
        let kind = (bits >> INDEX_BITS) as u8;
        match NonZeroU32::new((bits >> 32) as u32) {
            Some(generation) => {
                let token = Token { index, generation };
                match kind {
                    1 => Tag::Poll(token),
                    2 => Tag::Receive(token),
                    3 => Tag::Send(token),
                    _ => Tag::None,
                }
            }
            None => match kind {
                4 => Tag::Now(index),
                5 => Tag::Accept(index),
                6 => Tag::Waker,
                7 => Tag::Desk,
                8 => Tag::Tick,
                9 => Tag::Asked(index),
                _ => Tag::None,
            },
        }
    }
}

/// An entry of the submission queue.
pub struct Request(pub(super) Entry);

impl Request {
    /// Tells once when something can be read.
    pub fn poll(token: Token, place: Place) -> Self {
        let entry = opcode::PollAdd::new(Fixed(place.0), libc::POLLIN as u32).build();
        Self(entry.user_data(Tag::Poll(token).bits()))
    }

    /// Tells each time that this descriptor becomes readable.
    pub fn watch(descriptor: RawFd, tag: Tag) -> Self {
        let entry = opcode::PollAdd::new(Fd(descriptor), libc::POLLIN as u32).multi(true).build();
        Self(entry.user_data(tag.bits()))
    }

    /// Receives once, `most` bytes into the next buffer.
    pub fn receive(token: Token, place: Place, most: u32) -> Self {
        let entry = opcode::Recv::new(Fixed(place.0), std::ptr::null_mut(), most).buf_group(BUFFERS).build();
        Self(entry.flags(Flags::BUFFER_SELECT).user_data(Tag::Receive(token).bits()))
    }

    /// Receives again and again, `each` bytes at a time, until it has been `most` bytes.
    pub fn receive_on(token: Token, place: Place, each: u32, most: u32) -> Self {
        let entry = opcode::RecvMulti::new(Fixed(place.0), BUFFERS).len(each).build();
        Self(with_optlen(entry.user_data(Tag::Receive(token).bits()), most))
    }

    /// Receives once, at most `most` bytes, which on TCP are not copied.
    ///
    /// # Safety
    /// The kernel may write so many bytes at `memory`, at any time until the answer has come.
    #[allow(unsafe_code)]
    pub unsafe fn drop_unseen(token: Token, place: Place, memory: *mut u8, most: u32) -> Self {
        let entry = opcode::Recv::new(Fixed(place.0), memory, most).flags(libc::MSG_TRUNC).build();
        Self(entry.user_data(Tag::Receive(token).bits()))
    }

    /// Ends what waits with this tag.
    pub fn cancel(tag: Tag) -> Self {
        Self::quiet(opcode::AsyncCancel::new(tag.bits()).build())
    }

    /// Gives the socket's place back.
    pub fn close(place: Place) -> Self {
        Self::quiet(opcode::Close::new(Fixed(place.0)).build())
    }

    /// What is not sent is dropped when the socket closes, with a reset.
    pub fn reset(place: Place) -> Self {
        static LINGER: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let entry = opcode::SetSockOpt::new(
            Fixed(place.0),
            libc::SOL_SOCKET as u32,
            libc::SO_LINGER as u32,
            (&raw const LINGER).cast(),
            size_of::<libc::linger>() as u32,
        );
        Self::quiet(entry.build())
    }

    /// A descriptor for this socket.
    pub fn install(place: Place, number: u32) -> Self {
        let entry = opcode::FixedFdInstall::new(Fixed(place.0), 0).build();
        Self(entry.user_data(Tag::Asked(number).bits()))
    }

    /// Comes back after a tick.
    pub fn tick() -> Self {
        static EACH: Timespec = Timespec::new().nsec(TICK.subsec_nanos());
        Self(opcode::Timeout::new(&raw const EACH).build().user_data(Tag::Tick.bits()))
    }

    /// Places for `sockets` are found and written over them.
    ///
    /// # Safety
    /// They stay where they are, and untouched, until the answer has come.
    #[allow(unsafe_code)]
    pub unsafe fn adopt(sockets: &mut [RawFd]) -> Self {
        // An offset of all ones asks the kernel to find places.
        let entry = opcode::FilesUpdate::new(sockets.as_mut_ptr(), sockets.len() as u32).offset(-1).build();
        Self(entry.user_data(Tag::Asked(0).bits()))
    }

    /// Accepts a connection into a free place.
    ///
    /// # Safety
    /// Both pointers are valid, and nobody else uses what they point to, until the answer has come.
    #[allow(unsafe_code)]
    pub unsafe fn accept(
        listener: RawFd,
        address: *mut libc::sockaddr,
        length: *mut libc::socklen_t,
        number: u32,
    ) -> Self {
        let entry = opcode::Accept::new(Fd(listener), address, length)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        Self(entry.user_data(Tag::Accept(number).bits()))
    }

    /// Of an accept: it is not tried before somebody is there. A try in vain makes a whole socket, and throws it away.
    pub fn after_poll(self) -> Self {
        Self(with_ioprio(self.0, POLL_FIRST))
    }

    /// Sends so many bytes.
    ///
    /// # Safety
    /// They are valid and unchanged until the answer has come, or with `MSG_DONTWAIT` until it was submitted.
    #[allow(unsafe_code)]
    pub unsafe fn send(place: Place, bytes: *const u8, length: usize, flags: i32, tag: Tag) -> Self {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fixed(place.0), bytes, length).flags(flags | libc::MSG_NOSIGNAL);
        Self(entry.build().user_data(tag.bits()))
    }

    /// Sends what the message names.
    ///
    /// # Safety
    /// As with [`Request::send`], for the message too.
    #[allow(unsafe_code)]
    pub unsafe fn send_message(place: Place, message: *const libc::msghdr, flags: i32, tag: Tag) -> Self {
        let entry = opcode::SendMsg::new(Fixed(place.0), message);
        Self(entry.flags((flags | libc::MSG_NOSIGNAL) as u32).build().user_data(tag.bits()))
    }

    /// An answer comes only if it fails.
    pub fn unless_done(self) -> Self {
        Self(self.0.flags(Flags::SKIP_SUCCESS))
    }

    /// An answer comes in any case.
    pub fn told(self) -> Self {
        let tag = self.0.get_user_data();
        let fixed = self.0.clear_flags().flags(Flags::FIXED_FILE);
        Self(fixed.user_data(tag))
    }

    fn quiet(entry: Entry) -> Self {
        Self(entry.user_data(Tag::None.bits()).flags(Flags::SKIP_SUCCESS))
    }
}

#[allow(unsafe_code)]
fn with_ioprio(mut entry: Entry, ioprio: u16) -> Entry {
    // SAFETY: as below; these two are its ioprio.
    unsafe { (&raw mut entry).cast::<u8>().add(IOPRIO_AT).cast::<u16>().write(ioprio) };
    entry
}

#[allow(unsafe_code)]
fn with_optlen(mut entry: Entry, optlen: u32) -> Entry {
    const { assert!(size_of::<Entry>() == 64) };
    // SAFETY: an entry is the kernel's struct io_uring_sqe, 64 bytes of plain integers, and these four are its
    // optlen (include/uapi/linux/io_uring.h).
    unsafe { (&raw mut entry).cast::<u8>().add(OPTLEN_AT).cast::<u32>().write(optlen) };
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_back_as_it_went() {
        let token = |index, generation| Token { index, generation: NonZeroU32::new(generation).unwrap() };
        for token in [token(0, 1), token(INDEX as u32, u32::MAX), token(77, 1 << 31)] {
            for tag in [Tag::Poll(token), Tag::Receive(token), Tag::Send(token)] {
                assert_eq!(Tag::of(tag.bits()), tag);
            }
        }
        let others = [
            Tag::None,
            Tag::Now(0),
            Tag::Now(9),
            Tag::Asked(3),
            Tag::Accept(15),
            Tag::Waker,
            Tag::Desk,
            Tag::Tick,
        ];
        for tag in others {
            assert_eq!(Tag::of(tag.bits()), tag);
        }
    }
}
