//! What a reactor would do with a store: leaves jobs, gets words.

use mida::{
    app::{
        crypto::{
            key::{Identity, SecretKey},
            rng::Rng,
        },
        mail::*,
    },
    engine::io::Token,
    store::{Caps, Jobs, Running, Store},
};
use std::{
    num::NonZeroU32,
    path::Path,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

/// Nothing a test waits for takes this long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);
pub const KEYS: u8 = 8;

/// Wide enough for all that a test sends.
pub fn caps() -> Caps {
    Caps {
        mailbox_messages: u32::MAX,
        mailbox_bytes: u64::MAX,
        unseen_messages: u32::MAX,
        unseen_bytes: u64::MAX,
        sender_mailbox_messages: u32::MAX,
        sender_bytes: u64::MAX,
        ..Caps::default()
    }
}

/// A key of a number, always the same.
pub fn key(number: u8) -> Identity {
    static KEYS: OnceLock<Vec<Identity>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let mut rng = Rng::from_seed([9; 32]);
        (0..self::KEYS).map(|_| SecretKey::generate(&mut rng).identity()).collect()
    });
    keys[usize::from(number)]
}

pub fn number(identity: &Identity) -> u8 {
    (0..KEYS).find(|number| key(*number) == *identity).expect("one of ours")
}

pub fn at() -> At {
    At { reactor: 0, token: Token { index: 1, generation: NonZeroU32::MIN } }
}

/// Key 0 sends; the body names the id.
pub fn send(re: &str, to: &[u8]) -> Job {
    let from = From::Member { identity: key(0), at: at() };
    let to = to.iter().map(|to| key(*to)).collect();
    let body = format!("{{\"re\":\"{re}\",\"filling\":\"{}\"}}", "x".repeat(150)).into_bytes().into();
    Job::Send(Arc::new(Send::new(from, re.into(), to, body)))
}

pub struct Client {
    running: Running,
    jobs: Arc<Jobs>,
    words: Receiver<Word>,
}

impl Client {
    pub fn open(folder: &Path) -> Self {
        Self::start(Store::open(folder, caps(), 1).expect("a store"))
    }

    pub fn start(store: Store) -> Self {
        let jobs = store.inbox(0);
        let (give, words) = channel();
        let running = store.start(Box::new(move |word| drop(give.send(word)))).expect("a thread");
        Self { running, jobs, words }
    }

    pub fn post(&self, job: Job) {
        assert!(self.jobs.post(job).is_ok(), "room in the inbox");
    }

    pub fn send(&self, re: &str, to: &[u8]) {
        self.post(send(re, to));
    }

    pub fn word(&mut self) -> Word {
        self.words.recv_timeout(PATIENCE).expect("a word")
    }

    /// All ids in a mailbox, fetched a few at a time.
    pub fn mailbox(&mut self, of: u8) -> Vec<MessageId> {
        let mut all = vec![];
        loop {
            let after = all.last().copied().unwrap_or(MessageId::FIRST);
            self.post(Job::Fetch { at: at(), identity: key(of), after, messages: 64, bytes: 1 << 17 });
            let Word::Backlog { messages, more, .. } = self.word() else { panic!("a backlog") };
            all.extend(messages.iter().map(|(id, _)| *id));
            if !more {
                return all;
            }
        }
    }

    /// Sends it once more; for each recipient the id that it had, or the one that it has now.
    pub fn send_again(&mut self, to: &[u8], re: &str) -> Vec<Result<MessageId, MessageId>> {
        self.send(re, to);
        let said = to.iter().map(|_| match self.word() {
            Word::Receipt { receipt: Receipt { id: Some(id), outcome: Outcome::Stored, .. }, .. } => Ok(id),
            Word::Committed(done) => Err(done.id),
            word => panic!("{word:?}"),
        });
        said.collect()
    }

    pub fn close(&self) {
        self.running.close();
    }
}
