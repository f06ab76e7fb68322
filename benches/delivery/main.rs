//! Deliveries of a broadcast per second of the server's CPU time, through real sockets: sealed, clear, and a
//! bare loop of send(). Servers on core 0, everybody they send to on core 1; each its own process.
//!
//! `cargo bench --bench delivery -- --sockets 10000 --pairs 9 --seconds 3` measures, and those are the defaults;
//! `--quick` only shows that everything works; with `--backends` a sealed broadcast on io_uring is compared with one on
//! epoll, and a bare loop that sends by io_uring with one of send().
//! Prints each pair as it is measured, then the median ratios with quartiles.

mod bare;
#[path = "../../examples/broadcast.rs"]
#[allow(dead_code)] // Its main.
mod broadcast;
#[path = "../common/mod.rs"]
mod common;
mod served;
mod sink;

use common::{
    pairs::{Flags, compare},
    process::{Process, pin},
};
use std::time::Instant;

/// Slices that the seconds of a measurement are cut into.
const SLICES: usize = 16;

/// Bytes of the event in clear JSON.
const EVENT_BYTES: usize = 200;

/// What a server sends, to whom, and how often within one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Sealed,
    SealedBatches,
    Clear,
    /// `examples/broadcast.rs`, in the clear.
    Example,
    Bare,
    BareUring,
}

/// In the order of [`What`].
const ALL: [(What, &str); 6] = [
    (What::Sealed, "sealed"),
    (What::SealedBatches, "sealed-batches"),
    (What::Clear, "clear"),
    (What::Example, "example"),
    (What::Bare, "bare"),
    (What::BareUring, "bare-uring"),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", what, sockets] => {
            let what = ALL.iter().find(|(_, name)| *name == what).expect("a kind of server").0;
            let sockets = sockets.parse().expect("a number of sockets");
            pin(0);
            match what {
                What::Bare => bare::send_loop(sockets),
                What::BareUring => bare::uring(sockets),
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
            let measure = if flags.has("--backends") { measure_backends } else { measure };
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
    /// With the server on this interface of the kernel, as `--io` names it, or on what `MIDA_IO` names.
    fn start(what: What, io: Option<&str>, sockets: u64) -> Self {
        let args = ["server", ALL[what as usize].1, &sockets.to_string()];
        let mut server = io.map_or_else(|| Process::start(&args), |io| Process::start_on(io, &args));
        let address = server.line();
        let how = match what {
            What::Sealed | What::SealedBatches => "log-in",
            What::Clear | What::Bare | What::BareUring => "greeted",
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

    /// Broadcasts for at least `wall_s`; returns deliveries, and the CPU nanoseconds of the server.
    fn slice(&mut self, events: u64, wall_s: f64) -> (u64, u64) {
        let started = Instant::now();
        let (mut deliveries, mut cpu_ns) = (0, 0);
        while deliveries == 0 || started.elapsed().as_secs_f64() < wall_s {
            cpu_ns += self.round(events);
            deliveries += events * self.sockets;
        }
        (deliveries, cpu_ns)
    }
}

/// Slices of both sides by turns until each has had `wall_s`; deliveries per second of CPU of each. The machine may
/// be a quarter slower for some seconds: what is compared has to run within the same ones.
fn rates(kinds: &mut [Pair], sides: [(usize, u64); 2], wall_s: f64) -> (f64, f64) {
    let mut totals = [(0, 0); 2];
    // The first of two slices is the second of the next two.
    for side in [0, 1, 1, 0].into_iter().cycle().take(2 * SLICES) {
        let (what, events) = sides[side];
        let (deliveries, cpu_ns) = kinds[what].slice(events, wall_s / SLICES as f64);
        totals[side] = (totals[side].0 + deliveries, totals[side].1 + cpu_ns);
    }
    let [one, other] = totals.map(|(deliveries, cpu_ns)| deliveries as f64 * 1e9 / cpu_ns as f64);
    (one, other)
}

fn measure(sockets: u64, pairs: usize, wall_s: f64) {
    let mut kinds: Vec<Pair> =
        ALL[..=What::Bare as usize].iter().map(|(what, _)| Pair::start(*what, None, sockets)).collect();
    for kind in &mut kinds {
        // Everybody has a live epoch then, and memory has grown to what it takes.
        kind.slice(8, wall_s / 3.0);
    }
    println!("{sockets} connections, {pairs} pairs of {wall_s} s; deliveries per server CPU second");
    let rows = [
        ("sealed / clear", [(What::Sealed, 1), (What::Clear, 1)]),
        ("sealed / example", [(What::Sealed, 1), (What::Example, 1)]),
        ("sealed / bare send()", [(What::Sealed, 1), (What::Bare, 1)]),
        ("clear / bare send()", [(What::Clear, 1), (What::Bare, 1)]),
        ("8 in a turn / 1", [(What::Sealed, 8), (What::Sealed, 1)]),
        ("8 in a batch / 1", [(What::SealedBatches, 8), (What::SealedBatches, 1)]),
    ];
    for (row, sides) in rows {
        let sides = sides.map(|(what, events)| (what as usize, events));
        compare(row, pairs, || rates(&mut kinds, sides, wall_s));
    }
}

fn measure_backends(sockets: u64, pairs: usize, wall_s: f64) {
    println!("{sockets} connections, {pairs} pairs of {wall_s} s; deliveries per server CPU second");
    let rows = [
        ("sealed, io_uring / epoll", What::Sealed, What::Sealed),
        ("bare frames, io_uring / send()", What::BareUring, What::Bare),
    ];
    for (row, on_uring, on_epoll) in rows {
        let mut uring_first = false;
        compare(row, pairs, || {
            // How memory happens to lie moves a ratio by hundredths for as long as a process lives: each pair is of new
            // ones, which start in turn.
            uring_first = !uring_first;
            let mut both = if uring_first {
                let uring = Pair::start(on_uring, Some("uring"), sockets);
                [uring, Pair::start(on_epoll, Some("epoll"), sockets)]
            } else {
                let epoll = Pair::start(on_epoll, Some("epoll"), sockets);
                [Pair::start(on_uring, Some("uring"), sockets), epoll]
            };
            for kind in &mut both {
                kind.slice(8, wall_s / 3.0);
            }
            rates(&mut both, [(0, 1), (1, 1)], wall_s)
        });
    }
}
