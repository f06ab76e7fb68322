//! Every bound of the store, in one struct (PROTOCOL.md, "Messages between keys").

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What a store may hold, and for how long. Bytes of messages are those of their bodies, but for `store_bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Messages in one mailbox, and their bytes.
    pub mailbox_messages: u32,
    pub mailbox_bytes: u64,
    /// The same for a key that has never logged in.
    pub unseen_messages: u32,
    pub unseen_bytes: u64,
    /// Messages of one sender in one mailbox; the operator has no bound.
    pub sender_mailbox_messages: u32,
    /// Bytes of one sender in all mailboxes.
    pub sender_bytes: u64,
    /// All messages, accounts and remembered ids, each with what it takes on disk and in memory besides.
    pub store_bytes: u64,
    /// How long a message is kept; one to a key that has never logged in.
    pub keep_ms: u64,
    pub unseen_keep_ms: u64,
    /// The ids of one sender that are remembered, and how long.
    pub repeat_ids: u32,
    pub repeat_ms: u64,
    /// What is committed at once: no more jobs are added once there are so many recipients, or so many bytes.
    pub group_messages: u32,
    pub group_bytes: u64,
    /// Jobs that may wait in the inbox of one reactor.
    pub inbox_jobs: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            mailbox_messages: 1_000,
            mailbox_bytes: 4 << 20,
            unseen_messages: 32,
            unseen_bytes: 64 << 10,
            sender_mailbox_messages: 100,
            sender_bytes: 1 << 20,
            store_bytes: 1 << 30,
            keep_ms: 30 * DAY_MS,
            unseen_keep_ms: 7 * DAY_MS,
            repeat_ids: 1_024,
            repeat_ms: 10 * 60 * 1_000,
            group_messages: 1_024,
            group_bytes: 4 << 20,
            inbox_jobs: 16_384,
        }
    }
}

impl Caps {
    /// Keeps messages for so many days; those to keys that have never logged in no longer than that.
    #[must_use]
    pub fn keep_days(mut self, days: u64) -> Self {
        self.keep_ms = days.saturating_mul(DAY_MS);
        self.unseen_keep_ms = self.unseen_keep_ms.min(self.keep_ms);
        self
    }
}
