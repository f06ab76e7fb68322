//! `mida doctor`: which settings of a machine stop at how many connections. It reads, and changes nothing.

mod findings;
mod kernel;
mod machine;
mod memory;
mod network;
mod report;

use self::{
    findings::{Findings, Wish},
    machine::Machine,
};
use super::options::REACTORS_PER_CORE_MAX;
use clap::Args;
use mida::server::cores;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Something stops before the connections that are wanted.
const NOT_ENOUGH: u8 = 1;
const CONNECTIONS_MAX: u64 = 10_000_000;

const HELP: &str = "\
what it reads:
  /proc and /sys, as they are for this process: run it as the user, and in the container or service, that
  runs the server. What cannot be read is unknown, and stops nothing.
  Memory is counted for idle connections: what is queued, and messages that have begun, come on top.
  What others use now is not counted as free. A server that runs already is one of the others.
exits with:
  0  everything is enough for --connections, or there is no --connections
  1  something stops before
  2  a wrong argument";

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Flags {
    /// Connections that are wanted: names what stops before, and what to set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: Option<u64>,
    /// Processors the server is to run on, like 0,2-3 [default: all allowed ones]
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// Reactors on each of them, each with a table of open files of its own [default: 1]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=u64::from(REACTORS_PER_CORE_MAX)))]
    reactors_per_core: Option<u64>,
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
    /// Read below this folder
    #[arg(long, hide = true, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

/// Reads the machine and prints what is found.
///
/// # Errors
/// A core that is not there.
pub fn run(flags: &Flags) -> Result<ExitCode, String> {
    let machine = Machine::read(&flags.root);
    let findings = Findings::of(&machine, flags.wish(&machine)?);
    let text = if flags.json { format!("{}\n", findings.json()) } else { findings.to_string() };
    // Whoever started it may not care for the end.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(if findings.is_enough() { ExitCode::SUCCESS } else { ExitCode::from(NOT_ENOUGH) })
}

impl Flags {
    fn wish(&self, machine: &Machine) -> Result<Wish, String> {
        let allowed = machine.cores.as_deref();
        let cores = match (&self.cores, allowed) {
            (Some(list), Some(allowed)) => cores::parse(list, allowed)?.len(),
            (Some(_), None) => return Err("cannot tell the cores: leave out --cores".to_owned()),
            (None, allowed) => allowed.map_or(1, <[usize]>::len),
        };
        Ok(Wish {
            connections: self.connections,
            cores: cores as u64,
            reactors_per_core: self.reactors_per_core.unwrap_or(1),
        })
    }
}
