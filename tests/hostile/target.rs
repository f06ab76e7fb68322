//! The server that is attacked, what the kernel says of its process, and whether it is calm again.

use crate::{
    common::{Ended, Server, path, ring_sockets},
    metrics::{Metrics, scrape},
    peer::Peer,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// What comes at all comes sooner than this.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A fresh client is served sooner than this, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(2);
/// The heartbeat while nobody attacks: the clock of [`calm`].
const CALM_BEAT: Duration = Duration::from_millis(200);

/// The longest heartbeat there is. A ping comes at any moment of it: in so long a one hardly ever to a test, which may
/// be amid a frame.
pub const QUIET_MS: u64 = 3_600_000;

/// No bound on how often a client may ask.
pub const UNLIMITED: &[&str] =
    &["--limit", "anonymous_messages_per_minute=0", "--limit", "member_messages_per_minute=0"];

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A server under attack.
pub struct Target {
    server: Server,
    config: PathBuf,
    /// Descriptors that each of its reactors had before the first client.
    files: Vec<Vec<u64>>,
    /// What its operator saw then.
    before: Metrics,
}

impl Target {
    /// One that hardly ever sends a ping.
    pub fn start(flags: &[&str]) -> Target {
        Target::beating(QUIET_MS, flags)
    }

    /// One with this heartbeat.
    pub fn beating(heartbeat_ms: u64, flags: &[&str]) -> Target {
        let config = path(&format!("hostile-{}.toml", STARTED.fetch_add(1, Ordering::Relaxed)));
        fs::write(&config, format!("heartbeat = {heartbeat_ms}\n")).unwrap();
        let own = ["--config", config.to_str().unwrap(), "--admin", "127.0.0.1:0"];
        let server = Server::start(&[&own[..], flags].concat());
        server.stderr_with("ready");
        let (files, before) = (files(server.pid()), scrape(server.admin()));
        Target { server, config, files, before }
    }

    /// Where it answers its operator.
    pub fn admin(&self) -> SocketAddr {
        self.server.admin()
    }

    /// What its operator sees now.
    pub fn scrape(&self) -> Metrics {
        scrape(self.admin())
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn pid(&self) -> Pid {
        self.server.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Waits for its end, which somebody else has to bring about.
    pub fn wait(self) -> Ended {
        self.server.wait()
    }

    /// Another heartbeat from now on, for everybody.
    pub fn beat(&self, heartbeat_ms: u64) {
        fs::write(&self.config, format!("heartbeat = {heartbeat_ms}\n")).unwrap();
        self.signal(Signal::HUP);
    }

    /// Lets its first reactor have this many connections from now on, for want of descriptors.
    pub fn allow_connections(&self, most: usize) {
        let mut free = (0..).filter(|number| !self.files[0].contains(number));
        let current = free.nth(most);
        let limit = Rlimit { current, maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(Some(self.pid()), Resource::Nofile, limit).unwrap();
    }

    /// Connections it holds, by its descriptors and the sockets in its rings.
    pub fn connections(&self) -> usize {
        let count = |tables: &[Vec<u64>]| tables.iter().map(Vec::len).sum::<usize>();
        let in_rings = reactors(self.pid()).map(|task| ring_sockets(&task)).sum::<usize>();
        count(&files(self.pid())).saturating_sub(count(&self.files)) + in_rings
    }

    /// Waits until it holds as many connections as this, and looks again after every `tick`.
    pub fn holds(&self, connections: usize, mut tick: impl FnMut()) {
        let since = Instant::now();
        while self.connections() != connections {
            assert!(since.elapsed() < PATIENCE, "it holds {} connections", self.connections());
            tick();
        }
    }

    /// CPU time of all its threads but those that answer the operator.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid().as_raw_nonzero())).unwrap();
        let is_asked = |task: &PathBuf| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| !name.starts_with("mida-a"))
        };
        let of = |task: PathBuf| {
            let text = fs::read_to_string(task.join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse().map(Duration::from_nanos).unwrap()
        };
        tasks.map(|task| task.unwrap().path()).filter(is_asked).map(of).sum()
    }

    /// Bytes of address space, and of memory in use.
    pub fn memory(&self) -> (u64, u64) {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.pid().as_raw_nonzero())).unwrap();
        let mut pages = text.split(' ').map(|pages| pages.parse::<u64>().unwrap());
        let page_bytes = rustix::param::page_size() as u64;
        let mut next = || pages.next().unwrap() * page_bytes;
        (next(), next())
    }
}

/// The reactors of a process: each is a thread named after its core.
fn reactors(pid: Pid) -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let tasks = tasks.map(|task| task.unwrap().path());
    let is_reactor = move |task: &PathBuf| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.strip_prefix("mida-").is_some_and(|core| core.starts_with(|c: char| c.is_ascii_digit()))
    };
    tasks.filter(is_reactor)
}

/// Descriptors of each reactor of a process, which has a table of its own.
fn files(pid: Pid) -> Vec<Vec<u64>> {
    let table = |task: PathBuf| {
        let files = fs::read_dir(task.join("fd")).unwrap();
        files.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    };
    reactors(pid).map(table).collect()
}

/// What connections hold.
const HELD: &[&str] = &[
    "mida_queues",
    "mida_queue_bytes",
    "mida_tails",
    "mida_tail_bytes",
    "mida_members",
    "mida_sealed_connections",
    "mida_keys",
    "mida_challenges",
    "mida_struck_connections",
    "mida_kept_hosts",
];

/// What was held for others is given back: but for a fresh client's slot all is as before the first one.
fn is_back(target: &Target) {
    let (before, now) = (&target.before, target.scrape());
    for state in ["upgrading", "open", "closing", "draining"] {
        let of = |metrics: &Metrics| metrics.sum("mida_connections", &[("state", state)]);
        let own = if state == "open" { 1.0 } else { 0.0 };
        assert_eq!(of(&now), of(before) + own, "{state} connections");
    }
    for name in HELD {
        // The host that the fresh client names is not this server's.
        let own = if *name == "mida_kept_hosts" { 1.0 } else { 0.0 };
        let (held, most) = (now.sum(name, &[]), before.sum(name, &[]) + own);
        assert!(held <= most, "{name} is {held}, not {most}");
    }
    assert_eq!(now.sum("mida_panics_total", &[]), 0.0);
}

/// Everybody has left: a fresh client is served at once, what the others held has been given back, and no
/// core spins. Time is told by the pings to a client that says nothing.
pub fn calm(target: &Target) {
    target.beat(CALM_BEAT.as_millis() as u64);
    let since = Instant::now();
    loop {
        let begun = Instant::now();
        let mut fresh = Peer::open(target);
        fresh.ask();
        assert!(begun.elapsed() < AT_ONCE, "a fresh client waited for {:?}", begun.elapsed());
        let (quiet, cpu) = (Instant::now(), target.cpu());
        // The first may come at once.
        while quiet.elapsed() < CALM_BEAT {
            fresh.ping();
        }
        let (quiet, cpu) = (quiet.elapsed(), target.cpu() - cpu);
        // The end of what the others left to do may fall into this time, but not into the next, and the next.
        let (connections, is_idle) = (target.connections(), cpu < quiet / 20);
        if connections == 1 && is_idle {
            is_back(target);
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{cpu:?} of CPU time in {quiet:?}, {connections} connections");
    }
}
