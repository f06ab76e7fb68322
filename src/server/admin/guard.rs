//! Who may ask: no web page, and for most things only who has the token.

use super::{answer::Answer, http::Head};
use sha2::{Digest, Sha256};
use std::{fmt, net::SocketAddr};

/// A secret that who asks has to know. It is kept as its digest.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Characters of a token.
const LEAST: usize = 16;
const MOST: usize = 512;

impl Token {
    /// # Errors
    /// One sentence that says what a token is; never what this one is.
    pub fn new(secret: &[u8]) -> Result<Self, String> {
        if !(LEAST..=MOST).contains(&secret.len()) || !secret.iter().all(u8::is_ascii_graphic) {
            return Err(format!("a token is {LEAST} to {MOST} visible ASCII characters"));
        }
        Ok(Self(Sha256::digest(secret).into()))
    }

    /// Whether this is the token, in a time that does not depend on how much of it is right.
    fn is(&self, secret: &[u8]) -> bool {
        let told: [u8; 32] = Sha256::digest(secret).into();
        let differs = self.0.iter().zip(told).fold(0, |differs, (own, told)| differs | (own ^ told));
        std::hint::black_box(differs) == 0
    }
}

/// What holds for every request to one listener.
#[derive(Clone, Debug)]
pub struct Guard {
    pub token: Option<Token>,
    /// Hosts that a request may name besides the listener's own, in lower case.
    pub hosts: Vec<String>,
    /// It listens for others than this machine.
    pub is_public: bool,
}

impl Guard {
    /// Turns away what a web page may have sent. A page cannot hide its Origin from most requests, and one
    /// whose name was made to point here (DNS rebinding) cannot hide that name from Host.
    ///
    /// # Errors
    /// The refusal.
    pub fn check_source(&self, head: &Head, local: SocketAddr) -> Result<(), Answer> {
        if head.has_origin {
            return Err(Answer::error((403, "forbidden"), "Web pages may not ask here."));
        }
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        if !self.knows(&head.host, local) {
            let line = "This host is not the listener's own: name it with --admin-host.";
            return Err(Answer::error((403, "forbidden"), line));
        }
        Ok(())
    }

    fn knows(&self, host: &str, local: SocketAddr) -> bool {
        // A URL leaves its default port out.
        let port = format!(":{}", local.port());
        let bare = host.strip_suffix(&port).or((local.port() == 80).then_some(host));
        let own = local.to_string();
        let own = own.strip_suffix(&port).unwrap_or_default();
        bare.is_some_and(|bare| bare == own || bare == "localhost")
            || self.hosts.iter().any(|known| known == host || Some(known.as_str()) == bare)
    }

    /// Whether the request carries the token; where nothing is said for people who have none.
    ///
    /// # Errors
    /// The refusal (RFC 6750 section 3).
    pub fn check_token(&self, head: &Head) -> Result<(), Answer> {
        let refusal =
            |line| Answer::error((401, "unauthorized"), line).with("WWW-Authenticate", "Bearer".to_owned());
        let Some(token) = &self.token else {
            return Err(refusal("Start the server with --admin-token FILE to ask for this."));
        };
        let secret = head.authorization.as_deref().and_then(bearer).unwrap_or_default();
        if token.is(secret) { Ok(()) } else { Err(refusal("Send Authorization: Bearer TOKEN.")) }
    }
}

/// What stands behind `Bearer`, of either case (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    #[test]
    fn only_the_listeners_own_names_and_those_listed_pass() {
        let guard = Guard {
            token: None,
            hosts: vec!["mida.internal".to_owned(), "other:1".to_owned()],
            is_public: false,
        };
        for (host, local, passes) in [
            ("127.0.0.1:9090", "127.0.0.1:9090", true),
            ("localhost:9090", "127.0.0.1:9090", true),
            ("localhost:9090", "[::1]:9090", true),
            ("[::1]:9090", "[::1]:9090", true),
            ("10.0.0.1:9090", "[::ffff:10.0.0.1]:9090", true),
            ("localhost", "127.0.0.1:80", true),
            ("127.0.0.1", "127.0.0.1:80", true),
            ("mida.internal", "127.0.0.1:9090", true),
            ("mida.internal:9090", "127.0.0.1:9090", true),
            ("other:1", "127.0.0.1:9090", true),
            ("localhost", "127.0.0.1:9090", false),
            ("localhost:9091", "127.0.0.1:9090", false),
            ("127.0.0.2:9090", "127.0.0.1:9090", false),
            ("evil.example:9090", "127.0.0.1:9090", false),
            ("mida.internal:1", "127.0.0.1:9090", false),
            ("mida.internal.evil.example", "127.0.0.1:9090", false),
            ("other", "127.0.0.1:9090", false),
            ("", "127.0.0.1:9090", false),
            (":9090", "127.0.0.1:9090", false),
        ] {
            let head = Head { host: host.to_owned(), ..Head::default() };
            assert_eq!(
                guard.check_source(&head, local.parse().unwrap()).is_ok(),
                passes,
                "{host} at {local}"
            );
            let head = Head { has_origin: true, ..head };
            let refusal = guard.check_source(&head, local.parse().unwrap()).unwrap_err();
            assert_eq!(refusal.status, 403);
        }
    }

    #[test]
    fn only_the_whole_token_passes() {
        let token = Token::new(SECRET.as_bytes()).unwrap();
        assert_eq!(format!("{token:?}"), "Token");
        let guard = Guard { token: Some(token), hosts: Vec::new(), is_public: false };
        let passes = |guard: &Guard, value: Option<&str>| {
            let authorization = value.map(|value| value.as_bytes().to_vec());
            guard.check_token(&Head { authorization, ..Head::default() }).is_ok()
        };
        for (value, is_right) in [
            (format!("Bearer {SECRET}"), true),
            (format!("bEARER   {SECRET} "), true),
            (format!("Bearer {}", &SECRET[1..]), false),
            (format!("Bearer {SECRET}0"), false),
            (format!("Bearer {}", SECRET.to_uppercase()), false),
            (format!("Basic {SECRET}"), false),
            (SECRET.to_owned(), false),
            ("Bearer".to_owned(), false),
            ("Bearer ".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(passes(&guard, Some(&value)), is_right, "{value}");
            assert!(!passes(&Guard { token: None, ..guard.clone() }, Some(&value)));
        }
        assert!(!passes(&guard, None));
        let long = "x".repeat(MOST + 1);
        for wrong in ["", &SECRET[1..], "0123456789 abcdef", "0123456789abcde\u{fc}", &long] {
            assert!(Token::new(wrong.as_bytes()).is_err());
        }
    }
}
