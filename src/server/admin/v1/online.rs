//! `GET /v1/online`: how many are there.

use super::super::{Answer, Head, Route, Service};
use crate::{
    app::figures::Figures,
    engine::slots::State,
    server::{Pulse, admin::PUBLISH_MOST},
};
use serde_json::json;

pub const ROUTES: &[Route] = &[Route { method: "GET", path: "/v1/online", is_open: false, answer: online }];

/// A reactor that is not up is told of as it was.
fn online(service: &Service, _: &Head, _: &[u8]) -> Answer {
    let pulses = service.running.take_pulse(PUBLISH_MOST);
    let (mut online, mut reactors) = (0, Vec::new());
    for (number, (figures, pulse)) in service.running.figures().into_iter().zip(pulses).enumerate() {
        let app = Figures::from_array(&figures.app);
        online += app.members;
        reactors.push(json!({
            "reactor": number,
            "up": pulse == Pulse::Beats,
            "online": app.members,
            "keys": app.keys,
            "connections": figures.stats.connections[State::Open as usize],
        }));
    }
    Answer::json(200, &json!({ "online": online, "reactors": reactors }))
}
