//! What stands on disk: rows to and from bytes. Integers are little-endian.
//!
//! | table | key | value |
//! |---|---|---|
//! | `messages` | id (16) | recipient (33), sender (33, noughts: the operator), body |
//! | `accounts` | identity (33) | length of the name (2), name, bio |
//! | `repeats` | the last id of a group (16) | Unix ms (8), then for each send: sender (33), length of its id (1), id, hash of its content (16), recipients (1), for each of them: outcome (1), and if it is stored, its id (16) |
//! | `about` | `format` | 1 |

use crate::app::{
    crypto::key::Identity,
    mail::{MessageId, Outcome, Refused},
};

/// A row that this program did not write, or that was changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// A sender as it is in rows: its key, or noughts for the operator.
pub type SenderBytes = [u8; 33];

pub fn sender_bytes(sender: Option<&Identity>) -> SenderBytes {
    sender.map_or([0; 33], |identity| *identity.as_bytes())
}

/// A message as its row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRow<'a> {
    pub to: [u8; 33],
    pub from: SenderBytes,
    pub body: &'a [u8],
}

impl<'a> MessageRow<'a> {
    /// Appends it.
    pub fn write(row: &mut Vec<u8>, to: &Identity, from: &SenderBytes, body: &[u8]) {
        row.reserve(66 + body.len());
        row.extend_from_slice(to.as_bytes());
        row.extend_from_slice(from);
        row.extend_from_slice(body);
    }

    pub fn read(row: &'a [u8]) -> Result<Self, Corrupt> {
        let mut rest = Rest(row);
        Ok(Self { to: rest.array()?, from: rest.array()?, body: rest.0 })
    }
}

/// The key of a row: a key when it was written.
pub fn identity(bytes: [u8; 33]) -> Result<Identity, Corrupt> {
    Identity::from_own_bytes(bytes).ok_or(Corrupt)
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountRow {
    pub display_name: Box<str>,
    pub bio: Box<str>,
}

impl AccountRow {
    pub fn write(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(2 + self.display_name.len() + self.bio.len());
        row.extend_from_slice(&(self.display_name.len() as u16).to_le_bytes());
        row.extend_from_slice(self.display_name.as_bytes());
        row.extend_from_slice(self.bio.as_bytes());
        row
    }

    pub fn read(row: &[u8]) -> Result<Self, Corrupt> {
        let mut rest = Rest(row);
        let name_bytes = u16::from_le_bytes(rest.array()?);
        let text = |bytes| std::str::from_utf8(bytes).map(Box::from).map_err(|_| Corrupt);
        Ok(Self { display_name: text(rest.take(name_bytes.into())?)?, bio: text(rest.0)? })
    }
}

/// A send that is remembered: what it was, and what was said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat<'a> {
    pub sender: SenderBytes,
    pub re: &'a str,
    pub content: [u8; 16],
    /// For each of its recipients, in their order.
    pub receipts: Vec<(Outcome, Option<MessageId>)>,
}

/// Appends the bytes in front of the first [`Repeat`] of a row.
pub fn begin_repeats(row: &mut Vec<u8>, unix_ms: u64) {
    row.extend_from_slice(&unix_ms.to_le_bytes());
}

/// When the group of this row was committed, and where its first [`Repeat`] is.
pub fn repeats_of(row: &[u8]) -> Result<(u64, usize), Corrupt> {
    Ok((u64::from_le_bytes(Rest(row).array()?), 8))
}

impl<'a> Repeat<'a> {
    /// Appends one but for its receipts, of which so many are to follow; returns where it is.
    pub fn begin(row: &mut Vec<u8>, sender: &SenderBytes, re: &str, content: &[u8; 16], count: usize) -> u32 {
        let at = row.len() as u32;
        row.extend_from_slice(sender);
        row.push(re.len() as u8);
        row.extend_from_slice(re.as_bytes());
        row.extend_from_slice(content);
        row.push(count as u8);
        at
    }

