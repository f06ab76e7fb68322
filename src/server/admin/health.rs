//! Whether the server is to be restarted (`/healthz`), and whether it takes clients (`/readyz`).

use super::{Answer, Head, Route, Service};
use crate::server::Pulse;
use std::time::Duration;

pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/healthz", is_open: true, answer: healthz },
    Route { method: "GET", path: "/readyz", is_open: true, answer: readyz },
];

/// A reactor that was woken turns sooner than this.
const TURN_MOST: Duration = Duration::from_secs(5);

/// Every reactor is woken, and has to turn. While it drains, those that are done need not.
fn healthz(service: &Service, _: &Head, _: &[u8]) -> Answer {
    let running = &service.running;
    let pulses = running.take_pulse(TURN_MOST);
    let is_draining = running.is_draining();
    let sick: Vec<_> = pulses
        .iter()
        .enumerate()
        .filter(|(_, pulse)| **pulse == Pulse::Silent || **pulse == Pulse::Ended && !is_draining)
        .map(|(reactor, pulse)| match pulse {
            Pulse::Ended => format!("reactor {reactor} has ended"),
            _ => format!("reactor {reactor} has not turned for 5 s"),
        })
        .collect();
    if sick.is_empty() { Answer::text(200, "ok") } else { Answer::text(503, &sick.join("\n")) }
}

fn readyz(service: &Service, _: &Head, _: &[u8]) -> Answer {
    if service.running.is_draining() { Answer::text(503, "draining") } else { Answer::text(200, "ready") }
}
