//! Live messages between authenticated clients per second of the server's CPU time, against what the same server
//! delivers of a sealed broadcast to the same clients. Server on core 0, clients on core 1.
//!
//! `cargo bench --bench messages -- --senders 500 --flight 8 --pairs 9 --seconds 3` measures, and those are the defaults;
//! `--quick` only shows that everything works.

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod served;

use common::{
    pairs::{Flags, compare},
    process::{Process, pin},
};
use std::time::Instant;

/// Slices that the seconds of a measurement are cut into.
const SLICES: usize = 8;
/// Bytes of an event in clear JSON: of the message that is brought, and of the broadcast.
const EVENT_BYTES: usize = 200;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", sockets] => {
            pin(0);
            served::serve(sockets.parse().expect("a number of sockets"));
        }
        ["clients", address, senders, flight] => {
            pin(1);
            let number = |text: &str| text.parse().expect("a number");
            clients::run(address, number(senders), number(flight));
        }
        _ => {
            let Some(flags) = Flags::of("messages") else { return };
            measure(
                flags.value("--senders", 500.0, 20.0) as u64,
                flags.value("--flight", 8.0, 8.0) as u64,
                flags.value("--pairs", 9.0, 1.0) as usize,
                flags.value("--seconds", 3.0, 0.1),
            );
        }
    }
}

/// The clients end first.
struct Both {
    clients: Process,
    server: Process,
    sockets: u64,
}

impl Both {
    /// Messages for `wall_s`; how many, and the CPU nanoseconds of the server.
    fn messages(&mut self, wall_s: f64) -> (u64, u64) {
        self.server.say("mark");
        assert_eq!(self.server.line(), "marked");
        self.clients.say(&format!("run {}", (wall_s * 1e6) as u64));
        let messages = self.clients.number();
        self.server.say("cpu");
        (messages, self.server.number())
    }

    /// Broadcasts, one after the other has arrived, for `wall_s`; the same.
    fn broadcasts(&mut self, wall_s: f64) -> (u64, u64) {
        let started = Instant::now();
        let (mut deliveries, mut cpu_ns) = (0, 0);
        while deliveries == 0 || started.elapsed().as_secs_f64() < wall_s {
            self.server.say("broadcast");
            assert_eq!(self.server.line(), "sent");
            self.clients.say(&format!("await {}", self.sockets));
            assert_eq!(self.clients.line(), "arrived");
            self.server.say("cpu");
            cpu_ns += self.server.number();
            deliveries += self.sockets;
        }
        (deliveries, cpu_ns)
    }
}

fn measure(senders: u64, flight: u64, pairs: usize, wall_s: f64) {
    let sockets = 2 * senders;
    let mut server = Process::start(&["server", &sockets.to_string()]);
    let address = server.line();
    let mut clients = Process::start(&["clients", &address, &senders.to_string(), &flight.to_string()]);
    assert_eq!(clients.line(), "ready");
    let mut both = Both { clients, server, sockets };
    // Memory has grown to what it takes then.
    both.broadcasts(wall_s / 3.0);
    both.messages(wall_s / 3.0);
    println!(
        "{senders} senders with {flight} in flight to as many recipients, {pairs} pairs of {wall_s} s; per server CPU second"
    );
    compare("live messages / sealed broadcast", pairs, || {
        let mut totals = [(0, 0); 2];
        for side in [0, 1, 1, 0].into_iter().cycle().take(2 * SLICES) {
            let slice_s = wall_s / SLICES as f64;
            let (count, cpu_ns) = if side == 0 { both.messages(slice_s) } else { both.broadcasts(slice_s) };
            totals[side] = (totals[side].0 + count, totals[side].1 + cpu_ns);
        }
        let [one, other] = totals.map(|(count, cpu_ns)| count as f64 * 1e9 / cpu_ns as f64);
        (one, other)
    });
}