    /// Appends the receipt of the next recipient.
    pub fn receipt(row: &mut Vec<u8>, outcome: Outcome, id: Option<MessageId>) {
        row.push(outcome_byte(outcome));
        row.extend_from_slice(id.as_ref().map_or(&[], |id| &id.0));
    }

    /// The one at `at`, and where the next is.
    pub fn read(row: &'a [u8], at: usize) -> Result<(Self, usize), Corrupt> {
        let mut rest = Rest(row.get(at..).ok_or(Corrupt)?);
        let sender = rest.array()?;
        let [re_bytes] = rest.array()?;
        let re = std::str::from_utf8(rest.take(re_bytes.into())?).map_err(|_| Corrupt)?;
        let content = rest.array()?;
        let [count] = rest.array()?;
        let mut receipts = Vec::with_capacity(count.into());
        for _ in 0..count {
            let [byte] = rest.array()?;
            let outcome = outcome_of(byte)?;
            let id = if outcome == Outcome::Stored { Some(MessageId(rest.array()?)) } else { None };
            receipts.push((outcome, id));
        }
        Ok((Self { sender, re, content, receipts }, row.len() - rest.0.len()))
    }
}

/// Each with its byte, which it keeps.
const REFUSED: [(Refused, u8); 5] = [
    (Refused::Offline, 1),
    (Refused::MailboxFull, 2),
    (Refused::StoreFull, 3),
    (Refused::IdReused, 4),
    (Refused::Forbidden, 6),
];

fn outcome_byte(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Stored | Outcome::Delivered => 0,
        Outcome::Refused(why) => REFUSED.iter().find(|(known, _)| *known == why).map_or(1, |(_, byte)| *byte),
    }
}

fn outcome_of(byte: u8) -> Result<Outcome, Corrupt> {
    match byte {
        0 => Ok(Outcome::Stored),
        byte => {
            let known = REFUSED.iter().find(|(_, known)| *known == byte);
            known.map(|(why, _)| Outcome::Refused(*why)).ok_or(Corrupt)
        }
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Corrupt)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Corrupt)?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let account = AccountRow { display_name: "Ann ✓".into(), bio: "".into() };
        assert_eq!(AccountRow::read(&account.write()), Ok(account));
        let outcomes = [Outcome::Stored].into_iter().chain(REFUSED.map(|(why, _)| Outcome::Refused(why)));
        let receipts: Vec<_> = outcomes
            .map(|outcome| (outcome, (outcome == Outcome::Stored).then_some(MessageId([9; 16]))))
            .collect();
        let first = Repeat { sender: [2; 33], re: "é", content: [7; 16], receipts };
        let second = Repeat { sender: [0; 33], re: "", content: [8; 16], receipts: Vec::new() };
        let mut row = Vec::new();
        begin_repeats(&mut row, 5);
        let places = [&first, &second].map(|repeat| {
            let count = repeat.receipts.len();
            let at = Repeat::begin(&mut row, &repeat.sender, repeat.re, &repeat.content, count);
            repeat.receipts.iter().for_each(|(outcome, id)| Repeat::receipt(&mut row, *outcome, *id));
            at
        });
        assert_eq!(repeats_of(&row), Ok((5, places[0] as usize)));
        assert_eq!(Repeat::read(&row, 8), Ok((first, places[1] as usize)));
        assert_eq!(Repeat::read(&row, places[1] as usize), Ok((second, row.len())));
        assert_eq!(Repeat::read(&row, row.len() + 1), Err(Corrupt));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7),
            failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_bytes_of_a_disk_make_it_panic(row: Vec<u8>, at in 0usize..100) {
            let _ = (MessageRow::read(&row).is_ok(), AccountRow::read(&row).is_ok());
            let _ = (repeats_of(&row).is_ok(), Repeat::read(&row, at).is_ok());
        }
    }
}
