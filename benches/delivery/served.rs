//! Our server, with Mida and with the example, told by its standard input what to send.

use crate::{
    EVENT_BYTES, What,
    broadcast::Broadcast,
    common::{
        process::cpu_ns,
        served::{HEARTBEAT_MS, mida, plan, thread},
    },
};
use mida::{
    app::{
        config::Config,
        protocol::encode,
        relay::{Command, Reload},
    },
    engine::{limits::Limits, outbox::Shared, reactor::Letter, wire::Opcode},
    server::{self, Running},
};
use std::{io::BufRead, sync::Arc, time::Instant};

/// A Mida metadata push of a 200-byte event to everybody.
pub fn serve(what: What, sockets: u64) {
    let batching = what == What::SealedBatches;
    let base = Config { heartbeat_ms: HEARTBEAT_MS, batching, limits: limits(), ..Config::default() };
    let (running, online) = mida(&base, sockets);
    obey(&running, batching, |number| {
        let config = Arc::new(event(&base, number, sockets));
        Letter::Command(Command::Reload(Reload::new(&base, config, &online, 100_000)))
    });
}

/// The example: a line of 200 bytes to everybody, as it is.
pub fn serve_example(sockets: u64) {
    let running =
        server::start(&plan(limits(), sockets), Instant::now(), |_, _| Broadcast).expect("a server");
    obey(&running, false, |number| {
        let line = format!("{number:0EVENT_BYTES$}");
        Letter::Command(Shared::new(Opcode::Text, |text| text.extend_from_slice(line.as_bytes())))
    });
}

fn limits() -> Arc<Limits> {
    let mut limits = Limits::default();
    for free in ["member_messages_per_minute", "anonymous_messages_per_minute"] {
        limits.set(free, 0).expect("a limit");
    }
    Arc::new(limits)
}

/// Does what the lines of standard input say: `send N` sends the next N letters, `cpu` tells the nanoseconds
/// since then.
fn obey<C: Clone + Send>(running: &Running<C>, batching: bool, mut letter: impl FnMut(u64) -> Letter<C>) {
    println!("{}", running.addresses()[0]);
    let thread = thread();
    let (mut number, mut before_ns) = (0u64, 0);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("send", events)) => {
                let events: u64 = events.parse().expect("a number");
                let mut letters: Option<Vec<_>> =
                    Some((0..events).map(|nth| letter(number + nth + 1)).collect());
                number += events;
                println!("{}", if batching { 1 } else { events });
                before_ns = cpu_ns(&thread);
                // One reactor.
                assert!(running.post_all(|| letters.take().unwrap_or_default()));
            }
            _ => println!("{}", cpu_ns(&thread) - before_ns),
        }
    }
    std::process::exit(0);
}

/// A configuration whose event 1 has about [`EVENT_BYTES`], and never says the same.
fn event(base: &Config, number: u64, online: u64) -> Config {
    let mut config = base.clone();
    let mut text = Vec::new();
    config.note = Some(format!("{number:010}"));
    encode::metadata(&mut text, &config.metadata(online, 100_000));
    let missing = EVENT_BYTES.saturating_sub(text.len());
    config.note = Some(format!("{number:010}{}", "x".repeat(missing)));
    config
}
