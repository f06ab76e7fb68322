//! What is to be sent: queues of messages and frames, a shared one held once for all who get it.
//!
//! A queue is a list of nodes of the reactor's own, so that queueing allocates nothing once there are
//! enough. What one connection alone gets is written into the turn's arena; the arena is empty again when
//! all queues were flushed, and what a slow reader left there moves to memory of its own. At a flush the
//! queue becomes one [`Gather`], sent with one system call.

use super::{
    pool::Pool,
    wire::frame::{self, Opcode},
};
use bytes::Bytes;
use std::{io::IoSlice, sync::Arc};

const NIL: u32 = u32::MAX;
/// Copying costs less than one more segment in a gathered write below about this size.
const GATHER_FROM_BYTES: usize = 1_024;
/// A queue is flushed in pieces of about this size.
const FLUSH_BYTES: usize = 256 * 1_024;
/// The arena keeps at most this much memory when it is empty.
const KEEP_BYTES: usize = 2 * FLUSH_BYTES;
/// Gathers kept for reuse, and their memory.
const KEEP_GATHERS: usize = 32;
const KEEP_GATHER_BYTES: usize = 4 * KEEP_BYTES;
/// Nodes of queues that were given up, freed at the end of a turn: so many, and this share of all nodes, which is more
/// than a turn makes before they are many. A queue that nobody read can have a millisecond of them.
const FREE_NODES: usize = 256;
const FREE_SHARE: usize = 256;

/// A message encoded once for many connections: a whole unmasked frame, of which the payload is a part.
#[derive(Debug)]
pub struct Shared {
    frame: Bytes,
    payload_at: u8,
}

impl Shared {
    /// Frames the payload that `write` appends.
    pub fn new(opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Arc<Self> {
        let mut buffer = vec![0; frame::HEADER_MAX];
        write(&mut buffer);
        let at = frame::prepend_header(&mut buffer, frame::HEADER_MAX, opcode);
        let payload_at = (frame::HEADER_MAX - at) as u8;
        Arc::new(Self { frame: Bytes::from(buffer).slice(at..), payload_at })
    }

    /// Bytes that are no frame, to be queued as [`Form::Frame`] and so sent as they are.
    pub fn verbatim(bytes: Bytes) -> Arc<Self> {
        Arc::new(Self { frame: bytes, payload_at: 0 })
    }

    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    pub fn payload(&self) -> &[u8] {
        &self.frame[usize::from(self.payload_at)..]
    }
}

/// How a queued item becomes bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It is a frame already.
    Frame,
    /// A message that the application turns into frames at the flush; the mark is the application's.
    Message(u8),
}

#[derive(Debug)]
enum Body {
    /// In the turn's arena.
    Turn {
        at: u32,
        len: u32,
    },
    Shared(Arc<Shared>),
    Owned(Box<[u8]>),
}

#[derive(Debug)]
struct Node {
    next: u32,
    form: Form,
    body: Body,
}

type Nodes = Pool<Node>;

/// The queue of one connection that has something to send; an idle one has none.
#[derive(Debug)]
pub struct Queue {
    head: u32,
    tail: u32,
    /// The first node that may lie in the turn's arena.
    fresh: u32,
    bytes: u32,
    /// Of those, handed to the kernel's side.
    in_flight: u32,
    /// It waits in the reactor's list of queues to flush.
    pub dirty: bool,
    /// It waits in the reactor's list of flushes for which there was no budget.
    pub later: bool,
    /// When it went over the soft limit; `u64::MAX` when it is under.
    pub soft_since_ms: u64,
}

impl Queue {
    /// Bytes not yet taken by the kernel.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    pub fn in_flight(&self) -> bool {
        self.in_flight > 0
    }

    pub fn is_drained(&self) -> bool {
        self.head == NIL && self.in_flight == 0
    }
}

/// All queues of one reactor.
#[derive(Default)]
pub struct Outbox {
    queues: Pool<Queue>,
    nodes: Nodes,
    /// First nodes of queues that were given up.
    rubbish: Vec<u32>,
    arena: Vec<u8>,
    #[allow(clippy::vec_box)] // As it goes through the seam.
    gathers: Vec<Box<Gather>>,
    /// The capacity of those.
    gather_bytes: usize,
    bytes: u64,
    /// Messages that an application has queued, counted by [`Link`](super::app::Link).
    pub messages: u64,
    /// Bytes that the kernel has taken.
    pub sent_bytes: u64,
}

impl Outbox {
    pub const NONE: u32 = NIL;

