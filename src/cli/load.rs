//! `mida load`: many connections to a server, and what they cost it.

mod beats;
mod crew;
mod dial;
mod failure;
mod histogram;
mod login;
mod opener;
mod outbound;
mod pace;
mod peer;
mod report;
mod script;
mod stream;
mod tally;
mod target;
mod watched;
mod worker;

use self::{
    crew::{Crew, SLACK, Threads, Waited},
    dial::{Dialler, FROM_ONE_ADDRESS, SOURCES_MAX, STORM_SOURCES},
    report::{Report, Server},
    script::{Mode, Pace, Script},
    target::Target,
    watched::{Memory, Watched},
    worker::{GRACE, Order, Place},
};
use clap::Args;
use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

/// A connection failed, or the server answered with errors.
const FAILED: u8 = 1;
/// Dials in progress at once, over all threads.
const DIALS: u64 = 128;
/// The connect phase: this long, and a second more for so many connections.
const CONNECT_SECONDS: u64 = 30;
const CONNECT_PER_SECOND: u64 = 500;
const CONNECTIONS_MAX: u64 = 10_000_000;

const HELP: &str = "\
how it measures:
  Closed loop (--in-flight): the next question leaves when one is answered, and is measured from there.
  Open loop (--rate): each question is measured from the time it was due, whenever it left. A thread
  wakes every 0.1 ms at most, so at high rates they leave up to that late; 'late' in the report says.
  Every 64th answer, and each of a length not seen before, is opened, its tag verified and its JSON read;
  the others count by their length. 'checked' in the report says how many were read.
  All questions are the same bytes under the same mask, many in one write.
  At most 128 connections are being opened at any time. One that is not ready in 10 s has failed.
  CPU and memory of --server-pid are from /proc; bytes a connection are the slope from N/4 to N, which
  a server that has held as many before does not show: start it anew.
exits with:
  0  all connections were fine
  1  a connection failed, or the server answered with errors; the report is printed all the same
  2  a wrong argument";

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Flags {
    /// Server, like ws://127.0.0.1:7700
    url: String,
    /// Connections; with --storm, how many come and go at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: u64,
    /// Log in on each connection, each with a key of its own
    #[arg(long, conflicts_with = "plain")]
    auth: bool,
    /// Log in on so many of the connections, evenly spread
    #[arg(long, value_name = "N", conflicts_with_all = ["plain", "auth"])]
    members: Option<u64>,
    /// Ask in batches of --in-flight questions; the server must have batching on
    #[arg(long, conflicts_with = "plain")]
    batching: bool,
    /// Questions a second, of all connections together: an open loop
    #[arg(long, value_name = "R", requires = "echo", value_parser = rate)]
    rate: Option<f64>,
    /// Ask for event 1, again and again
    #[arg(long, group = "mode")]
    echo: bool,
    /// Connect and hold; the default
    #[arg(long, group = "mode")]
    idle: bool,
    /// Connect, disconnect, and again
    #[arg(long, group = "mode")]
    storm: bool,
    /// Count what the server pushes
    #[arg(long, group = "mode")]
    broadcast: bool,
    /// Any WebSocket server, no Mida; with --echo, one that echoes
    #[arg(long)]
    plain: bool,
    /// Unanswered questions on each connection; with --batching, questions of a batch [default: 1]
    #[arg(long, value_name = "K", requires = "echo", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    in_flight: Option<u64>,
    /// Bytes of payload of a --plain --echo message [default: 200]
    #[arg(long, value_name = "B", requires = "plain", requires = "echo")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=1 << 20))]
    bytes: Option<u64>,
    /// Seconds to measure, once all are connected
    #[arg(long = "for", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// Seconds between connecting and measuring, in which only pings are answered
    #[arg(long, value_name = "SECONDS", conflicts_with = "storm", value_parser = seconds)]
    rest: Option<Duration>,
    /// Source addresses, from 127.0.0.2 on [default: one for each 4000 connections]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SOURCES_MAX))]
    sources: Option<u64>,
    /// Threads; more if the open-file limit needs more [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_024))]
    threads: Option<u64>,
    /// The server's process, to measure its CPU time and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    /// Show progress also where standard error is no terminal
    #[arg(long)]
    progress: bool,
    /// Load a server that is not on this machine
    #[arg(long)]
    yes_i_own_it: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "it is a number of messages a second".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.01..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "it is 0.01 to 86400 seconds".to_owned())
}

impl Flags {
    /// How many connections log in.
    fn members(&self) -> u64 {
        if self.auth { self.connections } else { self.members.unwrap_or(0).min(self.connections) }
    }

    fn script(&self, target: &Target) -> Result<Script, String> {
        let mode = match (self.echo, self.storm, self.broadcast) {
            (true, ..) => Mode::Echo,
            (_, true, _) => Mode::Storm,
            (.., true) => Mode::Broadcast,
            _ => Mode::Idle,
        };
        let in_flight = self.in_flight.unwrap_or(1);
        let pace = match self.rate {
            Some(_) if self.in_flight.is_some() && !self.batching => {
                return Err(
                    "--rate asks when it is due, --in-flight when there was an answer: give one".into()
                );
            }
            Some(rate) => Pace::Rate(rate),
            None => Pace::InFlight(in_flight),
        };
        let kinds = (mode, self.plain, self.members() > 0, self.batching);
        let bytes = self.bytes.unwrap_or(200) as usize;
        Ok(Script::new(kinds, (&target.host, &target.path), (pace, in_flight, bytes)))
    }

