//! Our server, told by its standard input what to do.

use crate::{
    EVENT_BYTES,
    common::{
        process::cpu_ns,
        served::{HEARTBEAT_MS, mida, thread},
    },
};
use mida::{
    app::{
        config::Config,
        protocol::encode,
        relay::{Command, Reload},
    },
    engine::{limits::Limits, reactor::Letter},
};
use std::{io::BufRead, sync::Arc};

/// `broadcast` pushes metadata of [`EVENT_BYTES`] to everybody, `mark` does nothing, and `cpu` tells the nanoseconds since
/// either.
pub fn serve(sockets: u64) {
    let mut limits = Limits::default();
    for free in ["member_messages_per_minute", "anonymous_messages_per_minute"] {
        limits.set(free, 0).expect("a limit");
    }
    let base = Config { heartbeat_ms: HEARTBEAT_MS, limits: Arc::new(limits), ..Config::default() };
    let (running, online) = mida(&base, sockets);
    println!("{}", running.addresses()[0]);
    let thread = thread();
    let (mut number, mut before_ns) = (0u64, 0);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match &*line {
            "broadcast" => {
                number += 1;
                let config = Arc::new(event(&base, number, sockets));
                let reload = Reload::new(&base, config, &online, 100_000);
                println!("sent");
                before_ns = cpu_ns(&thread);
                assert!(running.post(|| Letter::Command(Command::Reload(reload.clone()))));
            }
            "mark" => {
                before_ns = cpu_ns(&thread);
                println!("marked");
            }
            _ => println!("{}", cpu_ns(&thread) - before_ns),
        }
    }
    std::process::exit(0);
}

/// A configuration whose event 1 has [`EVENT_BYTES`], and never says the same.
fn event(base: &Config, number: u64, online: u64) -> Config {
    let mut config = base.clone();
    let mut text = Vec::new();
    config.note = Some(format!("{number:010}"));
    encode::metadata(&mut text, &config.metadata(online, 100_000));
    let missing = EVENT_BYTES.saturating_sub(text.len());
    config.note = Some(format!("{number:010}{}", "x".repeat(missing)));
    config
}