    /// A new, empty queue.
    pub fn open(&mut self) -> u32 {
        self.queues.insert(Queue {
            head: NIL,
            tail: NIL,
            fresh: NIL,
            bytes: 0,
            in_flight: 0,
            dirty: false,
            later: false,
            soft_since_ms: u64::MAX,
        })
    }

    /// Forgets a queue and all it holds, of which the memory goes little by little.
    pub fn close(&mut self, queue: u32) {
        self.discard(queue);
        if let Some(queue) = self.queues.try_remove(queue) {
            self.bytes -= u64::from(queue.bytes);
        }
    }

    pub fn get(&mut self, queue: u32) -> Option<&mut Queue> {
        self.queues.get_mut(queue)
    }

    /// Bytes in all queues.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes in the turn's arena.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Queues that exist.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// The longest queue.
    pub fn largest(&self) -> Option<u32> {
        self.queues.iter().max_by_key(|(_, queue)| queue.bytes).map(|(index, _)| index)
    }

    /// Appends a message that `write` encodes.
    pub fn push_message(&mut self, queue: u32, mark: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.arena.len();
        write(&mut self.arena);
        self.push_arena(queue, Form::Message(mark), at);
    }

    /// Appends a message that `write` encodes, as a frame of its own.
    pub fn push_encoded_frame(&mut self, queue: u32, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
        let payload_at = self.arena.len() + frame::HEADER_MAX;
        self.arena.resize(payload_at, 0);
        write(&mut self.arena);
        let at = frame::prepend_header(&mut self.arena, payload_at, opcode);
        self.push_arena(queue, Form::Frame, at);
    }

    /// Appends a frame with this payload.
    pub fn push_frame(&mut self, queue: u32, opcode: Opcode, payload: &[u8]) {
        let at = self.arena.len();
        let mut header = [0; frame::HEADER_MAX];
        let used = frame::write_header(opcode, payload.len(), &mut header);
        self.arena.extend_from_slice(&header[..used]);
        self.arena.extend_from_slice(payload);
        self.push_arena(queue, Form::Frame, at);
    }

    /// Appends bytes that are sent as they are.
    pub fn push_raw(&mut self, queue: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.arena.len();
        write(&mut self.arena);
        self.push_arena(queue, Form::Frame, at);
    }

    /// Appends what others get too.
    pub fn push_shared(&mut self, queue: u32, form: Form, shared: &Arc<Shared>) {
        let len = match form {
            Form::Frame => shared.frame().len(),
            Form::Message(_) => shared.payload().len(),
        };
        self.push(queue, form, Body::Shared(shared.clone()), len as u32);
    }

    fn push_arena(&mut self, queue: u32, form: Form, at: usize) {
        let len = (self.arena.len() - at) as u32;
        // Frames that follow each other, in the arena as in the queue, are one item.
        if form == Form::Frame
            && let Some(held) = self.queues.get_mut(queue)
            && let Some(Node { form: Form::Frame, body: Body::Turn { at: start, len: before }, .. }) =
                self.nodes.get_mut(held.tail)
            && (*start + *before) as usize == at
        {
            *before += len;
            held.bytes += len;
            self.bytes += u64::from(len);
            return;
        }
        self.push(queue, form, Body::Turn { at: at as u32, len }, len);
    }

    fn push(&mut self, queue: u32, form: Form, body: Body, len: u32) {
        let Some(held) = self.queues.get_mut(queue) else { return };
        let in_arena = matches!(body, Body::Turn { .. });
        let index = self.nodes.insert(Node { next: NIL, form, body });
        if let Some(last) = self.nodes.get_mut(held.tail) {
            last.next = index;
        } else {
            held.head = index;
        }
        held.tail = index;
        if in_arena && held.fresh == NIL {
            held.fresh = index;
        }
        held.bytes += len;
        self.bytes += u64::from(len);
    }

