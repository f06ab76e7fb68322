//! Reads a file that only its owner should be able to read.

use std::{fs::File, io, io::Read, os::unix::fs::PermissionsExt, path::Path};
use zeroize::Zeroizing;

/// More than any secret with white space around it.
const FILE_BYTES: u64 = 1_024;

/// What is in the file, without white space behind it, but for a file that is too long for any secret. The
/// warning, if there is one, is for the owner; it calls the secret `what`.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path, what: &str) -> io::Result<(Zeroizing<Vec<u8>>, Option<String>)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    let mut secret = Zeroizing::new(Vec::with_capacity(FILE_BYTES as usize));
    file.take(FILE_BYTES).read_to_end(&mut secret)?;
    if secret.len() < FILE_BYTES as usize {
        let bytes = secret.trim_ascii_end().len();
        secret.truncate(bytes);
    }
    let (name, mode) = (path.display(), about.permissions().mode() & 0o777);
    let warning = (about.is_file() && mode & 0o044 != 0).then(|| {
        format!("warning: others can read the {what} in {name} (mode {mode:03o}): chmod 600 {name}")
    });
    Ok((secret, warning))
}
