//! A batch on its way out, made around messages that are already written (PROTOCOL.md section 2).
//!
//! How many messages a batch has is known last and stands first. So [`ROOM`] bytes are left free before
//! the messages, and [`Batch::close`] puts the prefix right against the first of them: none is moved.

use std::ops::Range;

use super::encode::decimal;

/// Bytes of the longest prefix, with a count of ten digits.
pub const ROOM: usize = OPEN.len() + COUNT_DIGITS + DATA.len();

/// What ends a batch.
pub const SUFFIX: &[u8; 2] = b"]}";

const OPEN: &[u8] = br#"{"count":"#;
const DATA: &[u8] = br#","data":["#;
const COUNT_DIGITS: usize = 10;

/// A batch that is being gathered in a buffer.
#[derive(Debug)]
pub struct Batch {
    start: usize,
    count: u32,
}

impl Batch {
    /// Leaves [`ROOM`] at the end of `out`.
    pub fn open(out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.resize(start + ROOM, 0);
        Self { start, count: 0 }
    }

    /// To be called before each message is appended to `out`: it sets the comma.
    pub fn next(&mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.push(b',');
        }
        self.count += 1;
    }

    /// Messages so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Ends the batch and tells where in `out` it lies. No batch is empty: one without messages yields an
    /// empty range, and nothing is to be sent.
    pub fn close(self, out: &mut Vec<u8>) -> Range<usize> {
        let room = out.get_mut(self.start..).and_then(|rest| rest.first_chunk_mut::<ROOM>());
        let Some(room) = room.filter(|_| self.count > 0) else {
            return out.len()..out.len();
        };
        let from = self.start + prefix(room, self.count);
        out.extend_from_slice(SUFFIX);
        from..out.len()
    }
}

/// Writes the prefix of a batch of `count` messages at the end of `room`; returns how many bytes before it
/// are left over. For batches that are gathered elsewhere than in one buffer.
pub fn prefix(room: &mut [u8; ROOM], count: u32) -> usize {
    let (head, data) = room.split_at_mut(OPEN.len() + COUNT_DIGITS);
    data.copy_from_slice(DATA);
    let digits = decimal(head, count.into()).len();
    let spare = COUNT_DIGITS - digits;
    head[spare..spare + OPEN.len()].copy_from_slice(OPEN);
    spare
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_prefix_stands_right_against_what_follows_for_every_number_of_digits() {
        assert_eq!(ROOM, r#"{"count":4294967295,"data":["#.len());
        let powers = (0..10).map(|digits| 10_u32.pow(digits));
        for count in powers.flat_map(|power| [power, power.saturating_mul(9)]).chain([u32::MAX]) {
            let mut room = [b'#'; ROOM];
            let spare = prefix(&mut room, count);
            assert_eq!(str::from_utf8(&room[spare..]), Ok(&*format!(r#"{{"count":{count},"data":["#)));
            assert!(room[..spare].iter().all(|byte| *byte == b'#'));
        }
    }

    #[test]
    fn a_batch_without_messages_is_nothing_to_send() {
        let mut out = b"before".to_vec();
        let batch = Batch::open(&mut out);
        assert!(batch.close(&mut out).is_empty());
    }

    #[test]
    fn a_buffer_that_was_cut_under_a_batch_yields_nothing() {
        let mut out = b"before".to_vec();
        let mut batch = Batch::open(&mut out);
        batch.next(&mut out);
        out.clear();
        assert!(batch.close(&mut out).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_batch_reads_as_its_messages_and_moves_none_of_them(
            before in prop::collection::vec(any::<u8>(), 0..9),
            values in prop::collection::vec((0_u8..=255, ".{0,20}"), 1..130),
        ) {
            let mut out = before.clone();
            let mut batch = Batch::open(&mut out);
            let mut places = Vec::new();
            let mut messages = Vec::new();
            for (t, text) in &values {
                batch.next(&mut out);
                let message = json!({"t": t, "data": {"x": text}});
                places.push(out.len());
                out.extend_from_slice(message.to_string().as_bytes());
                messages.push(message);
            }
            prop_assert_eq!(batch.count() as usize, values.len());
            let range = batch.close(&mut out);
            prop_assert_eq!(&out[..before.len()], &before[..]);
            prop_assert_eq!(range.end, out.len());
            let value: Value = serde_json::from_slice(&out[range]).unwrap();
            prop_assert_eq!(value, json!({"count": values.len(), "data": messages.clone()}));
            for (place, message) in places.iter().zip(&messages) {
                prop_assert!(out[*place..].starts_with(message.to_string().as_bytes()));
            }
        }
    }
}
