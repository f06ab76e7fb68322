//! `POST /v1/send`: a message to keys, or to everyone who is there.

use super::{
    super::{Answer, Head, Route, Service},
    Backend, act, delivered, late,
    once::reused,
    post,
    request::{Send, To, idempotency_key},
};
use crate::app::{
    crypto::key::Identity,
    mail::{self, From, Job, Outcome, Receipt, Recipient, Refused},
    relay::{Command, Everyone, Mail, Ticket},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub const ROUTES: &[Route] = &[Route { method: "POST", path: "/v1/send", is_open: false, answer: send }];

fn send(service: &Service, head: &Head, body: &[u8]) -> Answer {
    act(service, |backend| {
        let send = Send::read(body, &backend.config().limits)?;
        match &send.to {
            To::Everyone => backend.once(head, body, || everyone(backend, send.body)),
            To::Keys(keys) if send.live => backend.once(head, body, || passing(backend, keys, send.body)),
            To::Keys(keys) => stored(backend, keys, idempotency_key(head)?.unwrap_or_default(), send.body),
        }
    })
}

fn everyone(backend: &Backend, body: &[u8]) -> Result<Answer, Answer> {
    let (id, message) = backend.encode(None, body);
    let command = |tally| Command::Everyone(Everyone { message: message.clone(), tally });
    let (connections, is_whole) = backend.tally(body.len(), command)?;
    delivered(connections, id, is_whole)
}

/// What became of the message for each key, as far as it is known.
type Receipts = HashMap<Identity, Receipt>;

/// Each key's home brings it to the connections that are there.
fn passing(backend: &Backend, keys: &[Identity], body: &[u8]) -> Result<Answer, Answer> {
    let (mut receipts, welcome) = welcome(backend, keys, true);
    let until = backend.until();
    let (id, message) = backend.encode(None, body);
    let mut asked = backend.ask(welcome.len(), body.len())?;
    let mut letters: BTreeMap<u16, Vec<Mail>> = BTreeMap::new();
    for key in welcome {
        let from = From::Operator { question: asked.number };
        let ticket = Ticket::passing(from, Some("".into()), Recipient::Key(key), id, message.clone());
        letters.entry(backend.homes.of_key(&key)).or_default().push(Mail::Route(Arc::new(ticket)));
    }
    for (home, mail) in letters {
        let count = mail.len();
        let way = backend.reactors.get(usize::from(home));
        if way.is_none_or(|way| post(&**way, Command::Mail(mail), until).is_err()) {
            asked.forget(count);
        }
    }
    collect(&mut receipts, asked.wait(until).0);
    answer(keys, &receipts)
}

/// The store keeps it, or knows it by its name `re`.
fn stored(backend: &Backend, keys: &[Identity], re: &str, body: &[u8]) -> Result<Answer, Answer> {
    let (mut receipts, welcome) = welcome(backend, keys, false);
    if let Some(store) = backend.store.as_ref().filter(|_| !welcome.is_empty()) {
        let until = backend.until();
        let mut asked = backend.ask(welcome.len(), body.len())?;
        let (from, count) = (From::Operator { question: asked.number }, welcome.len());
        let (re, to, body) = (re.into(), welcome.into(), body.into());
        if post(&**store, Job::Send(Arc::new(mail::Send::new(from, re, to, body))), until).is_err() {
            asked.forget(count);
            return Err(full("The store is behind: try again."));
        }
        collect(&mut receipts, asked.wait(until).0);
    }
    let is = |why| move |receipt: &Receipt| receipt.outcome == Outcome::Refused(why);
    if receipts.values().any(is(Refused::IdReused)) {
        return Err(reused());
    }
    if receipts.len() == keys.len() && receipts.values().all(is(Refused::StoreFull)) {
        return Err(full("The store or its disk is full, or it is not there at this moment: try again."));
    }
    answer(keys, &receipts)
}

fn full(line: &str) -> Answer {
    Answer::error((503, "store_full"), line)
}

/// Those who may get messages, and the receipts of the others.
fn welcome(backend: &Backend, keys: &[Identity], live: bool) -> (Receipts, Vec<Identity>) {
    let config = backend.config();
    let keeps = live || backend.store.is_some();
    let (welcome, others): (Vec<_>, Vec<_>) = keys.iter().partition(|key| keeps && config.admits(key));
    let refused = |key| Receipt {
        re: "".into(),
        to: Recipient::Key(key),
        id: None,
        outcome: Outcome::Refused(Refused::Forbidden),
    };
    (others.into_iter().map(|key| (key, refused(key))).collect(), welcome)
}

fn collect(receipts: &mut Receipts, told: Vec<super::Told>) {
    for receipt in told.into_iter().filter_map(|told| told.receipt) {
        if let Recipient::Key(key) = receipt.to {
            receipts.insert(key, receipt);
        }
    }
}

/// In the order that was asked for.
fn answer(keys: &[Identity], receipts: &Receipts) -> Result<Answer, Answer> {
    let known: Vec<_> = keys.iter().filter_map(|key| Some(row(key, receipts.get(key)?))).collect();
    let is_whole = known.len() == keys.len();
    let known = json!({ "receipts": known });
    if is_whole { Ok(Answer::json(200, &known)) } else { Err(late(known)) }
}

fn row(key: &Identity, receipt: &Receipt) -> Value {
    let (state, code) = match receipt.outcome {
        Outcome::Stored => ("stored", None),
        Outcome::Delivered => ("delivered", None),
        Outcome::Refused(why) => ("refused", Some(why.name())),
    };
    let mut row = json!({ "to": key.to_string(), "state": state });
    if let Some(id) = receipt.id {
        row["id"] = id.to_string().into();
    }
    if let Some(code) = code {
        row["code"] = code.into();
    }
    row
}
