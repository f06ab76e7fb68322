//! What a store holds to, on a disk in memory.

mod failing;
mod limits;
mod look;
mod medium;
mod model;

use self::medium::Medium;
use super::{
    Caps,
    disk::{Disk, DiskError},
    keeper::{Keeper, Now},
};
use crate::{
    app::{
        crypto::{
            key::{Identity, SecretKey},
            rng::Rng,
        },
        mail::*,
        protocol::event::Method,
    },
    engine::io::Token,
};
use std::{cell::RefCell, num::NonZeroU32, sync::Arc};

/// Small ones, so that all are met.
fn caps() -> Caps {
    Caps {
        mailbox_messages: 7,
        mailbox_bytes: 500,
        unseen_messages: 4,
        unseen_bytes: 250,
        sender_mailbox_messages: 3,
        sender_bytes: 700,
        keep_ms: 400,
        unseen_keep_ms: 150,
        repeat_ids: 4,
        repeat_ms: 200,
        ..Caps::default()
    }
}

fn keeper(medium: &Medium, caps: &Caps, now: Now) -> Result<Keeper, DiskError> {
    Keeper::open(Disk::open(medium.clone())?, caps.clone(), now, Rng::from_seed([3; 32]))
}

/// A key of a number, always the same.
fn key(number: u8) -> Identity {
    thread_local!(static KEYS: RefCell<Vec<Identity>> = const { RefCell::new(Vec::new()) });
    KEYS.with_borrow_mut(|keys| {
        let mut rng = Rng::from_seed([9; 32]);
        if keys.len() <= usize::from(number) {
            *keys = (0..=number).map(|_| SecretKey::generate(&mut rng).identity()).collect();
        }
        keys[usize::from(number)]
    })
}

fn at(index: u32) -> At {
    At { reactor: 0, token: Token { index, generation: NonZeroU32::MIN } }
}

fn send(from: u8, to: &[u8], re: &str, bytes: usize) -> Job {
    let from = From::Member { identity: key(from), at: at(1) };
    let to = to.iter().map(|to| key(*to)).collect();
    Job::Send(Arc::new(Send::new(from, re.into(), to, vec![b'1'; bytes].into())))
}

fn login(number: u8) -> Job {
    Job::Login(Box::new(Login {
        at: at(2),
        identity: key(number),
        method: Method::LoginOrSignup,
        display_name: None,
        bio: None,
    }))
}

/// What was said to sends: a letter each, for stored, repeated, or why not.
fn outcomes(words: &[Word]) -> String {
    let letter = |word: &Word| match word {
        Word::Committed(_) => 's',
        Word::Receipt { receipt, .. } => match receipt.outcome {
            Outcome::Stored => 'r',
            Outcome::Refused(Refused::MailboxFull) => 'm',
            Outcome::Refused(Refused::StoreFull) => 'f',
            Outcome::Refused(Refused::IdReused) => 'i',
            _ => '?',
        },
        _ => '-',
    };
    words.iter().map(letter).collect()
}
