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
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant, UNIX_EPOCH},
};

pub const ROUTES: &[Route] =
    &[Route { method: "GET", path: "/connections", is_open: false, answer: connections }];

/// Reactors answer sooner than this.
const ANSWER_MOST: Duration = Duration::from_secs(2);

fn connections(service: &Service, head: &Head, _: &[u8]) -> Answer {
    let key = head.query.strip_prefix("key=").map(|key| Identity::parse_hex(key.as_bytes()));
    let Some(Ok((identity, _))) = key else {
        return Answer::error((400, "bad_key"), "Ask for /connections?key=HEX with a public key.");
    };
    let finding = Finding::begin(service, identity);
    let reactors = finding.reactors;
    let (found, is_whole) = finding.wait(Instant::now() + ANSWER_MOST);
    if !is_whole {
        return Answer::error((503, "timeout"), "A reactor did not answer in time.");
    }
    let all_told = |reactor| found.iter().filter(|found| found.reactor == reactor).count() < FOUND;
    let answer = Answer::json(200, &rows(service, &found));
    match (0..reactors).all(all_told) {
        true => answer,
        false => answer.with("Mida-Truncated", format!("{FOUND} of each reactor")),
    }
}

/// A question to all reactors for the connections of a key.
pub struct Finding {
    reactors: usize,
    is_posted: bool,
    all: Receiver<Found>,
}

impl Finding {
    pub fn begin(service: &Service, identity: Identity) -> Self {
        let (found, all) = channel();
        let mut reactors = 0;
        let is_posted = service.running.post(|| {
            reactors += 1;
            let found = found.clone();
            Letter::Command(Command::Find(Find { identity, found, reactor: reactors - 1 }))
        });
        Self { reactors, is_posted, all }
    }

    /// What was found before `until`, at most [`FOUND`] of each reactor, and whether all reactors have answered.
    pub fn wait(self, until: Instant) -> (Vec<Found>, bool) {
        let mut connections: Vec<Found> = Vec::new();
        let ended = loop {
            match self.all.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(connection) => connections.push(connection),
                Err(ended) => break ended,
            }
        };
        connections.sort_by_key(|found| (found.reactor, found.about.since_ms));
        (connections, self.is_posted && ended == RecvTimeoutError::Disconnected)
    }
}

/// What is told of connections; times are Unix milliseconds. A proxy may not have told the port.
pub fn rows(service: &Service, found: &[Found]) -> Value {
    let started_ms = service.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let address = |peer: SocketAddr| match peer.port() {
        0 => peer.ip().to_string(),
        _ => peer.to_string(),
    };
    let row = |found: &Found| {
        json!({
            "reactor": found.reactor,
            "address": found.about.peer.map(address),
            "since": started_ms + found.about.since_ms,
            "queueBytes": found.about.queue_bytes,
            "state": found.about.state.name(),
            "proven": found.is_proven,
        })
    };
    Value::Array(found.iter().map(row).collect())
}
