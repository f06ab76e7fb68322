//! One attacker: a connection at a time, ended and opened again.

use crate::{
    common::stream::{BINARY, BadFrame, CLOSE, Frames, TEXT},
    lines::{Line, Script},
};
use mio::{Interest, Registry, Token, net::TcpStream};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// What those of a line have done, and what they got for it.
#[derive(Default)]
pub struct Tally {
    pub opened: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Answers that said to come back later.
    pub rate_limited: u64,
    /// Dials that came to nothing.
    pub failed: u64,
    /// Last words of the server: a status, a close code, or none.
    pub ends: BTreeMap<String, u64>,
}

/// A connection of an attacker.
struct Connection {
    socket: TcpStream,
    /// The head of the answer, as far as it is here; none: it is upgraded.
    head: Option<Vec<u8>>,
    frames: Frames,
    last_words: Option<String>,
    is_writable: bool,
    /// Of what is being sent, this is done.
    sent: usize,
    /// When the next byte of a slow line is due.
    due: Instant,
    /// Something sealed has come.
    is_challenged: bool,
}

pub struct Attacker {
    pub line: Line,
    number: usize,
    /// Connections it has had: lines with several ways take the next one.
    turns: usize,
    connection: Option<Connection>,
}

impl Attacker {
    pub fn new(line: Line, number: usize) -> Self {
        Self { line, number, turns: number / Line::ALL.len(), connection: None }
    }

    pub fn is_there(&self) -> bool {
        self.connection.is_some()
    }

    /// Opens its connection; fails if the kernel does not want to now.
    pub fn dial(&mut self, server: SocketAddr, registry: &Registry, tally: &mut Tally, now: Instant) {
        match self.try_dial(server, registry) {
            Ok(socket) => {
                tally.opened += 1;
                self.turns += 1;
                // Those that are slow are not slow together.
                let spread = Duration::from_millis(self.number as u64 * 37 % 1_000);
                self.connection = Some(Connection {
                    socket,
                    head: Some(Vec::new()),
                    frames: Frames::default(),
                    last_words: None,
                    is_writable: false,
                    sent: 0,
                    due: now + spread,
                    is_challenged: false,
                });
            }
            Err(_) => tally.failed += 1,
        }
    }

