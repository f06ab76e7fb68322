//! What can be said: the events of a client, and the answers that have a name (PROTOCOL.md sections 4 and 12).

use simd_json::Node;
use std::fmt;

use crate::engine::error::Fault;

pub const RULES: u8 = 0;
pub const METADATA: u8 = 1;
pub const AUTH: u8 = 2;
pub const CHALLENGE: u8 = 3;
pub const SOLUTION: u8 = 4;
pub const RESULT: u8 = 5;
pub const ERROR: u8 = 0x80;
pub const SEND: u8 = 0x81;
pub const MESSAGE: u8 = 0x82;
pub const RECEIPT: u8 = 0x83;
pub const ACK: u8 = 0x84;
pub const JOIN: u8 = 0x85;
pub const LEAVE: u8 = 0x86;
pub const PUBLISH: u8 = 0x87;

/// Unicode scalar values in `displayName`.
pub const DISPLAY_NAME_CHARS: usize = 64;
/// Unicode scalar values in `bio`.
pub const BIO_CHARS: usize = 1_024;
/// Bytes of a client's `id`, unescaped; at least one.
pub const ID_BYTES: usize = 64;
/// Recipients of one event 0x81.
pub const TO_MAX: usize = 64;
/// Ids in one event 0x84.
pub const IDS_MAX: usize = 1_000;
/// Bytes of a topic, unescaped; at least one.
pub const TOPIC_BYTES: usize = 128;

/// What a client says, its strings unescaped and borrowed from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Event 1: the question; the server answers with its own event 1.
    Metadata,
    /// Event 2.
    Auth(Auth<'a>),
    /// Event 4.
    Solution(Solution<'a>),
    /// Event 0x81; the message has an `id`.
    Send(Send<'a>),
    /// Event 0x84: the messages that may be forgotten.
    Ack(Ids<'a>),
    /// Event 0x85: the topic, 1 to [`TOPIC_BYTES`].
    Join(&'a str),
    /// Event 0x86: the topic, 1 to [`TOPIC_BYTES`].
    Leave(&'a str),
    /// Event 0x87.
    Publish(Publish<'a>),
}

/// Event 2. Whether `pub_key` is a key is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    pub pub_key: &'a str,
    pub method: Method,
    /// `user.displayName`: at most [`DISPLAY_NAME_CHARS`].
    pub display_name: Option<&'a str>,
    /// `user.bio`: at most [`BIO_CHARS`].
    pub bio: Option<&'a str>,
}

/// How event 2 wants its account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `method` was absent: login, and the account is made if there is none.
    #[default]
    LoginOrSignup,
    /// The account must be there (`no_account`).
    Login,
    /// The account must not be there (`account_exists`).
    Signup,
}

/// Event 4. Whether it solves anything is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solution<'a> {
    pub scheme: Option<&'a str>,
    pub solution: &'a str,
}

/// Event 0x81.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send<'a> {
    /// 1 to [`TO_MAX`]. Whether they are keys, and whether one is there twice, is not known yet.
    pub to: Keys<'a>,
    /// One value of JSON, as the client wrote it, without the white space around it.
    pub body: &'a [u8],
    pub live: bool,
}

/// Event 0x87.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// 1 to [`TOPIC_BYTES`].
    pub topic: &'a str,
    /// One value of JSON, as the client wrote it, without the white space around it.
    pub body: &'a [u8],
}

/// `to` of event 0x81: one string, or those of an array.
pub type Keys<'a> = Strings<'a>;
/// `ids` of event 0x84: at most [`IDS_MAX`]; whether they are ids is not known yet.
pub type Ids<'a> = Strings<'a>;

/// Strings of a message, in their order, each unescaped.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a>(&'a [Node<'a>]);

impl<'a> Strings<'a> {
    /// The strings of these nodes; none if one is anything else.
    pub(super) fn of(nodes: &'a [Node<'a>]) -> Option<Self> {
        nodes.iter().all(|node| matches!(node, Node::String(_))).then_some(Self(nodes))
    }

    pub fn len(self) -> usize {
        self.0.len()
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a str> + Clone {
        self.0.iter().map(|node| match node {
            Node::String(text) => *text,
            _ => "",
        })
    }
}

impl PartialEq for Strings<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Strings<'_> {}

/// What a client may do about an error; `retry` of event 0x80.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same message will fail again.
    No,
    /// The same message may pass at once.
    Now,
    /// The same message may pass after `retryAfter`.
    Backoff,
}

impl Retry {
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Now => "now",
            Self::Backoff => "backoff",
        }
    }
}

