//! What the kernel and the mask take on io_uring: receives that go on by themselves into buffers of the ring's, sends
//! that are done by the submission they are part of, and one system call a turn.
//!
//! No server, like `bare`: it checks nothing that a client of the comparison does right, knows no fragments and no
//! pings, and closes whoever does not take an echo at once.
//!
//! `--together N` waits for N answers, or for 100 µs once there is one.

use io_uring::{
    EnterFlags, IoUring, cqueue, opcode,
    squeue::{Entry, Flags},
    types::{BufRingEntry, Fd, Fixed, SubmitArgs},
};
use peers::frames::{echo, upgrade};
use std::{
    alloc::{Layout, alloc_zeroed},
    io::{self, ErrorKind},
    os::fd::{AsRawFd, RawFd},
    ptr,
    sync::atomic::{AtomicU16, Ordering},
};

const BUFFER_BYTES: usize = 4 * 1_024;
const BUFFERS: u16 = 1_024;
const GROUP: u16 = 0;
const SOCKETS: u32 = 16 * 1_024;
/// Kinds of requests, above the number of a socket.
const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const CLOSE: u64 = 4 << 32;
/// All or what there is room for, while it is submitted: the bytes are ours again when that returns.
const NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

#[derive(Default)]
struct Peer {
    upgraded: bool,
    /// Bytes of a frame, or of the request, that is not whole yet.
    tail: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip_while(|arg| arg != "--together").skip(1);
    let together: u32 = args.next().map_or(1, |number| number.parse().expect("a number"));
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_submit_all()
        .setup_cqsize(8 * 1_024)
        .build(2 * 1_024)?;
    ring.submitter().register_files_sparse(SOCKETS)?;
    let buffers = Buffers::new(&ring)?;
    let listener = peers::listen()?;
    peers::announce(listener.local_addr()?);
    let peers = (0..SOCKETS).map(|_| Peer::default()).collect();
    let mut server = Server { ring, buffers, peers, out: Vec::new(), sends: Vec::new() };
    server.accept(listener.as_raw_fd());
    let mut answers: Vec<cqueue::Entry> = Vec::new();
    loop {
        server.wait(together)?;
        answers.extend(server.ring.completion());
        for answer in answers.drain(..) {
            server.answered(&answer, listener.as_raw_fd())?;
        }
        server.send();
    }
}

struct Server {
    ring: IoUring,
    buffers: Buffers,
    peers: Box<[Peer]>,
    /// What this turn sends: bytes of all, and of each socket where they begin.
    out: Vec<u8>,
    sends: Vec<(u32, usize)>,
}

