//! A store on a real disk: killed at any moment, on a disk that is full, and wanted by two.
//!
//! `MIDA_CRASHES=100 cargo test --test store` kills it a hundred times instead of five, `MIDA_SEED=N` at other moments.

mod child;
mod client;

use child::{Told, recipients, start};
use client::{Client, caps, key};
use mida::{
    app::{crypto::rng::Rng, mail::*},
    store::{Caps, Store},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

fn folder(name: &str) -> PathBuf {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// What children have reported, over all their lives.
#[derive(Default)]
struct Reported {
    /// For each recipient, in the order of its commits.
    committed: BTreeMap<u8, Vec<(MessageId, String)>>,
    /// An ack was on its way.
    asked: BTreeSet<MessageId>,
    acked: BTreeSet<MessageId>,
    last: Option<(MessageId, u8, String)>,
}

impl Reported {
    fn add(&mut self, told: Told) {
        match told {
            Told::Committed { id, to, re } => {
                assert!(self.last.as_ref().is_none_or(|last| last.0 < id), "ids grow");
                self.committed.entry(to).or_default().push((id, re.clone()));
                self.last = Some((id, to, re));
            }
            Told::Asked(id) => drop(self.asked.insert(id)),
            Told::Acked(id) => drop(self.acked.insert(id)),
            Told::Full | Told::LoggedIn => {}
        }
    }

    /// Holds what a store has against what was reported.
    fn check(&self, store: &mut Client) {
        for (to, committed) in &self.committed {
            let there = store.mailbox(*to);
            assert!(there.is_sorted(), "oldest first");
            let all: BTreeSet<_> = there.iter().copied().collect();
            for (id, re) in committed {
                assert!(all.contains(id) || self.asked.contains(id), "{re} to {to} is lost: {id}");
                assert!(!(all.contains(id) && self.acked.contains(id)), "{re} to {to} was acked: {id}");
            }
            // In the order in which they were reported.
            let reported: Vec<_> =
                committed.iter().map(|(id, _)| *id).filter(|id| all.contains(id)).collect();
            let told: BTreeSet<_> = reported.iter().copied().collect();
            assert_eq!(there.iter().copied().filter(|id| told.contains(id)).collect::<Vec<_>>(), reported);
        }
        // The last send again: it gets its first receipt.
        if let Some((id, to, re)) = &self.last {
            let recipients =
                recipients(re.split_once('.').expect("round.number").1.parse().expect("a number"));
            let said = store.send_again(&recipients, re);
            let nth = recipients.iter().position(|recipient| recipient == to).expect("one of them");
            assert_eq!(said[nth], Ok(*id), "{re} to {to} is remembered");
        }
    }
}

#[test]
fn nothing_that_was_said_to_be_stored_is_lost_when_it_is_killed() {
    let seed = number("MIDA_SEED", 1);
    let mut seeds = [0; 32];
    seeds[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = Rng::from_seed(seeds);
    let (mut place, mut reported) = (folder("crash"), Reported::default());
    let mut acked = 0;
    for round in 0..number("MIDA_CRASHES", 5) {
        if round % 8 == 7 {
            // What is held against reports grows with each life.
            fs::remove_dir_all(&place).unwrap();
            (place, reported) = (folder("crash"), Reported::default());
        }
        let mut child = start(&place, round, None);
        let lines = 1 + rng.below(4_000);
        for _ in 0..lines {
            reported.add(child.line().expect("it lives until it is killed"));
        }
        child.kill();
        // What it had said before it was killed.
        while let Some(told) = child.line() {
            reported.add(told);
        }
        let mut store = Client::open(&place);
        reported.check(&mut store);
        store.close();
        acked += reported.acked.len();
    }
    assert!(acked > 0 && reported.committed.len() > 1, "it had something to lose");
    fs::remove_dir_all(place).unwrap();
}

#[test]
fn a_full_disk_refuses_messages_and_loses_none() {
    let folder = folder("full");
    let mut reported = Reported::default();
    let mut child = start(&folder, 0, Some(2_048));
    let (mut is_full, mut is_in) = (false, false);
    while !(is_full && is_in) {
        let told = child.line().expect("it lives although its disk is full");
        is_full |= told == Told::Full;
        is_in |= is_full && told == Told::LoggedIn;
        reported.add(told);
    }
    child.kill();
    while let Some(told) = child.line() {
        reported.add(told);
    }
    let mut store = Client::open(&folder);
    reported.check(&mut store);
    assert!(store.send_again(&[0], "there is room again")[0].is_err());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_process_has_a_directory_and_a_successor_waits_for_it() {
    let folder = folder("lock");
    let mut first = Client::open(&folder);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let error = Store::open(&folder, caps(), 1).err().expect("it is in use").to_string();
    assert!(
        error.ends_with("give another with --data") && error.contains(&std::process::id().to_string()),
        "{error}"
    );

    let mut second = Client::start(Store::open_later(&folder, caps(), 1).unwrap());
    second.send("while it waits", &[1]);
    first.send("before", &[1]);
    let Word::Committed(before) = first.word() else { panic!("committed") };
    first.close();
    let Word::Committed(after) = second.word() else { panic!("committed") };
    assert_eq!(second.mailbox(1), [before.id, after.id]);
    // Who is closed refuses, and goes on.
    first.send("after", &[2]);
    let Word::Receipt { receipt, .. } = first.word() else { panic!("a receipt") };
    assert_eq!((receipt.outcome, receipt.to), (Outcome::Refused(Refused::StoreFull), Recipient::Key(key(2))));
    second.close();
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn jobs_that_come_while_others_are_done_are_done_too() {
    let folder = folder("many");
    let store = Store::open(&folder, Caps { group_messages: 3, ..caps() }, 1).unwrap();
    let mut store = Client::start(store);
    let mut said = 0;
    for round in 0..40 {
        (0..10).for_each(|nth| store.send(&format!("{round}.{nth}"), &[1]));
        while said < round * 10 + 1 {
            assert!(matches!(store.word(), Word::Committed(_)));
            said += 1;
        }
    }
    (said..400).for_each(|_| drop(store.word()));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let folder = folder("none");
    fs::write(&folder, "a file").unwrap();
    let error = Store::open(&folder, caps(), 1).err().expect("it is a file").to_string();
    assert!(error.contains(folder.to_str().unwrap()) && !error.contains('\n'), "{error}");
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("messages.redb"), vec![7; 100_000]).unwrap();
    let error = Store::open(&folder, caps(), 1).err().expect("it is no database").to_string();
    assert!(error.contains(folder.to_str().unwrap()) && !error.contains('\n'), "{error}");
    fs::remove_dir_all(folder).unwrap();
}
