//! Behind proxies of the operator's, over real sockets: the limits hit the client that a proxy names, and whoever is
//! no proxy names nobody.

mod common;
#[path = "common/metrics.rs"]
mod metrics;
#[path = "hostile/peer.rs"]
#[allow(dead_code)] // Each test file uses its part.
mod peer;
#[path = "hostile/target.rs"]
#[allow(dead_code)]
mod target;

use common::{Server, path};
use metrics::get;
use peer::{Peer, UPGRADE, auth, secret, solve};
use rustix::process::Signal;
use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};
use target::{Target, calm};

const ROOM: usize = 64 * 1_024;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Where the proxies of these tests are, of which the first one is the nearest; everybody else is nobody.
const PROXIES: &[&str] = &["--trusted-proxy", "127.0.0.2", "--trusted-proxy", "10.0.0.0/8"];
const PROXY: [u8; 4] = [127, 0, 0, 2];
const NOBODY: [u8; 4] = [127, 0, 0, 3];

/// One that counts its own machine too, so that nobody gets in for being near.
fn target(flags: &[&str]) -> Target {
    Target::start(&[PROXIES, &["--cores", "0", "--limit", "limit_loopback=1"], flags].concat())
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.1 56324 443\r\n").into_bytes()
}

fn v2(client: &str) -> Vec<u8> {
    let ip: Ipv4Addr = client.parse().unwrap();
    let addresses = [&ip.octets()[..], &[198, 51, 100, 1], &[0xDC, 0x04, 1, 0xBB]].concat();
    // A type-length-value behind the addresses: the host that was asked for.
    let behind = [&addresses, &b"\x02\0\x0Cchat.example"[..]].concat();
    [SIGNATURE, &[0x21, 0x11], &(behind.len() as u16).to_be_bytes(), &behind].concat()
}

/// A right request with this list forwarded.
fn forwarding(list: &str) -> Vec<u8> {
    format!("{}X-Forwarded-For: {list}\r\n\r\n", UPGRADE.strip_suffix("\r\n").unwrap()).into_bytes()
}

/// What a proxy sends for this client.
type Opening = fn(&str) -> Vec<u8>;

/// A header and a right request.
fn behind(header: Vec<u8>) -> Vec<u8> {
    [&header, UPGRADE.as_bytes()].concat()
}

fn dial(target: &Target, from: [u8; 4], opening: &[u8]) -> Peer {
    let mut peer = Peer::dial_from(target, from, ROOM);
    peer.send(opening);
    peer
}

#[track_caller]
fn served(target: &Target, from: [u8; 4], opening: &[u8]) -> Peer {
    let mut peer = dial(target, from, opening);
    peer.upgraded();
    peer.ask();
    peer
}

#[track_caller]
fn refused(target: &Target, from: [u8; 4], opening: &[u8], status: u16) -> String {
    dial(target, from, opening).refused_with(status)
}

#[test]
fn the_cap_hits_one_client_of_a_proxy_and_not_the_other() {
    let target = target(&["--limit", "connections_per_address=3"]);
    let table: [(&str, Opening); 3] = [
        ("192.0.2.1", |client| behind(v1(client))),
        ("192.0.2.2", |client| behind(v2(client))),
        ("192.0.2.3", forwarding),
    ];
    let mut all = Vec::new();
    for (client, open) in table {
        all.extend((0..3).map(|_| served(&target, PROXY, &open(client))));
        for (_, again) in table {
            assert!(refused(&target, PROXY, &again(client), 503).contains("from this address"));
        }
        all.push(served(&target, PROXY, &open("203.0.113.9")));
        all.iter_mut().for_each(Peer::ask);
    }
    // Three of those, through one proxy.
    assert!(refused(&target, PROXY, &behind(v2("203.0.113.9")), 503).contains("from this address"));
    drop(all);
    calm(&target);
}

#[test]
fn whoever_is_no_proxy_cannot_name_another() {
    let target = target(&["--limit", "connections_per_address=2"]);
    let first = served(&target, NOBODY, &forwarding("192.0.2.1"));
    let second = served(&target, NOBODY, &forwarding("127.0.0.2"));
    assert!(refused(&target, NOBODY, &forwarding("192.0.2.2"), 503).contains("from this address"));
    // Nor takes it the share of whom it named.
    let named = [1, 2].map(|_| served(&target, PROXY, &forwarding("192.0.2.1")));
    drop((first, second));
    target.holds(2, || drop(served(&target, PROXY, &forwarding("203.0.113.9"))));
    for header in [v1("192.0.2.2"), v2("192.0.2.2"), [SIGNATURE, &[0x20, 0, 0, 0]].concat()] {
        refused(&target, NOBODY, &behind(header), 400);
    }
    // Behind a proxy that named it, a client's own word is no better.
    for header in [v1("192.0.2.2"), v2("192.0.2.2")] {
        refused(&target, PROXY, &behind([header, v1("203.0.113.9")].concat()), 400);
    }
    let mut own =
        [1, 2].map(|_| served(&target, PROXY, &[v1("192.0.2.4"), forwarding("192.0.2.5")].concat()));
    let third = [v1("192.0.2.4"), forwarding("192.0.2.6")].concat();
    assert!(refused(&target, PROXY, &third, 503).contains("from this address"));
    own.iter_mut().for_each(Peer::ask);
    drop((named, own));
    calm(&target);
}

