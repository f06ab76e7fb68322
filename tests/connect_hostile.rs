//! `mida connect` against servers that are broken or hostile.

mod common;

use common::{Ended, Process, key};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread::{JoinHandle, spawn},
    time::Duration,
};
use tungstenite::{
    Message, WebSocket, accept, accept_hdr,
    handshake::server::{ErrorResponse, Request, Response},
    protocol::{CloseFrame, frame::coding::CloseCode},
};

const RULES: &str = r#"{"t":0,"data":{"v":1,"hb":30000,"perms":["metadata","auth"],"batching":false,"auth":"signature","authWithin":0,"maxMessage":65536,"maxBatch":64,"ext":[]}}"#;
const METADATA: &str = r#"{"t":1,"data":{"name":"real","online":0,"uptime":0}}"#;
const FORGED: &str = r#"{"t":1,"data":{"name":"forged","online":0,"uptime":0}}"#;

type Socket = WebSocket<TcpStream>;

/// What a server of these tests was left with.
type Left<T> = JoinHandle<T>;

/// Serves one TCP connection, and gives the URL of it.
fn serve_tcp<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (String, Left<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let thread = spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        serve(stream)
    });
    (url, thread)
}

/// Serves one WebSocket with the subprotocol `mida`.
fn serve<T: Send + 'static>(serve: impl FnOnce(&mut Socket) -> T + Send + 'static) -> (String, Left<T>) {
    serve_tcp(|stream| {
        #[allow(clippy::result_large_err)] // The type is tungstenite's.
        let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "mida");
            response.headers_mut().insert("Sec-WebSocket-Protocol", "mida".parse().unwrap());
            Ok(response)
        };
        serve(&mut accept_hdr(stream, choose).unwrap())
    })
}

fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).unwrap();
}

fn hear(socket: &mut Socket) -> Value {
    serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
}

fn seal(identity: &str, text: &str) -> Message {
    let bytes: Vec<u8> = (0..identity.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&identity[at..at + 2], 16).unwrap())
        .collect();
    Message::binary(ecies::encrypt(&bytes, text.as_bytes()).unwrap())
}

/// Hears event 2 and gives its key.
fn hear_auth(socket: &mut Socket) -> String {
    let auth = hear(socket);
    assert_eq!(auth["t"], 2);
    auth["data"]["pubKey"].as_str().unwrap().to_owned()
}

/// What the client sends until its end: texts, and the code of its close frame.
fn rest(socket: &mut Socket) -> (Vec<String>, Option<u16>) {
    let mut texts = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => texts.push(text.as_str().to_owned()),
            Ok(Message::Close(frame)) => return (texts, frame.map(|frame| frame.code.into())),
            Ok(_) => {}
            Err(_) => return (texts, None),
        }
    }
}

fn is_attack(ended: &Ended) -> bool {
    ended.code == Some(1)
        && ended.stderr.contains("attack")
        && !ended.lines.iter().any(|line| line.contains("forged"))
}

