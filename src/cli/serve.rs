//! `mida serve`: the server's life from flags to the last close frame.

use super::{admin, options::Options};
use clap::Args;
use mida::{
    app::{
        Mida,
        config::Config,
        crypto::rng::Rng,
        relay::{Command, Online, Reload},
    },
    engine::reactor::{Letter, Settings},
    server::{self, Plan, Running, admin::Service, cores, files, memory, turns::Turns},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

/// From the first SIGTERM to the end, whoever is still there.
const DRAIN_MOST: Duration = Duration::from_millis(4_500);

/// Room for fewer connections than this is hardly what an operator wants.
const FEW: u32 = 500;

#[derive(Args, Clone)]
pub struct Flags {
    /// File with any of these options, in TOML; read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl Flags {
    fn options(&self) -> Result<Options, String> {
        let file = self.config.as_deref().map_or(Ok(Options::default()), Options::read)?;
        Ok(self.options.clone().over(file))
    }
}

pub fn run(flags: Flags) -> Result<ExitCode, String> {
    memory::refuse_huge_pages();
    let clock = Instant::now();
    let options = flags.options()?;
    let config = Arc::new(options.config(0)?);
    let allowed = cores::allowed().map_err(|error| format!("cannot tell the cores: {error}"))?;
    let cores = match &options.cores {
        Some(list) => cores::parse(list, &allowed)?,
        None => allowed,
    };
    let (guard, warning) = admin::guard(&options)?;
    let listen = match &options.listen[..] {
        [] => vec![([127, 0, 0, 1], 7700).into()],
        listen => listen.to_vec(),
    };
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| error.to_string())?;
    log_to_stderr();
    if let Some(warning) = warning {
        tracing::warn!("{}", warning.trim_start_matches("warning: "));
    }
    let open_files = files::raise_limit();
    let settings = settings(&config, &options);
    let plan = Plan { listen, cores, reactors_per_core: options.reactors_per_core()?, open_files, settings };
    let generators = (0..plan.reactors()).map(|_| Rng::from_os()).collect::<Result<Vec<_>, _>>();
    let mut generators =
        generators.map_err(|error| format!("the system gives no random bytes: {error}"))?.into_iter();
    let online = Online::new(plan.reactors());
    let running = server::start(&plan, clock, |number, _| {
        let rng = generators.next().expect("one was made for each reactor");
        Mida::new(config.clone(), online.of(number), rng)
    })
    .map_err(|error| error.to_string())?;

    let running = Arc::new(running);
    if let Some(address) = options.admin {
        let service = Service::new(running.clone(), clock, guard);
        let at = service.listen(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
        tracing::info!("admin on http://{at}");
    }

    let addresses: Vec<_> = running.addresses().iter().map(|address| format!("ws://{address}")).collect();
    let mut stdout = io::stdout();
    // Whoever started it may not care for the line.
    let _ = writeln!(stdout, "listening on {}", addresses.join(", ")).and_then(|()| stdout.flush());
    tracing::info!(
        cores = ?plan.cores,
        reactors = plan.reactors(),
        open_files,
        connections = running.capacity(),
        heartbeat_ms = config.heartbeat_ms,
        "ready"
    );

    if running.capacity() < FEW && options.max_connections.is_none() {
        tracing::warn!("the open-file limit leaves little room: raise it (ulimit -Hn) for more connections");
    }

    let mut server = Server { flags, config, options, clock, online, running, ends: false };
    for signal in signals.forever() {
        match signal {
            SIGHUP => server.reload(),
            _ => server.end(),
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Server {
    flags: Flags,
    options: Options,
    config: Arc<Config>,
    clock: Instant,
    online: Online,
    running: Arc<Running<Command>>,
    ends: bool,
}

impl Server {
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
            (options.listen.clone(), options.cores.clone(), options.reactors_per_core, admin)
        };
        if fixed(&options) != fixed(&self.options) {
            tracing::warn!("listen, cores, reactors-per-core and admin change only with a restart");
        }
        let settings = settings(&config, &options);
        let config = Arc::new(config);
        let reload = Reload::new(&self.config, config.clone(), &self.online, now_ms);
        self.config = config;
        self.options = options;
        let told = self.running.post_settings(&settings)
            && self.running.post(|| Letter::Command(Command::Reload(reload.clone())));
        if told {
            tracing::info!("reloaded");
        } else {
            tracing::error!("a core did not take the new configuration: its inbox is full");
        }
    }

    /// The first time, everybody is sent away; the second time, it is over.
    fn end(&mut self) {
        if self.ends {
            std::process::exit(1);
        }
        self.ends = true;
        tracing::info!("closing all connections");
        self.running.drain();
        let running = self.running.clone();
        std::thread::spawn(move || {
            running.wait(DRAIN_MOST);
            tell_turns(&running);
            std::process::exit(0);
        });
    }
}

/// The last word of a server: how long its reactors kept their clients waiting.
fn tell_turns(running: &Running<Command>) {
    let mut turns = Turns::default();
    running.figures().iter().for_each(|figures| turns.merge(&figures.turns));
    let us = |ns: u64| ns / 1_000;
    tracing::info!(
        turns = turns.count(),
        p999_us = us(turns.per_mille_ns(999)),
        max_us = us(turns.max_ns()),
        "ended"
    );
}

fn settings(config: &Config, options: &Options) -> Settings {
    let most = options.max_connections.unwrap_or(u32::MAX).min(config.limits.connections);
    Settings { limits: config.limits.clone(), heartbeat_ms: config.heartbeat_ms, capacity: most as usize }
}

/// Standard error, whether it takes what is written or not: a full disk behind it must not end the server.
struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_to_stderr() {
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(|| Log).with_ansi(colours).with_target(false).init();
    // The message of a panic may carry what a peer sent: the place is enough.
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(place) => tracing::error!("panic at {}:{}", place.file(), place.line()),
        None => tracing::error!("panic"),
    }));
}
