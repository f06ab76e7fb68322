//! `mida connect` against the real server.

mod common;

use common::{Ended, Process, Server, key, path};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

/// What a `--json` session printed: each line is JSON by itself.
fn parsed(ended: &Ended) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    ended.lines.iter().map(parse).collect()
}

/// Of each line, in short: whether it was sealed and its `t`, or the code of the close.
fn told(ended: &Ended) -> Vec<(Option<bool>, u64)> {
    let tell = |line: &Value| match line["close"]["code"].as_u64() {
        Some(code) => (None, code),
        None => (line["sealed"].as_bool(), line["event"]["t"].as_u64().unwrap()),
    };
    parsed(ended).iter().map(tell).collect()
}

const CLEAR: Option<bool> = Some(false);
const SEALED: Option<bool> = Some(true);
const CLOSED: Option<bool> = None;

/// A whole session by key, with a question before the end of input.
const BY_KEY: [(Option<bool>, u64); 6] =
    [(CLEAR, 0), (SEALED, 3), (SEALED, 5), (SEALED, 0), (SEALED, 1), (CLOSED, 1000)];

#[test]
fn a_session_by_key_is_sealed_from_the_challenge_on() {
    let server = Server::start(&["--name", "Example", "--note", "Hello"]);
    let (file, identity) = key("session");
    let ended = Process::run(&["connect", &server.url(), "--key", &file, "--json"], "{\"t\":1}");
    assert_eq!(told(&ended), BY_KEY, "{}", ended.stderr);
    let lines = parsed(&ended);
    assert_eq!(lines[0]["event"]["data"]["perms"], json!(["metadata", "auth"]));
    assert_eq!(lines[2]["event"]["data"]["passed"], json!(true));
    let perms = json!(["metadata", "send", "topic.join", "topic.publish"]);
    assert_eq!(lines[3]["event"]["data"]["perms"], perms);
    let metadata = &lines[4]["event"]["data"];
    assert_eq!((&metadata["name"], &metadata["note"]), (&json!("Example"), &json!("Hello")));
    assert_eq!(lines[5], json!({"close": {"code": 1000, "reason": ""}}));
    assert_eq!(ended.code, Some(0));
    let remarks = format!(
        "> auth       as {identity}\n> solution   mida-v1 for {}\nmida: your key is {identity}: others /send to it\n",
        server.address()
    );
    assert_eq!(ended.stderr, remarks);
}

#[test]
fn batches_are_shown_as_the_events_in_them() {
    let server = Server::start(&["--batching"]);
    let (file, _) = key("batching");
    let by_key = ["connect", &server.url(), "--key", &file, "--json"];
    let ended = Process::run(&by_key, "{\"t\":1}\n");
    assert_eq!((told(&ended), ended.code), (BY_KEY.to_vec(), Some(0)), "{}", ended.stderr);
    let batch = "{\"count\":3,\"data\":[{\"t\":1},{\"t\":9},{\"t\":1}]}\n";
    let ended = Process::run(&["connect", &server.url(), "--json"], batch);
    let expected = [(CLEAR, 0), (CLEAR, 1), (CLEAR, 128), (CLEAR, 1), (CLOSED, 1000)];
    assert_eq!((told(&ended), ended.code), (expected.to_vec(), Some(0)), "{}", ended.stderr);
}

#[test]
fn a_server_that_asks_no_proof_gets_no_solution() {
    let server = Server::start(&["--auth", "key"]);
    let (file, _) = key("no-proof");
    let ended = Process::run(&["connect", &server.url(), "--key", &file, "--json"], "{\"t\":1}\n");
    let expected = [(CLEAR, 0), (SEALED, 5), (SEALED, 0), (SEALED, 1), (CLOSED, 1000)];
    assert_eq!((told(&ended), ended.code), (expected.to_vec(), Some(0)), "{}", ended.stderr);
}

