//! The upgrade.

use crate::{
    peer::{Peer, UPGRADE, text},
    target::{Target, calm},
};
use std::time::{Duration, Instant};

/// A right request with these lines instead of those that start like them, or besides.
fn request(lines: &[&str]) -> Vec<u8> {
    let mut request: Vec<String> = UPGRADE.trim_end().split("\r\n").map(str::to_owned).collect();
    for line in lines {
        let name = line.split(':').next().unwrap();
        match request.iter_mut().skip(1).find(|known| known.split(':').next() == Some(name)) {
            Some(known) => *known = (*line).to_owned(),
            None => request.push((*line).to_owned()),
        }
    }
    (request.join("\r\n") + "\r\n\r\n").into_bytes()
}

/// A right request with `from` replaced.
fn altered(from: &str, to: &str) -> Vec<u8> {
    assert!(UPGRADE.contains(from));
    UPGRADE.replacen(from, to, 1).into_bytes()
}

fn refused(target: &Target, request: &[u8], status: u16) -> String {
    let mut peer = Peer::dial(target);
    peer.send(request);
    peer.refused_with(status)
}

#[test]
fn l08_one_byte_a_second_gets_408() {
    let target = Target::beating(100, &["--limit", "upgrade_ms=1000"]);
    let mut clock = Peer::open(&target);
    let (begun, mut slow) = (Instant::now(), Peer::dial(&target));
    // One byte a ping: seven at most before the deadline, which no byte moves.
    for byte in &UPGRADE.as_bytes()[..20] {
        slow.send(&[*byte]);
        clock.ping();
        if begun.elapsed() > Duration::from_millis(1_500) {
            break;
        }
    }
    slow.refused_with(408);
    assert!(begun.elapsed() < Duration::from_millis(3_000), "refused after {:?}", begun.elapsed());
    let (begun, mut silent) = (Instant::now(), Peer::dial(&target));
    silent.refused_with(408);
    assert!(begun.elapsed() >= Duration::from_millis(990), "refused after {:?}", begun.elapsed());
    drop((clock, slow, silent));
    calm(&target);
}

#[test]
fn l09_an_endless_head_gets_431_for_linear_work() {
    let target = Target::start(&[]);
    for bytes in [8_192, 100_000] {
        let endless = format!("GET / HTTP/1.1\r\nHost: localhost:7700\r\nX: {}", "x".repeat(bytes));
        refused(&target, endless.as_bytes(), 431);
    }
    let whole = request(&[&format!("X: {}", "x".repeat(8_192))]);
    refused(&target, &whole, 431);
    calm(&target);

    const BYTES: usize = 1_048_576;
    let target = Target::start(&["--limit", &format!("head_bytes={BYTES}")]);
    let (mut peer, cpu) = (Peer::dial(&target), target.cpu());
    peer.send(b"GET / HTTP/1.1\r\nX: ");
    for _ in 0..BYTES / 256 {
        peer.send(&[b'x'; 256]);
    }
    peer.refused_with(431);
    // Looking at everything again for each piece would be 2 GiB to look at.
    let cpu = target.cpu() - cpu;
    assert!(cpu < Duration::from_millis(1_500), "{cpu:?} for a head of {BYTES} bytes");
    drop(peer);
    calm(&target);
}