    /// Takes what is queued into one gather, of about `FLUSH_BYTES`; `close` turns a run of messages with
    /// the same mark into frames. None when there is nothing to send, or a send is in flight, or `close`
    /// stopped at once.
    pub fn gather(
        &mut self,
        queue: u32,
        mut close: impl FnMut(&mut Run<'_>, &mut Gather),
    ) -> Option<Box<Gather>> {
        let held = self.queues.get_mut(queue)?;
        if held.in_flight > 0 || held.head == NIL {
            return None;
        }
        let mut gather = self.gathers.pop().unwrap_or_default();
        self.gather_bytes -= gather.bytes.capacity();
        let (mut head, before) = (held.head, held.bytes);
        let mut taken = 0;
        while gather.len() < FLUSH_BYTES
            && let Some(node) = self.nodes.get(head)
        {
            match node.form {
                Form::Frame => {
                    let Some(node) = self.nodes.try_remove(head) else { break };
                    head = node.next;
                    match node.body {
                        Body::Turn { at, len } => {
                            gather.bytes.extend_from_slice(&self.arena[at as usize..(at + len) as usize]);
                            taken += len;
                        }
                        Body::Shared(shared) => {
                            taken += shared.frame().len() as u32;
                            gather.share(&shared.frame);
                        }
                        Body::Owned(bytes) => {
                            taken += bytes.len() as u32;
                            gather.bytes.extend_from_slice(&bytes);
                        }
                    }
                }
                Form::Message(mark) => {
                    let start = head;
                    let mut run = Run {
                        nodes: &mut self.nodes,
                        arena: &self.arena,
                        head: &mut head,
                        mark,
                        taken: 0,
                        stopped: false,
                    };
                    close(&mut run, &mut gather);
                    taken += run.taken;
                    if run.stopped || head == start {
                        break;
                    }
                }
            }
        }
        held.head = head;
        if head == NIL {
            held.tail = NIL;
        }
        // What is left behind in the arena, if anything, starts at the head or later.
        held.fresh = head;
        held.in_flight = gather.len() as u32;
        held.bytes = before - taken + held.in_flight;
        self.bytes = self.bytes - u64::from(before) + u64::from(held.bytes);
        if gather.is_empty() {
            self.recycle(gather);
            return None;
        }
        Some(gather)
    }

    /// The kernel took `sent` bytes of what is in flight.
    pub fn taken(&mut self, queue: u32, sent: usize) {
        if let Some(held) = self.queues.get_mut(queue) {
            let sent = (sent as u32).min(held.in_flight);
            held.in_flight -= sent;
            held.bytes -= sent;
            self.bytes -= u64::from(sent);
            self.sent_bytes += u64::from(sent);
        }
    }

    /// The kernel took `sent` bytes of the gather; when that is all of it, it is kept for reuse, else it
    /// is given back to be sent again.
    pub fn sent(&mut self, queue: u32, mut gather: Box<Gather>, sent: usize) -> Option<Box<Gather>> {
        gather.advance(sent);
        self.taken(queue, sent);
        if !gather.is_empty() {
            return Some(gather);
        }
        self.recycle(gather);
        None
    }

    /// Keeps a gather's memory for the next one.
    pub fn recycle(&mut self, mut gather: Box<Gather>) {
        let bytes = self.gather_bytes + gather.bytes.capacity();
        if self.gathers.len() < KEEP_GATHERS && bytes <= KEEP_GATHER_BYTES {
            gather.clear();
            self.gathers.push(gather);
            self.gather_bytes = bytes;
        }
    }

    /// Drops what is queued and not in flight.
    pub fn discard(&mut self, queue: u32) {
        let Some(held) = self.queues.get_mut(queue) else { return };
        if held.head != NIL {
            self.rubbish.push(held.head);
        }
        (held.head, held.tail, held.fresh) = (NIL, NIL, NIL);
        self.bytes -= u64::from(held.bytes - held.in_flight);
        held.bytes = held.in_flight;
    }

    /// Moves what a queue has in the turn's arena to memory of its own, since the queue outlives the turn.
    pub fn settle(&mut self, queue: u32) {
        let Some(held) = self.queues.get_mut(queue) else { return };
        let mut index = std::mem::replace(&mut held.fresh, NIL);
        while let Some(node) = self.nodes.get_mut(index) {
            if let Body::Turn { at, len } = node.body {
                node.body = Body::Owned(self.arena[at as usize..(at + len) as usize].into());
            }
            index = node.next;
        }
    }

    /// Gives back the memory that is kept for the next turn: there is nobody left.
    pub fn rest(&mut self) {
        while self.has_rubbish() {
            self.free();
        }
        (self.gathers, self.gather_bytes) = (Vec::new(), 0);
        if self.arena.is_empty() {
            self.arena = Vec::new();
        }
    }

    /// Whether [`Outbox::end_turn`] has more to do.
    pub fn has_rubbish(&self) -> bool {
        !self.rubbish.is_empty()
    }

    /// Frees some of what was given up.
    #[cold]
    fn free(&mut self) {
        let mut left = FREE_NODES + self.nodes.len() / FREE_SHARE;
        while left > 0
            && let Some(index) = self.rubbish.last_mut()
        {
            match self.nodes.try_remove(*index) {
                Some(node) => (*index, left) = (node.next, left - 1),
                None => drop(self.rubbish.pop()),
            }
        }
        if self.rubbish.is_empty() {
            self.rubbish = Vec::new();
        }
    }

    /// Empties the arena. Every queue must have been gathered whole or settled.
    pub fn end_turn(&mut self) {
        if self.has_rubbish() {
            self.free();
        }
        self.arena.clear();
        self.arena.shrink_to(KEEP_BYTES);
        self.queues.rest();
        self.nodes.rest();
        debug_assert!(
            self.has_rubbish() || self.nodes.iter().all(|(_, node)| !matches!(node.body, Body::Turn { .. }))
        );
    }
}

/// Messages at the head of a queue that carry the same mark, for the application to close.
pub struct Run<'a> {
    nodes: &'a mut Nodes,
    arena: &'a [u8],
    head: &'a mut u32,
    mark: u8,
    taken: u32,
    stopped: bool,
}

