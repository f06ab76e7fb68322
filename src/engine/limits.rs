//! Every bound the server holds a peer to, in one struct (PROTOCOL.md, "Limits").
//!
//! A limit set to 0 means "none" and is kept as the largest value of its type, so that the code that
//! compares never asks whether there is a limit: it compares.

use std::fmt;

macro_rules! limits {
    ($( $(#[$doc:meta])* $name:ident: $kind:ty = $default:expr; )*) => {
        /// The bounds of one server. Field names are the names of `--limit NAME=VALUE` and of the
        /// `[limits]` table; units stand last in each name.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits { $( $(#[$doc])* pub $name: $kind, )* }

        impl Default for Limits {
            fn default() -> Self { Self { $( $name: $default, )* } }
        }

        impl Limits {
            /// The names, as `--limit` takes them.
            pub const NAMES: &'static [&'static str] = &[$( stringify!($name), )*];

            /// Sets the limit called `name`; `value` 0 takes the limit away.
            ///
            /// # Errors
            /// The name is none of [`Limits::NAMES`], or the value does not fit its type.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
                match name {
                    $( stringify!($name) => {
                        self.$name = match value {
                            0 => <$kind>::MAX,
                            n => n.try_into().map_err(|_| LimitError::TooLarge {
                                name: stringify!($name), most: u64::from(<$kind>::MAX),
                            })?,
                        };
                        Ok(())
                    } )*
                    _ => Err(LimitError::Unknown(name.to_owned())),
                }
            }
        }
    };
}

limits! {
    /// Bytes of an upgrade request's head, request line to empty line.
    head_bytes: u32 = 8_192;
    /// Header fields of an upgrade request; at most 64 are ever parsed.
    head_fields: u32 = 64;
    /// From accept to a whole upgrade request.
    upgrade_ms: u64 = 10_000;
    /// Payload of one message from a client, over all its fragments.
    message_bytes: u32 = 65_536;
    /// Frames of one message.
    fragments: u32 = 64;
    /// From the first byte of a message to its last.
    message_ms: u64 = 10_000;
    /// Messages in one batch, both ways.
    batch_messages: u32 = 64;
    /// Nesting of a message's JSON.
    json_depth: u32 = 32;
    /// Control frames a second that a client may keep up.
    control_per_s: u32 = 10;
    /// Control frames at once.
    control_burst: u32 = 20;
    /// Bytes queued for a connection that it may not stay above for `queue_soft_ms`.
    queue_soft_bytes: u32 = 262_144;
    /// How long a connection may stay above `queue_soft_bytes`.
    queue_soft_ms: u64 = 10_000;
    /// Bytes queued for a connection that it may never pass.
    queue_hard_bytes: u32 = 1_048_576;
    /// Refused solutions to one challenge.
    auth_attempts: u32 = 3;
    /// Life of a challenge.
    challenge_ms: u64 = 60_000;
    /// Strikes in a minute that close a connection.
    strikes_per_minute: u32 = 10;
    /// Messages a minute from a connection that has not authenticated.
    anonymous_messages_per_minute: u32 = 120;
    /// Messages a minute from one that has.
    member_messages_per_minute: u32 = 600;
    /// Open connections of one address (IPv4 /32, IPv6 /64).
    connections_per_address: u32 = 1_024;
    /// Logins a second of one address.
    logins_per_address_per_s: u32 = 20;
    /// Logins at once of one address.
    logins_per_address_burst: u32 = 100;
    /// Public-key work in one turn of a reactor; what is over it waits for the next turn, in order.
    crypto_us_per_turn: u32 = 150;
    /// How long a login may wait for `crypto_us_per_turn`.
    login_wait_ms: u64 = 15_000;
    /// All queues and incomplete messages of one reactor.
    reactor_queue_bytes: u64 = 256 * 1024 * 1024;
    /// Open connections of the server; none: what the open-file limit allows.
    connections: u32 = u32::MAX;
    /// 1: the per-address limits count loopback too.
    limit_loopback: u32 = 0;
}

/// A `--limit` or `[limits]` entry that cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub enum LimitError {
    Unknown(String),
    TooLarge {
        name: &'static str,
        most: u64,
    },
    /// Two limits that contradict each other.
    Contradiction(&'static str),
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "no limit is called '{name}'; there are: {}", Limits::NAMES.join(", "))
            }
            Self::TooLarge { name, most } => write!(f, "limit {name} takes at most {most}"),
            Self::Contradiction(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for LimitError {}

impl Limits {
    /// Holds the limits against each other.
    ///
    /// # Errors
    /// Names the two that contradict each other.
    pub fn check(&self) -> Result<(), LimitError> {
        let rules = [
            (self.queue_soft_bytes <= self.queue_hard_bytes, "queue_soft_bytes is above queue_hard_bytes"),
            (
                u64::from(self.queue_hard_bytes) <= self.reactor_queue_bytes,
                "queue_hard_bytes is above reactor_queue_bytes",
            ),
            (
                self.message_bytes == u32::MAX || self.message_bytes < self.queue_hard_bytes,
                "message_bytes is not below queue_hard_bytes: a message of that size could never be sent",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(LimitError::Contradiction(what)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn nought_is_no_limit_and_unknown_names_are_told() {
        let mut limits = Limits::default();
        limits.set("message_ms", 0).unwrap();
        assert_eq!(limits.message_ms, u64::MAX);
        limits.set("fragments", 7).unwrap();
        assert_eq!(limits.fragments, 7);
        assert!(limits.set("fragment", 7).unwrap_err().to_string().contains("fragments"));
        assert!(matches!(limits.set("fragments", 1 << 40), Err(LimitError::TooLarge { .. })));
        limits.queue_soft_bytes = u32::MAX;
        assert!(limits.check().is_err());
    }
}
