//! A secret key from a file, as `mida keygen` writes it.

use crate::cli::secret_file;
use mida::app::crypto::key::SecretKey;
use std::path::Path;

/// Reads 64 hex digits; white space behind them is passed over. The warning, if there is one, is for the
/// owner of the file.
///
/// # Errors
/// One line with the file and what is wrong; never what is in it.
pub fn read(path: &Path) -> Result<(SecretKey, Option<String>), String> {
    let name = path.display();
    let (digits, warning) = secret_file::read(path, "secret key").map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("there is no file {name}: make a key with mida keygen --out {name}")
        }
        _ => format!("cannot read {name}: {error}"),
    })?;
    let secret = SecretKey::from_hex(&digits).map_err(|problem| match digits.len() {
        66 | 130 if digits.iter().all(u8::is_ascii_hexdigit) => {
            format!("{name} holds a public key; the secret one is in the file that mida keygen made")
        }
        0 => format!("{name} is empty: {problem}"),
        _ => format!("{name} holds no key: {problem}"),
    })?;
    Ok((secret, warning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    const DIGITS: &str = "dcd25cfbae2ede5f4dbf2b90e3858f2b7abeb9b26fe99331f2f7c827f7be9692";

    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mida-secret-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_key_is_read_and_an_open_file_warned_of() {
        let identity = "0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7";
        for (nth, (tail, mode, warns)) in
            [("\n", 0o600, false), ("", 0o400, false), (" \r\n\n", 0o640, true), ("\n", 0o604, true)]
                .into_iter()
                .enumerate()
        {
            let path = file(&format!("good{nth}"), &format!("{DIGITS}{tail}"), mode);
            let (secret, warning) = read(&path).unwrap();
            fs::remove_file(path).unwrap();
            assert_eq!(secret.identity().to_string(), identity);
            assert_eq!(warning.is_some_and(|warning| warning.contains(&format!("{mode:03o}"))), warns);
        }
    }

    #[test]
    fn what_is_no_key_is_said_without_what_it_is() {
        let public = format!("02{DIGITS}");
        let zeros = "0".repeat(64);
        let long = format!("{DIGITS}{}", " ".repeat(2_000)) + "x";
        for (nth, (text, says)) in [
            ("", "is empty"),
            ("\n", "is empty"),
            (&DIGITS[1..], "64 hex digits"),
            (&zeros, "64 hex digits"),
            ("abc\n", "64 hex digits"),
            (&public, "public key"),
            (&long, "64 hex digits"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = file(&format!("bad{nth}"), text, 0o600);
            let error = read(&path).err().unwrap();
            fs::remove_file(path).unwrap();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
            assert!(text.trim().is_empty() || !error.contains(text.trim()), "{error}");
        }
        assert!(read(Path::new("/nonexistent")).err().unwrap().contains("mida keygen"));
        assert!(read(Path::new("/")).err().unwrap().contains("cannot read"));
    }
}
