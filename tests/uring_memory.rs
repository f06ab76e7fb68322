//! What io_uring was told of stays where it is until the kernel is done with it. All freed memory is poisoned here and
//! never used again: what the kernel reads too late arrives as poison, and what it writes too late can be seen. Where
//! the kernel refuses io_uring, there is nothing to test.

use mida::engine::{
    io::{
        Completion, Io, Sending, Sockets, Token, Wants,
        handover::Desk,
        listener::Listener,
        uring::{self, Socket, Uring},
        waker::EventWaker,
    },
    outbox::{Form, Gather, Outbox, Shared},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    num::NonZeroU32,
    ptr::slice_from_raw_parts,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

const POISON: u8 = 0xDD;
/// Smaller pieces are none that the kernel is told of.
const LEAST_BYTES: usize = 48;
const KEPT_MAX: usize = 1 << 16;

/// Where each piece of freed memory is, and its length.
static KEPT: [[AtomicUsize; 2]; KEPT_MAX] = [const { [const { AtomicUsize::new(0) }; 2] }; KEPT_MAX];
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Poisoning;

// SAFETY: memory comes from the system's allocator, and goes back to it as it came or never.
unsafe impl GlobalAlloc for Poisoning {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: it is the caller's to give away, whole.
        unsafe { at.write_bytes(POISON, layout.size()) };
        if layout.size() >= LEAST_BYTES
            && let Some([address, length]) = KEPT.get(COUNT.fetch_add(1, SeqCst))
        {
            length.store(layout.size(), SeqCst);
            address.store(at.expose_provenance(), SeqCst);
            return;
        }
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Poisoning = Poisoning;

/// Whether all that was freed is as it was left.
fn is_intact() -> bool {
    assert!(COUNT.load(SeqCst) < KEPT_MAX, "there is room for all that is freed");
    KEPT.iter().all(|[address, length]| {
        let at = std::ptr::with_exposed_provenance::<u8>(address.load(SeqCst));
        // SAFETY: the memory is never given back, and nobody has a reference into it.
        at.is_null()
            || unsafe { &*slice_from_raw_parts(at, length.load(SeqCst)) }.iter().all(|b| *b == POISON)
    })
}

#[derive(Default)]
struct Open(HashMap<Token, Socket>);

impl Sockets<Socket> for Open {
    fn look_up(&mut self, token: Token) -> Option<(&mut Socket, Wants)> {
        self.0.get_mut(&token).map(|socket| (socket, Wants::Bytes))
    }
}

/// A backend with one connection, its peer, and what the peer is to be sent.
struct World {
    uring: Uring,
    open: Open,
    token: Token,
    peer: TcpStream,
    came: usize,
    /// Bytes that the kernel took of a send that waited.
    sent: Option<usize>,
}

impl World {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = vec![Listener::new(listener.into(), false).unwrap()];
        let desks: Arc<[Desk]> = Arc::from(Vec::new());
        let uring = Uring::new(listeners, EventWaker::new().unwrap(), desks, 0, 4).unwrap();
        let token = Token { index: 0, generation: NonZeroU32::MIN };
        let peer = TcpStream::connect(address).unwrap();
        let mut world = Self { uring, open: Open::default(), token, peer, came: 0, sent: None };
        world.until(|world| !world.open.0.is_empty());
        world
    }

    fn until(&mut self, is: impl Fn(&Self) -> bool) {
        while !is(self) {
            self.turn(Some(Duration::from_secs(10)));
        }
    }

    fn turn(&mut self, timeout: Option<Duration>) {
        self.uring.wait(timeout).unwrap();
        let mut accepted = None;
        while let Some(completion) = self.uring.next(&mut self.open) {
            match completion {
                Completion::Accepted { socket, .. } => accepted = Some(socket),
                Completion::Received { bytes, .. } => self.came += bytes.len(),
                Completion::Sent { gather, result, .. } => {
                    self.sent = Some(result.map_or(0, |sent| sent));
                    drop(gather);
                }
                Completion::Ended { .. } => {}
                other => panic!("nothing else happens: {other:?}"),
            }
        }
        if let Some(mut socket) = accepted {
            self.uring.open(self.token, &mut socket).unwrap();
            self.open.0.insert(self.token, socket);
        }
    }

    /// Sends what is expected at `at`, until the kernel has no room; returns how much it was and what has been taken.
    fn fill(&mut self, in_pieces: bool) -> (usize, usize) {
        let mut at = 0;
        loop {
            let gather = gather(at, in_pieces);
            let length = gather.len();
            let socket = self.open.0.get_mut(&self.token).unwrap();
            match self.uring.send(self.token, socket, gather) {
                Sending::Done(_, sent) => assert_eq!(sent.unwrap(), length),
                Sending::Pending(sent) => return (at + length, at + sent),
            }
            at += length;
        }
    }

    fn close(&mut self, reset: bool) {
        let socket = self.open.0.remove(&self.token).unwrap();
        self.uring.close(self.token, socket, reset);
    }
}

fn expected(at: usize) -> u8 {
    (at % 199) as u8
}

/// A send of which nobody else has any part: one segment, or several.
fn gather(at: usize, in_pieces: bool) -> Box<Gather> {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    for piece in 0..4 {
        let bytes = (0..20_000).map(|byte| expected(at + 20_000 * piece + byte)).collect::<Vec<u8>>();
        if in_pieces {
            outbox.push_shared(queue, Form::Frame, &Shared::verbatim(bytes.into()));
        } else {
            outbox.push_raw(queue, |raw| raw.extend_from_slice(&bytes));
        }
    }
    outbox.gather(queue, |_, _| {}).unwrap()
}

/// All that comes until the end, or the reset.
fn read_on(mut peer: TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 16 * 1_024]);
    while let Ok(read @ 1..) = peer.read(&mut buffer) {
        all.extend_from_slice(&buffer[..read]);
    }
    all
}

