//! The client's side of an authentication, as it goes on while bytes come.

use super::{
    frames,
    login::Member,
    stream::{BINARY, BadFrame, Frames, PING},
};
use mida::app::crypto::{key::SecretKey, rng::Rng};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// A login with a fresh key, on a connection whose rules have been read.
pub struct Login {
    member: Member,
    frames: Frames,
    passed: bool,
    over: bool,
}

impl Login {
    pub fn new(rng: &mut Rng) -> Self {
        Self::of(Member::new(SecretKey::generate(rng)))
    }

    /// With the key of this user.
    pub fn of(member: Member) -> Self {
        Self { member, frames: Frames::default(), passed: false, over: false }
    }

    /// The frame to begin with: event 2.
    pub fn first(&self) -> Vec<u8> {
        frames::text(&self.member.auth())
    }

    /// Reads what the server has sent; returns the frame to answer with, if there is one.
    pub fn read(&mut self, bytes: &[u8], host: &str, rng: &mut Rng) -> Option<Vec<u8>> {
        let (mut text, mut answer) = (Vec::new(), None);
        let Self { member, frames, passed, over } = self;
        let fed: Result<(), BadFrame> = frames.feed(bytes, |opcode, payload| {
            // A first look may have come.
            if opcode == PING {
                return Ok(());
            }
            assert_eq!(opcode, BINARY, "sealed from event 2 on");
            member.open(payload, &mut text).expect("sealed to this key");
            let event: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            let events = match event["data"].as_array() {
                Some(batch) if event.get("count").is_some() => batch.clone(),
                _ => vec![event],
            };
            for event in events {
                match event["t"].as_u64() {
                    Some(3) => {
                        let solution = member.solution(host, &event["data"], rng).expect("a challenge");
                        answer = Some(frames::text(&solution));
                    }
                    Some(5) => {
                        assert_eq!(event["data"]["passed"], true);
                        *passed = true;
                    }
                    Some(0) if *passed => *over = true,
                    _ => panic!("no part of a login: {event}"),
                }
            }
            Ok(())
        });
        fed.expect("frames");
        answer
    }

    /// Event 5 has said that it passed, and the new rules have come.
    pub const fn is_over(&self) -> bool {
        self.over
    }
}

/// Logs in on a blocking socket.
pub fn log_in(socket: &mut TcpStream, host: &str, rng: &mut Rng) {
    let login = Login::new(rng);
    log_in_with(login, socket, host, rng);
}

/// The same with a login that was begun.
pub fn log_in_with(mut login: Login, socket: &mut TcpStream, host: &str, rng: &mut Rng) {
    let mut next = Some(login.first());
    let mut buffer = [0; 4_096];
    while !login.is_over() {
        if let Some(frame) = next {
            socket.write_all(&frame).expect("the server reads");
        }
        let read = socket.read(&mut buffer).expect("the server answers");
        assert!(read > 0, "the server closed a connection");
        next = login.read(&buffer[..read], host, rng);
    }
}
