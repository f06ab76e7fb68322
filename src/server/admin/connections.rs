//! `GET /connections?key=HEX`: which connections a key has.

use super::{Answer, Head, Route, Service};
use crate::{
    app::{
        crypto::key::Identity,
        relay::{Command, FOUND, Find, Found},
    },
    engine::reactor::Letter,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant, UNIX_EPOCH},
};

pub const ROUTES: &[Route] =
    &[Route { method: "GET", path: "/connections", is_open: false, answer: connections }];

/// Reactors answer sooner than this.
const ANSWER_MOST: Duration = Duration::from_secs(2);

fn connections(service: &Service, head: &Head, _: &[u8]) -> Answer {
    let key = head.query.strip_prefix("key=").map(|key| Identity::parse_hex(key.as_bytes()));
    let Some(Ok((identity, _))) = key else {
        return Answer::json(400, &json!({ "error": "ask for /connections?key=HEX with a public key" }));
    };
    let until = Instant::now() + ANSWER_MOST;
    let (found, all) = channel();
    let mut reactors = 0;
    let is_posted = service.running.post(|| {
        reactors += 1;
        let found = found.clone();
        Letter::Command(Command::Find(Find { identity, found, reactor: reactors - 1 }))
    });
    drop(found);
    let mut connections: Vec<Found> = Vec::new();
    let ended = loop {
        match all.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(connection) => connections.push(connection),
            Err(ended) => break ended,
        }
    };
    if !is_posted || ended == RecvTimeoutError::Timeout {
        return Answer::json(503, &json!({ "error": "a reactor did not answer in time" }));
    }
    connections.sort_by_key(|found| (found.reactor, found.about.since_ms));
    let started_ms = service.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let list: Vec<_> = connections.iter().map(|found| row(found, started_ms)).collect();
    let is_whole = (0..reactors)
        .all(|reactor| connections.iter().filter(|found| found.reactor == reactor).count() < FOUND);
    let answer = Answer::json(200, &Value::Array(list));
    if is_whole { answer } else { answer.with("Mida-Truncated", format!("{FOUND} of each reactor")) }
}

/// One connection; times are Unix milliseconds. A proxy may not have told the port.
fn row(found: &Found, started_ms: u64) -> Value {
    let address = |peer: SocketAddr| match peer.port() {
        0 => peer.ip().to_string(),
        _ => peer.to_string(),
    };
    json!({
        "reactor": found.reactor,
        "address": found.about.peer.map(address),
        "since": started_ms + found.about.since_ms,
        "queueBytes": found.about.queue_bytes,
        "state": found.about.state.name(),
        "proven": found.is_proven,
    })
}
