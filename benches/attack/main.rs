//! Those who attack a server, all at once: connections that do lines 8, 23, 26, 36, 38 and 39 of the suite of
//! hostile peers (`tests/hostile`), a sixth of them each, and come back whenever they are cut.
//! `benches/attack.sh` runs it against the real server while honest clients are served.
//!
//! `cargo bench --bench attack -- against ADDRESS CONNECTIONS SECONDS` attacks the server there, and prints a
//! line for each line of the attack. Without `against` it starts a server of its own with short deadlines, and
//! shows that each line gets the answer that is its due.

mod attacker;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod lines;

use attacker::Tally;
use common::{
    pairs::Flags,
    process::{Process, pin},
    served::mida,
};
use lines::Line;
use mida::{app::config::Config, engine::limits::Limits};
use std::{net::SocketAddr, sync::Arc, time::Duration};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["against", server, connections, seconds, ..] => {
            mida::server::files::raise_limit();
            let seconds = Duration::from_secs_f64(seconds.parse().expect("a number of seconds"));
            let connections = connections.parse().expect("a number of connections");
            print(&crowd::attack(server.parse().expect("an address"), connections, seconds));
        }
        ["serve"] => serve(),
        _ if Flags::of("attack").is_some() => rehearse(),
        _ => {}
    }
}

/// A server whose deadlines are short, until standard input ends.
fn serve() {
    pin(0);
    let limits = Limits {
        upgrade_ms: 500,
        message_ms: 500,
        queue_soft_ms: 500,
        anonymous_messages_per_minute: u32::MAX,
        member_messages_per_minute: u32::MAX,
        limit_loopback: 1,
        ..Limits::default()
    };
    let config = Config { limits: Arc::new(limits), ..Config::default() };
    let (running, _) = mida(&config, 200);
    println!("{}", running.addresses()[0]);
    for _ in std::io::stdin().lines() {}
}

/// A small attack on a server of our own, in which every line ends as it has to.
fn rehearse() {
    let mut server = Process::start(&["serve"]);
    let address: SocketAddr = server.line().parse().expect("an address");
    let tallies = crowd::attack(address, 60, Duration::from_secs(4));
    print(&tallies);
    for (line, tally) in Line::ALL.iter().zip(&tallies) {
        assert!(tally.sent_bytes > 0, "{line:?} is done");
        for words in line.ends_with() {
            assert!(tally.ends.contains_key(*words), "{line:?} ends with {words}");
        }
        // What the server says in vain, because it is not read, is a reset in the end.
        let asks = matches!(line, Line::Deaf | Line::Crumbs);
        let is_due = |words: &&String| {
            line.ends_with().contains(&words.as_str()) || *words == "reset" || asks && *words == "4009"
        };
        assert_eq!(tally.ends.keys().find(|words| !is_due(words)), None, "{line:?}");
    }
}

fn print(tallies: &[Tally]) {
    for (line, tally) in Line::ALL.iter().zip(tallies) {
        let mut ends: Vec<_> = tally.ends.iter().map(|(words, count)| format!("{words}: {count}")).collect();
        if tally.rate_limited > 0 {
            ends.push(format!("rate_limited: {}", tally.rate_limited));
        }
        if tally.failed > 0 {
            ends.push(format!("dials that failed: {}", tally.failed));
        }
        println!(
            "{:<34} opened {:>7}  sent {:>8.1} MB  received {:>8.1} MB  {}",
            line.name(),
            tally.opened,
            tally.sent_bytes as f64 / 1e6,
            tally.received_bytes as f64 / 1e6,
            ends.join(", ")
        );
    }
}
