//! A message between keys, and what sessions ask of the store (PROTOCOL.md section 12).
//!
//! A session hands a [`Job`] to the store and goes on; a [`Word`] comes back when it is done. Each names with [`At`]
//! who waits. Nothing here knows a socket, a thread or a file.

use super::{
    crypto::key::Identity,
    protocol::{
        encode,
        event::{ErrorCode, Method, Reason},
    },
};
use crate::engine::{io::Token, outbox::Shared, wire::Opcode};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    sync::{Arc, mpsc::Sender},
};

/// Names a message: 48 bits of Unix milliseconds, then 80 that make it unique, big-endian. Those of one store grow, in
/// the order of its commits. 32 lowercase hex digits on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

impl MessageId {
    /// Before any message.
    pub const FIRST: Self = Self([0; 16]);

    /// Reads 32 hex digits; none: it is no id of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        (text.len() == 32).then_some(())?;
        super::crypto::hex::decode(text.as_bytes(), &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// When it was made, in Unix milliseconds: `ts` of the message.
    pub fn unix_ms(self) -> u64 {
        (u128::from_be_bytes(self.0) >> 80) as u64
    }

    pub fn to_hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        super::crypto::hex::encode(&self.0, &mut text);
        text
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A connection of this server, whichever core has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    pub reactor: u16,
    pub token: Token,
}

/// Who sent a message, and is told what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A connection with a proven key.
    Member { identity: Identity, at: At },
    /// The operator, whose question has this number.
    Operator { question: u64 },
}

impl From {
    /// The key that the message names as its sender; the operator has none.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Member { identity, .. } => Some(identity),
            Self::Operator { .. } => None,
        }
    }
}

/// What the store is asked to do. The jobs of one connection are done in their order.
#[derive(Clone, Debug)]
pub enum Job {
    /// A key has passed its proof: may it in, what is its name, how much is unread? Answered by [`Word::Account`].
    Login(Box<Login>),
    /// Keep a message for each of these keys. One [`Word::Receipt`] each, in the order of `to`: at once where it is
    /// refused or a repeat, else through [`Word::Committed`], which takes the same memory on.
    Send(Arc<Send>),
    /// The key has these, and they may go. No answer; what it freed is told by [`Word::Acked`].
    Ack { identity: Identity, ids: Box<[MessageId]> },
    /// The oldest messages of this key behind `after`, as many as fit. Answered by [`Word::Backlog`].
    Fetch { at: At, identity: Identity, after: MessageId, messages: u32, bytes: u32 },
    /// The operator asks what there is of this key. Whoever waits is told at once and through nobody else; not at all if
    /// it cannot be read.
    Look { identity: Identity, tell: Sender<Look> },
}

/// What a store has of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub account: Option<Profile>,
    pub unread_messages: u64,
    /// Of their bodies.
    pub unread_bytes: u64,
    /// The message that has waited longest.
    pub oldest: Option<MessageId>,
}

/// An account as its owner described it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub display_name: Box<str>,
    pub bio: Box<str>,
}

#[derive(Clone, Debug)]
pub struct Login {
    pub at: At,
    pub identity: Identity,
    pub method: Method,
    /// What event 2 said: kept if the account is made now, or if it is said again.
    pub display_name: Option<Box<str>>,
    pub bio: Option<Box<str>>,
}

#[derive(Debug)]
pub struct Send {
    pub from: From,
    /// The client's id: at most 64 bytes.
    pub re: Box<str>,
    /// Without duplicates, at most 64.
    pub to: Box<[Identity]>,
    /// JSON, as it came.
    pub body: Box<[u8]>,
    /// What its id stands for: a hash of `to` and `body`.
    pub content: [u8; 16],
}

impl Send {
    /// Hashes the content, so that who asks pays for it and not the one thread that all wait for.
    pub fn new(from: From, re: Box<str>, to: Box<[Identity]>, body: Box<[u8]>) -> Self {
        let mut hash = Sha256::new();
        for to in &to {
            hash.update(to.as_bytes());
        }
        hash.update([0]);
        hash.update(&body);
        let mut content = [0; 16];
        content.copy_from_slice(&hash.finalize()[..16]);
        Self { from, re, to, body, content }
    }
}

/// What the store says, to whom it concerns.
#[derive(Clone, Debug)]
pub enum Word {
    /// To the connection of [`Job::Login`].
    Account { at: At, result: Result<Account, Reason> },
    /// To the sender: what became of a message for one key, when that is known without its recipient: it was refused, or
    /// is a repeat, or nobody is there to bring it to.
    Receipt { from: From, receipt: Receipt },
    /// To the home of `to`: this is on disk. It is brought to the connections of `to`, and the sender is told `delivered`
    /// if one took it, else `stored`.
    Committed(Committed),
    /// To the home of the key: every connection of the key that waits for these to be acked need not wait any more.
    Acked { identity: Identity, ids: Box<[MessageId]> },
    /// To the connection of [`Job::Fetch`], oldest first. `more`: when this was read, others were behind them.
    Backlog { at: At, messages: Vec<(MessageId, Arc<Shared>)>, more: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub display_name: Box<str>,
    pub unread_messages: u64,
}

/// A message is on disk for one of its recipients.
#[derive(Clone, Debug)]
pub struct Committed {
    /// As it was asked for.
    pub send: Arc<Send>,
    pub to: Identity,
    pub id: MessageId,
}

impl Committed {
    /// Event 0x82, for all connections of the recipient.
    pub fn message(&self) -> Arc<Shared> {
        stored(self.id, self.send.from.identity(), &self.send.body)
    }
}

/// Event 0x82 of a stored message.
pub fn stored(id: MessageId, from: Option<&Identity>, body: &[u8]) -> Arc<Shared> {
    let message = encode::Message { id, from, topic: None, ts_ms: id.unix_ms(), body };
    Shared::new(Opcode::Text, |out| encode::message(out, &message))
}

/// Event 0x83 for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub re: Box<str>,
    /// The key, or the topic of a `publish`.
    pub to: Recipient,
    /// Of the message; none if it was refused.
    pub id: Option<MessageId>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    Key(Identity),
    Topic(Arc<str>),
}

/// `state` of event 0x83.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Stored,
    Delivered,
    Refused(Refused),
}

/// `code` of a refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Nobody who could take a live message is connected.
    Offline,
    MailboxFull,
    /// The whole store is full, or its disk. May pass later.
    StoreFull,
    /// This id already stands for other content.
    IdReused,
    /// The operator blocked the recipient, or this server keeps nothing.
    Forbidden,
}

impl Refused {
    /// On the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::MailboxFull => "mailbox_full",
            Self::StoreFull => ErrorCode::StoreFull.name(),
            Self::IdReused => ErrorCode::IdReused.name(),
            Self::Forbidden => ErrorCode::Forbidden.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_in_lowercase_and_sort_as_they_are_written() {
        let id = MessageId([0xab; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        for wrong in ["", "ab", &"g".repeat(32), &"ab".repeat(17)] {
            assert_eq!(MessageId::parse(wrong), None, "{wrong}");
        }
        assert!(MessageId::FIRST < id && MessageId::FIRST.to_string() < id.to_string());
    }
}
