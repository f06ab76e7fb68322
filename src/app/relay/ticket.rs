//! A message on its way to the connections of one recipient, and what became of it.

use crate::{
    app::mail::{Committed, From, MessageId, Outcome, Receipt, Recipient, Refused},
    engine::outbox::Shared,
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To a key, or a topic; never stored.
    Passing,
    /// On disk: windows hold it back.
    Stored,
}

/// Shared by the letters of one message to one recipient.
#[derive(Debug)]
pub struct Ticket {
    pub from: From,
    pub kind: Kind,
    /// Whether the sender wants its receipt.
    pub is_asked: bool,
    /// Which of its sender's messages it is, and which recipient of that: the sender's reactor knows by it what to
    /// remember.
    pub mark: (u32, u8),
    /// As it is if everybody takes it: the outcome is not known yet.
    pub receipt: Receipt,
    /// Event 0x82.
    pub message: Arc<Shared>,
    /// Reactors that have not said yet whether a connection took it.
    left: AtomicU32,
    /// Connections that took it.
    taken: AtomicU32,
}

impl Ticket {
    /// A message that is not stored. `re` none: nobody wants a receipt.
    pub fn passing(
        from: From,
        re: Option<Box<str>>,
        to: Recipient,
        id: MessageId,
        message: Arc<Shared>,
    ) -> Self {
        let is_asked = re.is_some();
        let receipt = Receipt { re: re.unwrap_or_default(), to, id: Some(id), outcome: Outcome::Delivered };
        Self::new(from, Kind::Passing, is_asked, receipt, message)
    }

    /// The same with a mark.
    #[must_use]
    pub fn marked(mut self, mark: u32, place: u8) -> Self {
        self.mark = (mark, place);
        self
    }

    /// One that is on disk.
    pub fn stored(committed: Committed) -> Self {
        let message = committed.message();
        let Committed { send, to, id } = committed;
        // Most messages have one recipient, and what they were asked with is this one's alone.
        let (from, re) = match Arc::try_unwrap(send) {
            Ok(send) => (send.from, send.re),
            Err(send) => (send.from.clone(), send.re.clone()),
        };
        let receipt = Receipt { re, to: Recipient::Key(to), id: Some(id), outcome: Outcome::Stored };
        Self::new(from, Kind::Stored, true, receipt, message)
    }

    fn new(from: From, kind: Kind, is_asked: bool, receipt: Receipt, message: Arc<Shared>) -> Self {
        let (left, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { from, kind, is_asked, mark: (0, 0), receipt, message, left, taken }
    }

    /// What it counts for among what is on its way.
    pub fn bytes(&self) -> u64 {
        self.message.payload().len() as u64
    }

    /// So many reactors will say whether a connection took it. Before any of them has it.
    pub fn expect(&self, reactors: u32) {
        self.left.store(reactors, Ordering::Relaxed);
    }

    /// One has said how many took it; true: it was the last.
    pub fn settle(&self, taken: u32) -> bool {
        if taken > 0 {
            match self.left.load(Ordering::Acquire) {
                // Nobody else adds any more; most messages have one reactor.
                1 => self.taken.store(self.taken() + taken, Ordering::Relaxed),
                _ => drop(self.taken.fetch_add(taken, Ordering::Relaxed)),
            }
        }
        // The last sees what all others have said.
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Connections that took it, once the last has settled.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// What became of it; `presence`: whether others may learn who is there.
    pub fn outcome(&self, presence: bool) -> Outcome {
        match self.kind {
            _ if !presence => Outcome::Stored,
            _ if self.taken() > 0 => Outcome::Delivered,
            Kind::Passing => Outcome::Refused(Refused::Offline),
            Kind::Stored => Outcome::Stored,
        }
    }

    /// The receipt, once the last has settled.
    pub fn receipt(&self, presence: bool) -> Receipt {
        let mut receipt = self.receipt.clone();
        self.close(&mut receipt, presence);
        receipt
    }

    /// The receipt, without a copy if nobody else has the ticket any more.
    pub fn into_receipt(ticket: Arc<Self>, presence: bool) -> Receipt {
        match Arc::try_unwrap(ticket) {
            Ok(mut ticket) => {
                let outcome = ticket.outcome(presence);
                ticket.receipt.outcome = outcome;
                let mut receipt = ticket.receipt;
                receipt.id = receipt.id.filter(|_| !matches!(outcome, Outcome::Refused(_)));
                receipt
            }
            Err(ticket) => ticket.receipt(presence),
        }
    }

    fn close(&self, receipt: &mut Receipt, presence: bool) {
        receipt.outcome = self.outcome(presence);
        receipt.id = receipt.id.filter(|_| !matches!(receipt.outcome, Outcome::Refused(_)));
    }
}
