//! Deliveries of a broadcast per second of the server's CPU time, through real sockets: sealed, clear, and a
//! bare loop of send(). Servers on core 0, everybody they send to on core 1; each its own process.
//!
//! `cargo bench --bench delivery -- --sockets 10000 --pairs 9 --seconds 3` measures, and those are the defaults;
//! `--quick` only shows that everything works.
//! Prints each pair as it is measured, then the median ratios with quartiles.

mod bare;
#[path = "../../examples/broadcast.rs"]
#[allow(dead_code)] // Its main.
mod broadcast;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/common/frames.rs"]
#[allow(dead_code)] // Shared with tests, which use more of it.
mod frames;
#[path = "../../src/cli/load/login.rs"]
#[allow(dead_code, unused_imports)] // The load generator uses more of it, and has its tests.
mod login;
#[path = "../../src/cli/load/opener.rs"]
#[allow(dead_code, unused_imports)]
mod opener;
mod served;
mod sink;
#[path = "../../src/cli/load/stream.rs"]
#[allow(dead_code, unused_imports)]
mod stream;

use common::{
    pairs::{Flags, compare},
    process::{Process, pin},
};

/// What a server sends, to whom, and how often within one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Sealed,
    SealedBatches,
    Clear,
    /// `examples/broadcast.rs`, in the clear.
    Example,
    Bare,
}

const ALL: [(What, &str); 5] = [
    (What::Sealed, "sealed"),
    (What::SealedBatches, "sealed-batches"),
    (What::Clear, "clear"),
    (What::Example, "example"),
    (What::Bare, "bare"),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", what, sockets] => {
            let what = ALL.iter().find(|(_, name)| *name == what).expect("a kind of server").0;
            let sockets = sockets.parse().expect("a number of sockets");
            pin(0);
            match what {
                What::Bare => bare::serve(sockets),
                What::Example => served::serve_example(sockets),
                _ => served::serve(what, sockets),
            }
        }
        ["sink", address, sockets, how] => {
            pin(1);
            let sockets = sockets.parse().expect("a number of sockets");
            sink::run(address, sockets, how != "silent", how == "log-in");
        }
        _ => {
            let Some(flags) = Flags::of("delivery") else { return };
            measure(
                flags.value("--sockets", 10_000.0, 200.0) as u64,
                flags.value("--pairs", 9.0, 1.0) as usize,
                flags.value("--seconds", 3.0, 0.05),
            );
        }
    }
}

/// One server and those it sends to, who end first.
struct Pair {
    sink: Process,
    server: Process,
    sockets: u64,
}

impl Pair {
    fn start(what: What, name: &str, sockets: u64) -> Self {
        let mut server = Process::start(&["server", name, &sockets.to_string()]);
        let address = server.line();
        let how = match what {
            What::Sealed | What::SealedBatches => "log-in",
            What::Clear | What::Bare => "greeted",
            What::Example => "silent",
        };
        let mut sink = Process::start(&["sink", &address, &sockets.to_string(), how]);
        assert_eq!(sink.line(), "ready");
        Self { sink, server, sockets }
    }

    /// Broadcasts `events` together; returns the CPU nanoseconds the server took until all have arrived.
    fn round(&mut self, events: u64) -> u64 {
        self.server.say(&format!("send {events}"));
        let frames = self.server.number();
        self.sink.say(&format!("await {}", frames * self.sockets));
        assert_eq!(self.sink.line(), "arrived");
        self.server.say("cpu");
        self.server.number()
    }

    /// Deliveries per second of CPU, over at least `wall_s`.
    fn rate(&mut self, events: u64, wall_s: f64) -> f64 {
        let started = std::time::Instant::now();
        let (mut deliveries, mut cpu_ns) = (0, 0);
        loop {
            cpu_ns += self.round(events);
            deliveries += events * self.sockets;
            if started.elapsed().as_secs_f64() >= wall_s {
                return deliveries as f64 * 1e9 / cpu_ns as f64;
            }
        }
    }
}

fn measure(sockets: u64, pairs: usize, wall_s: f64) {
    let mut kinds = ALL.map(|(what, name)| Pair::start(what, name, sockets));
    for kind in &mut kinds {
        // Everybody has a live epoch then, and memory has grown to what it takes.
        kind.rate(8, wall_s / 3.0);
    }
    let [sealed, batches, clear, example, bare] = &mut kinds;
    println!("{sockets} connections, {pairs} pairs of {wall_s} s; deliveries per server CPU second");
    compare("sealed / clear", pairs, || (sealed.rate(1, wall_s), clear.rate(1, wall_s)));
    compare("sealed / example", pairs, || (sealed.rate(1, wall_s), example.rate(1, wall_s)));
    compare("sealed / bare send()", pairs, || (sealed.rate(1, wall_s), bare.rate(1, wall_s)));
    compare("clear / bare send()", pairs, || (clear.rate(1, wall_s), bare.rate(1, wall_s)));
    compare("8 in a turn / 1", pairs, || (sealed.rate(8, wall_s), sealed.rate(1, wall_s)));
    compare("8 in a batch / 1", pairs, || (batches.rate(8, wall_s), batches.rate(1, wall_s)));
}
