//! A text from a client to its messages (PROTOCOL.md sections 2 and 3).
//!
//! simd-json refuses what RFC 8259 refuses, and lone surrogate escapes and too deep nesting besides; it
//! does not recurse. The tests hold it to that. It also refuses numbers that an f64 cannot hold, which are
//! JSON: `number` makes up for that.

use std::mem;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape, fill_tape_padded};

use super::event::{
    ACK, AUTH, Auth, BIO_CHARS, DISPLAY_NAME_CHARS, ErrorCode, Event, ID_BYTES, IDS_MAX, JOIN, LEAVE,
    METADATA, Method, PUBLISH, Publish, SEND, SOLUTION, Send, Solution, Strings, TO_MAX, TOPIC_BYTES,
};
use super::{
    number,
    raw::{Raw, Seen},
};
use crate::engine::limits::Limits;

/// Containers around the members of `data`: the message and `data`; in a batch, itself and its array too.
const OPEN_SINGLE: usize = 2;
const OPEN_BATCH: usize = 4;

/// Nodes of a tape that is kept for the next text; a longer one, 24 bytes a node, goes back at once.
const KEPT_NODES: usize = 16_384;

/// Reads texts, one after the other, in buffers that it keeps: one a core is enough.
///
/// Once the buffers have grown to what arrives, no text allocates, right or wrong; only one of more than
/// `KEPT_NODES` nodes does.
pub struct Decoder {
    buffers: Buffers,
    /// What `buffers` were made for: simd-json takes it only there.
    json_depth: u32,
    /// The text and the padding simd-json reads over; strings are unescaped in place, here.
    text: Vec<u8>,
    /// As `text`, for the second look at a text with numbers that simd-json refuses.
    tamed: Vec<u8>,
    tape: Tape<'static>,
}

impl Decoder {
    pub fn new(limits: &Limits) -> Self {
        Self {
            buffers: buffers(limits.json_depth),
            json_depth: limits.json_depth,
            text: Vec::new(),
            tamed: Vec::new(),
            tape: Tape(Vec::new()),
        }
    }

    /// Reads `text`, one message or one batch; `text` itself stays as it is. `batching` is what the first
    /// rules of the connection said.
    ///
    /// # Errors
    /// What is wrong with the whole text; nothing in it counts, and the answer has `re` null and no `id`:
    /// - [`ErrorCode::BadJson`]: not UTF-8, not JSON (RFC 8259), or nested deeper than `json_depth`, the
    ///   batch's own two levels included.
    /// - [`ErrorCode::BatchingDisabled`]: a batch, right or wrong, and batching is off.
    /// - [`ErrorCode::BadBatch`]: a batch with anything wrong outside its messages, or a batch inside it.
    /// - [`ErrorCode::BadEnvelope`]: `t` beside `count`, which is neither message nor batch.
    pub fn decode<'d>(
        &'d mut self,
        text: &'d [u8],
        limits: &Limits,
        batching: bool,
    ) -> Result<Messages<'d>, ErrorCode> {
        if self.json_depth != limits.json_depth {
            *self = Self::new(limits);
        }
        let mut messages = Messages {
            batch: false,
            single: Head { t: None, data: None },
            len: 1,
            at: 0,
            text,
            structurals: &[],
            tape: mem::replace(&mut self.tape, Tape(Vec::new())).reset(),
            home: &mut self.tape,
        };
        padded(&mut self.text, text);
        if let Err(error) =
            fill_tape_padded(&mut self.text, text.len(), &mut self.buffers, &mut messages.tape)
        {
            if *error.error() != ErrorType::InvalidNumber {
                return Err(ErrorCode::BadJson);
            }
            padded(&mut self.tamed, text);
            if !number::tame(text, self.buffers.structural_indexes(), &mut self.tamed) {
                return Err(ErrorCode::BadJson);
            }
            fill_tape_padded(&mut self.tamed, text.len(), &mut self.buffers, &mut messages.tape)
                .map_err(|_| ErrorCode::BadJson)?;
        }
        messages.open(limits.batch_messages, batching)?;
        messages.structurals = self.buffers.structural_indexes();
        Ok(messages)
    }
}

/// The messages of one text, in order: `for message in &messages`. Each stands alone: one that is wrong carries
/// its error.
pub struct Messages<'d> {
    /// Whether they came as a batch.
    pub batch: bool,
    /// Of the message that is no batch.
    single: Head,
    /// How many there are, and the node of the first one of a batch.
    len: usize,
    at: usize,
    /// As it came, and simd-json's offsets into it.
    text: &'d [u8],
    structurals: &'d [u32],
    tape: Tape<'d>,
    home: &'d mut Tape<'static>,
}

