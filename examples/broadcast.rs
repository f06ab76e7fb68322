//! Sends every line of its standard input to everybody who is connected:
//! `yes hello | head -n 3 | cargo run --release --example broadcast -- --listen 127.0.0.1:9002`.
//!
//! At the end of the input everybody is sent away.

use clap::Parser;
use mida::{
    engine::{
        app::{Accept, App, Link, Reach},
        error::Refusal,
        limits::Limits,
        outbox::{Form, Shared},
        reactor::{Drain, Letter, Settings},
        wire::{Kind, Opcode, upgrade::Request},
    },
    server::{
        self, Plan,
        backend::Interface,
        cores, files,
        listen::{Address, Listening},
    },
};
use std::{io::BufRead, sync::Arc, time::Duration, time::Instant};

pub struct Broadcast;

impl App for Broadcast {
    type Conn = ();
    type Command = Arc<Shared>;

    fn upgrade(&mut self, _request: &Request<'_>) -> Result<Accept<()>, Refusal> {
        Ok(Accept { conn: (), subprotocol: None })
    }

    fn received(&mut self, _link: &mut Link<'_, ()>, _kind: Kind, _payload: &mut [u8]) {}

    fn command(&mut self, _line: &mut Arc<Shared>) -> Reach {
        Reach::Everyone
    }

    fn visit(&mut self, link: &mut Link<'_, ()>, line: &Arc<Shared>) {
        link.share(Form::Frame, line);
    }
}

#[derive(Parser)]
struct Flags {
    /// Where to listen; port 0 picks one
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: Vec<Address>,
    /// Processors to run on, like 0,2-3
    #[arg(long)]
    cores: Option<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let allowed = cores::allowed()?;
    let cores = flags.cores.map_or(Ok(allowed.clone()), |list| cores::parse(&list, &allowed))?;
    let open_files = files::raise_limit();
    let settings = Settings {
        limits: Arc::new(Limits::default()),
        proxies: Arc::default(),
        heartbeat_ms: 30_000,
        capacity: usize::MAX,
    };
    let listening = Listening::open(&flags.listen, Vec::new(), cores.len())?;
    let plan =
        Plan { listening, cores, reactors_per_core: 1, open_files, io: Interface::default(), settings };
    let running = server::start(&plan, Instant::now(), |_, _| Broadcast)?;
    for address in running.addresses() {
        println!("listening on ws://{address}");
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        // Framed once; every connection of every core is sent the same bytes.
        let shared = Shared::new(Opcode::Text, |text| text.extend_from_slice(line.as_bytes()));
        if !running.post(|| Letter::Command(shared.clone())) {
            eprintln!("a core is behind; it did not get this line");
        }
    }
    running.drain(Drain::default(), Duration::from_secs(1));
    running.wait(Duration::from_secs(5));
    Ok(())
}
