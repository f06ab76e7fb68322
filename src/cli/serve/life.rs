//! The life of a server that listens: signals, a successor, and the way out.

use super::{
    Flags,
    successor::{self, Launch},
};
use crate::cli::options::Options;
use mida::{
    app::{
        config::Config,
        relay::{Command, Online, Reload},
    },
    engine::{
        error::Close,
        proxies::Proxies,
        reactor::{Drain, Letter, Settings},
    },
    server::{
        Running,
        activation::ADMIN,
        admin,
        figures::Figures,
        notify::{notify, notify_reloading},
        turns::Turns,
    },
    store,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2},
    iterator::Signals,
};
use std::{
    io::{self, PipeWriter},
    process::{Child, exit},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// From when the last connection is told that the server goes to the end, whoever is still there. It has time for
/// a request that comes late, for its refusal, and for the end of TCP.
const AFTER_DRAIN: Duration = Duration::from_millis(4_500);
/// An answer to the operator that is under way is waited for so long.
const ANSWER_MOST: Duration = Duration::from_secs(1);
/// How long its figures are waited for, before it goes.
const PULSE_MOST: Duration = Duration::from_millis(100);

/// Signals from here on do what this server does for them.
///
/// # Errors
/// One line on why that cannot be.
pub fn signals() -> Result<Signals, String> {
    Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR2]).map_err(|error| error.to_string())
}

enum Event {
    Signal(i32),
    /// Whether the successor serves.
    Successor(Result<Child, String>),
}

pub struct Life {
    flags: Flags,
    options: Options,
    config: Arc<Config>,
    clock: Instant,
    online: Online,
    running: Arc<Running<Command>>,
    store: Option<store::Running>,
    admin: Option<admin::Listening>,
    launch: Arc<Launch>,
    /// A successor is being started; closed, it is given up.
    starting: Option<PipeWriter>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// To end as soon as it is known what became of the successor.
    Ending,
    /// Sending everybody away, since there is a successor.
    Succeeded,
    /// Sending everybody away, since it was told to.
    Ended,
}

impl Life {
    #[allow(clippy::too_many_arguments)] // All that a server has.
    pub fn new(
        flags: Flags,
        options: Options,
        config: Arc<Config>,
        clock: Instant,
        online: Online,
        running: Arc<Running<Command>>,
        store: Option<store::Running>,
        admin: Option<admin::Listening>,
        launch: Launch,
    ) -> Self {
        let (launch, phase) = (Arc::new(launch), Phase::Serving);
        Self { flags, options, config, clock, online, running, store, admin, launch, starting: None, phase }
    }

    /// Until the process ends.
    pub fn run(mut self, mut signals: Signals) {
        let (tell, told) = channel();
        let of_signals = tell.clone();
        thread::spawn(move || signals.forever().all(|signal| of_signals.send(Event::Signal(signal)).is_ok()));
        for event in told {
            match event {
                Event::Signal(SIGHUP) => self.reload(),
                Event::Signal(SIGUSR2) => self.start_successor(tell.clone()),
                Event::Signal(_) => self.end(),
                Event::Successor(Ok(child)) => self.hand_over(&child),
                Event::Successor(Err(why)) => self.go_on(&why),
            }
        }
    }

    /// Reads the file again; what is wrong with it leaves everything as it was.
    fn reload(&mut self) {
        let now_ms = self.clock.elapsed().as_millis() as u64;
        let read = self.flags.options().and_then(|options| Ok((options.config(now_ms)?, options)));
        let (mut config, options) = match read {
            Ok(read) => read,
            Err(problem) => return tracing::error!("not reloaded: {problem}"),
        };
        if options.maintenance_in == self.options.maintenance_in {
            // Announced once, it comes when it was said to come.
            config.maintenance_at_ms = self.config.maintenance_at_ms;
        }
        let fixed = |options: &Options| {
            let admin = (options.admin, options.admin_token.clone(), options.admin_host.clone());
            let kept = (options.data.clone(), options.ephemeral, options.keep_days, options.store_bytes);
            let runs_on = (options.cores.clone(), options.reactors_per_core, options.io);
            (options.listen.clone(), runs_on, admin, kept)
        };
        if fixed(&options) != fixed(&self.options) {
            tracing::warn!(
                "listen, cores, reactors-per-core, io, admin and what is kept change only with a restart"
            );
        }
        let settings = settings(&config, &options);
        let config = Arc::new(config);
        let reload = Reload::new(&self.config, config.clone(), &self.online, now_ms);
        if let Some(admin) = &self.admin {
            admin.reload(&config);
        }
        self.config = config;
        self.options = options;
        let told = self.running.post_settings(&settings)
            && self.running.post(|| Letter::Command(Command::Reload(reload.clone())));
        notify("READY=1\nSTATUS=serving");
        if told {
            tracing::info!("reloaded");
        } else {
            tracing::error!("a core did not take the new configuration: its inbox is full");
        }
    }

    /// The first time, everybody is sent away; the second time, it is over.
    fn end(&mut self) {
        match self.phase {
            Phase::Serving if self.starting.is_some() => {
                self.starting = None;
                self.phase = Phase::Ending;
            }
            Phase::Serving => self.leave(Phase::Ended, None),
            // Who stays for the drain's time is told at once.
            Phase::Succeeded => {
                self.phase = Phase::Ended;
                self.running.drain(Drain { over_ms: 0, passed: true }, AFTER_DRAIN);
            }
            Phase::Ending | Phase::Ended => exit(1),
        }
    }

