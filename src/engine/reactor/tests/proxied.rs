//! Connections of trusted proxies: whose they are, and whom the limits hit.

use super::*;
use crate::engine::proxies::Proxies;
use std::net::SocketAddr;

/// Two proxies, and another server's.
const NEAR: &str = "10.0.0.1:700";
const FAR: &str = "10.0.0.2";
const UNKNOWN: &str = "192.0.2.66:700";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn trusting(limits: Limits, capacity: usize) -> World {
    let networks = ["10.0.0.0/8", "2001:db8:f::/48"].map(|network| network.parse().unwrap());
    let proxies = Arc::new(Proxies::new(networks.into()));
    World::with(Settings { limits: Arc::new(limits), proxies, capacity, ..settings() })
}

fn one_each() -> World {
    trusting(Limits { connections_per_address: 1, ..Limits::default() }, 100_000)
}

fn v1(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, to) = if client.is_ipv4() { ("TCP4", "10.0.0.9") } else { ("TCP6", "::9") };
    format!("PROXY {family} {} {to} {} 443\r\n", client.ip(), client.port()).into_bytes()
}

fn v2(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, ip) = match client.ip() {
        std::net::IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        std::net::IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let addresses = [&ip[..], &ip, &client.port().to_be_bytes(), &[1, 187], b"\x20\0\x01x"].concat();
    [SIGNATURE, &[0x21, family], &(addresses.len() as u16).to_be_bytes(), &addresses].concat()
}

/// A request with this list forwarded.
fn forwarding(list: &str) -> Vec<u8> {
    let mut head = request("/");
    head.truncate(head.len() - 2);
    [&head[..], format!("X-Forwarded-For: {list}\r\n\r\n").as_bytes()].concat()
}

/// What a proxy may send, and whose connection it is then.
fn openings() -> Vec<(Vec<u8>, &'static str)> {
    let then = |header: Vec<u8>, list: &str| [header, forwarding(list)].concat();
    vec![
        (request("/"), NEAR),
        ([LOCAL.to_vec(), request("/")].concat(), NEAR),
        ([b"PROXY UNKNOWN\r\n".to_vec(), request("/")].concat(), NEAR),
        ([v1("192.0.2.1:5"), request("/")].concat(), "192.0.2.1:5"),
        ([v2("192.0.2.1:5"), request("/")].concat(), "192.0.2.1:5"),
        ([v2("[2001:db8::1]:5"), request("/")].concat(), "[2001:db8::1]:5"),
        ([v1("[2001:db8::1]:5"), request("/")].concat(), "[2001:db8::1]:5"),
        (forwarding("192.0.2.1"), "192.0.2.1:0"),
        (forwarding("198.51.100.1, 192.0.2.1, 10.0.0.2"), "192.0.2.1:0"),
        (forwarding("forged"), NEAR),
        // Behind a header that names a client, what the client forwards is its own word; behind one that names
        // another proxy, it is that proxy's.
        (then(v1("192.0.2.1:5"), "198.51.100.1"), "192.0.2.1:5"),
        (then(v1("10.0.0.2:5"), "198.51.100.1, 192.0.2.1"), "192.0.2.1:0"),
        (then(v2("10.0.0.2:5"), "198.51.100.1, 192.0.2.1"), "192.0.2.1:0"),
        (then(v2("[2001:db8:f::2]:5"), "198.51.100.1, 192.0.2.1"), "192.0.2.1:0"),
        (then(v1("10.0.0.2:5"), "forged"), "10.0.0.2:5"),
        // Behind one that names nobody it is anybody's.
        (then(LOCAL.to_vec(), "198.51.100.1"), NEAR),
        (then(b"PROXY UNKNOWN\r\n".to_vec(), "198.51.100.1"), NEAR),
    ]
}

#[test]
fn a_proxy_names_its_client_wherever_its_bytes_are_cut() {
    let mut world = trusting(Limits::default(), 100_000);
    for (opening, client_address) in openings() {
        let stream = [&opening[..], &text("first")].concat();
        for cut in 1..=stream.len() {
            let client = world.connect_from(NEAR);
            world.feed(client, &stream[..cut]);
            if cut < stream.len() {
                world.feed(client, &stream[cut..]);
            }
            let name = opening.escape_ascii();
            let got = world.reactor.io().take(client);
            assert_eq!(got, [ACCEPTED.as_bytes(), b"\x81\x05first"].concat(), "{name} cut at {cut}");
            let known = world.reactor.core.clients.get(0);
            assert_eq!(known, Some(client_address.parse().unwrap()), "{name} cut at {cut}");
            assert_eq!(world.reactor.holdings(), Holdings::default());
            world.end(client);
        }
        let client = world.connect_from(NEAR);
        stream.iter().for_each(|byte| world.feed(client, &[*byte]));
        assert!(world.reactor.io().take(client).ends_with(b"\x81\x05first"));
        assert_eq!(world.reactor.core.clients.get(0), Some(client_address.parse().unwrap()));
        world.end(client);
    }
}