macro_rules! error_codes {
    ($( $(#[$doc:meta])* $name:ident = $code:literal $fault:ident $retry:ident strike $strike:literal $msg:literal; )*) => {
        /// `code` of event 0x80: why a message, or a whole text, was not taken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $( $(#[$doc])* $name, )* }

        impl ErrorCode {
            /// All of them, for tables and counters.
            pub const ALL: &'static [ErrorCode] = &[$( ErrorCode::$name, )*];

            /// The code on the wire.
            pub const fn name(self) -> &'static str { match self { $( Self::$name => $code, )* } }

            /// `msg`: one line for people, always the same, ASCII.
            pub const fn msg(self) -> &'static str { match self { $( Self::$name => $msg, )* } }

            pub const fn retry(self) -> Retry { match self { $( Self::$name => Retry::$retry, )* } }

            /// Whether it counts towards `strikes_per_minute`.
            pub const fn is_strike(self) -> bool { match self { $( Self::$name => $strike, )* } }

            pub const fn fault(self) -> Fault { match self { $( Self::$name => Fault::$fault, )* } }

            /// Event 0x80 up to the value of `re`.
            pub(super) const fn head(self) -> &'static str {
                match self {
                    $( Self::$name => concat!(r#"{"t":128,"data":{"code":""#, $code, r#"","msg":""#, $msg, r#"","re":"#), )*
                }
            }
        }
    };
}

error_codes! {
    BadJson = "bad_json" Peer No strike true
        "The text is not one JSON value in UTF-8, or it nests too deep.";
    BadEnvelope = "bad_envelope" Peer No strike true
        "A message is an object: t an integer from 0 to 255, data an object or absent, neither repeated, no count.";
    BadBatch = "bad_batch" Peer No strike true
        "A batch is an object: data an array of messages, count its length, from 1 to maxBatch; no batch inside.";
    /// Also an event that only the server sends.
    UnknownEvent = "unknown_event" Peer No strike true
        "No event of a client has this t.";
    BadData = "bad_data" Peer No strike false
        "A member of data is missing, repeated, too long or of the wrong type.";
    BadKey = "bad_key" Peer No strike false
        "That is no public key: a point of secp256k1, 33 or 65 bytes, in hex.";
    AuthOrder = "auth_order" Peer No strike false
        "This event is out of order: one event 2 a connection, then event 4 to its challenge.";
    Forbidden = "forbidden" Peer No strike false
        "This connection may not do that: see perms in its rules.";
    BatchingDisabled = "batching_disabled" Peer No strike false
        "Batching is off on this connection: send single messages.";
    IdReused = "id_reused" Peer No strike false
        "This id already stands for other content: take a new one.";
    RateLimited = "rate_limited" Peer Backoff strike false
        "Too many messages: wait for retryAfter milliseconds.";
    StoreFull = "store_full" Server Backoff strike false
        "The store is full: wait for retryAfter milliseconds.";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.msg())
    }
}

impl std::error::Error for ErrorCode {}

macro_rules! reasons {
    ($( $(#[$doc:meta])* $name:ident = $reason:literal; )*) => {
        /// `reason` of event 5 with `passed` false.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $( $(#[$doc])* $name, )* }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$( Reason::$name, )*];

            /// The reason on the wire.
            pub const fn name(self) -> &'static str { match self { $( Self::$name => $reason, )* } }
        }
    };
}

reasons! {
    BadSignature = "bad_signature";
    WrongHost = "wrong_host";
    BadScheme = "bad_scheme";
    Expired = "expired";
    Blocked = "blocked";
    AccountExists = "account_exists";
    NoAccount = "no_account";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_need_no_escape() {
        let clean = |text: &str| text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
        for (i, code) in ErrorCode::ALL.iter().enumerate() {
            assert!(clean(code.name()) && clean(code.msg()), "{code}");
            assert!(ErrorCode::ALL.iter().skip(i + 1).all(|other| other.name() != code.name()), "{code}");
        }
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert!(clean(reason.name()));
            assert!(Reason::ALL.iter().skip(i + 1).all(|other| other.name() != reason.name()));
        }
    }

    #[test]
    fn strikes_and_retries_are_those_of_the_protocol() {
        let named = |wanted: fn(&ErrorCode) -> bool| -> Vec<&str> {
            ErrorCode::ALL.iter().filter(|code| wanted(code)).map(|code| code.name()).collect()
        };
        assert_eq!(
            named(|code| code.is_strike()),
            ["bad_json", "bad_envelope", "bad_batch", "unknown_event"]
        );
        assert_eq!(named(|code| code.retry() == Retry::Backoff), ["rate_limited", "store_full"]);
        assert_eq!(named(|code| code.retry() == Retry::Now), [""; 0]);
        assert_eq!(
            named(|code| !code.is_strike() && code.retry() == Retry::No),
            ["bad_data", "bad_key", "auth_order", "forbidden", "batching_disabled", "id_reused"]
        );
    }
    #[test]
    fn only_a_full_store_is_the_fault_of_the_server() {
        let of = |fault| -> Vec<&str> {
            ErrorCode::ALL.iter().filter(|code| code.fault() == fault).map(|code| code.name()).collect()
        };
        assert_eq!(of(Fault::Server), ["store_full"]);
        assert_eq!(of(Fault::Nobody), [""; 0]);
    }

    #[test]
    fn the_three_values_of_retry_are_those_of_the_protocol() {
        assert_eq!([Retry::No, Retry::Now, Retry::Backoff].map(Retry::name), ["no", "now", "backoff"]);
    }

    #[test]
    fn an_error_shows_its_code_and_its_line_for_people() {
        let shown = ErrorCode::StoreFull.to_string();
        assert_eq!(shown, "store_full: The store is full: wait for retryAfter milliseconds.");
    }
}