#[test]
fn the_host_that_was_dialled_is_the_one_that_is_signed() {
    let (file, _) = key("host");
    let by_name = Server::start(&[]);
    let url = format!("WS://LOCALHOST:{}/any?path", by_name.address().port());
    let ended = Process::run(&["connect", &url, "--key", &file], "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let by_ipv6 = Server::listening("[::1]:0", &[]);
    let url = format!("ws://[0:0::1]:{}", by_ipv6.address().port());
    let ended = Process::run(&["connect", &url, "--key", &file], "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let elsewhere = Server::start(&["--public-host", "chat.example"]);
    let ended = Process::run(&["connect", &elsewhere.url(), "--key", &file, "--json"], "{\"t\":1}\n");
    let expected = [(CLEAR, 0), (SEALED, 3), (SEALED, 5), (CLOSED, 1000)];
    assert_eq!((told(&ended), ended.code), (expected.to_vec(), Some(1)), "{}", ended.stderr);
    assert_eq!(parsed(&ended)[2]["event"]["data"]["reason"], json!("wrong_host"));
    assert!(ended.stderr.contains(&format!("--public-host {}", elsewhere.address())), "{}", ended.stderr);
}

#[test]
fn people_type_and_read_lines() {
    let server = Server::start(&["--name", "a\u{9b}b"]);
    let (file, identity) = key("people");
    let mut client = Process::start(&["connect", &server.url()]);
    let rules = "< clear  rules      heartbeat 30 s, batching off, extensions: msg, you may: metadata auth";
    assert_eq!(client.line(), rules);
    client.write("hello\n{\"t\":1,}\n/what\n\n/login /nonexistent\n/help\n/metadata\n");
    assert!(client.line().starts_with(r"< clear  metadata   a\u{9b}b, 0 online, up "));
    client.write(&format!("/login {file}\n/metadata\n/login {file}\n/quit\nafter the end\n"));
    let ended = client.wait();
    let starts =
        ["< sealed challenge  sign ", "< sealed result     passed", "< sealed rules ", "< sealed metadata "];
    for (line, start) in ended.lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(
        (ended.lines.len(), ended.lines[4].as_str(), ended.code),
        (5, "< closed 1000", Some(2)),
        "lines were refused"
    );
    let says = ended.stderr.lines().filter(|line| !line.starts_with("  ")).collect::<Vec<_>>();
    let expected = [
        "mida: not sent: a message is /send KEY TEXT, or JSON",
        "mida: not sent, it is no JSON: key must be a string at column 8",
        "mida: no command is called /what",
        "mida: there is no file /nonexistent",
        "what you type, a line each:",
        &format!("> auth       as {identity}"),
        "> solution   mida-v1 for ",
        &format!("mida: your key is {identity}: "),
        "mida: one login a connection",
    ];
    assert_eq!(says.len(), expected.len(), "{says:?}");
    assert!(says.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{says:?}");
}

#[test]
fn a_server_that_stops_is_told_from_a_session_that_ends() {
    for (flags, closed) in [
        (&[][..], "< closed 1001 (server is going away): the server stops or restarts; connect again"),
        (&["--json"][..], r#"{"close":{"code":1001,"reason":"server is going away"}}"#),
    ] {
        let server = Server::start(&[]);
        let mut client = Process::start(&[&["connect", &server.url()], flags].concat());
        client.line();
        server.signal(Signal::TERM);
        assert_eq!(client.line(), closed);
        let ended = client.wait();
        assert_eq!((ended.code, ended.lines.len()), (Some(1), 0));
        assert_eq!(server.wait().code, Some(0));
    }
}

#[test]
fn a_server_that_closes_says_why() {
    let server = Server::start(&[]);
    let ended = Process::run(&["connect", &server.url(), "--json"], &"{}\n".repeat(20));
    let mut expected = vec![(CLEAR, 0)];
    expected.extend([(CLEAR, 128); 10]);
    expected.push((CLOSED, 4000));
    assert_eq!((told(&ended), ended.code), (expected, Some(1)));
    assert!(ended.stderr.contains("ten bad messages within a minute"), "{}", ended.stderr);
}

#[test]
fn a_signal_ends_the_session_as_its_user_would() {
    let server = Server::start(&[]);
    for signal in [Signal::INT, Signal::TERM] {
        let mut client = Process::start(&["connect", &server.url()]);
        client.line();
        client.signal(signal);
        assert_eq!(client.line(), "< closed 1000");
        assert_eq!(client.wait().code, Some(0));
    }
}

#[test]
fn a_file_that_is_no_key_is_refused_before_dialling() {
    let (file, identity) = key("broken");
    let public = path("public");
    fs::write(&public, identity).unwrap();
    for (file, says) in [
        ("/nonexistent", "there is no file"),
        ("/", "cannot read"),
        ("/dev/null", "is empty"),
        ("/proc/version", "holds no key"),
        (public.to_str().unwrap(), "holds a public key"),
    ] {
        let ended = Process::run(&["connect", "ws://127.0.0.1:1", "--key", file, "--json"], "");
        assert_eq!((ended.code, ended.lines.len()), (Some(2), 0), "{file}: {}", ended.stderr);
        assert!(ended.stderr.contains(says) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    }
    let server = Server::start(&[]);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text} \r\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = Process::run(&["connect", &server.url(), "--key", &file], "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains(&format!("warning: others can read the secret key in {file}")),
        "{ended:?}"
    );
}

#[test]
fn who_is_not_there_or_refuses_is_one_line() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ended = Process::run(&["connect", &format!("ws://127.0.0.1:{port}"), "--json"], "{\"t\":1}\n");
    let says =
        format!("mida: connection refused: nobody listens on 127.0.0.1:{port}; is the server running?\n");
    assert_eq!((ended.code, ended.lines.len(), ended.stderr), (Some(1), 0, says));

    let server = Server::start(&["--limit", "connections_per_address=1", "--limit", "limit_loopback=1"]);
    let mut first = Process::start(&["connect", &server.url()]);
    first.line();
    let ended = Process::run(&["connect", &server.url()], "");
    let says = format!(
        "mida: {} refused: 503 Service Unavailable: Too many connections from this address.\n",
        server.address()
    );
    assert_eq!((ended.code, ended.lines.len(), ended.stderr), (Some(1), 0, says));
}

#[test]
fn a_wrong_url_is_the_callers_to_mend() {
    for (url, says) in [
        ("localhost:7700", "like ws://localhost:7700"),
        ("wss://chat.example", "put a TLS proxy in between"),
        ("https://chat.example", "the scheme is ws://"),
        ("ws://", "no host"),
        ("ws://localhost:x", "no port"),
    ] {
        let ended = Process::run(&["connect", url], "");
        assert_eq!((ended.code, ended.lines.len()), (Some(2), 0), "{url}: {}", ended.stderr);
        assert!(ended.stderr.contains(says) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    }
    let ended = Process::run(&["connect"], "");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("<URL> (see mida connect --help)"), "{}", ended.stderr);
}