    fn start_successor(&mut self, tell: Sender<Event>) {
        if self.phase != Phase::Serving || self.starting.is_some() {
            return tracing::warn!("no successor is started: this server has one, or ends");
        }
        let (cancelled, cancel) = match io::pipe() {
            Ok(both) => both,
            Err(error) => return tracing::error!(%error, "no successor is started"),
        };
        tracing::info!(program = %self.launch.program().display(), "starting a successor");
        notify_reloading("starting a successor");
        self.starting = Some(cancel);
        let (launch, running) = (self.launch.clone(), self.running.clone());
        let admin = self.admin.as_ref().and_then(|admin| admin.as_fd().try_clone_to_owned().ok());
        thread::spawn(move || {
            let sockets = running.listening().to_pass().map(|(name, socket)| (name.to_owned(), socket));
            let admin = admin.as_ref().map(|admin| (ADMIN.to_owned(), std::os::fd::AsFd::as_fd(admin)));
            let sockets: Vec<_> = sockets.chain(admin).collect();
            let _ = tell.send(Event::Successor(launch.start(&sockets, &cancelled)));
        });
    }

    /// There is no successor.
    fn go_on(&mut self, why: &str) {
        self.starting = None;
        tracing::error!("no successor: {why}");
        match self.phase {
            Phase::Ending => self.leave(Phase::Ended, None),
            _ => notify("READY=1\nSTATUS=serving; a successor could not be started"),
        }
    }

    /// The successor serves.
    fn hand_over(&mut self, child: &Child) {
        self.starting = None;
        if self.phase == Phase::Ending {
            successor::dismiss(child);
            return self.leave(Phase::Ended, Some(child.id()));
        }
        self.leave(Phase::Succeeded, Some(child.id()));
    }

    /// Sends everybody away, and ends when they have gone or have had their time.
    fn leave(&mut self, phase: Phase, successor: Option<u32>) {
        self.phase = phase;
        let (running, admin, store) = (self.running.clone(), self.admin.take(), self.store.take());
        let over = self.options.drain().unwrap_or_default();
        // A reactor that rests has not said lately what it has.
        running.take_pulse(PULSE_MOST);
        let before = sum(&running.figures());
        let (connections, drain_s) = (before.connections, over.as_secs());
        match successor {
            Some(pid) => {
                // From here on the manager listens to the other process.
                notify(&format!("MAINPID={pid}\nREADY=1\nSTATUS=serving"));
                tracing::info!(pid, connections, drain_s, "a successor serves; closing all connections");
            }
            None => {
                notify(&format!("STOPPING=1\nSTATUS=closing {connections} connections"));
                tracing::info!(connections, drain_s, "closing all connections");
            }
        }
        let is_passed = successor.is_some();
        thread::spawn(move || {
            // The successor waits for it.
            if let Some(store) = store.as_ref().filter(|_| is_passed) {
                store.close();
            }
            let drain = Drain { over_ms: over.as_millis() as u64, passed: is_passed };
            let until = Instant::now() + over + AFTER_DRAIN;
            running.drain(drain, over + AFTER_DRAIN);
            let admin = match is_passed {
                true => admin.and_then(|admin| {
                    admin.close(ANSWER_MOST);
                    None
                }),
                false => admin,
            };
            if !is_passed {
                running.listening().remove_files();
            }
            running.wait(until.saturating_duration_since(Instant::now()));
            if let Some(admin) = admin {
                admin.close(ANSWER_MOST);
            }
            if let Some(store) = store {
                store.close();
            }
            say_last(&running, &before);
            exit(0);
        });
    }
}

/// Figures of all reactors together.
struct Sum {
    connections: u64,
    told: u64,
    cut: u64,
}

fn sum(figures: &[Figures]) -> Sum {
    let mut sum = Sum { connections: 0, told: 0, cut: 0 };
    for Figures { stats, .. } in figures {
        sum.connections += stats.connections.iter().sum::<u64>();
        sum.told += stats.closes[Close::GoingAway as usize];
        sum.cut += stats.cut;
    }
    sum
}

/// The last word of a server: how many connections it has sent away, how many of them did not end in time, and how
/// long its reactors kept their clients waiting.
fn say_last(running: &Running<Command>, before: &Sum) {
    let figures = running.figures();
    let after = sum(&figures);
    let mut turns = Turns::default();
    figures.iter().for_each(|figures| turns.merge(&figures.turns));
    let us = |ns: u64| ns / 1_000;
    tracing::info!(
        told = after.told - before.told,
        cut = after.cut - before.cut + after.connections,
        turns = turns.count(),
        p999_us = us(turns.per_mille_ns(999)),
        max_us = us(turns.max_ns()),
        "ended"
    );
}

/// What every reactor is to keep to.
pub fn settings(config: &Config, options: &Options) -> Settings {
    let most = options.max_connections.unwrap_or(u32::MAX).min(config.limits.connections);
    Settings {
        limits: config.limits.clone(),
        proxies: Arc::new(Proxies::new(options.trusted_proxy.clone())),
        heartbeat_ms: config.heartbeat_ms,
        capacity: most as usize,
    }
}
