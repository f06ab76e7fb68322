//! What goes wrong with a connection, by kind.

use std::{collections::BTreeMap, fmt, io};

/// Why a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    Refused,
    Reset,
    TimedOut,
    /// No free port at a source address: ours to mend.
    NoPort,
    /// No descriptor left: ours to mend.
    NoFile,
    /// Anything else the kernel says, by its number.
    Kernel(i32),
    /// The answer to the upgrade, if it is not 101.
    Status(u16),
    /// The answer to the upgrade is none of RFC 6455.
    NoUpgrade,
    /// A close frame; 1005 for one without a code.
    Closed(u16),
    /// TCP ended without a close frame.
    Ended,
    /// A frame that is against RFC 6455, or in fragments.
    BadFrame,
    /// An echo of another length than the question.
    BadEcho,
    /// Not what PROTOCOL.md says at this point: no rules at first, no challenge, no JSON.
    BadMessage,
    /// A sealed message that does not open, or a clear one behind a sealed one.
    BadSeal,
    /// The rules have no batching, or smaller batches than asked for.
    NoBatching,
    /// Event 5's `reason` or the error that event 2 got.
    Login(&'static str),
}

/// Reasons and codes that are told by name.
const LOGIN: [&str; 11] = [
    "bad_signature",
    "wrong_host",
    "bad_scheme",
    "expired",
    "blocked",
    "account_exists",
    "no_account",
    "rate_limited",
    "bad_key",
    "auth_order",
    "forbidden",
];

pub type Failures = BTreeMap<Failure, u64>;

impl Failure {
    pub fn login(reason: &str) -> Self {
        Self::Login(LOGIN.into_iter().find(|known| *known == reason).unwrap_or("other"))
    }

    /// For JSON.
    pub fn name(self) -> String {
        match self {
            Self::Refused => "refused".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::TimedOut => "timed_out".to_owned(),
            Self::NoPort => "no_port".to_owned(),
            Self::NoFile => "no_file".to_owned(),
            Self::Kernel(number) => format!("kernel_{number}"),
            Self::Status(status) => format!("http_{status}"),
            Self::NoUpgrade => "no_upgrade".to_owned(),
            Self::Closed(code) => format!("close_{code}"),
            Self::Ended => "ended".to_owned(),
            Self::BadFrame => "bad_frame".to_owned(),
            Self::BadEcho => "bad_echo".to_owned(),
            Self::BadMessage => "bad_message".to_owned(),
            Self::BadSeal => "bad_seal".to_owned(),
            Self::NoBatching => "no_batching".to_owned(),
            Self::Login(reason) => format!("login_{reason}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset by the server"),
            Self::TimedOut => f.write_str("timed out"),
            Self::NoPort => f.write_str("no free port here (more --sources)"),
            Self::NoFile => f.write_str("no descriptor left here (more --threads)"),
            Self::Kernel(number) => write!(f, "{}", io::Error::from_raw_os_error(*number)),
            Self::Status(status) => write!(f, "HTTP {status}"),
            Self::NoUpgrade => f.write_str("answer to the upgrade is not RFC 6455"),
            Self::Closed(code) => write!(f, "closed with {code}"),
            Self::Ended => f.write_str("ended without a close frame"),
            Self::BadFrame => f.write_str("frame against RFC 6455, or in fragments"),
            Self::BadEcho => f.write_str("echo of another length"),
            Self::BadMessage => f.write_str("message against PROTOCOL.md (no Mida server? --plain)"),
            Self::BadSeal => f.write_str("message sealed wrongly"),
            Self::NoBatching => f.write_str("the server has no batching, or smaller batches"),
            Self::Login(reason) => write!(f, "login refused: {reason}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::TimedOut => Self::TimedOut,
            // On a bind, no port is free; on a connect, no pair of ports.
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Self::NoPort,
            _ => match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Self::NoFile,
                errno => Self::Kernel(errno.map_or(0, rustix::io::Errno::raw_os_error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_has_a_kind() {
        use rustix::io::Errno;
        for (errno, failure) in [
            (Errno::CONNREFUSED, Failure::Refused),
            (Errno::CONNRESET, Failure::Reset),
            (Errno::PIPE, Failure::Reset),
            (Errno::TIMEDOUT, Failure::TimedOut),
            (Errno::ADDRNOTAVAIL, Failure::NoPort),
            (Errno::MFILE, Failure::NoFile),
            (Errno::NETUNREACH, Failure::Kernel(101)),
        ] {
            assert_eq!(Failure::from(io::Error::from(errno)), failure);
        }
    }

    #[test]
    fn reasons_keep_their_names_and_strange_ones_have_none() {
        assert_eq!(Failure::login("wrong_host").name(), "login_wrong_host");
        assert_eq!(Failure::login("\u{1b}[2J").name(), "login_other");
    }
}