impl Server {
    fn wait(&mut self, together: u32) -> io::Result<()> {
        let count = self.ring.submission().len() as u32;
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        let args = SubmitArgs::new().min_wait_usec(if together > 1 { 100 } else { 0 });
        // SAFETY: the argument is what EXT_ARG says it is, and lives until the call returns.
        match unsafe { self.ring.submitter().enter(count, together, flags, Some(&args)) } {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME)) => {
                return Err(error);
            }
            _ => {}
        }
        // The sends have been tried: their bytes are nobody's.
        self.out.clear();
        Ok(())
    }

    fn answered(&mut self, answer: &cqueue::Entry, listener: RawFd) -> io::Result<()> {
        let (kind, number) = (answer.user_data() & !0xFFFF_FFFF, answer.user_data() as u32);
        let goes_on = cqueue::more(answer.flags());
        match kind {
            ACCEPT => {
                let number = u32::try_from(answer.result())
                    .map_err(|_| io::Error::from_raw_os_error(-answer.result()))?;
                self.peers[number as usize] = Peer::default();
                self.push(nodelay(number));
                self.receive(number);
                if !goes_on {
                    self.accept(listener);
                }
            }
            RECEIVE => {
                let buffer = cqueue::buffer_select(answer.flags());
                if let (Some(buffer), Ok(length @ 1..)) = (buffer, usize::try_from(answer.result())) {
                    if self.serve(number, buffer, length).is_err() {
                        self.close(number);
                    } else if !goes_on {
                        self.receive(number);
                    }
                } else if answer.result() == -libc::ENOBUFS {
                    self.receive(number);
                } else {
                    self.close(number);
                }
                buffer.into_iter().for_each(|buffer| self.buffers.give_back(buffer));
            }
            // Only what falls short is answered.
            SEND => self.close(number),
            _ => {}
        }
        Ok(())
    }

    /// An error: it is to be closed.
    fn serve(&mut self, number: u32, buffer: u16, length: usize) -> io::Result<()> {
        let (peer, bytes) = (&mut self.peers[number as usize], self.buffers.bytes(buffer, length));
        let start = self.out.len();
        if peer.upgraded && peer.tail.is_empty() {
            let used = echo(bytes, &mut self.out)?;
            peer.tail.extend_from_slice(&bytes[used..]);
        } else {
            peer.tail.extend_from_slice(bytes);
            let out = &mut self.out;
            let used = if peer.upgraded { echo(&mut peer.tail, out)? } else { upgrade(&peer.tail, out)? };
            peer.upgraded |= used > 0;
            peer.tail.drain(..used);
        }
        if self.out.len() > start {
            self.sends.push((number, start));
        }
        Ok(())
    }

    /// The bytes of this turn do not move any more.
    fn send(&mut self) {
        let sends = std::mem::take(&mut self.sends);
        let ends = sends.iter().skip(1).map(|(_, start)| *start).chain([self.out.len()]);
        for ((number, start), end) in sends.iter().zip(ends) {
            let bytes = &self.out[*start..end];
            let entry =
                opcode::Send::new(Fixed(*number), bytes.as_ptr(), bytes.len() as u32).flags(NOW).build();
            self.push(entry.flags(Flags::SKIP_SUCCESS).user_data(SEND | u64::from(*number)));
        }
        self.sends = sends;
        self.sends.clear();
    }

    fn accept(&mut self, listener: RawFd) {
        let entry = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(true);
        self.push(entry.build().user_data(ACCEPT));
    }

    fn receive(&mut self, number: u32) {
        let entry = opcode::RecvMulti::new(Fixed(number), GROUP);
        self.push(entry.build().user_data(RECEIVE | u64::from(number)));
    }

    /// Whatever waits for it ends first.
    fn close(&mut self, number: u32) {
        let cancel = opcode::AsyncCancel::new(RECEIVE | u64::from(number)).build();
        self.push(cancel.flags(Flags::SKIP_SUCCESS).user_data(CLOSE));
        let close = opcode::Close::new(Fixed(number)).build();
        self.push(close.flags(Flags::SKIP_SUCCESS).user_data(CLOSE));
    }

    fn push(&mut self, entry: Entry) {
        // SAFETY: what a request points to is a constant, or the bytes of the turn, which are kept until it was tried.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            let _ = self.ring.submit();
        }
    }
}

fn nodelay(number: u32) -> Entry {
    static ON: libc::c_int = 1;
    let (level, name) = (libc::IPPROTO_TCP as u32, libc::TCP_NODELAY as u32);
    let entry = opcode::SetSockOpt::new(Fixed(number), level, name, (&raw const ON).cast(), 4).build();
    entry.flags(Flags::SKIP_SUCCESS).user_data(CLOSE)
}

/// Memory that the kernel receives into; the process has it for its whole life.
struct Buffers {
    list: *mut BufRingEntry,
    pages: *mut u8,
    tail: u16,
}

impl Buffers {
    fn new(ring: &IoUring) -> io::Result<Self> {
        let pages = |bytes| {
            let layout = Layout::from_size_align(bytes, 4_096).expect("a power of two");
            // SAFETY: it is not of no size.
            let pages = unsafe { alloc_zeroed(layout) };
            (!pages.is_null()).then_some(pages).ok_or(ErrorKind::OutOfMemory)
        };
        let list = pages(usize::from(BUFFERS) * size_of::<BufRingEntry>())?.cast();
        let mut buffers = Self { list, pages: pages(usize::from(BUFFERS) * BUFFER_BYTES)?, tail: 0 };
        // SAFETY: the list has so many entries, and is never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(list as u64, BUFFERS, GROUP, 0)? };
        (0..BUFFERS).for_each(|number| buffers.give_back(number));
        Ok(buffers)
    }

    fn bytes(&mut self, number: u16, length: usize) -> &mut [u8] {
        assert!(number < BUFFERS && length <= BUFFER_BYTES);
        // SAFETY: the kernel has filled it, and has it back only when it is given back.
        unsafe {
            &mut *ptr::slice_from_raw_parts_mut(self.pages.add(usize::from(number) * BUFFER_BYTES), length)
        }
    }

    fn give_back(&mut self, number: u16) {
        let at = usize::from(self.tail & (BUFFERS - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the kernel reads an entry once the tail is past it, and this one is behind the old tail.
        unsafe {
            let entry = &mut *self.list.add(at);
            entry.set_addr(self.pages.add(usize::from(number) * BUFFER_BYTES) as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(number);
            let tail = BufRingEntry::tail(self.list).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}
