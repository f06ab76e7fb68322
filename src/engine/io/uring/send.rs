//! Sends: those of a group are begun by one submission, at whose end it is known what became of each; what found no
//! room waits for it.

use super::{
    request::{Request, Tag},
    ring::Ring,
    socket::Place,
};
use crate::engine::{
    chunks::is_oversized,
    io::{Sending, Token},
    outbox::Gather,
};
use io_uring::cqueue;
use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
};

/// All or what there is room for, now: only what falls short is answered.
const NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL;
/// The number of a send that is in no group.
const SINGLE: u32 = 0xFF_FFFF;
/// No answer has come.
const SILENT: i32 = i32::MIN;

/// Bytes that the kernel may be reading: they can't be touched before it is done with them.
struct Flight {
    gather: Box<Gather>,
    /// More than one segment.
    message: Option<Box<Message>>,
    /// Bytes that the request names.
    length: usize,
}

struct Message {
    header: libc::msghdr,
    segments: [libc::iovec; Gather::SLICES],
}

impl Flight {
    fn new(gather: Box<Gather>) -> Self {
        match gather.as_slice() {
            Some(bytes) => Self { length: bytes.len(), message: None, gather },
            None => {
                let (message, length) = Message::new(&gather);
                Self { message: Some(message), length, gather }
            }
        }
    }

    /// Who asks with it keeps the flight until the kernel is done.
    #[allow(unsafe_code)]
    fn request(&self, place: Place, flags: i32, tag: Tag) -> Request {
        match (&self.message, self.gather.as_slice()) {
            (None, Some(bytes)) => {
                // SAFETY: the bytes are on the heap, the flight owns them, and it is let go of only when the answer
                // has come, or with MSG_DONTWAIT after the submission.
                unsafe { Request::send(place, bytes.as_ptr(), bytes.len(), flags, tag) }
            }
            (Some(message), _) => {
                // SAFETY: as above; the message is on the heap and owned by the flight too.
                unsafe { Request::send_message(place, &raw const message.header, flags, tag) }
            }
            (None, None) => unreachable!("a gather of several segments has a message"),
        }
    }
}

impl Message {
    #[allow(unsafe_code)]
    fn new(gather: &Gather) -> (Box<Self>, usize) {
        let mut slices = [IoSlice::new(&[]); Gather::SLICES];
        let used = gather.slices(&mut slices);
        let segments = slices
            .map(|slice| libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() });
        // SAFETY: a message header is plain integers and pointers; all zeroes is one that names nothing.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        let mut message = Box::new(Self { header, segments });
        message.header.msg_iov = message.segments.as_mut_ptr();
        message.header.msg_iovlen = used as _;
        (message, slices[..used].iter().map(|slice| slice.len()).sum())
    }
}

#[derive(Default)]
pub struct Sends {
    /// Put off, in order; and what the kernel has answered to each.
    group: VecDeque<(Token, Place, Flight)>,
    answers: Vec<i32>,
    /// How many of the group were told of.
    told: usize,
    is_submitted: bool,
    single: i32,
    /// What the kernel has no room for, and for which it is asked until it has, or until the connection closes.
    parked: HashMap<Token, Flight>,
}

impl Sends {
    /// Puts a send off until the group is begun.
    pub fn put(&mut self, ring: &mut Ring, token: Token, place: Place, gather: Box<Gather>) {
        if self.group.is_empty() {
            (self.told, self.is_submitted) = (0, false);
            self.answers.clear();
        }
        let flight = Flight::new(gather);
        let number = self.answers.len() as u32;
        ring.push(flight.request(place, NOW, Tag::Now(number)).unless_done());
        self.answers.push(SILENT);
        self.group.push_back((token, place, flight));
    }

    /// Whether the group has still to be begun.
    pub fn is_put_off(&self) -> bool {
        !self.is_submitted && !self.group.is_empty()
    }

    /// The kernel has been told of all that was put off, and all its answers were taken.
    pub fn begun(&mut self, is_broken: bool) {
        self.is_submitted = true;
        if is_broken {
            self.answers.fill(-libc::EIO);
        }
    }

    /// What became of the next of the group.
    pub fn outcome(&mut self, ring: &mut Ring) -> Option<Sending> {
        let (token, place, flight) = self.group.pop_front()?;
        let answer = self.answers[self.told];
        self.told += 1;
        Some(self.judge(ring, token, place, flight, answer))
    }

    /// One send alone, up to its submission.
    pub fn begin_single(&mut self, ring: &mut Ring, place: Place, gather: Box<Gather>) -> SingleSend {
        let flight = Flight::new(gather);
        self.single = SILENT;
        ring.push(flight.request(place, NOW, Tag::Now(SINGLE)).unless_done());
        SingleSend(flight)
    }

    /// And after it.
    pub fn end_single(
        &mut self,
        ring: &mut Ring,
        token: Token,
        place: Place,
        SingleSend(flight): SingleSend,
        is_broken: bool,
    ) -> Sending {
        let answer = if is_broken { -libc::EIO } else { self.single };
        self.judge(ring, token, place, flight, answer)
    }

    fn judge(&mut self, ring: &mut Ring, token: Token, place: Place, flight: Flight, answer: i32) -> Sending {
        let Flight { mut gather, length, .. } = flight;
        let sent = match answer {
            SILENT => return Sending::Done(gather, Ok(length)),
            _ if answer >= 0 => answer as usize,
            _ if is_for_now(answer) => 0,
            _ => return Sending::Done(gather, Err(io::Error::from_raw_os_error(-answer))),
        };
        gather.advance(sent);
        if gather.is_empty() {
            return Sending::Done(gather, Ok(sent));
        }
        gather.compact();
        self.park(ring, token, place, Flight::new(gather));
        Sending::Pending(sent)
    }

    /// Some of it is sent as soon as there is room for some.
    fn park(&mut self, ring: &mut Ring, token: Token, place: Place, flight: Flight) {
        ring.push(flight.request(place, 0, Tag::Send(token)));
        let before = self.parked.insert(token, flight);
        debug_assert!(before.is_none(), "one send a connection at a time");
    }

    /// An answer to one of those that are begun together.
    pub fn answered(&mut self, number: u32, answer: &cqueue::Entry) {
        if number == SINGLE {
            self.single = answer.result();
        } else if let Some(place) = self.answers.get_mut(number as usize) {
            *place = answer.result();
        }
    }

    /// A parked send has come to an end; none when it goes on.
    pub fn unparked(
        &mut self,
        ring: &mut Ring,
        token: Token,
        place: Option<Place>,
        answer: i32,
    ) -> Option<(Box<Gather>, io::Result<usize>)> {
        let flight = self.parked.remove(&token)?;
        if is_oversized(self.parked.len(), self.parked.capacity()) {
            self.parked.shrink_to(2 * self.parked.len());
        }
        if let Some(place) = place
            && is_for_now(answer)
        {
            self.park(ring, token, place, flight);
            return None;
        }
        let result =
            usize::try_from(answer).map_err(|_| io::Error::from_raw_os_error(answer.saturating_neg()));
        Some((flight.gather, result))
    }

    /// Whether the kernel waits for room for something of this connection.
    pub fn is_parked(&self, token: Token) -> bool {
        !self.parked.is_empty() && self.parked.contains_key(&token)
    }
}

/// A send that was not submitted yet.
pub struct SingleSend(Flight);

fn is_for_now(answer: i32) -> bool {
    matches!(-answer, libc::EAGAIN | libc::EINTR)
}