/// One message, or why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `re` of an answer; none if there is not exactly one that is an integer from 0 to 255.
    pub t: Option<u8>,
    /// `data.id`, for the answer: a string of 1 to [`ID_BYTES`] bytes, not repeated; any other is ignored.
    pub id: Option<&'a str>,
    /// [`ErrorCode::BadEnvelope`], [`ErrorCode::UnknownEvent`] or [`ErrorCode::BadData`].
    pub event: Result<Event<'a>, ErrorCode>,
}

/// The messages that are left.
pub struct Iter<'m> {
    messages: &'m Messages<'m>,
    left: usize,
    at: usize,
    seen: Seen,
}

impl<'m> Iterator for Iter<'m> {
    type Item = Message<'m>;

    #[inline]
    fn next(&mut self) -> Option<Message<'m>> {
        self.left = self.left.checked_sub(1)?;
        if !self.messages.batch {
            return Some(self.messages.message(self.messages.single, OPEN_SINGLE, &mut self.seen));
        }
        let element = self.messages.tape.0.get(self.at..)?;
        self.at += width(element);
        let head = Envelope::of(element).head(self.at);
        Some(self.messages.message(head, OPEN_BATCH, &mut self.seen))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'m> IntoIterator for &'m Messages<'_> {
    type Item = Message<'m>;
    type IntoIter = Iter<'m>;

    #[inline]
    fn into_iter(self) -> Iter<'m> {
        Iter { messages: self, left: self.len, at: self.at, seen: Seen::default() }
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        if self.tape.0.capacity() <= KEPT_NODES {
            *self.home = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        }
    }
}

impl Messages<'_> {
    /// How many there are: at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// `open` containers are around the members of `data`.
    #[inline]
    fn message<'m>(&'m self, head: Head, open: usize, seen: &mut Seen) -> Message<'m> {
        let Head { t, data } = head;
        let Some((t, (start, end))) = t.zip(data) else {
            return Message { t, id: None, event: Err(ErrorCode::BadEnvelope) };
        };
        let nodes: &'m [Node<'m>] = &self.tape.0;
        let members = nodes.get(start as usize..end as usize).unwrap_or_default();
        let (id, event) = match t {
            SEND..=PUBLISH => {
                let raw = Raw { text: self.text, structurals: self.structurals, nodes };
                mail(t, members, |value| raw.value(end as usize - value.len(), width(value), open, seen))
            }
            _ => said(t, members),
        };
        Message { t: Some(t), id, event }
    }

    /// Tells a message from a batch, and checks all of a batch but its messages.
    fn open(&mut self, batch_messages: u32, batching: bool) -> Result<(), ErrorCode> {
        let root = Envelope::of(&self.tape.0);
        if root.count.is_none() {
            self.single = root.head(self.tape.0.len());
            return Ok(());
        }
        if root.t.is_some() {
            return Err(ErrorCode::BadEnvelope);
        }
        if !batching {
            return Err(ErrorCode::BatchingDisabled);
        }
        let (len, elements) = root.batch(batch_messages).ok_or(ErrorCode::BadBatch)?;
        (self.len, self.at) = (len, self.tape.0.len() - elements.len());
        self.batch = true;
        Ok(())
    }
}

/// What an envelope says of its message.
#[derive(Clone, Copy)]
struct Head {
    t: Option<u8>,
    /// The nodes of the members of `data`, from and to; none: it is no message.
    data: Option<(u32, u32)>,
}

/// The known members of an object, whatever they hold; each runs on behind its value.
struct Known<'n, 'a, const N: usize> {
    values: [Option<&'n [Node<'a>]>; N],
    repeated: [bool; N],
}

impl<'n, 'a, const N: usize> Known<'n, 'a, N> {
    fn of(members: &'n [Node<'a>], names: [&str; N]) -> Self {
        let mut known = Self { values: [None; N], repeated: [false; N] };
        let mut rest = members;
        while let [Node::String(key), value @ ..] = rest {
            let slots = known.values.iter_mut().zip(&mut known.repeated);
            if let Some((_, (slot, repeated))) = names.iter().zip(slots).find(|(name, _)| *name == key) {
                *repeated = slot.replace(value).is_some();
            }
            rest = value.get(width(value)..).unwrap_or_default();
        }
        known
    }

    fn is_repeated(&self) -> bool {
        self.repeated.contains(&true)
    }
}

/// The outermost members of a text, or of an element of a batch.
struct Envelope<'n, 'a> {
    t: Option<&'n [Node<'a>]>,
    data: Option<&'n [Node<'a>]>,
    count: Option<&'n [Node<'a>]>,
    /// Some member, and `t` among them.
    is_repeated: bool,
    is_t_repeated: bool,
}

