//! The store's thread, jobs in and words out, against a bare loop that puts rows of the same length into the same
//! database in groups of the same size, with what is remembered of each group: what is between a job and its word
//! besides the disk.

use super::{
    body, bytes, disk_bytes, folder,
    pairs::compare,
    peers::{Database, Redb},
};
use mida::{
    app::{
        crypto::{
            key::{Identity, SecretKey},
            rng::Rng,
        },
        mail::{At, From, Job, Send, Word},
    },
    engine::io::Token,
    store::{Caps, Store},
};
use std::{
    fs,
    num::NonZeroU32,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    time::Instant,
};

const GROUP: usize = 1_024;
/// Of a message: sender, id and its length, hash, number of recipients, outcome, the message's id.
const REMEMBERED_BYTES: usize = 33 + 1 + 16 + 16 + 1 + 1 + 16;
/// What all reactors together may have in flight at the store.
const IN_FLIGHT: usize = 8 * GROUP;

pub fn measure(messages: usize, pairs: usize) {
    let mut rng = Rng::from_seed([7; 32]);
    let keys: Vec<Identity> = (0..1_000).map(|_| SecretKey::generate(&mut rng).identity()).collect();
    let mut on_disk = 0;
    let what = format!(
        "messages a second, {messages} of 200 bytes in groups of {GROUP}, the thread / the bare loop"
    );
    compare(&what, pairs, || {
        let jobs = jobs(&mut rng, &keys, messages);
        let thread = thread(jobs, messages, &mut on_disk);
        (thread, bare(&mut rng, messages))
    });
    println!("bytes on disk a message, with what is remembered of it: {}", on_disk / messages as u64);
}

fn jobs(rng: &mut Rng, keys: &[Identity], messages: usize) -> Vec<Job> {
    let at = At { reactor: 0, token: Token { index: 1, generation: NonZeroU32::MIN } };
    let send = |nth: usize| {
        let from = From::Member { identity: keys[nth * 13 % keys.len()], at };
        let to = [keys[nth * 7 % keys.len()]].into();
        Send::new(from, format!("{nth:016}").into(), to, body(rng)[33..].into())
    };
    (0..messages).map(send).map(|send| Job::Send(Arc::new(send))).collect()
}

/// Messages a second, from the first job to the last word.
fn thread(jobs: Vec<Job>, messages: usize, on_disk: &mut u64) -> f64 {
    let folder = folder("thread");
    let caps = Caps {
        unseen_messages: u32::MAX,
        unseen_bytes: u64::MAX,
        group_messages: GROUP as u32,
        ..Caps::default()
    };
    let store = Store::open(&folder, caps, 1).expect("a store");
    let inbox = store.inbox(0);
    let (done, told) = channel();
    let running = store.start(Box::new(Counter { done, count: 0 })).expect("a thread");
    let begun = Instant::now();
    let (mut in_flight, mut left) = (0, jobs.into_iter());
    let mut answered = 0;
    while answered < messages {
        let more: Vec<_> = left.by_ref().take(IN_FLIGHT - in_flight).collect();
        in_flight += more.len();
        assert!(more.is_empty() || inbox.post_all(more).is_ok(), "room");
        let said = told.recv().expect("words");
        (in_flight, answered) = (in_flight - said, answered + said);
    }
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    running.close();
    *on_disk = disk_bytes(&folder);
    let _ = fs::remove_dir_all(&folder);
    rate
}

/// Counts what was committed, and says so once a group.
struct Counter {
    done: Sender<usize>,
    count: usize,
}

impl mida::store::Words for Counter {
    fn give(&mut self, word: Word) {
        assert!(matches!(word, Word::Committed(_)), "{word:?}");
        self.count += 1;
    }

    fn flush(&mut self) -> bool {
        if self.count > 0 {
            let _ = self.done.send(std::mem::take(&mut self.count));
        }
        true
    }
}

fn bare(rng: &mut Rng, messages: usize) -> f64 {
    let folder = folder("bare");
    let database = Redb::open(&folder);
    let mut rows: Vec<_> = (0..messages)
        .map(|nth| {
            let key = [&(nth as u64 / 1_024).to_be_bytes()[..], &(nth as u64).to_be_bytes()].concat();
            (key, [&bytes::<33>(rng)[..], &body(rng)].concat())
        })
        .collect();
    // Behind each group the row by which repeats are known.
    let groups: Vec<Vec<_>> = std::iter::from_fn(|| {
        let mut group: Vec<_> = rows.drain(..GROUP.min(rows.len())).collect();
        let (mut key, _) = group.last()?.clone();
        key.push(0);
        group.push((key, vec![7; 8 + REMEMBERED_BYTES * group.len()]));
        Some(group)
    })
    .collect();
    let begun = Instant::now();
    groups.iter().for_each(|group| database.put(group));
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    drop(database);
    let _ = fs::remove_dir_all(&folder);
    rate
}
