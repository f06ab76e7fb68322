//! `mida keygen`: a new secret key in a new file.

use clap::Args;
use mida::app::crypto::{key::SecretKey, rng::Rng};
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::ExitCode,
};

#[derive(Args)]
pub struct Flags {
    /// File to make; one that exists is never touched
    #[arg(long, value_name = "FILE", default_value = "mida.key")]
    out: PathBuf,
}

/// Makes the file and prints the public key.
///
/// # Errors
/// One line: the file is there already, or cannot be made or written.
pub fn run(flags: &Flags) -> Result<ExitCode, String> {
    let name = flags.out.display();
    let mut rng = Rng::from_os().map_err(|error| format!("the system gives no random bytes: {error}"))?;
    let secret = SecretKey::generate(&mut rng);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&flags.out).map_err(|error| {
            match error.kind() {
                ErrorKind::AlreadyExists => {
                    format!("{name} is there already, and stays as it is: name another file with --out")
                }
                _ => format!("cannot make {name}: {error}"),
            }
        })?;
    let written =
        file.write_all(&*secret.to_hex()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a key is no key.
        let _ = std::fs::remove_file(&flags.out);
        return Err(format!("cannot write {name}: {error}"));
    }
    println!("{}", secret.identity());
    Ok(ExitCode::SUCCESS)
}
