//! The client's side of an authentication, on a blocking socket.

use crate::{
    frames,
    login::Member,
    stream::{BadFrame, Frames},
};
use mida::app::crypto::{key::SecretKey, rng::Rng};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// Logs in with a fresh key; the rules have been read already.
pub fn log_in(socket: &mut TcpStream, host: &str, rng: &mut Rng) {
    let mut member = Member::new(SecretKey::generate(rng));
    socket.write_all(&frames::text(&member.auth())).expect("the server reads");
    let challenge = events(socket, &mut member, 1).remove(0);
    let solution = member.solution(host, &challenge["data"], rng).expect("a challenge");
    socket.write_all(&frames::text(&solution)).expect("the server reads");
    assert_eq!(events(socket, &mut member, 2)[0]["data"]["passed"], true);
}

/// The next sealed events, opened, batches taken apart.
fn events(socket: &mut TcpStream, member: &mut Member, count: usize) -> Vec<serde_json::Value> {
    let mut events = Vec::new();
    let mut frames = Frames::default();
    let (mut buffer, mut text) = ([0; 4_096], Vec::new());
    while events.len() < count {
        let read = socket.read(&mut buffer).expect("the server answers");
        let fed: Result<(), BadFrame> = frames.feed(&buffer[..read], |_, payload| {
            member.open(payload, &mut text).expect("sealed to this key");
            let event: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            match event["data"].as_array() {
                Some(batch) if event.get("count").is_some() => events.extend(batch.iter().cloned()),
                _ => events.push(event),
            }
            Ok(())
        });
        fed.expect("frames");
    }
    assert_eq!(events.len(), count);
    events
}
