//! Keys that this session has seen: shown short, and typed short.

use mida::app::crypto::key::Identity;
use std::collections::BTreeSet;

/// Of a short key. Somebody may make a key that begins as another's does: that pair is shown whole.
const DIGITS: usize = 12;
/// A short key may be typed with fewer.
const TYPED_DIGITS: usize = 6;
/// A server could name keys without end.
const KEYS_MAX: usize = 10_000;

#[derive(Default)]
pub struct Known {
    /// The user's own.
    own: Option<String>,
    /// Identities in lowercase hex.
    keys: BTreeSet<String>,
}

impl Known {
    /// The user has logged in, or tries to.
    pub fn set_own(&mut self, key: String) {
        self.note(&key);
        self.own = Some(key);
    }

    pub fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// A key that may be typed short from now on.
    pub fn note(&mut self, key: &str) {
        if self.keys.len() < KEYS_MAX && key.len() == 66 && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.keys.insert(key.to_owned());
        }
    }

    /// For people: `you`, or `027d4d3cfdd2…`, or the whole of what is not a key or could be mistaken.
    pub fn short(&self, key: &str) -> String {
        if self.own.as_deref() == Some(key) {
            return "you".to_owned();
        }
        match key.get(..DIGITS) {
            Some(start) if self.keys.contains(key) && self.starting_with(start).count() == 1 => {
                format!("{start}…")
            }
            _ => key.to_owned(),
        }
    }

    /// The identity that was typed: a whole key of either form, or the start of one that was seen.
    ///
    /// # Errors
    /// One line that says what to type.
    pub fn find(&self, typed: &str) -> Result<String, String> {
        let digits = typed.trim_end_matches('…').trim_end_matches("...").to_ascii_lowercase();
        if matches!(digits.len(), 66 | 130) {
            let parsed = Identity::parse_hex(digits.as_bytes());
            return match parsed {
                Ok((identity, _)) => Ok(identity.to_string()),
                Err(_) => Err("not sent: this is no public key: not a point on the curve".to_owned()),
            };
        }
        if digits.len() < TYPED_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(
                "not sent: write it like /send KEY TEXT, where KEY has 66 digits, or is the start of one seen here"
                    .to_owned(),
            );
        }
        let mut found = self.starting_with(&digits);
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key.clone()),
            (None, _) => Err("not sent: no key that was seen here begins so; give all 66 digits".to_owned()),
            (Some(first), Some(second)) => {
                Err(format!("not sent: several keys begin so: give more digits; {first} or {second}"))
            }
        }
    }

    fn starting_with<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a String> {
        self.keys.range(start.to_owned()..).take_while(move |key| key.starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7";

    #[test]
    fn a_key_is_short_as_long_as_no_other_looks_like_it() {
        let mut known = Known::default();
        assert_eq!(known.short(ANN), ANN);
        known.note(ANN);
        assert_eq!(known.short(ANN), "0207a11a6364…");
        let twin = format!("{}{}", &ANN[..20], "0".repeat(46));
        known.note(&twin);
        assert_eq!((known.short(ANN), known.short(&twin)), (ANN.to_owned(), twin));
        known.set_own(ANN.to_owned());
        assert_eq!(known.short(ANN), "you");
        assert_eq!(known.short("é"), "é");
    }

    #[test]
    fn what_is_typed_is_found_whole_or_by_its_start() {
        let mut known = Known::default();
        assert_eq!(known.find(&ANN.to_uppercase()).unwrap(), ANN);
        for (typed, says) in [
            ("0207a1", "give all 66 digits"),
            ("0207a", "write it like"),
            ("ann", "write it like"),
            ("", "write it like"),
            (&format!("02{}", "f".repeat(64)), "not a point"),
        ] {
            assert!(known.find(typed).unwrap_err().contains(says), "{typed}");
        }
        known.note(ANN);
        for typed in ["0207a1", "0207A11A6364…", "0207a11a6364..."] {
            assert_eq!(known.find(typed).unwrap(), ANN, "{typed}");
        }
        known.note(&format!("0207a1{}", "0".repeat(60)));
        assert!(known.find("0207a1").unwrap_err().contains(ANN));
    }

    #[test]
    fn a_server_cannot_fill_the_memory_with_keys() {
        let mut known = Known::default();
        for number in 0..=KEYS_MAX {
            known.note(&format!("02{number:064x}"));
        }
        known.note("02");
        assert_eq!(known.keys.len(), KEYS_MAX);
    }
}
