//! A client that has logged in, on a blocking socket.

#![allow(dead_code)] // Each test file uses its part.

use crate::{frames, login::Member};
use mida::app::crypto::rng::Rng;
use serde_json::Value;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What comes at all comes sooner.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    pub key: String,
    pub rules: Value,
    /// Event 5.
    pub result: Value,
    member: Member,
    socket: TcpStream,
    bytes: Vec<u8>,
    at: usize,
    is_sealed: bool,
}

/// What a client is told.
#[derive(Debug, PartialEq)]
pub enum Said {
    Event(Value),
    /// A close frame's code; the stream has ended behind it.
    Close(u16),
}

impl Client {
    /// Connects without a key.
    pub fn guest(address: SocketAddr) -> Self {
        Self::connect(address, 0)
    }

    /// Logs in with the key of this number.
    pub fn log_in(address: SocketAddr, number: u64) -> Self {
        let mut client = Self::connect(address, number);
        client.say(&client.member.auth());
        client.is_sealed = true;
        let challenge = client.event();
        let mut rng = Rng::from_os().unwrap();
        let host = format!("localhost:{}", address.port());
        let solution = client.member.solution(&host, &challenge["data"], &mut rng).unwrap();
        client.say(&solution);
        client.result = client.event();
        if client.result["data"]["passed"] == true {
            client.rules = client.event();
        }
        client
    }

    fn connect(address: SocketAddr, number: u64) -> Self {
        let member = Member::numbered(number);
        let auth: Value = serde_json::from_str(&member.auth()).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(frames::UPGRADE).unwrap();
        let mut client = Self {
            key: auth["data"]["pubKey"].as_str().unwrap().to_owned(),
            rules: Value::Null,
            result: Value::Null,
            member,
            socket,
            bytes: Vec::new(),
            at: 0,
            is_sealed: false,
        };
        while !client.bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(client.read().unwrap() > 0);
        }
        client.at = client.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        client.rules = client.event();
        client
    }

    pub fn say(&mut self, text: &str) {
        self.try_say(text).unwrap();
    }

    /// # Errors
    /// The server has gone.
    pub fn try_say(&mut self, text: &str) -> io::Result<()> {
        self.socket.write_all(&frames::text(text))
    }

    /// Sends the body to these keys, under this id.
    pub fn send(&mut self, id: &str, to: &[&str], rest: &str) {
        self.say(&send(id, to, rest));
    }

    pub fn ack(&mut self, ids: &[String]) {
        self.say(&ack(ids));
    }

    /// Asks for the metadata and waits for it: whatever was said before was heard.
    pub fn sync(&mut self) -> Vec<Value> {
        self.say(r#"{"t":1}"#);
        let mut before = Vec::new();
        loop {
            match self.event() {
                event if event["t"] == 1 => return before,
                event => before.push(event),
            }
        }
    }

    /// The next event, which is a receipt: its `re`, state and code.
    pub fn receipt(&mut self) -> (String, String, String) {
        receipt(&self.event())
    }

    /// The next event, which is a message: its body.
    pub fn body(&mut self) -> Value {
        let event = self.event();
        assert_eq!(event["t"], 130, "{event}");
        event["data"]["body"].clone()
    }

    pub fn event(&mut self) -> Value {
        match self.next() {
            Said::Event(event) => event,
            Said::Close(code) => panic!("closed with {code}"),
        }
    }

    /// What comes next; pings are passed over.
    pub fn next(&mut self) -> Said {
        self.try_next().unwrap()
    }

    /// # Errors
    /// The server has gone without a close.
    pub fn try_next(&mut self) -> io::Result<Said> {
        Ok(match self.heard()? {
            Ok(text) => Said::Event(serde_json::from_str(&text).unwrap()),
            Err(code) => Said::Close(code),
        })
    }

    /// The next event, as it was written.
    pub fn text(&mut self) -> String {
        self.heard().unwrap().unwrap_or_else(|code| panic!("closed with {code}"))
    }

    /// What comes next: text, or the code of a close frame.
    fn heard(&mut self) -> io::Result<Result<String, u16>> {
        loop {
            let mut at = self.at;
            if let Some((opcode, payload)) = frames::take(&self.bytes, &mut at) {
                let heard = match opcode {
                    frames::PING => None,
                    frames::CLOSE => Some(Err(u16::from_be_bytes([payload[0], payload[1]]))),
                    _ => {
                        let mut text = payload.to_vec();
                        assert_eq!(opcode == frames::BINARY, self.is_sealed);
                        if self.is_sealed {
                            self.member.open(payload, &mut text).expect("sealed to this key");
                        }
                        Some(Ok(String::from_utf8(text).unwrap()))
                    }
                };
                self.at = at;
                match heard {
                    None => continue,
                    Some(heard) => return Ok(heard),
                }
            }
            self.bytes.drain(..self.at);
            self.at = 0;
            if self.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The code that it is closed with, and what came before.
    pub fn until_close(&mut self) -> (Vec<Value>, u16) {
        let mut events = Vec::new();
        loop {
            match self.next() {
                Said::Event(event) => events.push(event),
                Said::Close(code) => return (events, code),
            }
        }
    }

    /// Reads all that comes until the server closes, and looks at nothing.
    pub fn read_on(&mut self) {
        while self.read().unwrap() > 0 {}
    }

    /// Closes, and waits until the server has too.
    pub fn leave(mut self) {
        // Masked by zeros: 1000.
        self.socket.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8]).unwrap();
        self.until_close();
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 64 * 1_024];
        let read = self.socket.read(&mut buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// Event 129: the body to these keys, under this id.
pub fn send(id: &str, to: &[&str], rest: &str) -> String {
    let to = to.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(",");
    format!(r#"{{"t":129,"data":{{"id":"{id}","to":[{to}],{rest}}}}}"#)
}

/// Event 132.
pub fn ack(ids: &[String]) -> String {
    format!(r#"{{"t":132,"data":{{"ids":{}}}}}"#, serde_json::to_string(ids).unwrap())
}

/// `re`, state and code.
pub fn receipt(event: &Value) -> (String, String, String) {
    assert_eq!(event["t"], 131, "{event}");
    let text = |name: &str| event["data"][name].as_str().unwrap_or_default().to_owned();
    (text("re"), text("state"), text("code"))
}

pub fn id(event: &Value) -> String {
    event["data"]["id"].as_str().unwrap().to_owned()
}