#[test]
fn l10_two_thousand_fields_get_431() {
    let target = Target::start(&[]);
    let fields: Vec<String> = (0..2_000).map(|number| format!("X{number}: y")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    refused(&target, &request(&fields), 431);
    refused(&target, &request(&fields[..60]), 431);
    let mut most = Peer::dial(&target);
    most.send(&request(&fields[..59]));
    most.upgraded();
    drop(most);
    // More bytes are allowed here, and still not more fields.
    let target = Target::start(&["--limit", "head_bytes=0", "--limit", "head_fields=0"]);
    refused(&target, &request(&fields), 431);
    calm(&target);
}

#[test]
fn l11_a_request_that_is_no_upgrade_gets_400() {
    let target = Target::start(&[]);
    for wrong in [
        altered("GET", "POST"),
        altered("GET", "get"),
        altered("GET", "HEAD"),
        altered("HTTP/1.1", "HTTP/1.0"),
        altered("HTTP/1.1", "HTTP/2.0"),
        altered("GET / HTTP/1.1", "PRI * HTTP/2.0"),
        altered("GET / HTTP/1.1", "GET /"),
        altered("GET / ", "GET http:/// "),
        altered("Upgrade: websocket\r\n", ""),
        request(&["Upgrade: h2c"]),
        request(&["Upgrade: websockets"]),
        altered("Connection: Upgrade\r\n", ""),
        request(&["Connection: keep-alive"]),
        altered("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        request(&["Sec-WebSocket-Key: "]),
        request(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"]),
        request(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]).repeat(2)[1..].to_vec(),
        request(&["Sec-WebSocket-Key: AAAA"]),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(),
    ] {
        refused(&target, &wrong, 400);
    }
    calm(&target);
}

#[test]
fn l12_another_version_of_websocket_gets_426_that_names_13() {
    let target = Target::start(&[]);
    for version in ["12", "8", "0", "14", "013", "13, 8", "x", ""] {
        let answer = refused(&target, &request(&[&format!("Sec-WebSocket-Version: {version}")]), 426);
        assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{answer}");
        assert!(answer.contains("\r\nUpgrade: websocket\r\n"), "{answer}");
    }
    refused(&target, &altered("Sec-WebSocket-Version: 13\r\n", ""), 426);
    calm(&target);
}

#[test]
fn l13_what_could_smuggle_a_second_request_gets_400() {
    let target = Target::start(&[]);
    for wrong in [
        request(&["Content-Length: 0"]),
        request(&["content-length: 5"]),
        request(&["Transfer-Encoding: chunked"]),
        request(&["Transfer-Encoding: identity"]),
        altered("Host: localhost:7700\r\n", "Host: localhost:7700\r\nHost: localhost:7700\r\n"),
        altered("Host: localhost:7700\r\n", "Host: localhost:7700\r\nHOST: evil.example\r\n"),
        altered("Host: localhost:7700\r\n", ""),
        altered("Host: localhost:7700", "Host: a b"),
        altered("Host: localhost:7700", "Host: user@localhost"),
        altered("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: "),
        altered("\r\nUpgrade", "\nUpgrade"),
        UPGRADE.replace("\r\n", "\n").into_bytes(),
        altered("\r\nUpgrade", "\rUpgrade"),
        altered("Upgrade: websocket\r\n", "Upgrade: websocket\r\n folded\r\n"),
        altered("Upgrade: websocket\r\n", "Upgrade:\r\n\twebsocket\r\n"),
        altered("Upgrade: websocket", "Upgrade : websocket"),
        altered("Upgrade: websocket", ": websocket"),
        altered("Upgrade: websocket", "Upgrade: web\0socket"),
        altered("GET / ", "GET /\0 "),
        altered("GET / ", "GET  / "),
        altered("GET / ", "GET /#x "),
        altered("GET / ", "\r\n\r\nGET / ").into_iter().chain(*b"\0").collect(),
    ] {
        refused(&target, &wrong, 400);
    }
    calm(&target);
}

#[test]
fn l14_frames_right_behind_the_request_are_served_after_the_101() {
    let target = Target::start(&[]);
    let ask = text(r#"{"t":1}"#);
    let whole = [UPGRADE.as_bytes(), &ask, &ask].concat();
    for cut in [whole.len(), UPGRADE.len() + 1, UPGRADE.len(), UPGRADE.len() - 1, 10] {
        let mut peer = Peer::dial(&target);
        peer.send(&whole[..cut]);
        peer.send(&whole[cut..]);
        peer.upgraded();
        assert_eq!((peer.hear()["t"].clone(), peer.hear()["t"].clone()), (1.into(), 1.into()));
    }
    // A wrong one gets its close frame behind the 101 and the rules.
    let mut peer = Peer::dial(&target);
    peer.send(&[UPGRADE.as_bytes(), b"\x81\x00"].concat());
    peer.upgraded();
    peer.closed_with(1002);
    drop(peer);
    calm(&target);
}

#[test]
fn l15_an_origin_that_is_not_on_the_list_gets_403() {
    let target = Target::start(&["--allow-origin", "https://chat.example"]);
    for origin in [
        "https://chat.example.evil.example",
        "https://chat.example:443",
        "https://Chat.example",
        "https://chat.example/",
        "http://chat.example",
        "https://evil.example",
        "https://chat.exampl",
        "chat.example",
        "null",
        "",
        "http://localhost",
    ] {
        refused(&target, &request(&[&format!("Origin: {origin}")]), 403);
    }
    refused(&target, &request(&["Origin: https://chat.ex\u{e4}mple"]), 400);
    refused(
        &target,
        &altered("Host", "Origin: https://chat.example\r\nOrigin: https://chat.example\r\nHost"),
        400,
    );
    for origin in [&["Origin: https://chat.example"][..], &["Origin: http://localhost:7700"], &[]] {
        let mut peer = Peer::dial(&target);
        peer.send(&request(origin));
        peer.upgraded();
    }
    calm(&target);
}

#[test]
fn l16_a_huge_or_malformed_list_of_subprotocols_gets_400() {
    let target = Target::start(&[]);
    for list in [
        "m\u{ef}da".to_owned(),
        "mida, \u{1f980}".to_owned(),
        "mida,,m ida".to_owned(),
        String::new(),
        ",,,".to_owned(),
        "\"mida\"".to_owned(),
        vec!["mida"; 65].join(","),
        vec!["x"; 4_000].join(","),
    ] {
        refused(&target, &request(&[&format!("Sec-WebSocket-Protocol: {list}")]), 400);
    }
    let mut most = Peer::dial(&target);
    let list = vec!["x"; 63].join(",") + ",mida";
    most.send(&request(&[&format!("Sec-WebSocket-Protocol: {list}")]));
    assert!(most.upgraded().contains("\r\nSec-WebSocket-Protocol: mida\r\n"));
    drop(most);
    calm(&target);
}