#[test]
fn a_client_is_found_through_two_proxies() {
    let target = target(&["--limit", "connections_per_address=1"]);
    let mut all = Vec::new();
    for (number, opening) in [
        |client: &str| forwarding(&format!("{client}, 10.0.0.2")),
        |client: &str| forwarding(&format!("forged, 203.0.113.1, {client}:443, 10.0.0.2, 10.0.0.3")),
        // The one in front speaks TCP only, and says that the next one behind it has connected.
        |client: &str| [v1("10.0.0.2"), forwarding(client)].concat(),
        |client: &str| [v2("10.0.0.2"), forwarding(&format!("203.0.113.1, {client}, 10.0.0.3"))].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        let client = format!("192.0.2.{number}");
        all.push(served(&target, PROXY, &opening(&client)));
        assert!(refused(&target, PROXY, &forwarding(&client), 503).contains("from this address"));
    }
    // Up to the last hop that can be read: it counts.
    let unreadable = forwarding("192.0.2.200, unknown, 10.0.0.7");
    all.push(served(&target, PROXY, &unreadable));
    assert!(refused(&target, PROXY, &unreadable, 503).contains("from this address"));
    drop(all);
    calm(&target);
}

#[test]
fn an_unfinished_header_gets_408_and_a_wrong_one_400() {
    let flags = ["--limit", "upgrade_ms=1000", "--trusted-proxy", "127.0.0.0/8"];
    let target = Target::beating(100, &flags);
    let mut clock = Peer::open(&target);
    let (begun, mut slow) = (Instant::now(), Peer::dial(&target));
    // One byte a ping: the deadline is not moved by any.
    for byte in &v2("192.0.2.1")[..20] {
        slow.send(&[*byte]);
        clock.ping();
        if begun.elapsed() > Duration::from_millis(1_500) {
            break;
        }
    }
    slow.refused_with(408);
    assert!(begun.elapsed() < Duration::from_millis(3_000), "refused after {:?}", begun.elapsed());
    for cut in [1, 6, 12, 16, 27] {
        let mut peer = dial(&target, PROXY, &v2("192.0.2.1")[..cut]);
        peer.refused_with(408);
    }
    for wrong in [
        b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
        [&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat(),
        [SIGNATURE, &[0x11]].concat(),
    ] {
        refused(&target, PROXY, &wrong, 400);
    }
    drop((clock, slow));
    calm(&target);
}

#[test]
fn a_proxy_that_names_nobody_is_counted_itself() {
    let target = target(&["--limit", "connections_per_address=2"]);
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    // Whoever is behind one that cannot name it cannot name itself.
    let first = served(&target, PROXY, &[local, forwarding("192.0.2.1")].concat());
    let second = served(&target, PROXY, UPGRADE.as_bytes());
    let unknown = [b"PROXY UNKNOWN\r\n".to_vec(), forwarding("192.0.2.2")].concat();
    assert!(refused(&target, PROXY, &unknown, 503).contains("from this address"));
    let third = served(&target, PROXY, &forwarding("192.0.2.1"));
    drop((first, second, third));
    calm(&target);
}

#[test]
fn logins_are_counted_for_each_client_of_a_proxy() {
    let limits = ["--limit", "logins_per_address_per_s=1", "--limit", "logins_per_address_burst=1"];
    let target = target(&limits);
    for client in ["192.0.2.1", "192.0.2.2"] {
        let mut first = served(&target, PROXY, &behind(v2(client)));
        first.challenged(secret(1));
        let mut second = served(&target, PROXY, &forwarding(client));
        second.errs(&auth(&secret(2)), "rate_limited");
    }
    calm(&target);
}

#[test]
fn the_operator_is_shown_the_client() {
    const TOKEN: &str = "correct-horse-battery";
    let file = path("proxy-token");
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let target = target(&["--admin-token", file.to_str().unwrap()]);
    let host = target.address().to_string();
    let key = secret(1).identity().to_hex();
    let key = format!("/connections?key={}", std::str::from_utf8(&key).unwrap());
    for (opening, shown) in [
        (behind(v1("192.0.2.1")), "192.0.2.1:56324"),
        (forwarding("2001:db8::1"), "2001:db8::1"),
        (forwarding("192.0.2.1:443"), "192.0.2.1:443"),
    ] {
        let mut peer = served(&target, PROXY, &opening);
        let challenge = peer.challenged(secret(1));
        peer.passes(&solve(&secret(1), &host, &challenge));
        let found = get(target.admin(), &key, &format!("Authorization: Bearer {TOKEN}\r\n"));
        let found: serde_json::Value = serde_json::from_str(&found.body).unwrap();
        assert_eq!(found[0]["address"], shown, "{found}");
        drop(peer);
        target.holds(0, || drop(served(&target, NOBODY, UPGRADE.as_bytes())));
    }
}

#[test]
fn a_reload_changes_who_is_a_proxy() {
    let file = path("proxy.toml");
    fs::write(&file, "").unwrap();
    // On one core: the note that is waited for comes behind the settings.
    let server = Server::start(&["--cores", "0", "--config", file.to_str().unwrap()]);
    let status = || {
        let mut peer = Peer::dial_at(server.address());
        peer.send(&behind(v1("192.0.2.1")));
        [400, 101].into_iter().find(|status| peer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()))
    };
    assert_eq!(status(), Some(400));
    let mut watching = Peer::dial_at(server.address());
    watching.upgrade();
    fs::write(&file, "note = 'next'\ntrusted-proxy = ['127.0.0.0/8']\n").unwrap();
    server.signal(Signal::HUP);
    assert_eq!(watching.hear()["data"]["note"], "next");
    assert_eq!(status(), Some(101));
}
