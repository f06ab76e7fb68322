//! The same jobs to a keeper and to a simple model of the protocol's page, through crashes, restarts and a full disk.

use super::{Medium, at, caps, keeper, key};
use crate::{
    app::mail::*,
    app::protocol::event::{Method, Reason},
    store::{Caps, keeper::Now},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Clone, Debug)]
enum Step {
    /// A group of jobs.
    Group(Vec<Ask>),
    Wait(u64),
    /// The clock on the wall jumps back.
    Jump(u64),
    Reopen,
    Crash,
    /// The disk is full for the next group.
    Full(Vec<Ask>),
}

#[derive(Clone, Debug)]
enum Ask {
    Send { from: u8, to: Vec<u8>, re: u8, bytes: usize },
    Ack { key: u8, which: Vec<prop::sample::Index> },
    Fetch { key: u8, after: prop::sample::Index, messages: u32, bytes: u32 },
    Login { key: u8, method: u8, name: Option<u8> },
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let send = (0..4u8, prop::collection::btree_set(0..5u8, 1..4), 0..7u8, 2..120usize);
    let which = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let ask = prop_oneof![
        6 => send.prop_map(|(from, to, re, bytes)| Ask::Send { from, to: to.into_iter().collect(), re, bytes }),
        3 => (0..5u8, which).prop_map(|(key, which)| Ask::Ack { key, which }),
        2 => (0..5u8, any::<prop::sample::Index>(), 0..5u32, 0..900u32)
            .prop_map(|(key, after, messages, bytes)| Ask::Fetch { key, after, messages, bytes }),
        1 => (0..5u8, 0..3u8, prop::option::of(0..3u8))
            .prop_map(|(key, method, name)| Ask::Login { key, method, name }),
    ];
    prop::collection::vec(ask, 1..6)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => asks().prop_map(Step::Group),
        2 => (1..120u64).prop_map(Step::Wait),
        1 => (1..50u64).prop_map(Step::Jump),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => asks().prop_map(Step::Full),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a message of the model is: its id, who sent it, and how long its body is.
type Letter = (MessageId, u8, usize);

#[derive(Clone, Default)]
struct Model {
    mailboxes: BTreeMap<u8, Vec<Letter>>,
    /// Their names.
    accounts: BTreeMap<u8, String>,
    repeats: Vec<Said>,
    /// How many of those the group began with.
    before: usize,
    last: MessageIdOr,
    /// All ids there have been.
    ids: Vec<MessageId>,
}

#[derive(Clone, Copy)]
struct MessageIdOr(MessageId);

impl Default for MessageIdOr {
    fn default() -> Self {
        Self(MessageId::FIRST)
    }
}

#[derive(Clone)]
struct Said {
    until_ms: u64,
    /// On the wall.
    said_ms: u64,
    from: u8,
    re: u8,
    content: (Vec<u8>, usize),
    receipts: Vec<(Outcome, Option<MessageId>)>,
}

impl Model {
    fn said(&self, caps: &Caps, from: u8, re: u8) -> Option<&Said> {
        if let Some(forming) =
            self.repeats[self.before..].iter().rev().find(|said| (said.from, said.re) == (from, re))
        {
            return Some(forming);
        }
        let own = self.repeats[..self.before].iter().rev().filter(|said| said.from == from);
        own.enumerate()
            .find(|(_, said)| said.re == re)
            .filter(|(nth, _)| *nth < caps.repeat_ids as usize)
            .map(|(_, said)| said)
    }

    fn refusal(&self, caps: &Caps, from: u8, to: u8, bytes: usize) -> Option<Refused> {
        let none = Vec::new();
        let letters = self.mailboxes.get(&to).unwrap_or(&none);
        let is_seen = self.accounts.contains_key(&to);
        let (messages_most, bytes_most) = match is_seen {
            true => (caps.mailbox_messages, caps.mailbox_bytes),
            false => (caps.unseen_messages, caps.unseen_bytes),
        };
        let held: usize = letters.iter().map(|letter| letter.2).sum();
        let of_sender = letters.iter().filter(|letter| letter.1 == from).count();
        let all = self.mailboxes.values().flatten().filter(|letter| letter.1 == from);
        let outstanding: usize = all.map(|letter| letter.2).sum();
        let is_full = letters.len() >= messages_most as usize
            || held + bytes > bytes_most as usize
            || of_sender >= caps.sender_mailbox_messages as usize
            || outstanding + bytes > caps.sender_bytes as usize;
        is_full.then_some(Refused::MailboxFull)
    }

