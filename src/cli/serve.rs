//! `mida serve`: from flags to a server that listens; `life` is what comes then.

mod life;
mod successor;
mod words;

use self::{
    life::{Life, settings},
    successor::Launch,
    words::Reactors,
};
use super::{admin, options::Options};
use clap::Args;
use mida::{
    app::{
        Mida,
        crypto::rng::Rng,
        relay::{Homes, Offices, Online},
    },
    engine::io::uring,
    server::{
        self, Plan,
        activation::{self, ADMIN, PREDECESSOR, Passed},
        admin::{ANSWER_MOST, Backend, Office, Service},
        backend::{Choice, Interface},
        cores, files,
        listen::{Address, Listening},
        memory,
        notify::notify,
    },
    store::Store,
};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, mpsc::channel},
    time::{Instant, UNIX_EPOCH},
};

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

/// Serves until it is told to end.
///
/// # Errors
/// One line on the option, file, address or core that is to blame.
pub fn run(flags: Flags) -> Result<ExitCode, String> {
    // First of all: what is opened before could have the number of a descriptor that was passed.
    let mut passed = activation::take()?;
    let launch = Launch::of_this_process()?;
    memory::refuse_huge_pages();
    memory::steady_allocator();
    let clock = Instant::now();
    let options = flags.options()?;
    let config = Arc::new(options.config(0)?);
    let allowed = cores::allowed().map_err(|error| format!("cannot tell the cores: {error}"))?;
    let cores = match &options.cores {
        Some(list) => cores::parse(list, &allowed)?,
        None => allowed,
    };
    let (io, why) = Interface::choose(options.io.unwrap_or(Choice::Epoll), uring::probe)?;
    let (guard, warning) = admin::guard(&options)?;
    let mut take = |name: &str| {
        let at = passed.iter().position(|passed| passed.name == name)?;
        Some(passed.swap_remove(at).socket)
    };
    let (predecessor, passed_admin) = (take(PREDECESSOR), take(ADMIN));
    let signals = life::signals()?;
    let listening = listen(&options, passed, cores.len())?;
    let bind = |address| {
        let listener = server::admin::bind(address, passed_admin);
        listener.map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    // Before anything is accepted: who succeeds another may not fail from then on.
    let admin_listener = options.admin.map(bind).transpose()?;
    log_to_stderr();
    if let Some(warning) = warning {
        tracing::warn!("{}", warning.trim_start_matches("warning: "));
    }
    let open_files = files::raise_limit();
    let settings = settings(&config, &options);
    let reactors_per_core = options.reactors_per_core()?;
    let plan = Plan { listening, cores, reactors_per_core, open_files, io, settings };
    let generators = (0..plan.reactors()).map(|_| Rng::from_os()).collect::<Result<Vec<_>, _>>();
    let mut generators =
        generators.map_err(|error| format!("the system gives no random bytes: {error}"))?.into_iter();
    let online = Online::new(plan.reactors());
    // A predecessor has the directory until this process serves.
    let open = if predecessor.is_some() { Store::open_later } else { Store::open };
    // Only who has the token may send.
    let (operator, told) = channel();
    let operator = Some(operator).filter(|_| admin_listener.is_some() && guard.token.is_some());
    // The operator has an inbox behind those of the reactors.
    let inboxes = plan.reactors() + usize::from(operator.is_some());
    let store = options.store()?.map(|(data, caps)| open(data, caps, inboxes));
    let store = store.transpose().map_err(|error| error.to_string())?;
    let homes = homes(plan.reactors())?;
    let unix_ms =
        UNIX_EPOCH.elapsed().map_or(0, |since| since.saturating_sub(clock.elapsed()).as_millis() as u64);
    let running = server::start(&plan, clock, |number, _| {
        let rng = generators.next().expect("one was made for each reactor");
        let jobs = store.as_ref().map(|store| store.inbox(number) as _);
        let offices = Offices { homes: homes.clone(), store: jobs, operator: operator.clone() };
        Mida::new(config.clone(), online.of(number), rng).with(number, offices, unix_ms)
    })
    .map_err(|error| error.to_string())?;

    let running = Arc::new(running);
    let office = operator.map(|operator| Office {
        config: config.clone(),
        homes: homes.clone(),
        reactors: running.ways(),
        store: store.as_ref().map(|store| store.inbox(plan.reactors()) as _),
        operator,
        told,
        answer_most: ANSWER_MOST,
    });
    let store = store.map(|store| store.start(Box::new(Reactors::new(homes, running.ways()))));
    let store = store.transpose().map_err(|error| format!("cannot start the store: {error}"))?;
    let mut service = None;
    if let Some(listener) = admin_listener {
        let mut answering = Service::new(running.clone(), clock, guard);
        if let Some(office) = office {
            let backend = Backend::new(office);
            answering = answering
                .with(backend.map_err(|error| format!("cannot take a backend's messages: {error}"))?);
        }
        if let Some(store) = &store {
            answering = answering.about(store.figures());
        }
        let answering = answering.listen(listener);
        let answering = answering.map_err(|error| format!("cannot answer the admin address: {error}"))?;
        tracing::info!("admin on http://{}", answering.address());
        service = Some(answering);
    }

    let addresses: Vec<_> = running.listening().addresses().iter().map(url).collect();
    let mut stdout = io::stdout();
    // Whoever started it may not care for the line.
    let _ = writeln!(stdout, "listening on {}", addresses.join(", ")).and_then(|()| stdout.flush());
    tracing::info!("on {}: {why}", io.name());
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

    match predecessor {
        // It makes this process the manager's main one.
        Some(pipe) => successor::tell_predecessor(pipe),
        None => notify("READY=1\nSTATUS=serving"),
    }
    Life::new(flags, options, config, clock, online, running, store, service, launch).run(signals);
    Ok(ExitCode::SUCCESS)
}

/// Which reactor is home of a key: nobody outside may know.
fn homes(reactors: usize) -> Result<Homes, String> {
    let mut seed = [0; 16];
    let rng = Rng::from_os();
    rng.map_err(|error| format!("the system gives no random bytes: {error}"))?.fill(&mut seed);
    Ok(Homes::new(seed, reactors))
}

/// What the options and whoever started this process want it to listen on.
fn listen(options: &Options, passed: Vec<Passed>, accepting: usize) -> Result<Listening, String> {
    let addresses = match &options.listen[..] {
        [] if passed.is_empty() => &[Address::Tcp(([127, 0, 0, 1], 7700).into())],
        given => given,
    };
    Listening::open(addresses, passed, accepting).map_err(|error| error.to_string())
}

fn url(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("ws://{address}"),
        Address::Unix(_) => address.to_string(),
    }
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
