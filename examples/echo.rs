//! A complete echo server on the engine: `cargo run --release --example echo -- --listen 127.0.0.1:9001`.

use clap::Parser;
use mida::{
    engine::{
        app::{Accept, App, Link},
        error::Refusal,
        io::uring,
        limits::Limits,
        reactor::Settings,
        wire::{Kind, Opcode, upgrade::Request},
    },
    server::{
        self, Plan,
        backend::{Choice, Interface},
        cores, files,
        listen::{Address, Listening},
    },
};
use std::{sync::Arc, time::Instant};

struct Echo;

impl App for Echo {
    type Conn = ();
    type Command = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Result<Accept<()>, Refusal> {
        Ok(Accept { conn: (), subprotocol: None })
    }

    #[inline]
    fn received(&mut self, link: &mut Link<'_, ()>, kind: Kind, payload: &mut [u8]) {
        link.frame(if kind == Kind::Text { Opcode::Text } else { Opcode::Binary }, payload);
    }
}

#[derive(Parser)]
struct Flags {
    /// Where to listen; port 0 picks one
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: Vec<Address>,
    /// Processors to run on, like 0,2-3
    #[arg(long)]
    cores: Option<String>,
    /// How the kernel is asked: epoll, uring or auto
    #[arg(long, default_value = "epoll")]
    io: Choice,
    /// How often a silent connection is looked at, and pinged; 0 for never
    #[arg(long, default_value_t = 30_000)]
    heartbeat_ms: u64,
    /// A limit, like message_bytes=1000000
    #[arg(long, value_name = "NAME=VALUE")]
    limit: Vec<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let mut limits = Limits::default();
    for limit in &flags.limit {
        let (name, value) = limit.split_once('=').ok_or("a limit is NAME=VALUE")?;
        limits.set(name, value.parse()?)?;
    }
    let allowed = cores::allowed()?;
    let cores = flags.cores.map_or(Ok(allowed.clone()), |list| cores::parse(&list, &allowed))?;
    let (io, _) = Interface::choose(flags.io, uring::probe)?;
    let open_files = files::raise_limit();
    let settings = Settings {
        limits: Arc::new(limits),
        proxies: Arc::default(),
        heartbeat_ms: if flags.heartbeat_ms == 0 { u64::MAX } else { flags.heartbeat_ms },
        capacity: usize::MAX,
    };
    let listening = Listening::open(&flags.listen, Vec::new(), cores.len())?;
    let running = server::start(
        &Plan { listening, cores, reactors_per_core: 1, open_files, io, settings },
        Instant::now(),
        |_, _| Echo,
    )?;
    for address in running.addresses() {
        println!("listening on ws://{address}");
    }
    while !running.is_finished() {
        std::thread::park();
    }
    Ok(())
}
