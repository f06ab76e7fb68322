//! `mida connect`: shows what a server says, sends what is typed, logs in.

mod dial;
mod escape;
mod farewell;
mod inbound;
mod inbox;
mod known;
mod login;
mod output;
mod post;
mod secret;
mod session;
mod show;
mod signals;
mod typed;
mod url;

use self::{
    output::{Output, remark},
    session::{End, Session},
    signals::Signals,
    url::Target,
};
use clap::Args;
use mida::app::crypto::rng::Rng;
use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

/// The server could not be reached, closed, or did not let the user in.
const UNLUCKY: u8 = 1;

const EXITS: &str = "\
exits with:
  0  you ended it: Ctrl-D, Ctrl-C, /quit, or the end of piped input once all is answered
  1  the server could not be reached, refused, closed, or did not let you in
  2  a wrong argument or key file, or a line of piped input that could not be sent";

#[derive(Args)]
#[command(after_help = format!("{}\n{EXITS}", typed::HELP))]
pub struct Flags {
    /// Server to talk to, like ws://localhost:7700
    url: String,
    /// File with a secret key, as mida keygen makes it: logs in by itself
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print each event as a line of JSON, for scripts
    #[arg(long)]
    json: bool,
    /// Leave messages with the server, unacked: they come again at the next login
    #[arg(long)]
    keep: bool,
}

/// Runs until one side ends it; [`EXITS`] are the exit codes.
///
/// # Errors
/// A wrong URL or key file.
pub fn run(flags: &Flags) -> Result<ExitCode, String> {
    let target = Target::parse(&flags.url)?;
    let secret = match flags.key.as_deref().map(secret::read).transpose()? {
        Some((secret, warning)) => {
            if let Some(warning) = warning {
                remark(&format!("mida: {warning}"));
            }
            Some(secret)
        }
        None => None,
    };
    let rng = Rng::from_os().map_err(|error| format!("the system gives no random bytes: {error}"))?;
    let socket = match dial::dial(&target) {
        Ok(socket) => socket,
        Err(problem) => {
            remark(&format!("mida: {problem}"));
            return Ok(ExitCode::from(UNLUCKY));
        }
    };
    let signals = Signals::new().map_err(|error| format!("cannot watch for Ctrl-C: {error}"))?;
    let by_hand = std::io::stdin().is_terminal();
    if by_hand {
        remark(&format!("connected to ws://{}; /help says what to type", target.host));
    }
    let output = if flags.json { Output::Json } else { Output::People };
    let mut session = Session::new(socket, target.host, output, secret, signals, rng, flags.keep);
    let problem = match session.run() {
        End::Done if session.login_failed() => None,
        // A person has read it; a script has nothing but the code.
        End::Done if session.refused_input() && !by_hand => return Ok(ExitCode::from(super::USAGE)),
        End::Done => return Ok(ExitCode::SUCCESS),
        End::Closed => None,
        End::Broken(broken) => Some(broken.to_string()),
        End::Failed(problem) => Some(problem),
    };
    if let Some(problem) = problem {
        remark(&format!("mida: {problem}"));
    }
    Ok(ExitCode::from(UNLUCKY))
}
