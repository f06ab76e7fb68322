//! What went wrong, whose fault it is, and the ONE table from that to a close code or an HTTP status.
//!
//! Phrases are fixed: nothing that a peer sent is ever echoed to it, or to a log.

use std::fmt;

/// Who has to change something so that it does not happen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nobody,
    Peer,
    Server,
}

macro_rules! closes {
    ($( $(#[$doc:meta])* $name:ident = $code:literal $fault:ident $phrase:literal; )*) => {
        /// Why the server closes a connection (RFC 6455 section 7.4, PROTOCOL.md "Close codes").
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Close { $( $(#[$doc])* $name, )* }

        impl Close {
            /// All of them, for tables and counters.
            pub const ALL: &'static [Close] = &[$( Close::$name, )*];

            /// The status code of the close frame.
            pub const fn code(self) -> u16 { match self { $( Self::$name => $code, )* } }

            /// The reason of the close frame: at most 123 bytes of ASCII.
            pub const fn phrase(self) -> &'static str { match self { $( Self::$name => $phrase, )* } }

            /// Whose fault it is.
            pub const fn fault(self) -> Fault { match self { $( Self::$name => Fault::$fault, )* } }
        }
    };
}

closes! {
    Normal = 1000 Nobody "bye";
    GoingAway = 1001 Nobody "server is going away";
    /// RFC 6455 section 5.1: a client masks every frame.
    Unmasked = 1002 Peer "frame is not masked";
    ReservedBits = 1002 Peer "reserved bit is set";
    ReservedOpcode = 1002 Peer "reserved opcode";
    /// RFC 6455 section 5.2: the shortest form, and no top bit in a 64-bit length.
    BadLength = 1002 Peer "length is not in its shortest form";
    /// RFC 6455 section 5.5.
    BadControlFrame = 1002 Peer "control frame is fragmented or over 125 bytes";
    OrphanContinuation = 1002 Peer "continuation without a message";
    InterleavedMessage = 1002 Peer "new message inside a message";
    /// RFC 6455 section 7.4: one byte of payload, or a code that may not be sent.
    BadClose = 1002 Peer "bad close frame";
    /// The application takes no binary messages.
    BinaryRefused = 1003 Peer "binary messages are not accepted";
    BadUtf8 = 1007 Peer "text is not UTF-8";
    TooManyControls = 1008 Peer "too many control frames";
    TooManyFragments = 1008 Peer "too many fragments";
    MessageTooSlow = 1008 Peer "message was not completed in time";
    TooBig = 1009 Peer "message is too big";
    Internal = 1011 Server "internal error";
    Overloaded = 1013 Server "overloaded, come back later";
    Strikes = 4000 Peer "too many bad messages";
    AuthFailed = 4003 Peer "authentication failed";
    AuthRequired = 4004 Peer "authentication is required";
    HeartbeatMissed = 4008 Peer "heartbeat missed";
    TooSlow = 4009 Peer "reading too slowly";
    MessageRate = 4010 Peer "too many messages";
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.phrase())
    }
}

macro_rules! refusals {
    ($( $(#[$doc:meta])* $name:ident = $status:literal $reason:literal $fault:ident $text:literal; )*) => {
        /// Why an upgrade request is refused (RFC 9110 section 15, RFC 6585 section 5).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $( $(#[$doc])* $name, )* }

        impl Refusal {
            pub const ALL: &'static [Refusal] = &[$( Refusal::$name, )*];

            pub const fn status(self) -> u16 { match self { $( Self::$name => $status, )* } }

            /// Reason phrase of the status line.
            pub const fn reason(self) -> &'static str { match self { $( Self::$name => $reason, )* } }

            pub const fn fault(self) -> Fault { match self { $( Self::$name => Fault::$fault, )* } }

            /// What the answer's body says: what is wrong and what to do, one line.
            pub const fn text(self) -> &'static str { match self { $( Self::$name => $text, )* } }
        }
    };
}

refusals! {
    Malformed = 400 "Bad Request" Peer "The request is not well-formed HTTP/1.1.";
    /// RFC 9112 section 6: a request with a body, or with two lengths.
    HasBody = 400 "Bad Request" Peer "An upgrade request has no body: send neither Content-Length nor Transfer-Encoding.";
    BadHost = 400 "Bad Request" Peer "Send exactly one Host header field.";
    NotGet = 400 "Bad Request" Peer "This is a WebSocket server: send GET with Upgrade: websocket.";
    NoUpgrade = 400 "Bad Request" Peer "This is a WebSocket server: send Upgrade: websocket and Connection: Upgrade.";
    BadKey = 400 "Bad Request" Peer "Send exactly one Sec-WebSocket-Key: 16 random bytes in base64.";
    BadSubprotocol = 400 "Bad Request" Peer "Sec-WebSocket-Protocol is a list of tokens.";
    BadOrigin = 403 "Forbidden" Peer "This origin is not on the server's list.";
    TooSlow = 408 "Request Timeout" Peer "The request was not completed in time.";
    WrongVersion = 426 "Upgrade Required" Peer "This server speaks version 13 of WebSocket.";
    HeadTooLarge = 431 "Request Header Fields Too Large" Peer "The head is larger than this server reads.";
    Full = 503 "Service Unavailable" Server "The server has no room; try again later.";
    /// The server is told to end.
    Leaving = 503 "Service Unavailable" Server "The server is going away; connect again.";
    AddressFull = 503 "Service Unavailable" Peer "Too many connections from this address.";
    Broken = 503 "Service Unavailable" Server "The server failed; it has been logged.";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status(), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_fit_a_control_frame_and_codes_may_be_sent() {
        for close in Close::ALL {
            assert!(close.phrase().len() <= 123 && close.phrase().is_ascii());
            assert!(matches!(close.code(), 1000..=1003 | 1007..=1014 | 4000..=4999));
        }
        for refusal in Refusal::ALL {
            assert!(matches!(refusal.status(), 400..=599));
        }
    }
}