impl Run<'_> {
    /// Nothing more is taken into this gather, whatever was advanced.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub fn mark(&self) -> u8 {
        self.mark
    }

    /// The next message, which stays queued until [`Run::advance`].
    pub fn peek(&self) -> Option<&[u8]> {
        let node = self.nodes.get(*self.head)?;
        if node.form != Form::Message(self.mark) {
            return None;
        }
        Some(match &node.body {
            Body::Turn { at, len } => &self.arena[*at as usize..(*at + *len) as usize],
            Body::Shared(shared) => shared.payload(),
            Body::Owned(bytes) => bytes,
        })
    }

    /// How many of the next messages fit into `most` and `most_bytes`, a byte between each two counted, and
    /// their bytes without those. The first always fits.
    pub fn survey(&self, most: usize, most_bytes: usize) -> (usize, usize) {
        let (mut index, mut count, mut bytes) = (*self.head, 0, 0);
        while count < most
            && let Some(node) = self.nodes.get(index)
            && node.form == Form::Message(self.mark)
        {
            let len = match &node.body {
                Body::Turn { len, .. } => *len as usize,
                Body::Shared(shared) => shared.payload().len(),
                Body::Owned(bytes) => bytes.len(),
            };
            if count > 0 && bytes + count + len > most_bytes {
                break;
            }
            (index, count, bytes) = (node.next, count + 1, bytes + len);
        }
        (count, bytes)
    }

    /// Takes the message that [`Run::peek`] showed.
    pub fn advance(&mut self) {
        if let Some(len) = self.peek().map(<[u8]>::len)
            && let Some(node) = self.nodes.try_remove(*self.head)
        {
            *self.head = node.next;
            self.taken += len as u32;
        }
    }
}

/// Bytes for one gathered write: a buffer of its own, and large shared segments between its parts. It changes
/// hands several times between queue and kernel, so it is handed on in a box.
#[derive(Debug, Default)]
pub struct Gather {
    /// Frames are appended here.
    pub bytes: Vec<u8>,
    /// Each stands before `bytes[at..]`.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
    /// Already taken by the kernel, of the whole.
    sent: usize,
}

impl Gather {
    /// Segments of one gathered write.
    pub const SLICES: usize = 64;

    /// Bytes still to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_bytes - self.sent
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn share(&mut self, frame: &Bytes) {
        if frame.len() < GATHER_FROM_BYTES {
            self.bytes.extend_from_slice(frame);
        } else {
            self.shared.push((self.bytes.len(), frame.clone()));
            self.shared_bytes += frame.len();
        }
    }

    /// The rest as one slice, if it is one.
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.shared.is_empty().then(|| &self.bytes[self.sent..])
    }

    /// The first segments of the rest, in order; returns how many were filled in.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; Self::SLICES]) -> usize {
        let (mut skip, mut used, mut from) = (self.sent, 0, 0);
        let ends = self.shared.iter().map(|(at, shared)| (*at, &shared[..]));
        for (at, shared) in ends.chain([(self.bytes.len(), &[][..])]) {
            for part in [&self.bytes[from..at], shared] {
                let cut = skip.min(part.len());
                skip -= cut;
                #[cfg(feature = "plant-wrong-segment")]
                let cut = if self.shared.len() > 8 && cut < part.len() { 0 } else { cut };
                let part = &part[cut..];
                if !part.is_empty() && used < Self::SLICES {
                    slices[used] = IoSlice::new(part);
                    used += 1;
                }
            }
            from = at;
        }
        used
    }

    /// The kernel took `sent` bytes more.
    pub fn advance(&mut self, sent: usize) {
        self.sent += sent.min(self.len());
    }

    /// Gives back the memory of what is sent: for bytes that have to wait.
    pub fn compact(&mut self) {
        if self.shared.is_empty() {
            self.bytes = self.bytes[self.sent..].to_vec();
            self.sent = 0;
        } else {
            self.bytes.shrink_to_fit();
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.shared.clear();
        (self.shared_bytes, self.sent) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
