//! The store's thread, jobs in and words out, against a bare loop that puts rows of the same length into the same
//! database in groups of the same size, with what is remembered of each group: what is between a job and its word
//! besides the disk. Jobs are made before, with the hash of their content; event 0x82 is written by who gets the words, and
//! not here.

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

/// `warm` groups are put before the clock starts, by both.
pub fn measure(messages: usize, warm: usize, pairs: usize) {
    let warm = warm * GROUP;
    let mut rng = Rng::from_seed([7; 32]);
    let keys: Vec<Identity> = (0..1_000).map(|_| SecretKey::generate(&mut rng).identity()).collect();
    let mut on_disk = 0;
    let what = format!(
        "messages a second, {messages} of 200 bytes in groups of {GROUP}, the thread / the bare loop"
    );
    compare(&what, pairs, || {
        let jobs = jobs(&mut rng, &keys, warm + messages);
        let thread = thread(jobs, warm, &mut on_disk);
        (thread, bare(&mut rng, warm + messages, warm))
    });
    let all = warm + messages;
    println!("bytes on disk a message, with what is remembered of it: {}", on_disk / all as u64);
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

/// Messages a second, from the words that end the warm-up to the last.
fn thread(jobs: Vec<Job>, warm: usize, on_disk: &mut u64) -> f64 {
    let folder = folder("thread");
    let caps = Caps {
        unseen_messages: u32::MAX,
        unseen_bytes: u64::MAX,
        sender_mailbox_messages: u32::MAX,
        group_messages: GROUP as u32,
        ..Caps::default()
    };
    let store = Store::open(&folder, caps, 1).expect("a store");
    let inbox = store.inbox(0);
    let (done, told) = channel();
    let running = store.start(Box::new(Reactor { done, words: Vec::new() })).expect("a thread");
    let messages = jobs.len();
    let (mut in_flight, mut left) = (0, jobs.into_iter());
    let (mut answered, mut begun) = (0, (warm == 0).then(|| (Instant::now(), 0)));
    while answered < messages {
        let more: Vec<_> = left.by_ref().take(IN_FLIGHT - in_flight).collect();
        in_flight += more.len();
        assert!(more.is_empty() || inbox.post_all(more).is_ok(), "room");
        let said = told.recv().expect("words");
        assert!(said.iter().all(|word| matches!(word, Word::Committed(_))), "{said:?}");
        (in_flight, answered) = (in_flight - said.len(), answered + said.len());
        if answered >= warm && begun.is_none() {
            begun = Some((Instant::now(), answered));
        }
    }
    let (begun, before) = begun.expect("more than the warm-up");
    let rate = (messages - before) as f64 / begun.elapsed().as_secs_f64();
    running.close();
    *on_disk = disk_bytes(&folder);
    let _ = fs::remove_dir_all(&folder);
    rate
}

/// Has the words for whoever feeds the thread, as a server has them for its reactors: they are read, and their memory is
/// given back, over there.
struct Reactor {
    done: Sender<Vec<Word>>,
    words: Vec<Word>,
}

impl mida::store::Words for Reactor {
    fn give(&mut self, word: Word) {
        self.words.push(word);
    }

    fn give_all(&mut self, words: &mut Vec<Word>) {
        std::mem::swap(&mut self.words, words);
    }

    fn flush(&mut self) -> bool {
        if !self.words.is_empty() {
            let _ = self.done.send(std::mem::take(&mut self.words));
        }
        true
    }
}

fn bare(rng: &mut Rng, messages: usize, warm: usize) -> f64 {
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
    let (first, groups) = groups.split_at(warm / GROUP);
    first.iter().for_each(|group| database.put(group));
    let begun = Instant::now();
    groups.iter().for_each(|group| database.put(group));
    let rate = (messages - warm) as f64 / begun.elapsed().as_secs_f64();
    drop(database);
    let _ = fs::remove_dir_all(&folder);
    rate
}