    /// Does a job, and holds the words against what it must say.
    fn job(&mut self, caps: &Caps, job: &Job, now: Now, words: &mut impl Iterator<Item = Word>) {
        let number = |identity: &_| (0..5).find(|n| key(*n) == *identity).unwrap();
        match job {
            Job::Send(send) => {
                let (from, re) = (number(send.from.identity().unwrap()), send.re.as_bytes()[0]);
                let to: Vec<u8> = send.to.iter().map(number).collect();
                let content = (to.clone(), send.body.len());
                if let Some(said) = self.said(caps, from, re).cloned() {
                    for (nth, to) in to.iter().enumerate() {
                        let reused = (Outcome::Refused(Refused::IdReused), None);
                        let (outcome, id) = if said.content == content { said.receipts[nth] } else { reused };
                        let Some(Word::Receipt { receipt, .. }) = words.next() else { panic!("a receipt") };
                        assert_eq!((receipt.outcome, receipt.id), (outcome, id));
                        assert_eq!(receipt.to, Recipient::Key(key(*to)));
                    }
                    return;
                }
                let mut receipts = Vec::new();
                for to in to {
                    match (self.refusal(caps, from, to, send.body.len()), words.next().expect("a word")) {
                        (None, Word::Committed(done)) => {
                            assert_eq!((done.to, &done.send.re), (key(to), &send.re));
                            assert!(done.id > self.last.0, "{} after {}", done.id, self.last.0);
                            assert!(done.id.unix_ms() >= now.unix_ms);
                            let text = String::from_utf8(done.message().payload().to_vec()).unwrap();
                            assert!(
                                text.contains(&done.id.to_string()) && text.contains(&key(from).to_string())
                            );
                            self.last = MessageIdOr(done.id);
                            self.ids.push(done.id);
                            self.mailboxes.entry(to).or_default().push((done.id, from, send.body.len()));
                            receipts.push((Outcome::Stored, Some(done.id)));
                        }
                        (Some(why), Word::Receipt { receipt, .. }) => {
                            assert_eq!((receipt.outcome, receipt.id), (Outcome::Refused(why), None));
                            receipts.push((Outcome::Refused(why), None));
                        }
                        (expected, word) => panic!("{expected:?} but {word:?}"),
                    }
                }
                if receipts.iter().any(|(_, id)| id.is_some()) {
                    let until_ms = now.steady_ms + caps.repeat_ms;
                    let said_ms = now.unix_ms;
                    self.repeats.push(Said { until_ms, said_ms, from, re, content, receipts });
                }
            }
            Job::Ack { identity, ids } => {
                let letters = self.mailboxes.entry(number(identity)).or_default();
                let mut gone = Vec::new();
                for id in ids {
                    if let Some(at) = letters.iter().position(|letter| letter.0 == *id) {
                        gone.push(letters.remove(at).0);
                    }
                }
                if !gone.is_empty() {
                    let Some(Word::Acked { identity: whose, ids }) = words.next() else { panic!("acked") };
                    assert_eq!((whose, &ids[..]), (*identity, &gone[..]));
                }
            }
            Job::Fetch { identity, after, messages, bytes, .. } => {
                let none = Vec::new();
                let letters = self.mailboxes.get(&number(identity)).unwrap_or(&none);
                let behind: Vec<_> = letters.iter().filter(|letter| letter.0 > *after).collect();
                let Some(Word::Backlog { messages: got, more, .. }) = words.next() else {
                    panic!("a backlog")
                };
                assert!(got.len() <= *messages as usize);
                let payloads: usize = got.iter().map(|(_, message)| message.payload().len()).sum();
                assert!(payloads <= *bytes as usize);
                // What a later job of the group acks may be missing.
                let whole: Vec<_> = behind.iter().map(|letter| letter.0).collect();
                let mut rest = whole.iter();
                assert!(got.iter().all(|(id, _)| rest.any(|other| other == id)), "{got:?} of {whole:?}");
                if !more {
                    assert!(got.len() <= behind.len());
                } else {
                    assert!(got.len() < behind.len());
                }
            }
            Job::Look { .. } => panic!("it has a test of its own"),
            Job::Login(login) => {
                let number = number(&login.identity);
                let known = self.accounts.get(&number);
                let Some(Word::Account { result, .. }) = words.next() else { panic!("an account") };
                match (known, login.method) {
                    (Some(_), Method::Signup) => return assert_eq!(result, Err(Reason::AccountExists)),
                    (None, Method::Login) => return assert_eq!(result, Err(Reason::NoAccount)),
                    _ => {}
                }
                let name = login.display_name.as_deref().map(str::to_owned);
                let name = name.or(known.cloned()).unwrap_or_default();
                let unread_messages = self.mailboxes.get(&number).map_or(0, Vec::len) as u64;
                let display_name = name.clone().into();
                assert_eq!(result, Ok(Account { display_name, unread_messages }));
                self.accounts.insert(number, name);
            }
        }
    }

    /// From here on the clock on the wall tells how old an id is.
    fn reopen(&mut self, caps: &Caps, now: Now) {
        let mut most_ms = u64::MAX;
        for said in self.repeats.iter_mut().rev() {
            let age_ms = now.unix_ms.saturating_sub(said.said_ms);
            // None outlives a younger one.
            most_ms = most_ms.min(now.steady_ms + caps.repeat_ms.saturating_sub(age_ms));
            said.until_ms = most_ms;
        }
    }

