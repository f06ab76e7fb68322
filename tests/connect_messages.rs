//! `mida connect` and messages between keys: commands, what is shown, acks, and the wait at the end of input, against
//! a server of this test that speaks as PROTOCOL.md has it.

mod common;

use common::{Ended, Process, key};
use serde_json::{Value, json};
use std::{
    net::{TcpListener, TcpStream},
    thread::{JoinHandle, spawn},
    time::Duration,
};
use tungstenite::{
    Message, WebSocket, accept_hdr,
    handshake::server::{ErrorResponse, Request, Response},
    protocol::{CloseFrame, frame::coding::CloseCode},
};

const ANN: &str = "0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7";
const PERMS: [&str; 4] = ["metadata", "send", "topic.join", "topic.publish"];

/// One client of a server that seals to it.
struct Peer {
    socket: WebSocket<TcpStream>,
    identity: Vec<u8>,
}

impl Peer {
    fn say(&mut self, t: u8, data: &Value) {
        let text = json!({ "t": t, "data": data }).to_string();
        let sealed = ecies::encrypt(&self.identity, text.as_bytes()).unwrap();
        self.socket.send(Message::binary(sealed)).unwrap();
    }

    /// The next text of the client; pings are answered on the way.
    fn hear(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => self.socket.flush().unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The data of the next message, which has to be this event.
    fn next(&mut self, t: u8) -> Value {
        let mut message = self.hear();
        assert_eq!(message["t"], json!(t), "{message}");
        message["data"].take()
    }

    fn message(&mut self, id: &str, body: &Value) {
        self.say(0x82, &json!({ "id": id, "from": ANN, "ts": now_ms(), "body": body }));
    }

    fn receipt(&mut self, re: &Value, to: &str, state: &str) {
        self.say(0x83, &json!({ "re": re, "to": to, "id": "s", "state": state }));
    }

    /// Until the client closes: what else it sends, and its code.
    fn rest(&mut self) -> (Vec<Value>, u16) {
        let mut texts = Vec::new();
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => texts.push(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => {
                    let _ = self.socket.flush();
                    return (texts, frame.unwrap().code.into());
                }
                _ => {}
            }
        }
    }
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

fn rules(perms: &[&str]) -> Value {
    json!({
        "v": 1, "hb": 30_000, "perms": perms, "batching": false, "auth": "signature", "authWithin": 0,
        "maxMessage": 65_536, "maxBatch": 64, "ext": ["msg"]
    })
}

/// Serves one client that logs in, whose account says that so much is unread; gives the URL.
fn serve<T: Send + 'static>(
    unread: u64,
    perms: &'static [&'static str],
    serve: impl FnOnce(&mut Peer) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let thread = spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        #[allow(clippy::result_large_err)] // The type is tungstenite's.
        let choose = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            response.headers_mut().insert("Sec-WebSocket-Protocol", "mida".parse().unwrap());
            Ok(response)
        };
        let socket = accept_hdr(stream, choose).unwrap();
        let mut peer = Peer { socket, identity: Vec::new() };
        let first = json!({ "t": 0, "data": rules(&["metadata", "auth"]) });
        peer.socket.send(Message::text(first.to_string())).unwrap();
        let hex = peer.next(2)["pubKey"].as_str().unwrap().to_owned();
        peer.identity =
            (0..66).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let challenge = json!({ "challenge": "00".repeat(32), "schemes": ["mida-v1"], "expiresIn": 60_000 });
        peer.say(3, &challenge);
        peer.next(4);
        peer.say(5, &json!({ "passed": true, "user": { "displayName": "", "unreadMessages": unread } }));
        peer.say(0, &rules(perms));
        serve(&mut peer)
    });
    (url, thread)
}

/// Lines of standard output behind the login, but for the last one, which tells of a close by the user.
fn told(ended: &Ended) -> Vec<&str> {
    let at = ended.lines.iter().rposition(|line| line.starts_with("< sealed rules")).unwrap_or(0);
    let lines: Vec<_> = ended.lines.iter().skip(at + 1).map(String::as_str).collect();
    assert_eq!((lines.last(), ended.code), (Some(&"< closed 1000"), Some(0)), "{ended:?}");
    lines[..lines.len() - 1].to_vec()
}