#[test]
fn text_after_a_sealed_message_is_an_attack() {
    let (url, server) = serve(|socket| {
        say(socket, RULES);
        let identity = hear_auth(socket);
        socket.send(seal(&identity, METADATA)).unwrap();
        say(socket, FORGED);
        rest(socket)
    });
    let (file, _) = key("forged");
    let ended = Process::run(&["connect", &url, "--key", &file, "--json"], "");
    assert!(is_attack(&ended) && ended.lines[1].contains(r#"{"sealed":true,"event":{"t":1,"#), "{ended:?}");
    assert_eq!(server.join().unwrap(), (vec![], Some(1000)));
}

#[test]
fn a_challenge_in_the_clear_is_not_signed() {
    let (url, server) = serve(|socket| {
        say(socket, RULES);
        hear_auth(socket);
        let challenge = json!({"challenge": "00".repeat(32), "schemes": ["mida-v1"], "expiresIn": 60000});
        say(socket, &json!({"t": 3, "data": challenge}).to_string());
        rest(socket)
    });
    let (file, _) = key("clear-challenge");
    let ended = Process::run(&["connect", &url, "--key", &file], "");
    assert!(is_attack(&ended) && ended.lines.len() == 1, "{ended:?}");
    assert_eq!(server.join().unwrap(), (vec![], Some(1000)));
}

#[test]
fn a_sealed_message_for_another_key_is_an_attack() {
    let (file, _) = key("mine");
    let (_, other) = key("other");
    let (url, server) = serve(move |socket| {
        say(socket, RULES);
        hear_auth(socket);
        socket.send(seal(&other, FORGED)).unwrap();
        rest(socket)
    });
    let ended = Process::run(&["connect", &url, "--key", &file], "");
    assert!(is_attack(&ended) && ended.lines.len() == 1, "{ended:?}");
    assert_eq!(server.join().unwrap(), (vec![], Some(1000)));
}

#[test]
fn what_no_server_of_this_protocol_says_ends_the_session() {
    let batch = format!(r#"{{"count":1,"data":[{METADATA}]}}"#);
    let next_version = RULES.replace(r#""v":1"#, r#""v":2"#);
    for (texts, says) in [
        (&[METADATA][..], "its first message is not the rules"),
        (&["hello"], "its first message is not the rules"),
        (&[&next_version], "version 2 of Mida"),
        (&[RULES, "hello"], "a message is no event"),
        (&[RULES, &batch], "batching off"),
    ] {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let (url, server) = serve(move |socket| {
            texts.iter().for_each(|text| say(socket, text));
            rest(socket).1
        });
        let client = Process::start(&["connect", &url]);
        let stderr = client.stderr_with(says);
        let ended = client.wait();
        assert_eq!((ended.code, stderr.lines().count()), (Some(1), 1), "{stderr}");
        assert_eq!(server.join().unwrap(), Some(1000));
    }
}

#[test]
fn nothing_a_terminal_would_act_on_gets_through() {
    for flags in [&[][..], &["--json"]] {
        let (url, server) = serve(|socket| {
            say(socket, RULES);
            say(socket, "{\"t\":1,\"data\":{\"name\":\"\\u001b[2J\u{9b}\u{7f}\",\"online\":0,\"uptime\":0}}");
            say(socket, "{\"t\":200,\r\n\"data\":{\"\u{202e}\":\"\\u0007\u{9d}\"}}");
            let reason = "\u{1b}]0;owned\u{7}\n".into();
            socket.close(Some(CloseFrame { code: CloseCode::Library(4999), reason })).unwrap();
            rest(socket);
        });
        let mut client = Process::start(&[&["connect", &url], flags].concat());
        let lines: Vec<String> = (0..4).map(|_| client.line()).collect();
        let ended = client.wait();
        assert_eq!((ended.code, ended.lines.len()), (Some(1), 0));
        let all = lines.join("") + &ended.stderr.replace('\n', "");
        assert!(!all.contains(|c: char| c.is_control() || c == '\u{202e}'), "{all:?}");
        assert!(lines[1].contains("[2J") && lines[3].contains("]0;owned"), "{lines:?}");
        server.join().unwrap();
    }
}

#[test]
fn the_end_of_input_waits_for_the_answers() {
    let (url, server) = serve(|socket| {
        say(socket, RULES);
        assert_eq!([hear(socket)["t"].as_u64(), hear(socket)["t"].as_u64()], [Some(1), Some(1)]);
        // The pong is queued here, and leaves behind what is said next.
        assert!(matches!(socket.read(), Ok(Message::Ping(_))));
        socket.write(Message::text(METADATA)).unwrap();
        socket.send(Message::text(METADATA)).unwrap();
        rest(socket)
    });
    let ended = Process::run(&["connect", &url, "--json"], "{\"t\":1}\n{\"t\":1}");
    assert_eq!((ended.code, ended.lines.len()), (Some(0), 4), "{ended:?}");
    assert_eq!(server.join().unwrap(), (vec![], Some(1000)));
}

#[test]
fn pings_are_answered_and_any_close_code_is_shown() {
    let (url, server) = serve(|socket| {
        say(socket, RULES);
        socket.send(Message::Ping("alive?".into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("alive?".into()));
        let reason = "heartbeat missed".into();
        socket.close(Some(CloseFrame { code: CloseCode::Library(4008), reason })).unwrap();
        rest(socket).1
    });
    let mut client = Process::start(&["connect", &url, "--json"]);
    client.line();
    assert_eq!(client.line(), r#"{"close":{"code":4008,"reason":"heartbeat missed"}}"#);
    assert!(client.stderr_with("did not hear from this client").contains("4008"));
    assert_eq!(client.wait().code, Some(1));
    assert_eq!(server.join().unwrap(), Some(4008));
}

#[test]
fn a_connection_that_breaks_is_1006() {
    let (url, server) = serve(|socket| say(socket, RULES));
    let mut client = Process::start(&["connect", &url, "--json"]);
    client.line();
    assert_eq!(client.line(), r#"{"close":{"code":1006,"reason":""}}"#);
    assert_eq!(client.wait().code, Some(1));
    server.join().unwrap();
}

#[test]
fn who_is_no_such_server_is_told_in_one_line() {
    let answer = |parts: &'static [&'static str]| {
        serve_tcp(move |mut stream| {
            let mut head = [0; 4_096];
            assert!(stream.read(&mut head).unwrap() > 0);
            for part in parts {
                stream.write_all(part.as_bytes()).unwrap();
            }
        })
    };
    for (parts, says) in [
        (&[][..], "hung up during the upgrade"),
        (&["SSH-2.0-OpenSSH_9.6\r\n"], "is no WebSocket server"),
        (&["HTTP/1.1 404 Not Found\r\n\r\n<html>\n"], "refused: 404 Not Found\n"),
        (
            &["HTTP/1.1 503 Full\r\nContent-Length: 9\r\n\r\n", "no\u{1b}room", "\n"],
            r"Unavailable: no\u{1b}room",
        ),
        (&["HTTP/1.1 301 Moved Permanently\r\nLocation: ws://127.0.0.1:1\r\n\r\n"], "refused: 301"),
    ] {
        let (url, server) = answer(parts);
        let ended = Process::run(&["connect", &url, "--json"], "");
        assert_eq!((ended.code, ended.lines.len()), (Some(1), 0));
        assert!(ended.stderr.contains(says) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
        server.join().unwrap();
    }
    let (url, server) = serve_tcp(|stream| accept(stream).map(drop).unwrap());
    let ended = Process::run(&["connect", &url], "");
    assert!(ended.code == Some(1) && ended.stderr.contains("does not speak mida"), "{}", ended.stderr);
    server.join().unwrap();
}

#[test]
fn a_reader_that_leaves_ends_the_session() {
    let (url, server) = serve(|socket| {
        say(socket, RULES);
        rest(socket)
    });
    let mut client = Command::new(env!("CARGO_BIN_EXE_mida"))
        .args(["connect", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = client.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    // Nothing more is said or typed: that nobody reads is enough.
    assert_eq!(server.join().unwrap(), (vec![], Some(1000)));
    assert_eq!(client.wait().unwrap().code(), Some(0));
}
