//! `POST /v1/disconnect`: ends the connections of a key.

use super::{
    super::{Answer, Head, Route, Service},
    act, request, whole,
};
use crate::app::relay::{Command, Mail};
use serde_json::json;

pub const ROUTES: &[Route] =
    &[Route { method: "POST", path: "/v1/disconnect", is_open: false, answer: disconnect }];

/// With 1000: the key has done nothing wrong, and may come back. One that may not is on the list of `--blocked`.
fn disconnect(service: &Service, _: &Head, body: &[u8]) -> Answer {
    act(service, |backend| {
        let identity = request::disconnect(body, &backend.config().limits)?;
        let command = |tally| Command::Mail(vec![Mail::Dismiss { identity, tally }]);
        let (closed, is_whole) = backend.tally(0, command)?;
        whole(json!({ "closed": closed }), is_whole)
    })
}
