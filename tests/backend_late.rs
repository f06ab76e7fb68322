//! A backend whose server does not answer: it is told so in time, and does not pile up what is under way.

mod common;
#[path = "common/inside.rs"]
mod inside;
#[path = "common/metrics.rs"]
mod metrics;

use metrics::{Answer, ask};
use mida::{
    app::{
        config::Config,
        relay::{Command, Homes},
    },
    engine::{
        app::{Accept, App, Link},
        error::Refusal,
        wire::{Kind, upgrade::Request},
    },
    server::{
        self,
        admin::{Backend, Guard, Listening as Admin, Office, Service, Token},
    },
    store::{Caps, Store},
};
use serde_json::{Value, json};
use std::{
    fs,
    sync::{Arc, mpsc::channel},
    time::{Duration, Instant},
};

const TOKEN: &str = "correct-horse-battery";
const KEY: &str = "0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7";

/// It keeps every letter to itself.
#[derive(Default)]
struct Silent(Vec<Command>);

impl App for Silent {
    type Conn = ();
    type Command = Command;

    fn upgrade(&mut self, _: &Request<'_>) -> Result<Accept<()>, Refusal> {
        Err(Refusal::Full)
    }

    fn received(&mut self, _: &mut Link<'_, ()>, _: Kind, _: &mut [u8]) {}

    fn command(&mut self, command: &mut Command) -> mida::engine::app::Reach {
        self.0.push(command.clone());
        mida::engine::app::Reach::Nobody
    }
}

/// Two reactors that say nothing, and a store whose thread never runs.
fn silent(name: &str, answer_most: Duration) -> (Admin, Store) {
    let local = ([127, 0, 0, 1], 0).into();
    let clock = Instant::now();
    let running = Arc::new(server::start(&inside::plan(2), clock, |_, _| Silent::default()).unwrap());
    let guard = Guard { token: Token::new(TOKEN.as_bytes()).ok(), hosts: Vec::new(), is_public: false };
    let data = common::path(name);
    let _ = fs::remove_dir_all(&data);
    let store = Store::open(&data, Caps::default(), 1).unwrap();
    let (operator, told) = channel();
    let office = Office {
        config: Arc::new(Config::default()),
        homes: Homes::new([1; 16], 2),
        reactors: running.ways(),
        store: Some(store.inbox(0)),
        operator,
        told,
        answer_most,
    };
    let service = Service::new(running, clock, guard).with(Backend::new(office).unwrap());
    let admin = service.listen(server::admin::bind(local, None).unwrap()).unwrap();
    fs::remove_dir_all(&data).unwrap();
    (admin, store)
}

fn request(admin: &Admin, method: &str, path: &str, fields: &str, body: &Value) -> (Answer, Value) {
    let (at, body) = (admin.address(), body.to_string());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {TOKEN}\r\n{fields}");
    let typed = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = ask(at, (head + &typed).as_bytes());
    let value = serde_json::from_str(&answer.body).unwrap();
    (answer, value)
}

#[test]
fn who_gets_no_answer_in_time_is_told_what_is_known() {
    let (admin, _store) = silent("silent", Duration::from_millis(50));
    let post = |path, body| {
        let (answer, value) = request(&admin, "POST", path, "", &body);
        (answer.status, value)
    };
    for (path, body, known) in [
        ("/v1/send", json!({ "to": KEY, "body": 1 }), json!({ "receipts": [] })),
        ("/v1/send", json!({ "to": [KEY], "body": 1, "live": true }), json!({ "receipts": [] })),
        ("/v1/send", json!({ "to": "*", "body": 1 }), json!({ "delivered": 0 })),
        ("/v1/publish", json!({ "topic": "lobby", "body": 1 }), json!({ "delivered": 0 })),
        ("/v1/disconnect", json!({ "key": KEY }), json!({ "closed": 0 })),
    ] {
        let (status, answer) = post(path, body.clone());
        assert_eq!((status, &answer["error"]), (504, &json!("timeout")), "{path} {body}");
        for (name, value) in known.as_object().unwrap() {
            assert_eq!(&answer[name], value, "{path} {body}");
        }
    }
    let (answer, value) = request(&admin, "GET", &format!("/v1/keys/{KEY}"), "", &Value::Null);
    assert_eq!((answer.status, &value["key"], value.get("unread")), (504, &json!(KEY), None));
    // It may have arrived: under the same name it is not sent again.
    let named = |body| request(&admin, "POST", "/v1/publish", "Idempotency-Key: a\r\n", &body).1;
    let first = named(json!({ "topic": "lobby", "body": 1 }));
    assert_eq!(named(json!({ "topic": "lobby", "body": 1 })), first);
    assert_eq!(named(json!({ "topic": "lobby", "body": 2 }))["error"], "id_reused");
}

#[test]
fn too_much_under_way_is_refused_until_there_is_room() {
    let (admin, _store) = silent("crowded", Duration::ZERO);
    let body = json!({ "topic": "lobby", "body": "x".repeat(60_000) });
    let mut sent = 0;
    let refused = loop {
        let (answer, value) = request(&admin, "POST", "/v1/publish", "", &body);
        if answer.status != 504 {
            break (answer, value);
        }
        sent += 1;
        assert!(sent < 1_000, "there is a bound");
    };
    let (answer, value) = refused;
    assert_eq!((answer.status, &value["error"]), (429, &json!("rate_limited")));
    assert!(answer.head.contains("\r\nRetry-After: 1\r\n"));
    // 16 MiB.
    assert_eq!(sent, (16 << 20) / 60_002 + 1);
}
