//! Messages between keys, from real clients to the real binary and back, on one reactor and on several.

mod client;
#[path = "../common/mod.rs"]
mod common;

mod crashes;
#[path = "../common/frames.rs"]
mod frames;
#[path = "../../src/cli/load/login.rs"]
mod login;
#[path = "../../src/cli/load/opener.rs"]
mod opener;

use client::{Client, Said, id, receipt};
use common::Server;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// A directory of its own, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mida-messages-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One reactor, two, and five.
const REACTORS: [&str; 3] = ["1", "2", "5"];

fn is(receipt: (String, String, String), re: &str, state: &str, code: &str) {
    assert_eq!(receipt, (re.to_owned(), state.to_owned(), code.to_owned()));
}

#[test]
fn live_messages_reach_every_device_on_whichever_reactor() {
    for reactors in REACTORS {
        let server = Server::start(&["--cores", "0", "--reactors-per-core", reactors]);
        let mut ann = Client::log_in(server.address(), 1);
        assert_eq!(ann.rules["data"]["ext"], json!(["msg"]));
        let mut bobs: Vec<_> = (0..6).map(|_| Client::log_in(server.address(), 2)).collect();
        let bob = bobs[0].key.clone();
        // The last login may be known to its own reactor alone for a moment; its answer to anything ends that.
        bobs.iter_mut().for_each(|bob| drop(bob.sync()));
        for n in 0..20 {
            ann.send(&n.to_string(), &[&bob], &format!(r#""live":true,"body":{n}"#));
        }
        for n in 0..20 {
            is(ann.receipt(), &n.to_string(), "delivered", "");
        }
        let last = bobs.pop().unwrap();
        for bob in &mut bobs {
            let bodies: Vec<_> = (0..20).map(|_| bob.body()).collect();
            assert_eq!(bodies, (0..20).map(|n| json!(n)).collect::<Vec<_>>());
        }
        drop(last);
        bobs.into_iter().for_each(Client::leave);
        // Whoever closed in good order is not there any more; the one that was dropped is found out soon.
        let mut state = String::new();
        for n in 0.. {
            assert!(n < 10_000, "{state}");
            ann.send("x", &[&bob], r#""live":true,"body":null"#);
            state = ann.receipt().1;
            if state == "refused" {
                break;
            }
            ann.sync();
        }
    }
}

#[test]
fn what_is_stored_survives_its_recipients_absence_and_the_servers() {
    for reactors in ["1", "3"] {
        let folder = Folder::new(&format!("stored-{reactors}"));
        let data = folder.path("data");
        let flags = ["--cores", "0", "--reactors-per-core", reactors, "--data", &data];
        let server = Server::start(&flags);
        let mut ann = Client::log_in(server.address(), 1);
        assert_eq!(ann.result["data"]["user"]["unreadMessages"], 0);
        let bob = Client::log_in(server.address(), 2);
        let key = bob.key.clone();
        bob.leave();
        for n in 0..10 {
            ann.send(&n.to_string(), &[&key], &format!(r#""body":{n}"#));
            let (re, state, _) = ann.receipt();
            assert!(re == n.to_string() && (state == "stored" || n == 0), "{state}");
        }
        // The same id and content, and the same id and another.
        ann.send("3", &[&key], r#""body":3"#);
        is(ann.receipt(), "3", "stored", "");
        ann.send("3", &[&key], r#""body":4"#);
        is(ann.receipt(), "3", "refused", "id_reused");
        // A crash: nothing that has a receipt may be lost.
        server.signal(Signal::KILL);
        server.wait();
        let server = Server::start(&flags);
        let mut bobs = [Client::log_in(server.address(), 2), Client::log_in(server.address(), 2)];
        let mut ids = Vec::new();
        for bob in &mut bobs {
            assert_eq!(bob.result["data"]["user"]["unreadMessages"], 10);
            let events: Vec<_> = (0..10).map(|_| bob.event()).collect();
            assert!(events.iter().enumerate().all(|(n, event)| event["data"]["body"] == n), "{events:?}");
            ids = events.iter().map(id).collect();
        }
        let mut ann = Client::log_in(server.address(), 1);
        ann.send("again", &[&key], r#""body":"there""#);
        is(ann.receipt(), "again", "delivered", "");
        let [first, second] = &mut bobs;
        ids.push(id(&first.event()));
        assert_eq!(second.body(), "there");
        first.ack(&ids);
        first.sync();
        // A stored answer comes behind the ack.
        first.send("own", &[&first.key.clone()], r#""body":0"#);
        let mut own = [first.event(), first.event()];
        own.sort_by_key(|event| event["t"].as_u64());
        is(receipt(&own[1]), "own", "delivered", "");
        first.ack(&[id(&own[0])]);
        first.send("own2", &[&first.key.clone()], r#""body":0"#);
        let mut own = [first.event(), first.event()];
        own.sort_by_key(|event| event["t"].as_u64());
        let last = Client::log_in(server.address(), 2);
        assert_eq!(last.result["data"]["user"]["unreadMessages"], 1);
    }
}

#[test]
fn a_window_is_refilled_until_the_mailbox_is_empty() {
    let folder = Folder::new("window");
    let data = folder.path("data");
    let flags = ["--cores", "0", "--reactors-per-core", "2", "--data", &data, "--limit"];
    let server = Server::start(&[&flags[..], &["member_messages_per_minute=0"]].concat());
    let key = Client::log_in(server.address(), 9).key;
    let mut expected = BTreeSet::new();
    // Several senders: one may have no more than 100 in a mailbox.
    for sender in 0..3 {
        let mut sender = Client::log_in(server.address(), sender);
        for n in 0..90 {
            sender.send(&n.to_string(), &[&key], &format!(r#""body":"{}-{n}""#, sender.key));
            expected.insert(format!("{}-{n}", sender.key));
        }
        (0..90).for_each(|n| is(sender.receipt(), &n.to_string(), "stored", ""));
    }
    let mut client = Client::log_in(server.address(), 9);
    assert_eq!(client.result["data"]["user"]["unreadMessages"], 270);
    let mut got = Vec::new();
    let mut unacked = Vec::new();
    while got.len() < 270 {
        let event = client.event();
        unacked.push(id(&event));
        got.push(event["data"]["body"].as_str().unwrap().to_owned());
        // No more than that come without an ack.
        if unacked.len() == 64 || got.len() == 270 {
            assert_eq!(client.sync(), Vec::<Value>::new());
            client.ack(&std::mem::take(&mut unacked));
        }
    }
    assert_eq!(BTreeSet::from_iter(got.iter().cloned()), expected);
    // In the order of each sender.
    for sender in 0..3 {
        let own: Vec<_> = got.iter().filter(|body| body.starts_with(&key_of(sender))).collect();
        let numbers: Vec<u32> =
            own.iter().map(|body| body.rsplit('-').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..90).collect::<Vec<_>>());
    }
}

fn key_of(number: u64) -> String {
    let auth: Value = serde_json::from_str(&login::Member::numbered(number).auth()).unwrap();
    auth["data"]["pubKey"].as_str().unwrap().to_owned()
}

#[test]
fn topics_reach_those_who_joined_on_any_reactor() {
    for reactors in REACTORS {
        let folder = Folder::new(&format!("topics-{reactors}"));
        let file = folder.path("mida.toml");
        fs::write(&file, "ephemeral = true\n[permissions]\nanonymous = ['topic.join']\n").unwrap();
        let server = Server::start(&["--cores", "0", "--reactors-per-core", reactors, "--config", &file]);
        let mut ann = Client::log_in(server.address(), 1);
        let mut others: Vec<_> = (2..6).map(|number| Client::log_in(server.address(), number)).collect();
        others.push(Client::guest(server.address()));
        for other in &mut others {
            other.say(r#"{"t":133,"data":{"topic":"lobby"}}"#);
            assert_eq!(other.sync(), Vec::<Value>::new());
        }
        // Between reactors a join takes a moment.
        let publish = |client: &mut Client, id: &str| {
            client.say(&format!(r#"{{"t":135,"data":{{"topic":"lobby","id":"{id}","body":"{id}"}}}}"#));
            client.receipt()
        };
        while publish(&mut ann, "first").1 != "delivered" {}
        is(publish(&mut ann, "second"), "second", "delivered", "");
        for other in &mut others {
            // Who was not known for the first got the second all the same, if its join was.
            while other.body() != "second" {}
        }
        for other in &mut others {
            other.say(r#"{"t":134,"data":{"topic":"lobby"}}"#);
            assert_eq!(other.sync(), Vec::<Value>::new());
        }
        while publish(&mut ann, "late").1 != "refused" {}
        is(publish(&mut ann, "last"), "last", "refused", "offline");
        let guest = others.last_mut().unwrap();
        guest.say(r#"{"t":135,"data":{"topic":"lobby","body":1}}"#);
        assert_eq!(guest.event()["data"]["code"], "forbidden");
    }
}

#[test]
fn rates_count_recipients_and_permissions_and_blocked_keys_change_on_a_reload() {
    let folder = Folder::new("reload");
    let (file, blocked) = (folder.path("mida.toml"), folder.path("blocked"));
    fs::write(&blocked, "").unwrap();
    let text =
        format!("ephemeral = true\nblocked = '{blocked}'\n[limits]\nmember_messages_per_minute = 20\n");
    fs::write(&file, &text).unwrap();
    let server = Server::start(&["--cores", "0", "--reactors-per-core", "2", "--config", &file]);
    let mut ann = Client::log_in(server.address(), 1);
    let mut bob = Client::log_in(server.address(), 2);
    let (mine, yours) = (ann.key.clone(), bob.key.clone());
    ann.send("a", &[&yours, &mine, "02aa"], r#""live":true,"body":1"#);
    assert_eq!(ann.event()["data"]["code"], "bad_key");
    for n in 0..8 {
        bob.send(&n.to_string(), &[&yours, &mine], r#""live":true,"body":1"#);
    }
    bob.send("9", &[&yours, &mine, &key_of(3), &key_of(4)], r#""live":true,"body":1"#);
    let events: Vec<_> = (0..25).map(|_| bob.event()).collect();
    let limited: Vec<_> = events.iter().filter(|event| event["t"] == 128).collect();
    assert_eq!((limited.len(), &limited[0]["data"]["code"]), (1, &json!("rate_limited")), "{events:?}");
    assert_eq!(limited[0]["data"]["id"], "9");
    fs::write(&blocked, &yours).unwrap();
    fs::write(&file, format!("{text}[permissions]\nmembers = ['topic.join']\n")).unwrap();
    server.signal(Signal::HUP);
    let (_, code) = bob.until_close();
    assert_eq!(code, 4003);
    let again = Client::log_in(server.address(), 2);
    let data = &again.result["data"];
    assert_eq!((&data["passed"], &data["reason"]), (&json!(false), &json!("blocked")));
    let rules = std::iter::from_fn(|| Some(ann.event())).find(|event| event["t"] == 0).unwrap();
    assert_eq!(rules["data"]["perms"], json!(["metadata", "topic.join"]));
    ann.send("b", &[&mine], r#""live":true,"body":1"#);
    assert_eq!(ann.event()["data"]["code"], "forbidden");
}

#[test]
fn a_slow_reader_of_live_messages_is_told_so_and_each_message_has_its_receipt() {
    for reactors in ["1", "2"] {
        let server = Server::start(&[
            "--cores",
            "0",
            "--reactors-per-core",
            reactors,
            "--limit",
            "member_messages_per_minute=0",
        ]);
        let mut slow = Client::log_in(server.address(), 2);
        let mut ann = Client::log_in(server.address(), 1);
        let body = "x".repeat(60_000);
        let (mut sent, mut state) = (0, String::new());
        // What it does not read fills the kernel's buffers first, then its queue.
        while state != "refused" {
            ann.send(&sent.to_string(), &[&slow.key], &format!(r#""live":true,"body":"{body}""#));
            let (re, said, _) = ann.receipt();
            assert_eq!(re, sent.to_string());
            (sent, state) = (sent + 1, said);
            assert!(sent < 2_000);
        }
        // The close frame is behind megabytes, and has two seconds: opening them comes after reading them.
        slow.read_on();
        let (events, code) = slow.until_close();
        assert_eq!(code, 4009);
        assert!(events.iter().all(|event| event["t"] == 130) && events.len() < sent);
    }
}

#[test]
fn a_recipient_may_leave_midway_and_the_server_too() {
    for reactors in REACTORS {
        let folder = Folder::new(&format!("midway-{reactors}"));
        let data = folder.path("data");
        let server = Server::start(&[
            "--cores",
            "0",
            "--reactors-per-core",
            reactors,
            "--data",
            &data,
            "--drain-seconds",
            "0",
            "--limit",
            "member_messages_per_minute=0",
        ]);
        let mut ann = Client::log_in(server.address(), 1);
        let mut bob = Client::log_in(server.address(), 2);
        let key = bob.key.clone();
        for n in 0..300 {
            let live = n % 3 == 0;
            ann.send(&n.to_string(), &[&key], &format!(r#""live":{live},"body":{n}"#));
            if n == 150 {
                bob.body();
            }
        }
        drop(bob);
        let mut receipts = BTreeSet::new();
        for _ in 0..300 {
            let (re, state, code) = ann.receipt();
            let n: u32 = re.parse().unwrap();
            match &*state {
                "refused" if code == "offline" => assert_eq!(n % 3, 0),
                // One sender may have no more in one mailbox.
                "refused" => assert_eq!(code, "mailbox_full"),
                "stored" => assert_ne!(n % 3, 0),
                _ => assert_eq!(state, "delivered"),
            }
            assert!(receipts.insert(n), "two receipts for {n}");
        }
        // What was sent before the word that it goes is answered.
        ann.send("last", &[&key], r#""live":true,"body":0"#);
        is(ann.receipt(), "last", "refused", "offline");
        server.signal(Signal::TERM);
        assert_eq!(ann.next(), Said::Close(1001));
        assert_eq!(server.wait().code, Some(0));
    }
}

#[test]
fn a_successor_has_the_store_and_nobody_loses_a_message() {
    let folder = Folder::new("successor");
    let data = folder.path("data");
    let server = Server::start(&["--cores", "0", "--data", &data, "--drain-seconds", "1"]);
    let mut ann = Client::log_in(server.address(), 1);
    let key = key_of(2);
    ann.send("before", &[&key], r#""body":"before""#);
    is(ann.receipt(), "before", "stored", "");
    server.signal(Signal::USR2);
    let (events, code) = ann.until_close();
    assert_eq!((events.len(), code), (0, 1001));
    let mut ann = Client::log_in(server.address(), 1);
    ann.send("after", &[&key], r#""body":"after""#);
    is(ann.receipt(), "after", "stored", "");
    let mut bob = Client::log_in(server.address(), 2);
    assert_eq!([bob.body(), bob.body()], [json!("before"), json!("after")]);
    let told = server.stderr_with("a successor serves");
    let pid = common::number_behind(&told, "pid=");
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(ann.next(), Said::Close(1001));
}