fn acked(texts: &[Value]) -> Vec<&str> {
    let ids = texts
        .iter()
        .filter(|text| text["t"] == 0x84)
        .flat_map(|text| text["data"]["ids"].as_array().unwrap());
    ids.map(|id| id.as_str().unwrap()).collect()
}

#[test]
fn a_message_is_sent_and_its_receipt_told_in_words() {
    let (url, server) = serve(0, &PERMS, |peer| {
        let sent = peer.next(0x81);
        assert_eq!((&sent["to"], &sent["body"]), (&json!(ANN), &json!("Hello, Ann")));
        // The client has ended its input, and waits for this.
        peer.receipt(&sent["id"], ANN, "stored");
        let again = peer.next(0x81);
        assert_eq!((&again["to"], &again["body"]), (&json!(ANN), &json!({ "n": 1 })));
        assert_ne!(sent["id"], again["id"]);
        peer.say(0x83, &json!({ "re": again["id"], "to": ANN, "state": "refused", "code": "mailbox_full" }));
        peer.rest()
    });
    let (file, identity) = key("sends");
    let input = format!("/send {ANN} Hello, Ann\n/send {} {{\"n\":1}}", &ANN[..8]);
    let ended = Process::run(&["connect", &url, "--key", &file], &input);
    let lines = [
        "< sealed receipt    stored for 0207a11a6364…",
        "< sealed receipt    refused for 0207a11a6364…: its mailbox is full until its owner reads",
    ];
    assert_eq!(told(&ended), lines);
    assert!(
        ended.stderr.ends_with(&format!("mida: your key is {identity}: others /send to it\n")),
        "{ended:?}"
    );
    assert_eq!(server.join().unwrap(), (vec![], 1000));
}

#[test]
fn what_waited_is_shown_and_acked_before_the_end() {
    let (url, server) = serve(3, &PERMS, |peer| {
        peer.message("a", &json!("first"));
        peer.message("b", &json!({ "n": [2] }));
        // Only then the third one: the client waits for it, although its input has ended.
        let first = peer.next(0x84);
        peer.message("c", &json!("third\u{1b}[2J"));
        let (mut texts, code) = peer.rest();
        texts.insert(0, json!({ "t": 0x84, "data": first }));
        (texts, code)
    });
    let (file, _) = key("unread");
    let ended = Process::run(&["connect", &url, "--key", &file], "");
    let lines = [
        "< sealed message    from 0207a11a6364…: first",
        r#"< sealed message    from 0207a11a6364…: {"n":[2]}"#,
        r"< sealed message    from 0207a11a6364…: third\u{1b}[2J",
    ];
    assert_eq!(told(&ended), lines);
    let (texts, code) = server.join().unwrap();
    assert_eq!((acked(&texts), code), (vec!["a", "b", "c"], 1000));
}

#[test]
fn what_is_kept_is_not_acked_and_the_inbox_tells_what_came() {
    let (url, server) = serve(2, &PERMS, |peer| {
        peer.message("a", &json!("first"));
        peer.message("b", &json!("second"));
        peer.rest()
    });
    let (file, _) = key("keeps");
    let mut client = Process::start(&["connect", &url, "--key", &file, "--keep"]);
    while !client.line().contains("second") {}
    client.write("/inbox\n");
    assert_eq!(client.line(), "inbox: 2 came (kept at the server)");
    assert!(client.line().ends_with(&format!(" {ANN}: first")));
    assert!(client.line().ends_with(&format!(" {ANN}: second")));
    assert_eq!(client.wait().code, Some(0));
    assert_eq!(server.join().unwrap(), (vec![], 1000));
}

#[test]
fn topics_are_joined_published_to_and_left_and_nothing_of_them_is_acked() {
    let (url, server) = serve(0, &PERMS, |peer| {
        assert_eq!(peer.next(0x85)["topic"], "news");
        let sent = peer.next(0x87);
        assert_eq!((&sent["topic"], &sent["body"]), (&json!("news"), &json!("it rains")));
        peer.say(0x82, &json!({ "id": "t", "from": ANN, "topic": "news", "ts": now_ms(), "body": "no" }));
        peer.receipt(&sent["id"], "news", "delivered");
        let id = peer.next(0x87)["id"].take();
        peer.say(0x83, &json!({ "re": id, "to": "empty", "state": "refused", "code": "offline" }));
        assert_eq!(peer.next(0x86)["topic"], "news");
        peer.rest()
    });
    let (file, _) = key("topics");
    let input = "/join news\n/publish news it rains\n/publish empty 1\n/leave news\n";
    let ended = Process::run(&["connect", &url, "--key", &file], input);
    let lines = [
        "< sealed message    #news from 0207a11a6364…: no",
        "< sealed receipt    delivered to #news",
        "< sealed receipt    refused for #empty: nobody is there now",
    ];
    assert_eq!(told(&ended), lines);
    assert_eq!(server.join().unwrap(), (vec![], 1000));
}