fn is_expected(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, byte)| *byte == expected(at))
}

enum End {
    Sent,
    Closed { reset: bool },
    BackendGone,
}

#[test]
fn memory_is_nobody_elses_while_the_kernel_may_use_it() {
    if let Err(lack) = uring::probe() {
        eprintln!("skipped: {lack}");
        return;
    }
    for in_pieces in [false, true] {
        for end in [End::Sent, End::Closed { reset: false }, End::Closed { reset: true }, End::BackendGone] {
            let mut world = World::new();
            let (all, taken) = world.fill(in_pieces);
            let peer = world.peer.try_clone().unwrap();
            let read = match end {
                End::Sent => {
                    let reading = std::thread::spawn(|| read_on(peer));
                    world.until(|world| world.sent.is_some());
                    let sent = taken + world.sent.unwrap();
                    assert!(sent > taken && sent <= all);
                    world.close(false);
                    world.turn(Some(Duration::ZERO));
                    let read = reading.join().unwrap();
                    assert_eq!(read.len(), sent);
                    read
                }
                End::Closed { reset } => {
                    world.close(reset);
                    // The kernel gives the gather back, whatever it did with it.
                    world.until(|world| world.sent.is_some());
                    read_on(peer)
                }
                End::BackendGone => {
                    drop(world);
                    read_on(peer)
                }
            };
            assert!(is_expected(&read), "what arrives is what was sent");
        }
    }
    for busy in [false, true] {
        for backend_goes in [false, true] {
            let mut world = World::new();
            for round in 1..=if busy { 5 } else { 1 } {
                world.peer.write_all(&[1; 100]).unwrap();
                world.until(|world| world.came == 100 * round);
            }
            let mut peer = world.peer.try_clone().unwrap();
            if backend_goes {
                drop(world);
            } else {
                world.close(false);
                world.turn(Some(Duration::ZERO));
            }
            // It is read by nobody, or the connection is gone already.
            let _ = peer.write_all(&[2; 10_000]);
            read_on(peer);
        }
    }
    assert!(is_intact(), "the kernel has written to memory that was freed");

    // And it would be seen.
    let mut block = vec![0u8; 4_096];
    let at = block.as_mut_ptr().expose_provenance();
    drop(block);
    // SAFETY: freed memory of this size is kept, and nobody else has it.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(at).add(100).write(0) };
    assert!(!is_intact());
}
