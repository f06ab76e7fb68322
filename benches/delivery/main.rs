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
#[path = "../../tests/common/frames.rs"]
#[allow(dead_code)] // Shared with tests, which use more of it.
mod frames;
mod log_in;
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

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
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
            let quick = args.iter().any(|arg| arg == "--quick" || arg == "--test");
            let value = |name: &str, default: f64, quick_default: f64| {
                let at = args.iter().position(|arg| arg == name);
                at.map_or(if quick { quick_default } else { default }, |at| {
                    args.get(at + 1).and_then(|arg| arg.parse().ok()).expect("a number behind each flag")
                })
            };
            measure(
                value("--sockets", 10_000.0, 200.0) as u64,
                value("--pairs", 9.0, 1.0) as usize,
                value("--seconds", 3.0, 0.05),
            );
        }
    }
}

fn pin(core: usize) {
    let allowed = mida::server::cores::allowed().unwrap_or_default();
    if let Some(core) = allowed.get(core).or(allowed.first()) {
        mida::server::cores::pin(*core).expect("an allowed core");
    }
    mida::server::files::raise_limit();
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

fn compare(what: &str, pairs: usize, mut pair: impl FnMut() -> (f64, f64)) {
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let (a, b) = pair();
        println!("  {what}: {a:.0} / {b:.0} = {:.3}", a / b);
        ratios.push(a / b);
    }
    ratios.sort_by(f64::total_cmp);
    let at = |part: f64| ratios[((ratios.len() - 1) as f64 * part).round() as usize];
    println!("{what}: median {:.3}, quartiles {:.3} to {:.3}", at(0.5), at(0.25), at(0.75));
}

/// A process of this program that answers lines with lines, and ends with its standard input.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program once more");
        let output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { input: child.stdin.take(), child, output }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("a pipe"), "{line}").expect("the process listens");
    }

    fn line(&mut self) -> String {
        self.output.next().expect("the process lives").expect("a line")
    }

    fn number(&mut self) -> u64 {
        self.line().parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// CPU nanoseconds that a thread of this process has run.
fn thread_cpu_ns(thread: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).expect("schedstat");
    stat.split(' ').next().and_then(|field| field.parse().ok()).expect("nanoseconds")
}
