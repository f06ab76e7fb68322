//! Our server, in this process.

use mida::{
    app::{
        Mida,
        config::Config,
        crypto::rng::Rng,
        relay::{Command, Online},
    },
    engine::{io::uring, limits::Limits, reactor::Settings},
    server::{
        self, Plan, Running,
        backend::{Choice, Interface},
        cores, files,
        listen::{Address, Listening},
    },
};
use std::{fs, sync::Arc, time::Instant};

/// What the rules say; in truth there is none, so that none falls into what is measured.
pub const HEARTBEAT_MS: u64 = 3_600_000;

/// The first allowed core, a port of its own, and room for so many connections.
pub fn plan(limits: Arc<Limits>, sockets: u64) -> Plan {
    let core = cores::allowed().expect("cores")[0];
    let settings =
        Settings { limits, proxies: Arc::default(), heartbeat_ms: u64::MAX, capacity: sockets as usize + 64 };
    Plan {
        listening: Listening::open(&[Address::Tcp(([127, 0, 0, 1], 0).into())], Vec::new(), 1)
            .expect("a port"),
        cores: vec![core],
        reactors_per_core: 1,
        open_files: files::raise_limit(),
        io: io(),
        settings,
    }
}

/// What `MIDA_IO` says, as in `--io`; epoll if it says nothing.
fn io() -> Interface {
    let choice = std::env::var("MIDA_IO").map_or(Choice::Epoll, |choice| choice.parse().expect("MIDA_IO"));
    Interface::choose(choice, uring::probe).expect("what MIDA_IO asks for").0
}

/// Starts Mida, with the counters of who is online.
pub fn mida(config: &Config, sockets: u64) -> (Running<Command>, Online) {
    let online = Online::new(1);
    let running = server::start(&plan(config.limits.clone(), sockets), Instant::now(), |_, _| {
        Mida::new(Arc::new(config.clone()), online.of(0), Rng::from_os().expect("random bytes"))
    });
    (running.expect("a server"), online)
}

/// The reactor's thread, as /proc names it.
pub fn thread() -> String {
    fs::read_dir("/proc/self/task")
        .expect("tasks")
        .filter_map(|task| task.ok()?.file_name().into_string().ok())
        .find(|task| {
            let name = fs::read_to_string(format!("/proc/self/task/{task}/comm")).unwrap_or_default();
            name.strip_prefix("mida-").is_some_and(|core| core.starts_with(|c: char| c.is_ascii_digit()))
        })
        .expect("the reactor's thread")
}