    fn dialler(&self, target: &Target) -> Result<Dialler, String> {
        let spreads = target.address.is_ipv4() && target.is_loopback();
        if self.sources.is_some() && !spreads {
            return Err("--sources are loopback addresses: the server has to be at one too".to_owned());
        }
        let least = if self.storm { STORM_SOURCES } else { 1 };
        let needed = self.connections.div_ceil(FROM_ONE_ADDRESS).max(least);
        let sources = spreads.then(|| self.sources.unwrap_or(needed));
        Ok(Dialler { target: target.address, sources })
    }
}

/// Runs the load and prints its report.
///
/// # Errors
/// A wrong flag, or something this machine does not give.
pub fn run(flags: &Flags) -> Result<ExitCode, String> {
    let target = Target::of(&flags.url)?;
    if !target.is_loopback() && !flags.yes_i_own_it {
        return Err(format!(
            "{} is not this machine: load only what is yours, and say so with --yes-i-own-it",
            target.address.ip()
        ));
    }
    let script = Arc::new(flags.script(&target)?);
    let dialler = flags.dialler(&target)?;
    let watched = flags.server_pid.map(Watched::new).transpose()?;
    let threads = Threads::of(flags.threads.unwrap_or(1), flags.connections)?;
    let place = Place {
        thread: 0,
        threads: threads.threads,
        connections: flags.connections,
        members: flags.members(),
        dials: DIALS.div_ceil(threads.threads).max(8) as usize,
        dialler,
        clock: Instant::now(),
    };
    let shows = flags.progress || std::io::stderr().is_terminal();
    let mut crew = Crew::start(threads, place, &script, shows)?;
    let measured = measure(&mut crew, flags, script.mode, watched.as_ref())?;
    let report = Report {
        url: &flags.url,
        script: &script,
        threads: threads.threads,
        asked: flags.connections,
        members: flags.members(),
        connect_seconds: measured.connect_seconds,
        seconds: measured.seconds,
        interrupted: measured.interrupted,
        tally: crew.tally(),
        own_cpu_seconds: measured.own_cpu_seconds,
        server: measured.server,
    };
    if flags.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    let code = if report.has_failed() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS };
    crew.leave();
    Ok(code)
}

struct Measured {
    connect_seconds: f64,
    seconds: f64,
    interrupted: bool,
    own_cpu_seconds: f64,
    server: Option<Server>,
}

/// Connects, measures, and has everything counted.
fn measure(
    crew: &mut Crew,
    flags: &Flags,
    mode: Mode,
    watched: Option<&Watched>,
) -> Result<Measured, String> {
    // None: the server has ended.
    let cpu = || watched.and_then(|watched| watched.cpu_seconds().ok());
    let memory = || watched.and_then(|watched| watched.memory().ok());
    let started = Instant::now();
    let (cpu_at_start, mut sizes) = (cpu(), Vec::new());
    let mut interrupted = false;
    let mut connect_seconds = 0.0;
    if mode != Mode::Storm {
        crew.say(&format!("connecting {}", flags.connections));
        let most = Duration::from_secs(CONNECT_SECONDS + flags.connections / CONNECT_PER_SECOND);
        let quarter = (flags.connections / 4).max(1);
        let steps = [quarter, flags.connections];
        for upto in if watched.is_some() { &steps[..] } else { &steps[1..] } {
            let from = Instant::now();
            interrupted = interrupted || crew.grow(*upto, started + most)? == Waited::Interrupted;
            connect_seconds += from.elapsed().as_secs_f64();
            sizes.extend(memory().map(|memory| (crew.shown().open, memory)));
        }
    }
    if let Some(rest) = flags.rest {
        crew.say(&format!("resting {} s", rest.as_secs_f64()));
        interrupted = interrupted || crew.counted(Instant::now() + rest)? == Waited::Interrupted;
    }
    let own_cpu = || Watched::own().cpu_seconds().ok();
    let (cpu_connected, own_cpu_connected) = (cpu(), own_cpu());
    let from = Instant::now();
    let until = from + flags.seconds;
    let mut seconds = 0.0;
    if !interrupted {
        interrupted = crew.run(until)? == Waited::Interrupted;
        crew.say(&format!("measuring {} s", flags.seconds.as_secs_f64()));
        interrupted = interrupted || crew.counted(until)? == Waited::Interrupted;
        seconds = from.elapsed().min(flags.seconds).as_secs_f64();
    }
    let (cpu_at_end, own_cpu_at_end, memory_at_end) = (cpu(), own_cpu(), memory());
    let mut counted = if interrupted { Waited::Interrupted } else { Waited::TimeUp };
    while counted != Waited::Done {
        if counted == Waited::Interrupted {
            interrupted = true;
            crew.order(Order::Stop);
        }
        counted = crew.counted(until.max(Instant::now()) + GRACE + SLACK)?;
        if counted == Waited::TimeUp {
            return Err("a thread of the load does not answer".to_owned());
        }
    }
    let between = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
    let server = watched.map(|watched| Server {
        pid: watched.pid(),
        connect_cpu_seconds: between(cpu_at_start, cpu_connected),
        cpu_seconds: between(cpu_connected, cpu_at_end),
        memory: memory_at_end,
        sizes: <[(u64, Memory); 2]>::try_from(sizes).ok(),
    });
    let own_cpu_seconds = between(own_cpu_connected, own_cpu_at_end).unwrap_or_default();
    Ok(Measured { connect_seconds, seconds, interrupted, own_cpu_seconds, server })
}
