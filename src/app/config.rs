//! What the operator says about the service: shared by all reactors, replaced whole on a reload.

use super::protocol::encode::{AuthMode, Metadata};
use crate::engine::limits::Limits;
use std::sync::Arc;

/// The service as its clients see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub name: String,
    pub note: Option<String>,
    /// When maintenance begins, in milliseconds of server time.
    pub maintenance_at_ms: Option<u64>,
    /// Members of event 1's data that are the operator's own, as JSON without the braces.
    pub public: String,
    pub heartbeat_ms: u64,
    pub batching: bool,
    pub auth: AuthMode,
    /// From the upgrade to a passed authentication; 0: never required.
    pub auth_within_ms: u64,
    /// Whether the plain `ecdsa` scheme is refused.
    pub bound_only: bool,
    /// Origins beyond the server's own host, as browsers send them.
    pub origins: Vec<String>,
    /// Hosts that a `mida-v1` solution may name; empty: `localhost:PORT` and the socket's own address.
    pub hosts: Vec<String>,
    pub limits: Arc<Limits>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "mida".to_owned(),
            note: None,
            maintenance_at_ms: None,
            public: String::new(),
            heartbeat_ms: 30_000,
            batching: false,
            auth: AuthMode::Signature,
            auth_within_ms: 0,
            bound_only: false,
            origins: Vec::new(),
            hosts: Vec::new(),
            limits: Arc::default(),
        }
    }
}

impl Config {
    /// Event 1's data at this moment.
    pub fn metadata(&self, online: u64, now_ms: u64) -> Metadata<'_> {
        Metadata {
            name: &self.name,
            online,
            uptime_ms: now_ms,
            maintenance_in_ms: self.maintenance_at_ms.map(|at| at.saturating_sub(now_ms)),
            note: self.note.as_deref(),
            public: &self.public,
        }
    }

    /// Whether event 1 says something else than before.
    pub fn tells_other_than(&self, before: &Config) -> bool {
        (&self.name, &self.note, self.maintenance_at_ms, &self.public)
            != (&before.name, &before.note, before.maintenance_at_ms, &before.public)
    }

    /// Whether event 0 says something else than before.
    pub fn rules_other_than(&self, before: &Config) -> bool {
        let of = |config: &Config| {
            let limits = &config.limits;
            (config.heartbeat_ms, config.auth_within_ms, limits.message_bytes, limits.batch_messages)
        };
        of(self) != of(before) || self.auth != before.auth
    }

    /// Whether a browser page from `origin` may connect to this `host` (its Host header).
    pub fn allows_origin(&self, origin: &str, host: &str) -> bool {
        let own = origin.split_once("://").is_some_and(|(_, at)| at.eq_ignore_ascii_case(host));
        own || self.origins.iter().any(|allowed| allowed == origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_exactly_or_are_the_host_itself() {
        let config = Config { origins: vec!["https://chat.example".to_owned()], ..Config::default() };
        for (origin, host, allowed) in [
            ("https://chat.example", "ws.example:7700", true),
            ("http://chat.example", "ws.example:7700", false),
            ("https://chat.example.evil", "ws.example:7700", false),
            ("https://chat.example:443", "ws.example:7700", false),
            ("http://ws.example:7700", "ws.example:7700", true),
            ("http://WS.example:7700", "ws.EXAMPLE:7700", true),
            ("http://ws.example", "ws.example:7700", false),
            ("null", "ws.example:7700", false),
            ("", "", false),
        ] {
            assert_eq!(config.allows_origin(origin, host), allowed, "{origin} to {host}");
        }
    }
}