    fn try_dial(&self, server: SocketAddr, registry: &Registry) -> std::io::Result<TcpStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        // The end is a reset, so that no port stays taken.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        if self.line == Line::Deaf {
            sockopt::set_socket_recv_buffer_size(&socket, 4_096)?;
        }
        rustix::net::bind(&socket, &SocketAddr::new(IpAddr::from(self.line.address(self.number)), 0))?;
        match connect(&socket, &server) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut socket = TcpStream::from_std(std::net::TcpStream::from(socket));
        registry.register(&mut socket, Token(self.number), Interest::READABLE | Interest::WRITABLE)?;
        Ok(socket)
    }

    /// The kernel has news of the connection.
    pub fn event(&mut self, event: &mio::event::Event, buffer: &mut [u8], tally: &mut Tally) {
        let Some(connection) = &mut self.connection else { return };
        connection.is_writable |= event.is_writable();
        let is_deaf = self.line == Line::Deaf && connection.head.is_none();
        if is_deaf && (event.is_error() || event.is_read_closed()) {
            return self.ended(tally);
        }
        if event.is_readable() && !is_deaf && !connection.read(buffer, self.line, tally) {
            self.ended(tally);
        }
    }

    /// Sends what its line wants sent now; true if there is more.
    pub fn attack(&mut self, script: &Script, now: Instant, tally: &mut Tally) -> bool {
        let (line, way) = (self.line, self.turns % 3);
        let Some(connection) = &mut self.connection else { return false };
        let (stream, mut from, endless) = match (line, &connection.head) {
            (Line::SlowHead, _) => {
                if now < connection.due {
                    return false;
                }
                connection.due += Script::BYTE_EVERY;
                let next = connection.sent;
                (script.upgrade.get(next..=next).unwrap_or_default(), 0, false)
            }
            (_, Some(_)) => (script.upgrade, connection.sent, false),
            (Line::Fragments, None) => match (script.fragments[way].get(connection.sent..), way) {
                (None | Some([]), 2) if now >= connection.due => {
                    connection.due = now + Script::MORE_EVERY;
                    (&script.more[..], 0, false)
                }
                (None | Some([]), _) => return false,
                _ => (&script.fragments[way][..], connection.sent, false),
            },
            (Line::Pings, None) => (&script.pings[..], connection.sent, true),
            (Line::Deaf, None) => (&script.questions[..], connection.sent, true),
            (Line::Crumbs, None) => (&script.crumbs[..], connection.sent, true),
            (Line::Logins, None) => return false,
        };
        if !connection.is_writable {
            return false;
        }
        if endless {
            from %= stream.len();
        }
        let bytes = &stream[from.min(stream.len())..];
        if bytes.is_empty() {
            return false;
        }
        match connection.write(bytes, tally) {
            Some(sent) => {
                connection.sent += sent;
                endless && sent == bytes.len()
            }
            None => {
                self.ended(tally);
                false
            }
        }
    }

    /// One event of a flood of logins; true if there was something to send it on.
    pub fn log_in(&mut self, script: &Script, tally: &mut Tally) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|one| one.head.is_none() && one.is_writable)
        else {
            return false;
        };
        // Every other one tries to be let in, and uses up its attempts.
        let solves = connection.is_challenged && self.turns.is_multiple_of(2);
        let bytes = if solves { &script.solutions } else { &script.login };
        if connection.write(bytes, tally).is_none() {
            self.ended(tally);
        }
        true
    }

    fn ended(&mut self, tally: &mut Tally) {
        if let Some(connection) = self.connection.take() {
            let words = connection.last_words.unwrap_or_else(|| "reset".to_owned());
            *tally.ends.entry(words).or_default() += 1;
        }
    }
}

impl Connection {
    /// How much of this the kernel took; none: the connection is broken.
    fn write(&mut self, bytes: &[u8], tally: &mut Tally) -> Option<usize> {
        match self.socket.write(bytes) {
            Ok(sent) => {
                self.is_writable = sent == bytes.len();
                tally.sent_bytes += sent as u64;
                Some(sent)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_writable = false;
                Some(0)
            }
            Err(_) => None,
        }
    }

    /// Reads what there is; false: the server has said its last words.
    fn read(&mut self, buffer: &mut [u8], line: Line, tally: &mut Tally) -> bool {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(read) => {
                    tally.received_bytes += read as u64;
                    if !self.take(&buffer[..read], line, tally) {
                        return false;
                    }
                    if self.head.is_none() && line == Line::Deaf {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], line: Line, tally: &mut Tally) -> bool {
        let mut rest = None;
        if let Some(head) = &mut self.head {
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") else { return true };
            rest = Some(head[end + 4..].to_vec());
            let status = String::from_utf8_lossy(head.get(9..12).unwrap_or_default()).into_owned();
            if status != "101" {
                self.last_words = Some(status);
                return false;
            }
            (self.head, self.sent) = (None, 0);
        }
        let (mut is_over, mut is_sealed) = (false, false);
        let last_words = &mut self.last_words;
        let fed: Result<(), BadFrame> =
            self.frames.feed(rest.as_deref().unwrap_or(bytes), |opcode, payload| {
                match opcode {
                    CLOSE => {
                        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                        *last_words =
                            Some(code.map_or_else(|| "no code".to_owned(), |code| code.to_string()));
                        is_over = true;
                    }
                    BINARY => is_sealed = true,
                    TEXT if line == Line::Logins => {
                        let is_limited = payload.windows(12).any(|part| part == b"rate_limited");
                        tally.rate_limited += u64::from(is_limited);
                    }
                    _ => {}
                }
                Ok(())
            });
        fed.expect("frames");
        self.is_challenged |= is_sealed;
        !is_over
    }
}