#[test]
fn the_share_of_an_address_is_the_clients_and_not_the_proxys() {
    for (opening, _) in openings().into_iter().filter(|(_, address)| *address != NEAR) {
        let mut world = one_each();
        let mut connect = |opening: &[u8]| {
            let client = world.connect_from(NEAR);
            world.feed(client, opening);
            let answer = world.take_text(client);
            (client, answer)
        };
        let (first, answer) = connect(&opening);
        assert_eq!(answer, ACCEPTED);
        let (_, answer) = connect(&opening);
        let name = opening.escape_ascii();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("from this address"), "{name}");
        for other in [[v1("203.0.113.9:1"), request("/")].concat(), forwarding("203.0.113.10")] {
            assert_eq!(connect(&other).1, ACCEPTED, "{name}");
        }
        // Its share is its own again when it has gone.
        world.end(first);
        let again = world.connect_from(NEAR);
        world.feed(again, &opening);
        assert_eq!(world.take_text(again), ACCEPTED, "{name}");
    }
}

#[test]
fn a_client_has_one_share_through_all_proxies_and_without() {
    let mut world = one_each();
    let client = world.connect_from("192.0.2.1:5");
    world.feed(client, &request("/"));
    assert_eq!(world.take_text(client), ACCEPTED);
    for (opening, _) in openings().into_iter().filter(|(_, address)| address.starts_with("192.0.2.1:")) {
        let client = world.connect_from(NEAR);
        world.feed(client, &opening);
        assert!(world.take_text(client).contains("from this address"), "{}", opening.escape_ascii());
    }
}

#[test]
fn who_is_no_proxy_names_nobody() {
    let mut world = one_each();
    let client = world.connect_from(UNKNOWN);
    world.feed(client, &forwarding("192.0.2.1"));
    assert_eq!(world.take_text(client), ACCEPTED);
    assert!(world.reactor.core.clients.is_empty());
    // Its share is used up, whatever it says.
    let again = world.connect_from(UNKNOWN);
    world.feed(again, &forwarding("192.0.2.2"));
    assert!(world.take_text(again).contains("from this address"));
    world.end(client);
    world.end(again);
    for header in [v1("192.0.2.1:5"), v2("192.0.2.1:5"), LOCAL.to_vec()] {
        let client = world.connect_from(UNKNOWN);
        world.feed(client, &[header, request("/")].concat());
        assert!(world.take_text(client).starts_with("HTTP/1.1 400 "));
        world.end(client);
    }
    // Nor does somebody behind a proxy that has said whose connection it is.
    for header in [v1("192.0.2.1:5"), v2("10.0.0.2:5"), LOCAL.to_vec()] {
        let client = world.connect_from(NEAR);
        world.feed(client, &[header, v1("203.0.113.9:5"), request("/")].concat());
        assert!(world.take_text(client).starts_with("HTTP/1.1 400 "));
        world.end(client);
    }
}

#[test]
fn a_wrong_header_is_refused_at_once() {
    let endless = [b"PROXY UNKNOWN ", &[b'x'; 93][..]].concat();
    let long = [SIGNATURE, &[0x21, 0x11], &8_177_u16.to_be_bytes()].concat();
    let table = [
        b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
        [b"PROXY TCP4 192.0.2.1 10.0.0.9 5 443\n".to_vec(), request("/")].concat(),
        endless,
        long,
        [SIGNATURE, &[0x11]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0, 4]].concat(),
    ];
    for header in table {
        for whole in [true, false] {
            let mut world = one_each();
            let client = world.connect_from(NEAR);
            let (most, last) = header.split_at(header.len() - usize::from(!whole));
            world.feed(client, most);
            if !whole {
                world.feed(client, last);
            }
            assert!(world.take_text(client).starts_with("HTTP/1.1 400 "), "{}", header.escape_ascii());
            world.expect_the_end(client);
        }
    }
}

#[test]
fn an_unfinished_header_has_the_deadline_of_a_request() {
    let mut world = one_each();
    let silent = world.connect_from(NEAR);
    let slow = world.connect_from(NEAR);
    world.turn();
    for byte in &v2("192.0.2.1:5")[..20] {
        world.feed(slow, &[*byte]);
        world.pass(400);
    }
    let held = world.reactor.holdings();
    assert!(held.tails == 1 && held.tail_bytes < 100);
    world.pass(2_000);
    for client in [silent, slow] {
        assert!(world.take_text(client).starts_with("HTTP/1.1 408 "));
        world.expect_the_end(client);
    }
}