#[test]
fn a_script_learns_what_was_sent_and_what_came_of_it() {
    let (url, server) = serve(1, &PERMS, |peer| {
        peer.message("a", &json!(1.5));
        peer.next(0x84);
        let id = peer.next(0x81)["id"].take();
        peer.receipt(&id, ANN, "delivered");
        peer.rest();
    });
    let (file, _) = key("script");
    let mut client = Process::start(&["connect", &url, "--key", &file, "--json"]);
    while !client.line().contains(r#""t":130"#) {}
    client.write(&format!("/send {ANN} hi\n/inbox\n"));
    let ended = client.wait();
    let lines: Vec<Value> = ended.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent = &lines[0]["sent"];
    assert_eq!(
        (&sent["t"], &sent["data"]["to"], &sent["data"]["body"]),
        (&json!(129), &json!(ANN), &json!("hi"))
    );
    let told = lines.iter().find(|line| line["event"]["t"] == 131).unwrap();
    assert_eq!(told["event"]["data"]["re"], sent["data"]["id"]);
    let inbox = &lines.iter().find(|line| line.get("inbox").is_some()).unwrap()["inbox"];
    assert_eq!(
        (&inbox["came"], &inbox["toCome"], &inbox["messages"][0]["body"]),
        (&json!(1), &json!(0), &json!(1.5))
    );
    assert_eq!(ended.code, Some(0));
    server.join().unwrap();
}

#[test]
fn a_receipt_that_never_comes_is_waited_for_and_an_error_instead_of_it_is_not() {
    let (url, server) = serve(0, &PERMS, |peer| {
        let sent = peer.next(0x81);
        assert_eq!(sent["id"], "mine");
        let error = json!({ "code": "rate_limited", "msg": "slow", "re": 0x81, "id": "mine", "retry": "backoff", "retryAfter": 9 });
        peer.say(0x80, &error);
        peer.rest()
    });
    let (file, _) = key("refused");
    let input = format!(r#"{{"t":129,"data":{{"id":"mine","to":"{ANN}","body":1}}}}"#);
    let ended = Process::run(&["connect", &url, "--key", &file], &input);
    assert_eq!(told(&ended), ["< sealed error      rate_limited: slow (event 129); again in 9 ms"]);
    assert_eq!(server.join().unwrap(), (vec![], 1000));

    let (url, server) = serve(0, &PERMS, |peer| {
        peer.next(0x81);
        // It has asked for an answer to all it sent, and got it: only the receipt is missing.
        loop {
            if let Message::Ping(_) = peer.socket.read().unwrap() {
                peer.socket.flush().unwrap();
                break;
            }
        }
        peer.socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).unwrap();
        let _ = peer.socket.flush();
        let _ = peer.socket.read();
    });
    let ended = Process::run(&["connect", &url, "--key", &file], &input);
    assert_eq!(
        (ended.code, ended.lines.last().map(|line| &line[..13])),
        (Some(1), Some("< closed 1001")),
        "{ended:?}"
    );
    server.join().unwrap();
}

#[test]
fn what_the_rules_do_not_allow_is_not_sent() {
    let (url, server) = serve(0, &["metadata", "topic.join"], Peer::rest);
    let (file, _) = key("forbidden");
    let input = format!("/send {ANN} hi\n/publish news hi\n/join {}\n/send nobody hi\n", "x".repeat(129));
    let ended = Process::run(&["connect", &url, "--key", &file], &input);
    let says: Vec<_> = ended.stderr.lines().filter(|line| line.contains("not sent")).collect();
    let expected = [
        "mida: not sent: this server does not let you send messages",
        "mida: not sent: this server does not let you publish",
        "mida: not sent: a topic has 1 to 128 bytes",
        "mida: not sent: this server does not let you send messages",
    ];
    assert_eq!((says, ended.code), (expected.to_vec(), Some(2)));
    assert_eq!(server.join().unwrap(), (vec![], 1000));
}
