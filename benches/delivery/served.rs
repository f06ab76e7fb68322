//! Our server: a Mida metadata push of a 200-byte event to everybody.

use crate::{What, thread_cpu_ns};
use mida::{
    app::{
        Mida,
        config::Config,
        crypto::rng::Rng,
        protocol::encode,
        relay::{Command, Online, Reload},
    },
    engine::{
        limits::Limits,
        reactor::{Letter, Settings},
    },
    server::{self, Plan, cores},
};
use std::{io::BufRead, sync::Arc, time::Instant};

/// Bytes of the event in clear JSON.
const EVENT_BYTES: usize = 200;

pub fn serve(what: What, sockets: u64) {
    let mut limits = Limits::default();
    for free in ["member_messages_per_minute", "anonymous_messages_per_minute"] {
        limits.set(free, 0).expect("a limit");
    }
    let limits = Arc::new(limits);
    let batching = what == What::SealedBatches;
    let base = Config { heartbeat_ms: 3_600_000, batching, limits: limits.clone(), ..Config::default() };
    let core = cores::allowed().expect("cores")[0];
    let settings = Settings { limits, heartbeat_ms: base.heartbeat_ms, capacity: sockets as usize + 64 };
    let plan = Plan { listen: vec![([127, 0, 0, 1], 0).into()], cores: vec![core], settings };
    let online = Online::new(1);
    let running = server::start(&plan, Instant::now(), |_, _| {
        Mida::new(Arc::new(base.clone()), online.of(0), Rng::from_os().expect("random bytes"))
    })
    .expect("a server");
    println!("{}", running.addresses()[0]);

    let thread = std::fs::read_dir("/proc/self/task")
        .expect("tasks")
        .filter_map(|task| task.ok()?.file_name().into_string().ok())
        .find(|task| {
            let name = std::fs::read_to_string(format!("/proc/self/task/{task}/comm")).unwrap_or_default();
            name.starts_with("mida-")
        })
        .expect("the reactor's thread");
    let (mut number, mut before_ns) = (0u64, 0);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("send", events)) => {
                let events: u64 = events.parse().expect("a number");
                let letters: Vec<_> = (0..events)
                    .map(|_| {
                        number += 1;
                        Reload::new(&base, Arc::new(event(&base, number, sockets)), &online, 100_000)
                    })
                    .collect();
                println!("{}", if batching { 1 } else { events });
                before_ns = thread_cpu_ns(&thread);
                let letters = || letters.iter().cloned().map(|to| Letter::Command(Command::Reload(to)));
                assert!(running.post_all(letters));
            }
            _ => println!("{}", thread_cpu_ns(&thread) - before_ns),
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