#[test]
fn a_client_over_its_share_takes_no_room_behind_a_proxy_by_saying_nothing() {
    let mut world = trusting(Limits { connections_per_address: 2, ..Limits::default() }, 10);
    let greedy: Vec<_> = (0..300)
        .map(|_| {
            let client = world.connect_from(NEAR);
            world.feed(client, &v2("192.0.2.1:5"));
            client
        })
        .collect();
    assert_eq!(world.reactor.connections(), 2 + PATIENT);
    for &client in &greedy[2 + PATIENT..] {
        assert!(world.take_text(client).contains("from this address"));
        assert!(world.is_closed(client) && !world.is_reset(client));
    }
    // One that was refused, and has not heard it yet, has no seat either.
    let others: Vec<_> = (0..8).map(|_| world.open()).collect();
    let client = world.connect_from(NEAR);
    world.feed(client, &[v1("192.0.2.2:5"), request("/")].concat());
    assert!(world.take_text(client).contains("no room"));
    others.iter().for_each(|client| world.expect_served(*client));
    world.feed(greedy[2], &request("/"));
    assert!(world.take_text(greedy[2]).contains("from this address"));
}

#[test]
fn clients_that_are_refused_with_their_request_take_no_room_either() {
    let mut world = trusting(Limits { connections_per_address: 2, ..Limits::default() }, 10);
    let greedy: Vec<_> = (0..300)
        .map(|_| {
            let client = world.connect_from(NEAR);
            world.feed(client, &forwarding("192.0.2.1"));
            client
        })
        .collect();
    assert_eq!(world.reactor.connections(), 2 + PATIENT);
    assert!(world.reactor.io().accepting);
    for &client in &greedy[2..] {
        assert!(world.take_text(client).contains("from this address"));
    }
    (0..8).map(|_| world.open()).for_each(|client| assert!(client > 0));
}

#[test]
fn logins_are_counted_for_the_client() {
    let limits = Limits { logins_per_address_per_s: 1, logins_per_address_burst: 1, ..Limits::default() };
    let mut world = trusting(limits, 100);
    for (opening, address) in [
        (forwarding("192.0.2.1"), "192.0.2.1:0"),
        ([v1("192.0.2.1:5"), request("/")].concat(), "192.0.2.1:0"),
        (forwarding("192.0.2.2"), "192.0.2.2:0"),
    ] {
        let client = world.connect_from(NEAR);
        world.feed(client, &opening);
        assert_eq!(world.take_text(client), ACCEPTED);
        let core = &mut world.reactor.core;
        let index = core.slots.end() - 1;
        let handle = core.slots.at(index).unwrap().address;
        // The same entry that the address has when it comes by itself.
        let own = core.gate.enter(address.parse().unwrap(), 0, &core.settings.limits).unwrap();
        assert_eq!(handle, own);
        core.gate.leave(own, 0);
    }
}

#[test]
fn new_settings_hold_for_new_connections() {
    let mut world = World::with_limits(Limits { connections_per_address: 1, ..Limits::default() });
    let before = world.connect_from(NEAR);
    world.turn();
    let proxies = Arc::new(Proxies::new(vec!["10.0.0.1".parse().unwrap()]));
    let limits = world.reactor.core.settings.limits.clone();
    let trusting = Settings { limits, proxies, ..settings() };
    assert!(world.reactor.inbox().post(Letter::Settings(trusting)).is_ok());
    world.turn();
    world.feed(before, &forwarding("192.0.2.1"));
    assert_eq!(world.take_text(before), ACCEPTED);
    assert!(world.reactor.core.clients.is_empty());
    for client in ["192.0.2.1", "192.0.2.2, 10.0.0.1", "192.0.2.3"] {
        let after = world.reactor.io().receive_dealt(NEAR.parse().unwrap());
        // One that another reactor has accepted is no different.
        world.reactor.core.balance.place(0).ok();
        world.feed(after, &forwarding(client));
        assert_eq!(world.take_text(after), ACCEPTED);
    }
    // Not trusted any more, and a hop no more: its own share is that of the first.
    let limits = world.reactor.core.settings.limits.clone();
    let wary = Settings { limits, ..settings() };
    assert!(world.reactor.inbox().post(Letter::Settings(wary)).is_ok());
    world.turn();
    let last = world.connect_from(NEAR);
    world.feed(last, &forwarding(FAR));
    assert!(world.take_text(last).contains("from this address"));
}