impl<'n, 'a> Envelope<'n, 'a> {
    /// What is no object has no members.
    fn of(nodes: &'n [Node<'a>]) -> Self {
        let known = Known::of(object(nodes).unwrap_or_default(), ["t", "data", "count", "id"]);
        let [t, data, count, _] = known.values;
        let [is_t_repeated, ..] = known.repeated;
        Self { t, data, count, is_repeated: known.is_repeated(), is_t_repeated }
    }

    /// `end` is the node behind the whole of it.
    fn head(&self, end: usize) -> Head {
        let t = self.t.filter(|_| !self.is_t_repeated).and_then(integer).and_then(|t| u8::try_from(t).ok());
        let data = match self.data {
            _ if self.is_repeated => None,
            None => Some((end as u32, end as u32)),
            // There are fewer nodes than bytes, and simd-json takes no text of 4 GiB.
            Some(value) => object(value).map(|members| {
                let start = end - value.len() + 1;
                (start as u32, (start + members.len()) as u32)
            }),
        };
        Head { t, data }
    }

    /// How many elements, and the first one with all behind it; `None`: a wrong batch.
    fn batch(&self, most: u32) -> Option<(usize, &'n [Node<'a>])> {
        let [Node::Array { len, .. }, elements @ ..] = self.data? else { return None };
        let count = integer(self.count?)?;
        if self.is_repeated || self.t.is_some() || count != *len as u64 || count == 0 || count > most.into() {
            return None;
        }
        let mut rest = elements;
        for _ in 0..*len {
            if Envelope::of(rest).count.is_some() {
                return None;
            }
            rest = rest.get(width(rest)..)?;
        }
        Some((*len, elements))
    }
}

/// The `id` and the event of a message with this `data`.
#[inline]
fn said<'a>(t: u8, data: &[Node<'a>]) -> (Option<&'a str>, Result<Event<'a>, ErrorCode>) {
    // A repeated `id` is no `id`: nobody could tell which one an answer means.
    match t {
        METADATA => {
            let known = Known::of(data, ["id"]);
            (id(&known), if known.is_repeated() { Err(ErrorCode::BadData) } else { Ok(Event::Metadata) })
        }
        AUTH => {
            let known = Known::of(data, ["id", "pubKey", "method", "user"]);
            (id(&known), auth(&known).map(Event::Auth).ok_or(ErrorCode::BadData))
        }
        SOLUTION => {
            let known = Known::of(data, ["id", "solution", "scheme"]);
            (id(&known), solution(&known).map(Event::Solution).ok_or(ErrorCode::BadData))
        }
        _ => (id(&Known::of(data, ["id"])), Err(ErrorCode::UnknownEvent)),
    }
}

/// As [`said`], of messages between keys. `raw` gives the text of a value of `data`, as it came.
#[inline(never)]
fn mail<'a>(
    t: u8,
    data: &'a [Node<'a>],
    raw: impl FnOnce(&'a [Node<'a>]) -> Option<&'a [u8]>,
) -> (Option<&'a str>, Result<Event<'a>, ErrorCode>) {
    let (id, event) = match t {
        SEND => {
            let known = Known::of(data, ["id", "to", "body", "live"]);
            let id = id(&known);
            (id, id.and_then(|_| send(&known, raw)).map(Event::Send))
        }
        ACK => {
            let known = Known::of(data, ["id", "ids"]);
            (id(&known), ack(&known).map(Event::Ack))
        }
        JOIN => {
            let known = Known::of(data, ["id", "topic"]);
            (id(&known), topic(&known).map(Event::Join))
        }
        LEAVE => {
            let known = Known::of(data, ["id", "topic"]);
            (id(&known), topic(&known).map(Event::Leave))
        }
        PUBLISH => {
            let known = Known::of(data, ["id", "topic", "body"]);
            (id(&known), publish(&known, raw).map(Event::Publish))
        }
        // 0x82 and 0x83 are the server's.
        _ => return said(t, data),
    };
    (id, event.ok_or(ErrorCode::BadData))
}

fn id<'a, const N: usize>(known: &Known<'_, 'a, N>) -> Option<&'a str> {
    let id = string(known.values.first().copied()??)?;
    let is_one = known.repeated.first() == Some(&false) && (1..=ID_BYTES).contains(&id.len());
    is_one.then_some(id)
}

