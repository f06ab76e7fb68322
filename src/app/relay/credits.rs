//! What one reactor has set on its way and has no answer to yet. Every list that such messages wait in is bounded by
//! the sum of these.

use crate::engine::chunks::is_oversized;
use std::collections::HashMap;

/// Recipients.
pub const RECIPIENTS_MAX: usize = 8_192;
/// Bytes of messages, each counted once, however many get it.
pub const BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Default)]
pub struct Credits {
    recipients: usize,
    bytes: u64,
    /// What the store has of a connection, by its number and the client's id: recipients without a receipt, and the
    /// bytes that are given back with the last.
    stored: HashMap<(u64, Box<str>), (usize, u64)>,
}

impl Credits {
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.recipients >= RECIPIENTS_MAX || self.bytes >= BYTES_MAX
    }

    /// Recipients without an answer, and bytes.
    pub fn in_use(&self) -> (usize, u64) {
        (self.recipients, self.bytes)
    }

    pub fn take(&mut self, recipients: usize, bytes: u64) {
        self.recipients += recipients;
        self.bytes += bytes;
    }

    pub fn give_back(&mut self, recipients: usize, bytes: u64) {
        self.recipients = self.recipients.saturating_sub(recipients);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The store is asked on behalf of connection `number`.
    pub fn take_stored(&mut self, number: u64, re: &str, recipients: usize, bytes: u64) {
        self.take(recipients, bytes);
        let (all_recipients, all_bytes) = self.stored.entry((number, re.into())).or_default();
        *all_recipients += recipients;
        *all_bytes += bytes;
    }

    /// One of those recipients is answered for.
    pub fn give_back_stored(&mut self, number: u64, re: &str) {
        let key = (number, re.into());
        let Some((recipients, bytes)) = self.stored.get_mut(&key) else { return };
        *recipients -= 1;
        let bytes = if *recipients == 0 { *bytes } else { 0 };
        if *recipients == 0 {
            self.stored.remove(&key);
            if is_oversized(self.stored.len(), self.stored.capacity()) {
                self.stored.shrink_to(2 * self.stored.len());
            }
        }
        self.give_back(1, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_given_back() {
        let mut credits = Credits::default();
        credits.take_stored(1, "a", 3, 100);
        credits.take_stored(1, "a", 1, 10);
        credits.take_stored(2, "a", 1, 7);
        credits.give_back_stored(3, "a");
        assert_eq!(credits.in_use(), (5, 117));
        (0..3).for_each(|_| credits.give_back_stored(1, "a"));
        assert_eq!(credits.in_use(), (2, 117));
        credits.give_back_stored(1, "a");
        credits.give_back_stored(2, "a");
        assert_eq!(credits.in_use(), (0, 0));
        assert!(credits.stored.is_empty());
    }

    #[test]
    fn either_bound_makes_others_wait() {
        for (recipients, bytes) in [(RECIPIENTS_MAX, 0), (0, BYTES_MAX)] {
            let mut credits = Credits::default();
            credits.take(recipients, bytes);
            assert!(credits.is_spent());
            credits.give_back(recipients.min(1), bytes.min(1));
            assert!(!credits.is_spent());
        }
    }
}
