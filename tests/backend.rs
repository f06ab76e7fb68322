//! What a backend sends over `--admin` and what clients of the real binary then get; and who is turned away.

#[path = "messages/client.rs"]
mod client;
mod common;
#[path = "common/frames.rs"]
mod frames;
#[path = "../src/cli/load/login.rs"]
#[allow(dead_code)] // Each test file uses its part.
mod login;
#[path = "common/metrics.rs"]
mod metrics;
#[path = "../src/cli/load/opener.rs"]
#[allow(dead_code)]
mod opener;

use client::{Client, Said, id};
use common::{Server, path};
use metrics::{Answer, ask, scrape};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

const TOKEN: &str = "correct-horse-battery";
const REACTORS: [&str; 2] = ["1", "3"];

/// A server with a store and a token, that a backend asks.
struct Asked {
    server: Server,
    data: PathBuf,
    blocked: PathBuf,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

impl Asked {
    fn start(name: &str, flags: &[&str]) -> Self {
        let [token, data, blocked] = ["token", "data", "blocked"].map(|of| path(&format!("{name}-{of}")));
        let _ = fs::remove_dir_all(&data);
        fs::write(&token, TOKEN).unwrap();
        fs::write(&blocked, "").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let own = [
            "--cores",
            "0",
            "--admin",
            "127.0.0.1:0",
            "--admin-token",
            token.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--blocked",
            blocked.to_str().unwrap(),
        ];
        let server = Server::start(&[&own[..], flags].concat());
        Self { server, data, blocked }
    }

    fn log_in(&self, number: u64) -> Client {
        Client::log_in(self.server.address(), number)
    }

    /// A request as a backend makes it, with further fields.
    fn request(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let at = self.server.admin();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {TOKEN}\r\n{fields}");
        let length =
            if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        ask(at, format!("{head}{length}\r\n{body}").as_bytes())
    }

    fn post_as(&self, name: &str, path: &str, body: &str) -> (u16, Value) {
        let named = format!("Content-Type: application/json\r\nIdempotency-Key: {name}\r\n");
        read(&self.request("POST", path, &named, body))
    }

    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        read(&self.request("POST", path, "Content-Type: application/json; charset=utf-8\r\n", body))
    }

