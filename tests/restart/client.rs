//! A client that tells what becomes of its connection, to the last byte.

use crate::frames;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

/// What comes at all comes sooner.
const PATIENCE: Duration = Duration::from_secs(30);
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

#[derive(Clone, Debug)]
pub enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl At {
    /// As it stands in the server's first line.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(text.strip_prefix("ws://").unwrap().parse().unwrap()),
        }
    }
}

pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

pub struct Client {
    socket: Box<dyn Stream>,
    bytes: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Text(String),
    /// A close frame's code.
    Close(u16),
    /// The end of the stream, clean.
    End,
}

impl Client {
    pub fn dial(at: &At) -> io::Result<Self> {
        let socket: Box<dyn Stream> = match at {
            At::Tcp(address) => {
                let socket = TcpStream::connect(address)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Box::new(socket)
            }
            At::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Box::new(socket)
            }
        };
        Ok(Self { socket, bytes: Vec::new() })
    }

    /// Sends a request to upgrade, and reads the answer's status.
    pub fn upgrade(&mut self) -> io::Result<u16> {
        self.socket.write_all(frames::UPGRADE)?;
        loop {
            if let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.bytes.drain(..end + 4).collect();
                let status =
                    head.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
                return status.ok_or(io::ErrorKind::InvalidData.into());
            }
            if self.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// One that has been upgraded and told its rules.
    pub fn open(at: &At) -> Self {
        let mut client = Self::dial(at).unwrap();
        assert_eq!(client.upgrade().unwrap(), 101);
        let rules = client.next().unwrap();
        assert!(matches!(&rules, Said::Text(text) if text.contains(r#""hb""#)), "{rules:?}");
        client
    }

    /// Asks for the metadata so many times at once.
    pub fn ask(&mut self, times: usize) -> io::Result<()> {
        self.socket.write_all(&frames::text(r#"{"t":1}"#).repeat(times))
    }

    /// What comes next; pings are passed over.
    pub fn next(&mut self) -> io::Result<Said> {
        loop {
            if let Some((opcode, payload)) = self.take_frame() {
                match opcode {
                    TEXT => return Ok(Said::Text(String::from_utf8(payload).unwrap())),
                    CLOSE => return Ok(Said::Close(u16::from_be_bytes([payload[0], payload[1]]))),
                    PING => continue,
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                }
            }
            if self.read()? == 0 {
                assert!(self.bytes.is_empty(), "the stream ends amid a frame");
                return Ok(Said::End);
            }
        }
    }

    /// Counts texts with metadata up to the close frame, answers that, and sees the end of the stream.
    pub fn answers_until_close(&mut self) -> io::Result<(usize, u16)> {
        let mut answers = 0;
        loop {
            match self.next()? {
                Said::Text(text) if text.starts_with(r#"{"t":1,"#) => answers += 1,
                Said::Text(_) => {}
                Said::Close(code) => {
                    self.leave()?;
                    return Ok((answers, code));
                }
                Said::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Says or answers the close, reads to the end, and ends too.
    pub fn leave(&mut self) -> io::Result<()> {
        // Masked by zeros: 1000.
        self.socket.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8])?;
        while self.next()? != Said::End {}
        self.socket = Box::new(io::empty());
        Ok(())
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1_024];
        let read = self.socket.read(&mut buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second, ..] = self.bytes[..] else { return None };
        let (len, at) = match second {
            126 => (usize::from(u16::from_be_bytes(self.bytes.get(2..4)?.try_into().unwrap())), 4),
            127 => panic!("no test gets so long a frame"),
            len => (usize::from(len), 2),
        };
        let payload = self.bytes.get(at..at + len)?.to_vec();
        self.bytes.drain(..at + len);
        Some((first & 0x0F, payload))
    }
}
