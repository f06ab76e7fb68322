//! The command line: one file a command.

mod admin;
mod connect;
mod doctor;
mod keygen;
mod load;
mod options;
mod proc;
mod secret_file;
mod serve;

use clap::{Parser, Subcommand, error::ErrorKind};
use std::process::ExitCode;

/// Wrong flags, files or addresses: something for the caller to mend.
const USAGE: u8 = 2;

/// Those that have a help of their own.
const COMMANDS: [&str; 5] = ["serve", "keygen", "connect", "load", "doctor"];

/// A dense WebSocket server for Mida: messaging without passwords, sealed to secp256k1 keys
#[derive(Parser)]
#[command(name = "mida", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Flags,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server; what `mida` alone does too
    Serve(Box<serve::Flags>),
    /// Makes a secret key in a new file and prints its public key
    Keygen(keygen::Flags),
    /// Talks to a server: shows its events, sends what is typed
    Connect(connect::Flags),
    /// Opens many connections to a server and measures it
    Load(Box<load::Flags>),
    /// Says which settings of this machine stop at how many connections
    Doctor(doctor::Flags),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            // clap names what is missing on the lines that follow.
            let more = text.lines().skip(1).take_while(|line| line.starts_with("  ")).map(str::trim);
            let line = std::iter::once(first).chain(more).collect::<Vec<_>>().join(" ");
            let command = std::env::args().nth(1).filter(|name| COMMANDS.contains(&name.as_str()));
            let command = command.map_or_else(String::new, |name| format!(" {name}"));
            eprintln!("mida: {line} (see mida{command} --help)");
            return ExitCode::from(USAGE);
        }
    };
    let done = match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(flags)) => serve::run(*flags),
        Some(Command::Keygen(flags)) => keygen::run(&flags),
        Some(Command::Connect(flags)) => connect::run(&flags),
        Some(Command::Load(flags)) => load::run(&flags),
        Some(Command::Doctor(flags)) => doctor::run(&flags),
    };
    match done {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("mida: {problem}");
            ExitCode::from(USAGE)
        }
    }
}
