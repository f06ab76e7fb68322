//! The client's side of an authentication, on a blocking socket.

use crate::{frames, sink::Frames};
use mida::app::crypto::{
    challenge::{Challenge, sign_mida_v1},
    key::SecretKey,
    rng::Rng,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// Logs in with a fresh key; the rules have been read already.
pub fn log_in(socket: &mut TcpStream, host: &str, rng: &mut Rng) {
    let secret = SecretKey::generate(rng);
    let identity = secret.identity();
    let auth = format!(r#"{{"t":2,"data":{{"pubKey":"{identity}"}}}}"#);
    socket.write_all(&frames::text(&auth)).expect("the server reads");
    let challenge = events(socket, &secret, 1).remove(0);
    let challenge = challenge["data"]["challenge"].as_str().expect("a challenge").as_bytes();
    let challenge = Challenge::from_hex(challenge).expect("64 hex digits");
    let solution = sign_mida_v1(&secret, host, &challenge, &identity, rng);
    let solution = str::from_utf8(&solution).expect("hex");
    let solution = format!(r#"{{"t":4,"data":{{"scheme":"mida-v1","solution":"{solution}"}}}}"#);
    socket.write_all(&frames::text(&solution)).expect("the server reads");
    assert_eq!(events(socket, &secret, 2)[0]["data"]["passed"], true);
}

/// The next sealed events, opened with the stock crate, batches taken apart.
fn events(socket: &mut TcpStream, secret: &SecretKey, count: usize) -> Vec<serde_json::Value> {
    let mut events = Vec::new();
    let mut frames = Frames::default();
    let mut buffer = [0; 4_096];
    while events.len() < count {
        let read = socket.read(&mut buffer).expect("the server answers");
        frames.feed(&buffer[..read], |payload| {
            let text = ecies::decrypt(secret.as_bytes(), payload).expect("sealed to this key");
            let event: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            match event["data"].as_array() {
                Some(batch) if event.get("count").is_some() => events.extend(batch.iter().cloned()),
                _ => events.push(event),
            }
        });
    }
    assert_eq!(events.len(), count);
    events
}
