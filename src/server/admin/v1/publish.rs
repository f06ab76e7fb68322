//! `POST /v1/publish`: a message for all who joined a topic.

use super::{
    super::{Answer, Head, Route, Service},
    Backend, act, delivered, post,
    request::Publish,
};
use crate::app::{
    mail::{From, Recipient},
    relay::{Command, Mail, Ticket},
};
use std::sync::Arc;

pub const ROUTES: &[Route] =
    &[Route { method: "POST", path: "/v1/publish", is_open: false, answer: publish }];

fn publish(service: &Service, head: &Head, body: &[u8]) -> Answer {
    act(service, |backend| {
        let publish = Publish::read(body, &backend.config().limits)?;
        backend.once(head, body, || spread(backend, &publish.topic, publish.body.get().as_bytes()))
    })
}

/// The topic's home knows who has joined.
fn spread(backend: &Backend, topic: &str, body: &[u8]) -> Result<Answer, Answer> {
    let until = backend.until();
    let (id, message) = backend.encode(Some(topic), body);
    let mut asked = backend.ask(1, body.len())?;
    let from = From::Operator { question: asked.number };
    let ticket = Ticket::passing(from, Some("".into()), Recipient::Topic(topic.into()), id, message);
    let mail = Command::Mail(vec![Mail::Route(Arc::new(ticket))]);
    let way = backend.reactors.get(usize::from(backend.homes.of_topic(topic)));
    let is_posted = way.is_some_and(|way| post(&**way, mail, until).is_ok());
    if !is_posted {
        asked.forget(1);
    }
    let (told, is_whole) = asked.wait(until);
    let connections = told.iter().map(|told| u64::from(told.connections)).sum();
    delivered(connections, id, is_posted && is_whole)
}
