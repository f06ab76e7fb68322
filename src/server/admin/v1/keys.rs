//! `GET /v1/keys/{key}`: what there is of a key.

use super::{
    super::{
        Answer, Head, Route, Service,
        connections::{Finding, rows},
    },
    backend, late, post, request,
};
use crate::app::mail::{Job, Look};
use serde_json::{Value, json};
use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    time::Instant,
};

const PATH: &str = "/v1/keys/";

pub const ROUTES: &[Route] = &[Route { method: "GET", path: "/v1/keys/{key}", is_open: false, answer: key }];

fn key(service: &Service, head: &Head, _: &[u8]) -> Answer {
    match look(service, head.path.strip_prefix(PATH).unwrap_or_default()) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn look(service: &Service, name: &str) -> Result<Answer, Answer> {
    let backend = backend(service)?;
    let identity = request::key("key", name)?;
    let until = backend.until();
    // The store looks while reactors do.
    let (tell, told) = channel();
    let is_asked =
        backend.store.as_ref().map(|store| post(&**store, Job::Look { identity, tell }, until).is_ok());
    let (found, is_found) = Finding::begin(service, identity).wait(until);
    let look = match is_asked {
        None => Ok(Look::default()),
        Some(false) => Err(RecvTimeoutError::Timeout),
        Some(true) => told.recv_timeout(until.saturating_duration_since(Instant::now())),
    };
    let mut known = json!({
        "key": identity.to_string(),
        "admitted": backend.config().admits(&identity),
        "online": found.iter().filter(|found| found.is_proven).count(),
        "connections": rows(service, &found),
    });
    match look {
        Ok(look) => tell_of(&mut known, &look),
        Err(RecvTimeoutError::Disconnected) => {
            let line = "The store cannot be read at this moment: try again.";
            return Err(Answer::error_with((503, "store_full"), line, known));
        }
        Err(RecvTimeoutError::Timeout) => return Err(late(known)),
    }
    if is_found { Ok(Answer::json(200, &known)) } else { Err(late(known)) }
}

fn tell_of(known: &mut Value, look: &Look) {
    known["account"] = look
        .account
        .as_ref()
        .map_or(Value::Null, |account| json!({ "displayName": account.display_name, "bio": account.bio }));
    known["unread"] = look.unread_messages.into();
    known["unreadBytes"] = look.unread_bytes.into();
    known["oldest"] = look.oldest.map_or(Value::Null, |oldest| oldest.unix_ms().into());
}
