//! A client down to the single byte, so that it can be a wrong one.

#[path = "../common/frames.rs"]
mod wire;

#[allow(unused_imports)] // Each test file uses its part.
pub use self::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, REQUEST as UPGRADE, TEXT, frame, text};

use crate::target::{PATIENCE, Target};
use mida::app::crypto::{
    challenge::{Challenge, sign_mida_v1},
    key::SecretKey,
    rng::Rng,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use serde_json::Value;
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

/// Secret key number `number`.
pub fn secret(number: u8) -> SecretKey {
    SecretKey::generate(&mut Rng::from_seed([number; 32]))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Event 2 with this key.
pub fn auth(secret: &SecretKey) -> String {
    auth_of(std::str::from_utf8(&secret.identity().to_hex()).unwrap())
}

pub fn auth_of(key: &str) -> String {
    format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#)
}

/// Event 4 with this signature.
pub fn solution(scheme: &str, signature: &str) -> String {
    format!(r#"{{"t":4,"data":{{"scheme":"{scheme}","solution":"{signature}"}}}}"#)
}

/// Event 4 as it has to be for this host.
pub fn solve(secret: &SecretKey, host: &str, challenge: &[u8]) -> String {
    let challenge = Challenge::from_hex(hex(challenge).as_bytes()).unwrap();
    let mut rng = Rng::from_seed([1; 32]);
    let signature = sign_mida_v1(secret, host, &challenge, &secret.identity(), &mut rng);
    solution("mida-v1", std::str::from_utf8(&signature).unwrap())
}

/// One TCP connection to a target.
pub struct Peer {
    pub socket: TcpStream,
    /// What has come and was not taken.
    bytes: Vec<u8>,
    secret: Option<SecretKey>,
    /// Bytes that one read takes at most.
    crumb: usize,
}

impl Peer {
    /// A TCP connection on which nothing has been said.
    pub fn dial(target: &Target) -> Peer {
        Peer::dial_at(target.address())
    }

    /// As [`Peer::dial`], for another thread.
    pub fn dial_at(address: SocketAddr) -> Peer {
        Peer::on(TcpStream::connect(address).unwrap())
    }

    /// As [`Peer::dial`], from this address of our own, with this much room for what the server sends.
    pub fn dial_from(target: &Target, from: [u8; 4], receive_bytes: usize) -> Peer {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, receive_bytes).unwrap();
        rustix::net::bind(&socket, &SocketAddr::new(IpAddr::from(from), 0)).unwrap();
        rustix::net::connect(&socket, &target.address()).unwrap();
        Peer::on(TcpStream::from(socket))
    }

    fn on(socket: TcpStream) -> Peer {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer { socket, bytes: Vec::new(), secret: None, crumb: 4_096 }
    }

    /// Upgraded and past the rules.
    pub fn open(target: &Target) -> Peer {
        let mut peer = Peer::dial(target);
        peer.upgrade();
        peer
    }

    /// Asks for the upgrade, and takes the answer and the rules.
    pub fn upgrade(&mut self) {
        self.send(UPGRADE.as_bytes());
        self.upgraded();
    }

    /// Takes the answer to an upgrade that was asked for, and the rules; all of the answer's head.
    pub fn upgraded(&mut self) -> String {
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(self.hear()["t"], 0, "the rules come first");
        head
    }

    fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                let rest = self.bytes.split_off(at + 4);
                return String::from_utf8(std::mem::replace(&mut self.bytes, rest)).unwrap();
            }
            assert!(self.more(), "the end of TCP, after {:?}", String::from_utf8_lossy(&self.bytes));
        }
    }

    /// Sends as much as the server takes: that it has ended the connection is seen on reading.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.socket.write_all(bytes) {
            Err(error) if !matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                panic!("cannot send: {error}")
            }
            _ => {}
        }
    }

    pub fn say(&mut self, message: &str) {
        self.send(&text(message));
    }

    /// Reads so much at once from now on.
    pub fn reads_at_most(&mut self, bytes: usize) {
        self.crumb = bytes;
    }

    /// Reads on; false at the end of TCP. A reset is none.
    pub fn more(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        let read = self
            .socket
            .read(&mut buffer[..self.crumb])
            .unwrap_or_else(|error| panic!("no end of TCP but: {error}"));
        self.bytes.extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// The next frame, whatever it is.
    pub fn any_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut taken = 0;
            if let Some((opcode, payload)) = wire::take(&self.bytes, &mut taken) {
                let payload = payload.to_vec();
                self.bytes.drain(..taken);
                return (opcode, payload);
            }
            assert!(self.more(), "the end of TCP without a close frame");
        }
    }

    /// The next frame that is no ping; pings are answered.
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.any_frame() {
                (PING, payload) => self.send(&frame(FIN | PONG, &payload)),
                frame => return frame,
            }
        }
    }

    /// Whether something has come that was not taken.
    pub fn has_more(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Waits for a ping and answers it; messages before it are dropped.
    pub fn ping(&mut self) {
        loop {
            match self.any_frame() {
                (PING, payload) => return self.send(&frame(FIN | PONG, &payload)),
                (TEXT | BINARY, _) => {}
                (opcode, payload) => panic!("no ping but {opcode:x} {}", String::from_utf8_lossy(&payload)),
            }
        }
    }

    /// The next message, in the clear.
    pub fn hear(&mut self) -> Value {
        match self.frame() {
            (TEXT, payload) => serde_json::from_slice(&payload).unwrap(),
            (opcode, payload) => panic!("no text but {opcode:x} {}", String::from_utf8_lossy(&payload)),
        }
    }

    /// The next message, sealed.
    pub fn open_sealed(&mut self) -> Value {
        match self.frame() {
            (BINARY, payload) => {
                let secret = self.secret.as_ref().expect("a key was named");
                serde_json::from_slice(&ecies::decrypt(secret.as_bytes(), &payload).unwrap()).unwrap()
            }
            (opcode, payload) => {
                panic!("nothing sealed but {opcode:x} {}", String::from_utf8_lossy(&payload))
            }
        }
    }

    /// Asks for the metadata and is told it. New rules may come first.
    pub fn ask(&mut self) {
        self.say(r#"{"t":1}"#);
        loop {
            let heard = self.hear();
            let event = if heard["count"].is_null() { &heard } else { &heard["data"][0] };
            if event["t"] != 0 {
                return assert_eq!(event["t"], 1, "{heard}");
            }
        }
    }

    /// Says this and is told this error.
    pub fn errs(&mut self, message: &str, code: &str) {
        self.say(message);
        self.is_error(code, message);
    }

    /// The next message is this error to `message`.
    pub fn is_error(&mut self, code: &str, message: &str) {
        let heard = if self.secret.is_some() { self.open_sealed() } else { self.hear() };
        let start: String = message.chars().take(100).collect();
        assert_eq!((&heard["t"], &heard["data"]["code"]), (&128.into(), &code.into()), "{start}: {heard}");
    }

    /// Names this key, from which on all is sealed to it: the challenge.
    pub fn challenged(&mut self, secret: SecretKey) -> Vec<u8> {
        self.say(&auth(&secret));
        self.secret = Some(secret);
        let heard = self.open_sealed();
        assert_eq!(heard["t"], 3, "{heard}");
        unhex(heard["data"]["challenge"].as_str().unwrap())
    }

    /// Says this solution, and is told that it did not pass; attempts that are left.
    pub fn fails(&mut self, solution: &str, reason: &str) -> u64 {
        self.say(solution);
        let heard = self.open_sealed();
        assert_eq!(heard["t"], 5, "{solution}: {heard}");
        let data = &heard["data"];
        assert_eq!((&data["passed"], &data["reason"]), (&false.into(), &reason.into()), "{solution}");
        data["attemptsLeft"].as_u64().unwrap()
    }

    /// Says this solution, and it passes.
    pub fn passes(&mut self, solution: &str) {
        self.say(solution);
        let heard = self.open_sealed();
        assert_eq!((&heard["t"], &heard["data"]["passed"]), (&5.into(), &true.into()), "{solution}: {heard}");
        assert_eq!(self.open_sealed()["t"], 0, "new rules follow");
    }

    /// Answers each ping, and says this as well, until there is a close frame with this code.
    pub fn answers_until_closed_with(&mut self, code: u16, more: &[u8]) {
        loop {
            match self.any_frame() {
                (PING, payload) => self.send(&[&frame(FIN | PONG, &payload), more].concat()),
                (opcode, payload) => {
                    assert_eq!((opcode, close_code(&payload)), (CLOSE, Some(code)));
                    return;
                }
            }
        }
    }

    /// The next thing is a close frame with this code, and then the end of TCP.
    pub fn closed_with(&mut self, code: u16) {
        let (opcode, payload) = self.frame();
        assert_eq!(
            (opcode, close_code(&payload)),
            (CLOSE, Some(code)),
            "{}",
            String::from_utf8_lossy(&payload)
        );
        self.ends();
    }

    /// Opcodes and payloads up to a close frame with this code, and then the end of TCP.
    pub fn rest_until(&mut self, code: u16) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        loop {
            match self.frame() {
                (CLOSE, payload) => {
                    assert_eq!(close_code(&payload), Some(code));
                    self.ends();
                    return frames;
                }
                frame => frames.push(frame),
            }
        }
    }

    /// The end of TCP, and nothing before it.
    pub fn ends(&mut self) {
        while self.more() {}
        assert!(self.bytes.is_empty(), "the end of TCP behind a close frame");
    }

    /// Whether what comes next begins like this; it stays there.
    pub fn starts_with(&mut self, start: &[u8]) -> bool {
        while self.bytes.len() < start.len() && self.more() {}
        self.bytes.starts_with(start)
    }

    /// The answer is a refusal with this status, and then the end of TCP; all of it.
    pub fn refused_with(&mut self, status: u16) -> String {
        while self.more() {}
        let answer = String::from_utf8(std::mem::take(&mut self.bytes)).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "not {status} but: {answer}");
        answer
    }

    /// Leaves without a word (TCP RST).
    pub fn leave_with_reset(self) {
        sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO)).unwrap();
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|code| u16::from_be_bytes(*code))
}
