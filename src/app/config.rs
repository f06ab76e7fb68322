//! What the operator says about the service: shared by all reactors, replaced whole on a reload.

use super::{
    crypto::key::Identity,
    protocol::encode::{AuthMode, Metadata},
};
use crate::engine::limits::Limits;
use std::{collections::HashSet, sync::Arc};

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
    /// What a connection with a proven key may do.
    pub members: Permissions,
    /// What others may; of these only [`Permissions::JOIN`] counts, since a message names its sender's key.
    pub anonymous: Permissions,
    /// Keys that may not log in, and get no messages.
    pub blocked: Arc<HashSet<Identity>>,
    /// If there is this list, only keys on it may.
    pub allowed: Option<Arc<HashSet<Identity>>>,
    /// Whether a sender may learn that a key is connected.
    pub presence: bool,
    /// Whether a browser that opens the server's address gets the page.
    pub page: bool,
    pub limits: Arc<Limits>,
}

/// What a connection may ask for beyond its login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    pub const NONE: Self = Self(0);
    pub const SEND: Self = Self(1);
    pub const JOIN: Self = Self(2);
    pub const PUBLISH: Self = Self(4);
    pub const ALL: Self = Self(7);

    const NAMES: [(Self, &str); 3] =
        [(Self::SEND, "send"), (Self::JOIN, "topic.join"), (Self::PUBLISH, "topic.publish")];

    /// By the name in `perms`.
    pub fn of(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(permission, _)| *permission)
    }

    /// The names in `perms`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(permission, _)| self.has(*permission)).map(|(_, name)| *name)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
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
            members: Permissions::ALL,
            anonymous: Permissions::NONE,
            blocked: Arc::default(),
            allowed: None,
            presence: true,
            page: true,
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
        let perms = |config: &Config| (config.members, config.anonymous);
        of(self) != of(before) || self.auth != before.auth || perms(self) != perms(before)
    }

    /// Whether a key that was let in before may be unwanted now.
    pub fn admits_other_than(&self, before: &Config) -> bool {
        (&self.blocked, &self.allowed) != (&before.blocked, &before.allowed)
    }

    /// Whether this key may log in, and get messages.
    pub fn admits(&self, identity: &Identity) -> bool {
        !self.blocked.contains(identity) && self.allowed.as_ref().is_none_or(|keys| keys.contains(identity))
    }

    /// What a connection may ask for, by whether its key is proven.
    pub fn permissions(&self, is_proven: bool) -> Permissions {
        if is_proven { self.members } else { self.anonymous.and(Permissions::JOIN) }
    }

    /// Whether there are messages between keys here (`msg` in `ext`).
    pub fn has_messages(&self) -> bool {
        let of_members = self.auth == AuthMode::Signature && self.members != Permissions::NONE;
        of_members || self.permissions(false) != Permissions::NONE
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