    fn expire(&mut self, caps: &Caps, now: Now) -> BTreeSet<MessageId> {
        let mut gone = BTreeSet::new();
        for (key, letters) in &mut self.mailboxes {
            let is_seen = self.accounts.contains_key(key);
            let keep_ms = if is_seen { caps.keep_ms } else { caps.unseen_keep_ms };
            letters.retain(|letter| {
                let stays = letter.0.unix_ms() + keep_ms > now.unix_ms;
                if !stays {
                    gone.insert(letter.0);
                }
                stays
            });
        }
        self.repeats.retain(|said| said.until_ms > now.steady_ms);
        gone
    }
}

fn job(ask: &Ask, model: &Model) -> Job {
    match ask {
        Ask::Send { from, to, re, bytes } => {
            let from = From::Member { identity: key(*from), at: at(1) };
            let re = char::from(b'a' + re).to_string().into();
            let to = to.iter().map(|to| key(*to)).collect();
            let body = format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes().into();
            Job::Send(Arc::new(Send::new(from, re, to, body)))
        }
        Ask::Ack { key: whose, which } => {
            let any = |at: &prop::sample::Index| {
                if model.ids.is_empty() { MessageId::FIRST } else { *at.get(&model.ids) }
            };
            Job::Ack { identity: key(*whose), ids: which.iter().map(any).collect() }
        }
        Ask::Fetch { key: whose, after, messages, bytes } => {
            let all: Vec<_> = [MessageId::FIRST].into_iter().chain(model.ids.iter().copied()).collect();
            let (identity, after) = (key(*whose), *after.get(&all));
            Job::Fetch { at: at(2), identity, after, messages: *messages, bytes: *bytes }
        }
        Ask::Login { key: whose, method, name } => Job::Login(Box::new(Login {
            at: at(3),
            identity: key(*whose),
            method: [Method::LoginOrSignup, Method::Login, Method::Signup][usize::from(*method)],
            display_name: name.map(|name| format!("name {name}").into()),
            bio: None,
        })),
    }
}

fn run(steps: &[Step]) {
    let caps = caps();
    let medium = Medium::default();
    let mut now = Now { unix_ms: 10_000, steady_ms: 0 };
    let mut model = Model::default();
    let mut store = keeper(&medium, &caps, now).unwrap();
    for step in steps {
        let (asks, is_full) = match step {
            Step::Group(asks) => (asks, false),
            Step::Full(asks) => (asks, true),
            Step::Wait(ms) => {
                now.unix_ms += ms;
                now.steady_ms += ms;
                (&Vec::new(), false)
            }
            Step::Jump(ms) => {
                now.unix_ms -= ms;
                (&Vec::new(), false)
            }
            Step::Reopen | Step::Crash => {
                drop(store);
                if matches!(step, Step::Crash) {
                    medium.crash();
                }
                store = keeper(&medium, &caps, now).unwrap();
                model.reopen(&caps, now);
                (&Vec::new(), false)
            }
        };
        let jobs: Vec<_> = asks.iter().map(|ask| job(ask, &model)).collect();
        medium.set_full(is_full);
        let mut words = Vec::new();
        let done = store.work(&jobs, true, now, &mut words);
        medium.set_full(false);
        if let Err(failure) = done {
            assert!(is_full && !failure.committed && words.is_empty(), "{failure:?}");
            drop(store);
            store = keeper(&medium, &caps, now).unwrap();
            model.reopen(&caps, now);
        } else {
            model.before = model.repeats.len();
            let mut words = words.into_iter();
            jobs.iter().for_each(|job| model.job(&caps, job, now, &mut words));
            assert!(words.next().is_none(), "nothing else is said");
        }
        let mut words = Vec::new();
        while !store.expire(now, &mut words).unwrap() {}
        // Once more: rows to forget go a few at a time.
        store.expire(now, &mut words).unwrap();
        let acked = words.iter().flat_map(|word| match word {
            Word::Acked { ids, .. } => ids.to_vec(),
            word => panic!("{word:?}"),
        });
        assert_eq!(acked.collect::<BTreeSet<_>>(), model.expire(&caps, now));
        let messages: usize = model.mailboxes.values().map(Vec::len).sum();
        let holdings = store.holdings();
        assert_eq!((holdings.messages, holdings.accounts), (messages as u64, model.accounts.len() as u64));
    }
    // All that was said to be stored is there, oldest first, and nothing else.
    drop(store);
    let mut store = keeper(&medium, &caps, now).unwrap();
    for (number, letters) in &model.mailboxes {
        let fetch = Job::Fetch {
            at: at(2),
            identity: key(*number),
            after: MessageId::FIRST,
            messages: u32::MAX,
            bytes: u32::MAX,
        };
        let mut words = Vec::new();
        store.work(&[fetch], true, now, &mut words).unwrap();
        let [Word::Backlog { messages, more: false, .. }] = &words[..] else { panic!("{words:?}") };
        let ids = |all: &[Letter]| all.iter().map(|letter| letter.0).collect::<Vec<_>>();
        assert_eq!(messages.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids(letters));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, rng_seed: proptest::test_runner::RngSeed::Fixed(8),
        failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_keeper_says_what_the_page_says(steps in steps()) {
        run(&steps);
    }
}
