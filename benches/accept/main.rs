//! What a connection and a login cost the server's processor: a storm of connections to ours and to a bare
//! epoll loop, and a storm of logins against the public-key work that a login can't do without. Servers on
//! core 0, their clients on core 1; each its own process.
//!
//! `cargo bench --bench accept -- --sockets 10000 --pairs 9` measures, and those are the defaults; `--in-flight`
//! is how many connections, or logins, wait for the server at any time (128). `--quick` only shows that
//! everything works; with `--backends` the storm on io_uring is compared with the one on epoll. Prints each pair as it is measured, then the median ratios with quartiles.
//!
//! Not counted: the clients' side of TCP, which the kernel does on their core, and closing.

mod bare;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod crypto;
mod served;

use common::{
    pairs::{Flags, compare},
    process::{Process, pin, resting_cpu_ns},
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", "ours", sockets] => {
            pin(0);
            served::serve(sockets.parse().expect("a number of sockets"));
        }
        ["server", "bare", answer] => {
            pin(0);
            bare::serve(answer);
        }
        ["clients", address, sockets, in_flight] => {
            pin(1);
            clients::run(
                address,
                sockets.parse().expect("a number of sockets"),
                in_flight.parse().expect("a number in flight"),
            );
        }
        _ => {
            let Some(flags) = Flags::of("accept") else { return };
            let measure = if flags.has("--backends") { measure_backends } else { measure };
            measure(
                flags.value("--sockets", 10_000.0, 200.0) as u64,
                flags.value("--pairs", 9.0, 1.0) as usize,
                flags.value("--in-flight", 128.0, 128.0) as u64,
            );
        }
    }
}

fn measure(sockets: u64, pairs: usize, in_flight: u64) {
    let (mut ours, answer) = Served::start(&["server", "ours", &sockets.to_string()], sockets, in_flight);
    let (mut bare, same) = Served::start(&["server", "bare", &answer], sockets, in_flight);
    assert_eq!(answer, same);
    // Memory has grown to what it takes then.
    for server in [&mut ours, &mut bare] {
        server.opening_ns();
        server.close();
    }
    ours.login_ns();
    println!("{sockets} connections, {in_flight} at a time, {pairs} pairs; server CPU ns");
    // Whoever comes second finds the other's connections open: they take turns.
    let mut bare_first = false;
    compare("a connection, ours / bare", pairs, || {
        bare_first = !bare_first;
        let before = bare_first.then(|| bare.opening_ns());
        let ours_ns = ours.opening_ns();
        let bare_ns = before.unwrap_or_else(|| bare.opening_ns());
        ours.close();
        bare.close();
        (ours_ns, bare_ns)
    });
    compare("a login / verify + derive", pairs, || (ours.login_ns(), ours.crypto_ns()));
}

/// The same storm on both backends: connections for a second of the server's processor.
fn measure_backends(sockets: u64, pairs: usize, in_flight: u64) {
    let [mut uring, mut epoll] = ["uring", "epoll"].map(|io| {
        let server = Process::start_on(io, &["server", "ours", &sockets.to_string()]);
        Served::with(server, sockets, in_flight).0
    });
    for server in [&mut uring, &mut epoll] {
        server.opening_ns();
        server.close();
    }
    println!(
        "{sockets} connections, {in_flight} at a time, {pairs} pairs; connections per server CPU second"
    );
    let mut epoll_first = false;
    compare("connections, io_uring / epoll", pairs, || {
        epoll_first = !epoll_first;
        let before = epoll_first.then(|| epoll.opening_ns());
        let uring_ns = uring.opening_ns();
        let epoll_ns = before.unwrap_or_else(|| epoll.opening_ns());
        uring.close();
        epoll.close();
        (1e9 / uring_ns, 1e9 / epoll_ns)
    });
}

/// A server and its clients, who end first.
struct Served {
    clients: Process,
    server: Process,
    sockets: u64,
}

impl Served {
    /// Also returns what the server answers to an upgrade, in hex.
    fn start(server: &[&str], sockets: u64, in_flight: u64) -> (Self, String) {
        Self::with(Process::start(server), sockets, in_flight)
    }

    fn with(mut server: Process, sockets: u64, in_flight: u64) -> (Self, String) {
        let address = server.line();
        let mut clients =
            Process::start(&["clients", &address, &sockets.to_string(), &in_flight.to_string()]);
        let answer = clients.line();
        (Self { clients, server, sockets }, answer)
    }

    /// CPU nanoseconds of the server for each connection, from the first to when all are open.
    fn opening_ns(&mut self) -> f64 {
        self.storm("open")
    }

    fn close(&mut self) {
        self.ask("close");
    }

    /// The same for each login, from event 2 to the rules after event 5.
    fn login_ns(&mut self) -> f64 {
        self.ask("open");
        let each_ns = self.storm("log in");
        self.close();
        each_ns
    }

    /// CPU nanoseconds of checking a proof and deriving an epoch, on the server's core.
    fn crypto_ns(&mut self) -> f64 {
        self.server.say("crypto");
        self.server.number() as f64
    }

    fn storm(&mut self, what: &str) -> f64 {
        self.server.say("begin");
        assert_eq!(self.server.line(), "begun");
        self.ask(what);
        self.server.say("cpu");
        self.server.number() as f64 / self.sockets as f64
    }

    fn ask(&mut self, what: &str) {
        self.clients.say(what);
        assert_eq!(self.clients.line(), "done");
    }
}

/// Answers lines about the CPU time of a server's thread, until standard input ends.
fn account(thread: &str) {
    let mut before_ns = 0;
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.as_str() {
            "begin" => {
                before_ns = resting_cpu_ns(thread);
                println!("begun");
            }
            "cpu" => println!("{}", resting_cpu_ns(thread) - before_ns),
            "crypto" => println!("{:.0}", crypto::login_ns()),
            _ => panic!("not asked like this: {line}"),
        }
    }
    std::process::exit(0);
}