    fn send(&self, to: &Value, rest: &str) -> Vec<Value> {
        let (status, answer) = self.post("/v1/send", &format!(r#"{{"to":{to},{rest}}}"#));
        assert_eq!(status, 200, "{answer}");
        answer["receipts"].as_array().unwrap().clone()
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = read(&self.request("GET", path, "", ""));
        assert_eq!(status, 200, "{value}");
        value
    }
}

fn read(answer: &Answer) -> (u16, Value) {
    assert!(answer.head.contains("\r\nContent-Type: application/json\r\n"), "{answer:?}");
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    let is_refusal = value["error"].is_string() && value["message"].is_string();
    assert_eq!(is_refusal, answer.status != 200, "{answer:?}");
    (answer.status, value)
}

fn key_of(number: u64) -> String {
    let auth: Value = serde_json::from_str(&login::Member::numbered(number).auth()).unwrap();
    auth["data"]["pubKey"].as_str().unwrap().to_owned()
}

#[test]
fn a_message_waits_for_its_key_and_comes_as_it_was_written() {
    for reactors in REACTORS {
        let asked = Asked::start(&format!("stored-{reactors}"), &["--reactors-per-core", reactors]);
        let key = key_of(2);
        let body = r#"{"text":"Paid \u00e9",  "price":1.10,"n":[-0,1e999]}"#;
        let receipts = asked.send(&json!(key), &format!("\"body\": {body} "));
        assert_eq!(
            (receipts.len(), &receipts[0]["state"], &receipts[0]["to"]),
            (1, &json!("stored"), &json!(key))
        );
        let about = asked.get(&format!("/v1/keys/{key}"));
        assert_eq!(
            (&about["online"], &about["account"], &about["unread"]),
            (&json!(0), &Value::Null, &json!(1))
        );
        assert_eq!((&about["unreadBytes"], &about["admitted"]), (&json!(body.len()), &json!(true)));
        assert!(about["oldest"].as_u64().unwrap() > 1_600_000_000_000);
        let mut bob = asked.log_in(2);
        let text = bob.text();
        assert!(text.contains(body) && !text.contains("\"from\""), "{text}");
        let event: Value = serde_json::from_str(&text.replace("1e999", "1")).unwrap();
        assert_eq!(event["data"]["id"], receipts[0]["id"]);
        bob.ack(&[id(&event)]);
        // Read, and not before an ack that was on its way.
        let mut about = Value::Null;
        while about["unread"] != 0 {
            about = asked.get(&format!("/v1/keys/{key}"));
        }
        assert_eq!((&about["online"], &about["oldest"]), (&json!(1), &Value::Null));
        assert_eq!(about["account"], json!({ "displayName": "", "bio": "" }));
        assert_eq!(about["connections"][0]["proven"], true);
    }
}

#[test]
fn keys_that_are_there_get_it_at_once_and_each_key_has_its_receipt() {
    for reactors in REACTORS {
        let asked = Asked::start(&format!("keys-{reactors}"), &["--reactors-per-core", reactors]);
        let mut ann = asked.log_in(1);
        let mut bobs = [asked.log_in(2), asked.log_in(2)];
        bobs.iter_mut().chain([&mut ann]).for_each(|client| drop(client.sync()));
        let to = json!([key_of(1), key_of(2), key_of(3), key_of(1)]);
        let states = |receipts: &[Value]| -> Vec<String> {
            receipts.iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect()
        };
        let receipts = asked.send(&to, r#""body":"kept""#);
        assert_eq!(states(&receipts), ["delivered", "delivered", "stored"]);
        let receipts = asked.send(&to, r#""body":"now","live":true"#);
        assert_eq!(states(&receipts), ["delivered", "delivered", "refused"]);
        assert_eq!((&receipts[2]["code"], &receipts[2]["id"]), (&json!("offline"), &Value::Null));
        for client in bobs.iter_mut().chain([&mut ann]) {
            assert_eq!([client.body(), client.body()], ["kept", "now"]);
        }
        fs::write(&asked.blocked, key_of(3)).unwrap();
        asked.server.signal(Signal::HUP);
        asked.server.stderr_with("reloaded");
        let receipts = asked.send(&to, r#""body":"kept""#);
        assert_eq!((&receipts[2]["state"], &receipts[2]["code"]), (&json!("refused"), &json!("forbidden")));
        assert_eq!(asked.get(&format!("/v1/keys/{}", key_of(3)))["admitted"], false);
        let counted = scrape_with_token(&asked);
        assert!(counted.contains("mida_receipts_total{state=\"delivered\",code=\"\"} 6"), "{counted}");
        // Nothing is acked.
        let store = scrape(asked.server.admin());
        let of = |name: &str| store.sum(&format!("mida_store_{name}"), &[]);
        assert_eq!((of("messages"), of("accounts"), of("failures_total")), (5.0, 2.0, 0.0));
        assert!(of("groups_total") >= 2.0 && of("bytes") > 5.0 * 6.0 && of("disk_bytes") > of("bytes"));
    }
}

/// Metrics are open on loopback.
fn scrape_with_token(asked: &Asked) -> String {
    assert!(scrape(asked.server.admin()).sum("mida_receipts_total", &[]) > 0.0);
    asked.request("GET", "/metrics", "", "").body
}

#[test]
fn everyone_who_has_proven_a_key_gets_it_and_nobody_else() {
    for reactors in REACTORS {
        let asked = Asked::start(&format!("all-{reactors}"), &["--reactors-per-core", reactors]);
        let mut members: Vec<_> = (1..6).map(|number| asked.log_in(number)).collect();
        let mut guest = Client::guest(asked.server.address());
        members.iter_mut().for_each(|member| drop(member.sync()));
        let online = asked.get("/v1/online");
        assert_eq!(
            (online["online"].as_u64(), online["reactors"].as_array().unwrap().len()),
            (Some(5), reactors.parse().unwrap())
        );
        let (status, answer) = asked.post("/v1/send", r#"{"to":"*","body":["all"]}"#);
        assert_eq!((status, &answer["delivered"]), (200, &json!(5)), "{answer}");
        for member in &mut members {
            let event = member.event();
            assert_eq!((&event["data"]["body"], &event["data"]["id"]), (&json!(["all"]), &answer["id"]));
            assert_eq!(event["data"].get("from"), None);
        }
        assert_eq!(guest.sync(), Vec::<Value>::new());
    }
}

#[test]
fn who_joined_a_topic_gets_what_is_published_and_their_number_is_told() {
    for reactors in REACTORS {
        let asked = Asked::start(&format!("topic-{reactors}"), &["--reactors-per-core", reactors]);
        let publish = |body: &str| {
            let (status, answer) =
                asked.post("/v1/publish", &format!(r#"{{"topic":"lobby","body":{body}}}"#));
            assert_eq!((status, answer["id"].as_str().unwrap().len()), (200, 32), "{answer}");
            answer["delivered"].as_u64().unwrap()
        };
        assert_eq!(publish("0"), 0);
        let mut members: Vec<_> = (1..5).map(|number| asked.log_in(number)).collect();
        for member in &mut members {
            member.say(r#"{"t":133,"data":{"topic":"lobby"}}"#);
            member.sync();
        }
        // Between reactors a join takes a moment.
        while publish("1") < 4 {}
        for member in &mut members {
            let event = std::iter::from_fn(|| Some(member.event())).find(|event| event["t"] == 130).unwrap();
            assert_eq!((&event["data"]["topic"], &event["data"]["body"]), (&json!("lobby"), &json!(1)));
            assert_eq!(event["data"].get("from"), None);
        }
    }
}

#[test]
fn a_disconnected_key_may_come_back_and_others_stay() {
    for reactors in REACTORS {
        let asked = Asked::start(&format!("disconnect-{reactors}"), &["--reactors-per-core", reactors]);
        let mut bobs: Vec<_> = (0..4).map(|_| asked.log_in(2)).collect();
        let mut ann = asked.log_in(1);
        bobs.iter_mut().for_each(|bob| drop(bob.sync()));
        let disconnect = || asked.post("/v1/disconnect", &json!({ "key": key_of(2) }).to_string());
        assert_eq!(disconnect(), (200, json!({ "closed": 4 })));
        for bob in &mut bobs {
            assert_eq!(bob.next(), Said::Close(1000));
        }
        assert_eq!(disconnect(), (200, json!({ "closed": 0 })));
        assert_eq!(ann.sync(), Vec::<Value>::new());
        assert_eq!(asked.log_in(2).result["data"]["passed"], true);
    }
}

#[test]
fn a_request_with_a_name_is_done_once() {
    let asked = Asked::start("once", &[]);
    let mut bob = asked.log_in(2);
    bob.sync();
    let to = key_of(2);
    let stored = |body: &str| json!({ "to": to, "body": body }).to_string();
    let first = asked.post_as("pay-1", "/v1/send", &stored("a"));
    assert_eq!((first.0, &first.1["receipts"][0]["state"]), (200, &json!("delivered")));
    assert_eq!(bob.body(), "a");
    let again = asked.post_as("\"pay-1\"", "/v1/send", &stored("a"));
    assert_eq!((again.0, &again.1["receipts"][0]["id"]), (200, &first.1["receipts"][0]["id"]));
    let other = asked.post_as("pay-1", "/v1/send", &stored("b"));
    assert_eq!((other.0, &other.1["error"]), (409, &json!("id_reused")));
    for (path, one, two) in [
        (
            "/v1/send",
            json!({ "to": to, "live": true, "body": 1 }),
            json!({ "to": to, "live": true, "body": 2 }),
        ),
        ("/v1/send", json!({ "to": "*", "body": 1 }), json!({ "to": "*", "body": 2 })),
        ("/v1/publish", json!({ "topic": "x", "body": 1 }), json!({ "topic": "x", "body": 2 })),
    ] {
        let name = format!("n-{}", one.to_string().len());
        let first = asked.post_as(&name, path, &one.to_string());
        assert_eq!(first.0, 200, "{one}");
        assert_eq!(asked.post_as(&name, path, &one.to_string()), first, "the same answer with the same id");
        assert_eq!(asked.post_as(&name, path, &two.to_string()).0, 409);
    }
    // Each once.
    let bodies: Vec<_> = bob.sync().iter().map(|event| event["data"]["body"].clone()).collect();
    assert_eq!(bodies, [json!(1), json!(1)]);
    assert_eq!(asked.post_as("no name", "/v1/send", &stored("a")).0, 400);
}

#[test]
fn who_may_not_ask_or_asks_for_nothing_sensible_is_told_why() {
    let asked = Asked::start("refused", &["--limit", "message_bytes=4096"]);
    let at = asked.server.admin();
    let mut bob = asked.log_in(2);
    let good = json!({ "to": "*", "body": 1 }).to_string();
    let json = "Content-Type: application/json\r\n";
    let raw = |method: &str, path: &str, host: &str, token: &str, fields: &str, body: &str| {
        let token =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        read(&ask(
            at,
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{token}{fields}\r\n{body}").as_bytes(),
        ))
    };
    let length = format!("Content-Length: {}\r\n", good.len());
    let here = at.to_string();
    let typed = format!("{json}{length}");
    let long = format!("{json}Content-Length: 4097\r\n");
    for (method, path, host, token, fields, status) in [
        ("POST", "/v1/send", &*here, "", &*typed, 401),
        ("POST", "/v1/send", &here, "correct-horse-batterx", &typed, 401),
        ("POST", "/v1/send", "evil.example", TOKEN, &typed, 403),
        ("POST", "/v1/send", &here, TOKEN, &format!("{typed}Origin: http://{here}\r\n"), 403),
        ("POST", "/v1/send", &here, TOKEN, &format!("{typed}Origin: null\r\n"), 403),
        (
            "OPTIONS",
            "/v1/send",
            &here,
            "",
            "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n",
            403,
        ),
        ("POST", "/v1/send", &here, TOKEN, &length, 415),
        ("POST", "/v1/send", &here, TOKEN, &format!("{length}Content-Type: text/plain\r\n"), 415),
        (
            "POST",
            "/v1/send",
            &here,
            TOKEN,
            &format!("{length}Content-Type: application/x-www-form-urlencoded\r\n"),
            415,
        ),
        ("POST", "/v1/send", &here, TOKEN, &format!("{length}{json}Content-Type: text/plain\r\n"), 415),
        ("POST", "/v1/send", &here, TOKEN, json, 411),
        ("POST", "/v1/send", &here, TOKEN, &format!("{json}Transfer-Encoding: chunked\r\n"), 411),
        ("POST", "/v1/send", &here, TOKEN, &long, 413),
        ("POST", "/v1/send", &here, TOKEN, &format!("{json}Content-Length: 1048577\r\n"), 413),
        ("GET", "/v1/send", &here, TOKEN, "", 405),
        ("DELETE", "/v1/keys/02", &here, TOKEN, "", 405),
        ("GET", "/v1/online", &here, "", "", 401),
        ("GET", "/v1/keys/02", &here, TOKEN, "", 400),
        ("GET", "/v1/keys/", &here, TOKEN, "", 404),
        ("GET", "/v1/keys/02/x", &here, TOKEN, "", 404),
        ("GET", "/v1", &here, TOKEN, "", 404),
    ] {
        let (told, answer) = raw(method, path, host, token, fields, if status == 413 { "" } else { &good });
        assert_eq!(told, status, "{method} {path} of {host} with {fields}: {answer}");
    }
    for (path, body, error) in [
        ("/v1/send", "", "bad_json"),
        ("/v1/send", "{\"to\":", "bad_json"),
        ("/v1/send", r#"{"to":"*"}"#, "bad_data"),
        ("/v1/send", r#"{"to":"02","body":1}"#, "bad_key"),
        ("/v1/send", r#"{"to":[],"body":1}"#, "bad_data"),
        ("/v1/send", r#"{"to":"*","body":1,"lvie":true}"#, "bad_data"),
        ("/v1/send", r#"{"to":"*","body":"\ud800"}"#, "bad_json"),
        ("/v1/publish", r#"{"topic":"","body":1}"#, "bad_data"),
        ("/v1/publish", r#"{"topic":7,"body":1}"#, "bad_data"),
        ("/v1/disconnect", r#"{"key":"*"}"#, "bad_key"),
    ] {
        let (status, answer) = asked.post(path, body);
        assert_eq!((status, &answer["error"]), (400, &json!(error)), "{path} {body}: {answer}");
    }
    // A member's name is in what it is told.
    let (_, answer) = asked.post("/v1/send", r#"{"to":"*"}"#);
    assert!(answer["message"].as_str().unwrap().contains("`body`"), "{answer}");
    // Nothing came of any of it, and as much as a client may say is taken.
    let body = "x".repeat(4_096 - r#"{"to":"*","body":""}"#.len());
    assert_eq!(asked.post("/v1/send", &format!(r#"{{"to":"*","body":"{body}"}}"#)).1["delivered"], 1);
    assert_eq!(bob.body(), body);
}

#[test]
fn without_a_token_nothing_of_it_is_answered_and_without_a_store_nothing_is_kept() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let at = server.admin();
    for path in ["/v1/online", &format!("/v1/keys/{}", key_of(1))] {
        assert_eq!(metrics::get(at, path, "").status, 401);
    }
    let asked = Asked::start("again", &[]);
    let token = path("again-token");
    fs::write(&token, TOKEN).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let flags = ["--admin", "127.0.0.1:0", "--admin-token", token.to_str().unwrap(), "--ephemeral"];
    let asked = Asked { server: Server::start(&flags), data: asked.data.clone(), blocked: PathBuf::new() };
    let receipts = asked.send(&json!([key_of(1)]), r#""body":1"#);
    assert_eq!((&receipts[0]["state"], &receipts[0]["code"]), (&json!("refused"), &json!("forbidden")));
    let about = asked.get(&format!("/v1/keys/{}", key_of(1)));
    assert_eq!((&about["account"], &about["unread"]), (&Value::Null, &json!(0)));
}

#[test]
fn a_full_store_says_when_to_try_again() {
    let asked = Asked::start("full", &["--store-bytes", "1048576"]);
    let body = "x".repeat(60_000);
    let mut status = 200;
    for number in 0..64 {
        let text = json!({ "to": key_of(number), "body": body }).to_string();
        let answer = asked.request("POST", "/v1/send", "Content-Type: application/json\r\n", &text);
        status = answer.status;
        if status != 200 {
            assert!(answer.head.contains("\r\nRetry-After: 1\r\n"), "{answer:?}");
            assert_eq!(read(&answer).1["error"], "store_full");
            break;
        }
    }
    assert_eq!(status, 503);
}

#[test]
fn a_server_that_ends_takes_no_more() {
    let asked = Asked::start("ends", &[]);
    let mut bob = asked.log_in(2);
    asked.server.signal(Signal::TERM);
    assert_eq!(bob.next(), Said::Close(1001));
    // It waits for this client's end.
    let answer =
        asked.request("POST", "/v1/send", "Content-Type: application/json\r\n", r#"{"to":"*","body":1}"#);
    assert_eq!((answer.status, read(&answer).1["error"].as_str()), (503, Some("draining")));
    assert!(answer.head.contains("\r\nRetry-After: 1\r\n"));
}
