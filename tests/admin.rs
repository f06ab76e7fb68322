//! `--admin` as an operator meets it: metrics that count what happens, health, and who is turned away.

mod common;
#[path = "common/inside.rs"]
mod inside;
#[path = "common/metrics.rs"]
mod metrics;
#[path = "hostile/peer.rs"]
#[allow(dead_code)] // Each test file uses its part.
mod peer;
#[path = "hostile/target.rs"]
#[allow(dead_code)]
mod target;

use common::{Process, Server, number_behind, path};
use metrics::{Metrics, answer, ask, get};
use mida::{
    app::relay::Command,
    engine::{
        app::{Accept, App, Link},
        error::Refusal,
        reactor::Drain,
        wire::{Kind, upgrade::Request},
    },
    server::{
        self,
        admin::{Guard, Service},
    },
};
use peer::{FIN, Peer, TEXT, UPGRADE, secret, solve};
use rustix::process::Signal;
use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};
use target::{QUIET_MS, Target};

const TOKEN: &str = "correct-horse-battery";

/// A file with the token, that only its owner can read.
fn token_file(name: &str) -> String {
    let file = path(name);
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The server's metrics once `is_there` holds.
fn when(target: &Target, is_there: impl Fn(&Metrics) -> bool) -> Metrics {
    let since = Instant::now();
    loop {
        let now = target.scrape();
        if is_there(&now) {
            return now;
        }
        assert!(since.elapsed() < target::PATIENCE, "{now:?}");
    }
}

/// A peer that has proven key number `number`.
fn member(target: &Target, number: u8) -> Peer {
    let mut peer = Peer::open(target);
    let challenge = peer.challenged(secret(number));
    peer.passes(&solve(&secret(number), &target.address().to_string(), &challenge));
    peer
}

fn identity(number: u8) -> String {
    String::from_utf8(secret(number).identity().to_hex().to_vec()).unwrap()
}

#[test]
fn counters_count_what_clients_do_and_nothing_stays_when_they_left() {
    let target = Target::start(&["--cores", "0", "--max-connections", "6"]);
    let before = target.scrape();
    assert_eq!(before.sum("mida_connections", &[]), 0.0);
    assert_eq!(before.sum("mida_connections_max", &[]), 6.0);
    assert_eq!(before.sum("mida_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert!(before.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert!(before.sum("process_start_time_seconds", &[]) > 1.6e9);
    assert!(before.sum("mida_open_files", &[]) > 2.0 && before.sum("process_open_fds", &[]) > 2.0);
    assert!(before.families().len() > 40);

    // One logs in, asks, and is told in sealed messages; one makes mistakes; one holds an incomplete message.
    let mut proven = member(&target, 1);
    for _ in 0..3 {
        proven.say(r#"{"t":1}"#);
        assert_eq!(proven.open_sealed()["t"], 1);
    }
    let mut clumsy = Peer::open(&target);
    clumsy.errs("nonsense", "bad_json");
    let mut half = Peer::open(&target);
    half.send(&peer::frame(TEXT, b"{\"t\":1"));
    let mut named = Peer::open(&target);
    named.challenged(secret(2));
    let upgrading = Peer::dial(&target);
    let now =
        when(&target, |now| now.sum("mida_connections", &[]) == 5.0 && now.sum("mida_tails", &[]) == 1.0);
    assert_eq!(now.sum("mida_connections", &[("state", "open"), ("reactor", "0")]), 4.0);
    assert_eq!(now.sum("mida_connections", &[("state", "upgrading")]), 1.0);
    assert!(now.sum("mida_tail_bytes", &[]) >= 6.0);
    for (name, value) in [
        ("mida_accepted_total", 5.0),
        ("mida_reactor_up", 1.0),
        ("mida_members", 1.0),
        ("mida_sealed_connections", 2.0),
        ("mida_keys", 1.0),
        ("mida_challenges", 1.0),
        ("mida_struck_connections", 1.0),
        ("mida_kept_hosts", 4.0),
        ("mida_strikes_total", 1.0),
        ("mida_derivations_total", 2.0),
        // A challenge each, then the result, the rules, and the metadata three times.
        ("mida_seals_total", 7.0),
        // Of the proven one five, of the others one each.
        ("mida_received_events_total", 7.0),
        ("mida_received_messages_total", 7.0),
        // Rules for four, what is sealed, and an error.
        ("mida_sent_events_total", 12.0),
        ("mida_panics_total", 0.0),
    ] {
        assert_eq!(now.sum(name, &[]), value, "{name}");
    }
    assert!(now.sum("mida_verifications_total", &[]) >= 1.0);
    assert!(now.sum("mida_received_bytes_total", &[]) > 4.0 * UPGRADE.len() as f64);
    assert!(now.sum("mida_sent_bytes_total", &[]) > 1_000.0);
    assert!(now.sum("mida_turn_seconds_count", &[]) > before.sum("mida_turn_seconds_count", &[]));

    // Closed by the server, by the client, by nobody; refused for want of room and for what was asked.
    let closes =
        |now: &Metrics, by: &str, code: &str| now.sum("mida_closes_total", &[("by", by), ("code", code)]);
    let refused = |now: &Metrics, status: &str| now.sum("mida_refusals_total", &[("status", status)]);
    drop(upgrading);
    clumsy.send(&[FIN | TEXT, 1, b'x']);
    clumsy.closed_with(1002);
    half.send(&peer::frame(FIN | peer::CLOSE, &1000u16.to_be_bytes()));
    half.closed_with(1000);
    // The two others say nothing any more.
    target.beat(200);
    let now = when(&target, |now| closes(now, "server", "4008") == 2.0);
    assert_eq!((closes(&now, "server", "1002"), closes(&now, "client", "1000")), (1.0, 1.0));
    let reason = ("reason", "frame is not masked");
    assert_eq!(now.sum("mida_closes_total", &[("by", "server"), reason]), 1.0);
    assert!(now.sum("mida_timer_lag_seconds_count", &[]) > 0.0);
    target.beat(QUIET_MS);
    drop((proven, named));
    Peer::open(&target).leave_with_reset();
    let mut wrong = Peer::dial(&target);
    wrong.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n");
    wrong.refused_with(400);
    when(&target, |now| now.sum("mida_connections", &[]) == 0.0 && closes(now, "nobody", "1006") == 1.0);
    let all: Vec<_> = (0..6).map(|_| Peer::open(&target)).collect();
    let mut seventh = Peer::dial(&target);
    seventh.send(UPGRADE.as_bytes());
    seventh.refused_with(503);
    let now = target.scrape();
    assert_eq!((refused(&now, "400"), refused(&now, "503"), refused(&now, "431")), (1.0, 1.0, 0.0));
    drop(all);
    let after = when(&target, |now| now.sum("mida_connections", &[]) == 0.0);
    for name in ["queues", "queue_bytes", "tails", "tail_bytes", "members", "keys", "sealed_connections"] {
        assert_eq!(after.sum(&format!("mida_{name}"), &[]), 0.0, "{name}");
    }
    for name in ["challenges", "struck_connections", "kept_hosts"] {
        assert_eq!(after.sum(&format!("mida_{name}"), &[]), 0.0, "{name}");
    }
}

#[test]
fn only_who_has_the_token_and_is_no_web_page_is_answered() {
    let file = token_file("guard-token");
    let flags = ["--admin", "127.0.0.1:0", "--admin-token", &file, "--admin-host", "mida.internal"];
    let server = Server::start(&flags);
    let at = server.admin();
    let key = format!("/connections?key={}", identity(1));
    let right = bearer(TOKEN);
    let wrong = bearer("correct-horse-batterx");
    for (path, fields, status) in [
        ("/metrics", "", 200),
        ("/healthz", "", 200),
        ("/readyz?verbose", "", 200),
        (&key, "", 401),
        (&key, &*wrong, 401),
        (&key, &*right, 200),
        ("/connections?key=02", &*right, 400),
        ("/connections", &*right, 400),
        ("/nothing", "", 401),
        ("/nothing", &*right, 404),
        ("/metrics/", &*right, 404),
        ("/metrics", "Origin: http://127.0.0.1\r\n", 403),
        (&key, &*format!("Origin: null\r\n{right}"), 403),
        ("/metrics", &*format!("x: {}\r\n", "y".repeat(9_000)), 431),
        ("/metrics", "Content-Length: 1048577\r\n", 413),
        ("/metrics", "Content-Length: x\r\n", 400),
        ("/metrics", "Transfer-Encoding: chunked\r\n", 411),
        ("/metrics", "Host: 127.0.0.1\r\n", 400),
    ] {
        let answer = get(at, path, fields);
        assert_eq!(answer.status, status, "{path} with {fields:.80}: {answer:?}");
        assert_eq!(answer.head.contains("WWW-Authenticate: Bearer"), status == 401);
    }
    for (host, status) in [
        (format!("localhost:{}", at.port()), 200),
        (format!("LOCALHOST:{}", at.port()), 200),
        ("mida.internal".to_owned(), 200),
        (format!("mida.internal:{}", at.port()), 200),
        ("localhost:1".to_owned(), 403),
        (format!("evil.example:{}", at.port()), 403),
        (server.address().to_string(), 403),
        (String::new(), 403),
    ] {
        let answer = ask(at, format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(answer.status, status, "{host}");
    }
    let other = ask(at, format!("POST /healthz HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes());
    assert_eq!((other.status, other.head.contains("\r\nAllow: GET\r\n")), (405, true), "{other:?}");
    // A body is read, also where nothing is done with it.
    let sent = format!("GET /healthz HTTP/1.1\r\nHost: {at}\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(ask(at, sent.as_bytes()).status, 200);
    let log = server.stderr();
    assert!(!log.contains("horse") && !log.contains("warning"), "{log}");
}

#[test]
fn without_a_token_only_what_is_open_is_answered_and_only_to_this_machine() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let status = |path: &str, fields: &str| get(server.admin(), path, fields).status;
    assert_eq!((status("/healthz", ""), status("/nothing", "")), (200, 404));
    let key = format!("/connections?key={}", identity(1));
    assert_eq!((status(&key, ""), status(&key, &bearer("")), status(&key, &bearer(TOKEN))), (401, 401, 401));

    for (arguments, says) in [
        (&["--admin", "0.0.0.0:0"][..], "admin-token"),
        (&["--admin", "[::]:0"], "admin-token"),
        (&["--admin", "127.0.0.1:0", "--admin-token", "/nonexistent"], "/nonexistent"),
        (&["--admin", "127.0.0.1:0", "--admin-host", "http://x"], "is no host"),
        (&["--admin", &server.admin().to_string()], "cannot listen"),
        (&["--admin", "localhost"], "127.0.0.1:7700"),
    ] {
        let ended = Process::run(&[&["--listen", "127.0.0.1:0"], arguments].concat(), "");
        assert_eq!((ended.code, ended.lines.len()), (Some(2), 0), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.lines().last().is_some_and(|line| line.contains(says)), "{}", ended.stderr);
    }

    // In the file too, and for others nothing is open.
    let config = path("admin.toml");
    let file = token_file("public-token");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&config, format!("admin = \"0.0.0.0:0\"\nadmin-token = \"{file}\"\n")).unwrap();
    let server = Server::start(&["--config", config.to_str().unwrap()]);
    let at = SocketAddr::new([127, 0, 0, 1].into(), server.admin().port());
    for path in ["/metrics", "/healthz", "/readyz", "/nothing"] {
        assert_eq!(get(at, path, "").status, 401);
        assert_eq!(get(at, path, &bearer(TOKEN)).status, if path == "/nothing" { 404 } else { 200 });
    }
    assert!(server.stderr().contains("mode 644"), "{}", server.stderr());
}

#[test]
fn slow_requests_are_given_up_and_not_more_than_sixteen_wait() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let at = server.admin();
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..16).map(|_| TcpStream::connect(at).unwrap()).collect();
    slow.iter_mut().for_each(|socket| socket.write_all(b"GET /healthz HT").unwrap());
    // They have sent, one of them much, before they are turned away, and read that to its end.
    server.signal(Signal::STOP);
    let mut beyond: Vec<_> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
    beyond[0].write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    beyond[1].write_all(&[b'x'; 100_000]).unwrap();
    server.signal(Signal::CONT);
    for socket in &mut beyond {
        assert_eq!(answer(socket).status, 503);
    }
    for socket in &mut slow {
        assert_eq!(answer(socket).status, 408);
    }
    let elapsed = begun.elapsed();
    assert!(elapsed > Duration::from_secs(4) && elapsed < Duration::from_secs(20), "{elapsed:?}");
    drop(slow);
    while get(at, "/healthz", "").status != 200 {
        assert!(begun.elapsed() < target::PATIENCE);
    }
}

#[test]
fn a_key_is_told_its_connections_on_all_reactors() {
    let file = token_file("key-token");
    let target = Target::start(&["--reactors-per-core", "2", "--admin-token", &file]);
    let connections = |number| {
        let found = get(target.admin(), &format!("/connections?key={}", identity(number)), &bearer(TOKEN));
        assert_eq!((found.status, found.head.contains("application/json")), (200, true), "{found:?}");
        serde_json::from_str::<serde_json::Value>(&found.body).unwrap().as_array().unwrap().clone()
    };
    assert_eq!(connections(1).len(), 0);
    let members: Vec<_> = (0..5).map(|_| member(&target, 1)).collect();
    let _other = member(&target, 2);
    let mut unproven = Peer::open(&target);
    unproven.challenged(secret(1));
    let found = connections(1);
    let mut addresses: Vec<_> = found.iter().map(|row| row["address"].as_str().unwrap().to_owned()).collect();
    let mut dialled: Vec<_> =
        members.iter().map(|peer| peer.socket.local_addr().unwrap().to_string()).collect();
    addresses.sort();
    dialled.sort();
    assert_eq!(addresses, dialled);
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    for row in &found {
        assert_eq!((&row["state"], &row["proven"]), (&"open".into(), &true.into()), "{row}");
        assert_eq!(row["queueBytes"], 0);
        let since_ms = row["since"].as_i64().unwrap();
        assert!(since_ms > now_ms - 30_000 && since_ms <= now_ms + 1_000, "{row} at {now_ms}");
    }
    assert!(found.iter().any(|row| row["reactor"] != found[0]["reactor"]), "on several reactors: {found:?}");
    drop(members);
    let since = Instant::now();
    while !connections(1).is_empty() {
        assert!(since.elapsed() < target::PATIENCE);
    }
    assert_eq!(connections(2).len(), 1);
}

#[test]
fn while_it_drains_it_is_healthy_and_not_ready_and_its_last_word_is_about_turns() {
    let target = Target::start(&[]);
    let mut stays = Peer::open(&target);
    let status = |path: &str| get(target.admin(), path, "").status;
    assert_eq!((status("/readyz"), status("/healthz")), (200, 200));
    target.signal(Signal::TERM);
    assert_eq!(stays.frame().0, peer::CLOSE);
    // Until this client ends too, or is reset.
    assert_eq!(status("/readyz"), 503);
    drop(stays);
    let ended = target.wait();
    assert_eq!(ended.code, Some(0));
    let last = ended.stderr.lines().last().unwrap();
    let [turns, p999_us, max_us] = ["turns=", "p999_us=", "max_us="].map(|word| number_behind(last, word));
    assert!(turns > 2 && p999_us <= max_us && max_us > 0, "{last}");
}

/// It stands still on every message, until it is let go.
struct Stuck(Arc<Mutex<Receiver<()>>>);

impl App for Stuck {
    type Conn = ();
    type Command = Command;

    fn upgrade(&mut self, _: &Request<'_>) -> Result<Accept<()>, Refusal> {
        Ok(Accept { conn: (), subprotocol: None })
    }

    fn received(&mut self, _: &mut Link<'_, ()>, _: Kind, _: &mut [u8]) {
        let _ = self.0.lock().unwrap().recv();
    }
}

#[test]
fn a_reactor_that_does_not_turn_for_five_seconds_is_unhealthy_until_it_does() {
    let local = ([127, 0, 0, 1], 0).into();
    let (go, gate) = channel();
    let gate = Arc::new(Mutex::new(gate));
    let clock = Instant::now();
    let running = Arc::new(server::start(&inside::plan(1), clock, |_, _| Stuck(gate.clone())).unwrap());
    let guard = Guard { token: None, hosts: Vec::new(), is_public: false };
    let service = Service::new(running.clone(), clock, guard);
    let admin = service.listen(server::admin::bind(local, None).unwrap()).unwrap();
    let at = admin.address();
    assert_eq!(get(at, "/healthz", "").status, 200);
    let mut socket = TcpStream::connect(running.addresses()[0]).unwrap();
    socket.write_all(UPGRADE.as_bytes()).unwrap();
    socket.write_all(&peer::text("stand still")).unwrap();
    let begun = Instant::now();
    while get(at, "/healthz", "").status == 200 {
        assert!(begun.elapsed() < target::PATIENCE, "it has not stood still");
    }
    assert!(begun.elapsed() > Duration::from_secs(5));
    // Figures are told all the same, as they were.
    assert_eq!(metrics::scrape(at).sum("mida_reactor_up", &[]), 0.0);
    go.send(()).unwrap();
    assert_eq!(get(at, "/healthz", "").status, 200);
    assert_eq!(metrics::scrape(at).sum("mida_reactor_up", &[]), 1.0);
    assert!(running.drain(Drain::default(), target::PATIENCE));
    assert_eq!(get(at, "/readyz", "").status, 503);
}
