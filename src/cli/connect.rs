//! `mida connect`: an interactive client.

use clap::Args;
use std::process::ExitCode;

#[derive(Args)]
pub struct Flags {
    url: String,
}

pub fn run(_flags: &Flags) -> Result<ExitCode, String> {
    Err("not yet".to_owned())
}
