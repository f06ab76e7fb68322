//! A server inside the test's own process, with an application of the test's.

use mida::{
    engine::reactor::Settings,
    server::{
        Plan,
        backend::Interface,
        cores,
        listen::{Address, Listening},
    },
};
use std::sync::Arc;

/// A plan for so many reactors on one core, on a loopback port, without heartbeats.
pub fn plan(reactors_per_core: usize) -> Plan {
    let settings =
        Settings { limits: Arc::default(), proxies: Arc::default(), heartbeat_ms: u64::MAX, capacity: 10 };
    let listening = Listening::open(&[Address::Tcp(([127, 0, 0, 1], 0).into())], Vec::new(), 1).unwrap();
    let cores = cores::allowed().unwrap()[..1].to_vec();
    Plan { listening, cores, reactors_per_core, open_files: 1_024, io: Interface::Epoll, settings }
}