fn auth<'a>(known: &Known<'_, 'a, 4>) -> Option<Auth<'a>> {
    let [_, pub_key, method, user] = known.values;
    let method = match method.map(string) {
        None => Method::LoginOrSignup,
        Some(Some("login")) => Method::Login,
        Some(Some("signup")) => Method::Signup,
        Some(_) => return None,
    };
    let user = Known::of(user.map_or(Some(&[][..]), object)?, ["displayName", "bio"]);
    let [display_name, bio] = user.values;
    if known.is_repeated() || user.is_repeated() {
        return None;
    }
    Some(Auth {
        pub_key: string(pub_key?)?,
        method,
        display_name: optional(display_name, DISPLAY_NAME_CHARS)?,
        bio: optional(bio, BIO_CHARS)?,
    })
}

fn solution<'a>(known: &Known<'_, 'a, 3>) -> Option<Solution<'a>> {
    let [_, solution, scheme] = known.values;
    if known.is_repeated() {
        return None;
    }
    Some(Solution { scheme: optional(scheme, usize::MAX)?, solution: string(solution?)? })
}

fn send<'a>(
    known: &Known<'a, 'a, 4>,
    raw: impl FnOnce(&'a [Node<'a>]) -> Option<&'a [u8]>,
) -> Option<Send<'a>> {
    let [_, to, body, live] = known.values;
    let to = match to? {
        [Node::Array { .. }, ..] => strings(to?)?,
        one => Strings::of(one.get(..1)?)?,
    };
    let live = match live {
        None | Some([Node::Static(StaticNode::Bool(false)), ..]) => false,
        Some([Node::Static(StaticNode::Bool(true)), ..]) => true,
        Some(_) => return None,
    };
    if known.is_repeated() || !(1..=TO_MAX).contains(&to.len()) {
        return None;
    }
    Some(Send { to, body: raw(body?)?, live })
}

fn ack<'a>(known: &Known<'a, 'a, 2>) -> Option<Strings<'a>> {
    let [_, ids] = known.values;
    let ids = strings(ids?)?;
    (!known.is_repeated() && ids.len() <= IDS_MAX).then_some(ids)
}

/// The second of the known members.
fn topic<'a, const N: usize>(known: &Known<'_, 'a, N>) -> Option<&'a str> {
    let topic = string(known.values.get(1).copied()??)?;
    (!known.is_repeated() && (1..=TOPIC_BYTES).contains(&topic.len())).then_some(topic)
}

fn publish<'a>(
    known: &Known<'a, 'a, 3>,
    raw: impl FnOnce(&'a [Node<'a>]) -> Option<&'a [u8]>,
) -> Option<Publish<'a>> {
    let [_, _, body] = known.values;
    Some(Publish { topic: topic(known)?, body: raw(body?)? })
}

/// An array of nothing but strings.
fn strings<'a>(value: &'a [Node<'a>]) -> Option<Strings<'a>> {
    match value {
        [Node::Array { count, .. }, elements @ ..] => Strings::of(elements.get(..*count)?),
        _ => None,
    }
}

/// An absent string passes, one of at most `chars` too; the outer `None` is anything else.
fn optional<'a>(value: Option<&[Node<'a>]>, chars: usize) -> Option<Option<&'a str>> {
    let Some(value) = value else { return Some(None) };
    let text = string(value)?;
    (text.len() <= chars || text.chars().nth(chars).is_none()).then_some(Some(text))
}

fn string<'a>(value: &[Node<'a>]) -> Option<&'a str> {
    match value {
        [Node::String(text), ..] => Some(text),
        _ => None,
    }
}

/// An integer from 0 up, written as one: 1.0 and 1e0 come as floats, -0 as a signed integer.
fn integer(value: &[Node<'_>]) -> Option<u64> {
    match value {
        [Node::Static(StaticNode::U64(n)), ..] => Some(*n),
        _ => None,
    }
}

/// The members of an object: keys and values, in turn.
fn object<'n, 'a>(value: &'n [Node<'a>]) -> Option<&'n [Node<'a>]> {
    match value {
        [Node::Object { count, .. }, members @ ..] => members.get(..*count),
        _ => None,
    }
}

/// Nodes of the value that `nodes` begins with.
fn width(nodes: &[Node<'_>]) -> usize {
    match nodes {
        [Node::Object { count, .. } | Node::Array { count, .. }, ..] => count + 1,
        _ => 1,
    }
}

fn padded(buffer: &mut Vec<u8>, text: &[u8]) {
    buffer.clear();
    buffer.reserve(text.len() + INPUT_PADDING);
    buffer.extend_from_slice(text);
    buffer.extend_from_slice(&[0; INPUT_PADDING]);
}

/// The input is padded by [`padded`], so simd-json's own copy of it gets no room.
fn buffers(json_depth: u32) -> Buffers {
    Buffers::with_max_depth(0, json_depth as usize)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
