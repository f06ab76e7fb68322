//! Messages between keys, on one core and on several, with a store that is a map.

mod net;

use self::net::{Net, Peer};
use super::*;
use crate::app::{config::Permissions, mail::At};
use std::collections::BTreeMap;

/// A receipt in short: what it answers, its state, and why it was refused.
fn receipt(event: &Value) -> (&str, &str, &str) {
    assert_eq!(event["t"], 131, "{event}");
    let data = &event["data"];
    assert_eq!(data["id"].is_string(), data["state"] != "refused", "{event}");
    let text = |name: &str| data[name].as_str().unwrap_or("");
    (text("re"), text("state"), text("code"))
}

fn bodies(events: &[Value]) -> Vec<&Value> {
    events
        .iter()
        .inspect(|event| assert_eq!(event["t"], 130, "{event}"))
        .map(|e| &e["data"]["body"])
        .collect()
}

fn ids(events: &[Value]) -> String {
    let ids: Vec<_> = events.iter().map(|event| event["data"]["id"].to_string()).collect();
    format!(r#"{{"t":132,"data":{{"ids":[{}]}}}}"#, ids.join(","))
}

#[test]
fn a_live_message_reaches_every_device_of_a_key_on_any_core() {
    for cores in [1, 2, 5] {
        let mut net = Net::new(cores, false);
        let ann = net.member(0);
        let bob = net.member(cores - 1);
        let also_bob = net.device(0, bob);
        net.hears(also_bob);
        let heard = net.send(ann, &[bob], r#""id":"a","live":true,"body":{"x":1.10}"#);
        assert_eq!(heard.iter().map(receipt).collect::<Vec<_>>(), [("a", "delivered", "")]);
        for device in [bob, also_bob] {
            let events = net.hears(device);
            assert_eq!(bodies(&events), [&json!({"x": 1.1})]);
            let data = &events[0]["data"];
            assert_eq!(data["id"], heard[0]["data"]["id"]);
            assert_eq!(
                (&data["from"], &data["ts"]),
                (&json!(net.key(ann).to_string()), &json!(1_700_000_001_000u64))
            );
        }
        // One of them leaves, then the other.
        net.close(bob);
        let heard = net.send(ann, &[bob, ann, bob], r#""id":"b","live":true,"body":2"#);
        assert_eq!(heard.len(), 3);
        assert_eq!(bodies(&net.hears(also_bob)), [&json!(2)]);
        net.close(also_bob);
        let heard = net.send(ann, &[bob], r#""id":"c","live":true,"body":3"#);
        assert_eq!(heard.iter().map(receipt).collect::<Vec<_>>(), [("c", "refused", "offline")]);
        net.finish();
    }
}

#[test]
fn what_is_stored_waits_for_its_recipient_and_goes_when_it_is_acked() {
    for cores in [1, 2, 3] {
        let mut net = Net::new(cores, true);
        let ann = net.member(0);
        let bob = net.member(cores - 1);
        net.close(bob);
        for n in 0..3 {
            let heard = net.send(ann, &[bob], &format!(r#""id":"{n}","body":{n}"#));
            assert_eq!(heard.iter().map(|event| receipt(event).1).collect::<Vec<_>>(), ["stored"]);
        }
        let again = net.device(0, bob);
        let heard = net.hears(again);
        assert_eq!(heard[0]["data"]["user"]["unreadMessages"], 3);
        assert_eq!((&heard[1]["t"], bodies(&heard[2..])), (&json!(0), vec![&json!(0), &json!(1), &json!(2)]));
        let other = net.device(cores - 1, bob);
        assert_eq!(net.hears(other).len(), 5);
        let heard_now = net.send(ann, &[bob], r#""id":"n","body":9"#);
        assert_eq!(receipt(&heard_now[0]), ("n", "delivered", ""));
        let new = net.hears(again);
        assert_eq!((bodies(&new), net.hears(other).len()), (vec![&json!(9)], 1));
        assert_eq!(net.asks(again, &ids(&heard[2..])), Vec::<Value>::new());
        let windows = |net: &Net| net.cores.iter().map(|core| core.figures().windows).sum::<u64>();
        assert_eq!(windows(&net), 2);
        net.asks(again, &ids(&new));
        // Acked on one device, it is not in flight on the other.
        assert_eq!(windows(&net), 0);
        assert!(net.store.as_ref().unwrap().mailboxes.values().all(BTreeMap::is_empty));
        net.finish();
    }
}

#[test]
fn a_window_is_filled_again_as_it_is_acked() {
    for cores in [1, 2] {
        let mut net = Net::of(
            cores,
            true,
            Config { limits: limits(&[("member_messages_per_minute", 0)]), ..Config::default() },
        );
        let (ann, bob) = (net.member(0), net.member(cores - 1));
        let outcome = |n| if n < 64 { "delivered" } else { "stored" };
        for n in 0..200 {
            let heard = net.send(ann, &[bob], &format!(r#""id":"{n}","body":{n}"#));
            assert_eq!(receipt(&heard[0]).1, outcome(n), "message {n}");
        }
        let mut got: Vec<u64> = Vec::new();
        let mut new = net.hears(bob);
        while !new.is_empty() {
            assert!(new.len() <= 64);
            got.extend(new.iter().map(|event| event["data"]["body"].as_u64().unwrap()));
            new = net.asks(bob, &ids(&new));
        }
        assert_eq!(got, (0..200).collect::<Vec<_>>());
        // It has caught up: the next comes at once.
        assert_eq!(receipt(&net.send(ann, &[bob], r#""id":"x","body":0"#)[0]).1, "delivered");
        net.finish();
    }
}

#[test]
fn nothing_committed_around_a_login_is_missed() {
    for cores in [1, 2, 4] {
        for core in 0..cores {
            let mut net = Net::new(cores, true);
            let ann = net.member(0);
            let bob = net.connect(core);
            let key = net.key(bob);
            net.says(bob, &format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#));
            let challenge = net.hears(bob).pop().unwrap()["data"]["challenge"].clone();
            let challenge = Challenge::from_hex(challenge.as_str().unwrap().as_bytes()).unwrap();
            // The store answers the login, then has a message, then the session hears of its account.
            net.solve(bob, &challenge);
            net.says(ann, &format!(r#"{{"t":129,"data":{{"id":"1","to":"{key}","body":1}}}}"#));
            net.run();
            net.says(ann, &format!(r#"{{"t":129,"data":{{"id":"2","to":"{key}","body":2}}}}"#));
            net.run();
            let heard = net.hears(bob);
            assert_eq!(bodies(&heard[2..]), [&json!(1), &json!(2)], "{cores} cores, on {core}");
            net.finish();
        }
    }
}

#[test]
fn a_login_waits_for_the_store_and_not_for_ever() {
    let mut net = Net::new(1, true);
    net.store.as_mut().unwrap().is_stopped = true;
    let waits = |net: &Net, peer: usize| {
        let Peer { core, session, .. } = &net.peers[peer];
        net.cores[*core].holds(session)
    };
    let [patient, late, gone] = [net.connect(0), net.connect(0), net.connect(0)];
    for peer in [patient, late, gone] {
        net.log_in(peer, r#","user":{"displayName":"Zoe"}"#);
        assert_eq!((net.hears(peer), waits(&net, peer)), (vec![], Hold::Change));
        assert_eq!(net.peers[peer].session.due_ms(), 16_000);
    }
    // What came in one batch with the solution is not taken.
    assert_eq!(code(&net.asks(late, r#"{"t":1}"#)[0]), "auth_order");
    net.close(gone);
    net.cores[0].turn(16_000, &net.config);
    let Peer { session, heard, .. } = &mut net.peers[late];
    net.cores[0].timer(session, heard);
    assert_eq!(heard.closed, Some(Close::Overloaded));
    net.store.as_mut().unwrap().is_stopped = false;
    net.close(late);
    let heard = net.hears(patient);
    assert_eq!(heard[0]["data"]["user"], json!({"displayName": "Zoe", "unreadMessages": 0}));
    assert_eq!((waits(&net, patient), net.peers[patient].session.due_ms()), (Hold::Go, u64::MAX));
    net.finish();
}

#[test]
fn accounts_are_made_and_known_by_their_method() {
    let mut net = Net::new(2, true);
    let peer = net.connect(0);
    net.log_in(peer, r#","method":"login""#);
    assert_eq!(net.hears(peer).iter().map(reason).collect::<Vec<_>>(), [("no_account", 2)]);
    assert!(!net.peers[peer].session.is_proven() && net.peers[peer].session.is_challenged());
    assert_eq!(net.peers[peer].session.due_ms(), 61_008);
    let peer = net.connect(0);
    net.log_in(peer, r#","method":"signup","user":{"displayName":"Ann"}"#);
    assert_eq!(net.hears(peer)[0]["data"]["user"]["displayName"], "Ann");
    let secret = SecretKey::from_hex(&net.peers[peer].secret.to_hex()[..]).unwrap();
    let again = net.connect_as(1, secret);
    net.log_in(again, r#","method":"signup""#);
    assert_eq!(net.hears(again).iter().map(reason).collect::<Vec<_>>(), [("account_exists", 2)]);
    let last = net.device(1, peer);
    assert_eq!(net.hears(last)[0]["data"]["user"]["displayName"], "Ann");
    net.finish();
}

#[test]
fn permissions_and_what_is_missing_are_told_before_anything_happens() {
    let few = Config { members: Permissions::JOIN, anonymous: Permissions::JOIN, ..Config::default() };
    let none = Config { members: Permissions::NONE, ..Config::default() };
    let all_join = Config { anonymous: Permissions::ALL, ..Config::default() };
    let key = r#""02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5""#;
    let send = format!(r#"{{"t":129,"data":{{"id":"a","to":{key},"body":1,"live":true}}}}"#);
    let publish = r#"{"t":135,"data":{"topic":"t","body":1}}"#;
    let (join, leave) = (r#"{"t":133,"data":{"topic":"t"}}"#, r#"{"t":134,"data":{"topic":"t"}}"#);
    let ack = r#"{"t":132,"data":{"ids":[]}}"#;
    let forbidden = Some("forbidden");
    // For each: what a member hears, and what one without a key.
    for (config, text, member, anonymous) in [
        (&Config::default(), &*send, Some("offline"), forbidden),
        (&Config::default(), publish, None, forbidden),
        (&Config::default(), join, None, forbidden),
        (&Config::default(), leave, None, forbidden),
        (&Config::default(), ack, None, forbidden),
        (&few, &send, forbidden, forbidden),
        (&few, publish, forbidden, forbidden),
        (&few, join, None, None),
        (&few, leave, None, None),
        (&few, ack, None, forbidden),
        (&all_join, &send, Some("offline"), forbidden),
        (&all_join, join, None, None),
        (&none, &send, Some("unknown_event"), Some("unknown_event")),
        (&none, ack, Some("unknown_event"), Some("unknown_event")),
        (&none, r#"{"t":129,"data":{}}"#, Some("unknown_event"), Some("unknown_event")),
        (&few, r#"{"t":129,"data":{}}"#, Some("bad_data"), Some("bad_data")),
        (
            &Config::default(),
            r#"{"t":129,"data":{"id":"a","to":["02"],"body":1}}"#,
            Some("bad_key"),
            forbidden,
        ),
    ] {
        for (is_member, expected) in [(true, member), (false, anonymous)] {
            let mut net = Net::of(1, false, config.clone());
            let peer = if is_member { net.member(0) } else { net.connect(0) };
            let heard = net.asks(peer, text);
            let said = heard.first().map(|event| event["data"]["code"].as_str().unwrap());
            assert_eq!((said, heard.len()), (expected, usize::from(expected.is_some())), "{text}");
            net.close(peer);
            net.finish();
        }
    }
    let rules = |config: &Config| {
        let mut net = Net::of(1, false, config.clone());
        let peer = net.connect(0);
        net.log_in(peer, "");
        let mut rules = net.hears(peer).pop().unwrap()["data"].take();
        (rules["perms"].take(), rules["ext"].take())
    };
    assert_eq!(rules(&few), (json!(["metadata", "topic.join"]), json!(["msg"])));
    assert_eq!(rules(&none), (json!(["metadata"]), json!([])));
}

#[test]
fn a_key_that_is_taken_as_it_is_neither_sends_nor_has_a_mailbox() {
    let mut net = Net::of(2, true, Config { auth: AuthMode::Key, ..Config::default() });
    let peer = net.connect(0);
    let key = net.key(peer);
    net.says(peer, &format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#));
    net.run();
    assert_eq!(net.hears(peer)[1]["data"]["ext"], json!([]));
    assert_eq!(code(&net.send(peer, &[peer], r#""id":"a","body":1"#)[0]), "unknown_event");
    assert_eq!(net.store.as_ref().unwrap().asked, 0);
    net.finish();
}

#[test]
fn without_a_store_only_what_passes_is_sent() {
    let mut net = Net::new(1, false);
    let (ann, bob) = (net.member(0), net.member(0));
    let heard = net.send(ann, &[bob, ann], r#""id":"a","body":1"#);
    let receipts: Vec<_> = heard.iter().map(receipt).collect();
    assert_eq!(receipts, [("a", "refused", "forbidden"), ("a", "refused", "forbidden")]);
    assert_eq!(net.hears(bob), Vec::<Value>::new());
    net.finish();
}

#[test]
fn each_recipient_has_one_receipt_and_costs_one_message() {
    let limits = limits(&[("member_messages_per_minute", 60)]);
    let mut net = Net::of(2, true, Config { limits, ..Config::default() });
    let ann = net.member(0);
    let others: Vec<_> = (0..5).map(|n| net.member(n % 2)).collect();
    let twice: Vec<_> = others.iter().chain(&others).copied().collect();
    let heard = net.send(ann, &twice, r#""id":"a","body":"x""#);
    let mut to: Vec<_> = heard.iter().inspect(|e| assert_eq!(receipt(e).1, "delivered")).collect();
    to.sort_by_key(|event| event["data"]["to"].to_string());
    to.dedup_by_key(|event| event["data"]["to"].clone());
    assert_eq!((heard.len(), to.len()), (5, 5));
    let full = net.send(ann, &others[..2], r#""id":"f","body":"full""#);
    assert_eq!(full.iter().map(receipt).collect::<Vec<_>>(), [("f", "refused", "mailbox_full"); 2]);
    // 12 of 60 were spent, and the 64 in the next would be too many.
    let many = [others[0]; 49];
    let heard = net.send(ann, &many, r#""id":"b","body":1"#);
    assert_eq!((code(&heard[0]), &heard[0]["data"]["id"], heard.len()), ("rate_limited", &json!("b"), 1));
    net.finish();
}

#[test]
fn topics_reach_those_who_joined_until_they_leave() {
    for cores in [1, 3] {
        let mut net = Net::of(cores, false, Config { anonymous: Permissions::JOIN, ..Config::default() });
        let ann = net.member(0);
        let bob = net.member(cores - 1);
        let guest = net.connect(cores / 2);
        let publish = |net: &mut Net, id: &str, body: u32| {
            net.asks(ann, &format!(r#"{{"t":135,"data":{{"topic":"lobby","id":"{id}","body":{body}}}}}"#))
        };
        assert_eq!(receipt(&publish(&mut net, "a", 1)[0]), ("a", "refused", "offline"));
        for peer in [ann, bob, guest, guest] {
            assert_eq!(net.asks(peer, r#"{"t":133,"data":{"topic":"lobby"}}"#), Vec::<Value>::new());
        }
        // Who has joined gets its own, and no receipt where there is no id.
        let own = net.asks(ann, r#"{"t":135,"data":{"topic":"lobby","body":2}}"#);
        assert_eq!(bodies(&own), [&json!(2)]);
        for peer in [bob, guest] {
            let heard = net.hears(peer);
            assert_eq!(bodies(&heard), [&json!(2)]);
            assert_eq!(
                (&heard[0]["data"]["topic"], &heard[0]["data"]["from"]),
                (&json!("lobby"), &json!(net.key(ann).to_string()))
            );
        }
        net.asks(ann, r#"{"t":134,"data":{"topic":"lobby"}}"#);
        let heard = publish(&mut net, "b", 3);
        assert_eq!(heard.iter().map(receipt).collect::<Vec<_>>(), [("b", "delivered", "")]);
        assert_eq!(heard[0]["data"]["to"], "lobby");
        net.close(bob);
        assert_eq!(net.asks(guest, r#"{"t":134,"data":{"topic":"lobby"}}"#).len(), 1);
        assert_eq!(receipt(&publish(&mut net, "c", 4)[0]), ("c", "refused", "offline"));
        for n in 0..64 {
            assert_eq!(net.asks(guest, &format!(r#"{{"t":133,"data":{{"topic":"{n}"}}}}"#)).len(), 0);
        }
        assert_eq!(code(&net.asks(guest, r#"{"t":133,"data":{"topic":"64"}}"#)[0]), "forbidden");
        net.finish();
    }
}

#[test]
fn who_hides_presence_tells_nothing() {
    for cores in [1, 2] {
        let mut net = Net::of(cores, true, Config { presence: false, ..Config::default() });
        let (ann, bob) = (net.member(0), net.member(cores - 1));
        let gone = net.member(0);
        net.close(gone);
        for (to, live) in [(bob, true), (bob, false), (gone, true), (gone, false)] {
            let heard = net.send(ann, &[to], &format!(r#""id":"{to}","live":{live},"body":1"#));
            assert_eq!(heard.iter().map(|event| receipt(event).1).collect::<Vec<_>>(), ["stored"]);
        }
        assert_eq!(net.hears(bob).len(), 2);
        net.finish();
    }
}

#[test]
fn blocked_keys_neither_log_in_nor_get_messages() {
    let mut net = Net::new(1, true);
    let (ann, bob) = (net.member(0), net.member(0));
    net.config.blocked = Arc::new([net.key(bob)].into());
    let heard = net.send(ann, &[bob], r#""id":"a","body":1"#);
    assert_eq!(heard.iter().map(receipt).collect::<Vec<_>>(), [("a", "refused", "forbidden")]);
    assert!(!net.cores[0].is_welcome(&net.peers[bob].session, &net.config));
    assert!(net.cores[0].is_welcome(&net.peers[ann].session, &net.config));
    let again = net.device(0, bob);
    assert_eq!(net.hears(again).iter().map(reason).collect::<Vec<_>>(), [("blocked", 0)]);
    assert_eq!(net.peers[again].heard.closed, Some(Close::AuthFailed));
    net.config.blocked = Arc::default();
    net.config.allowed = Some(Arc::new([net.key(ann)].into()));
    let third = net.connect(0);
    net.log_in(third, "");
    assert_eq!(net.hears(third).iter().map(reason).collect::<Vec<_>>(), [("blocked", 0)]);
    // A reload may come while the store is asked.
    net.store.as_mut().unwrap().is_stopped = true;
    let fourth = net.device(0, ann);
    net.config.allowed = Some(Arc::default());
    net.store.as_mut().unwrap().is_stopped = false;
    net.run();
    assert_eq!(net.hears(fourth).iter().map(reason).collect::<Vec<_>>(), [("blocked", 0)]);
    let mut keyed = Net::of(1, false, Config { auth: AuthMode::Key, ..Config::default() });
    let peer = keyed.connect(0);
    let key = keyed.key(peer);
    keyed.config.blocked = Arc::new([key].into());
    let heard = keyed.asks(peer, &format!(r#"{{"t":2,"data":{{"pubKey":"{key}"}}}}"#));
    assert_eq!(heard.iter().map(reason).collect::<Vec<_>>(), [("blocked", 0)]);
    assert_eq!(keyed.peers[peer].heard.closed, Some(Close::AuthFailed));
    net.finish();
    keyed.finish();
}

#[test]
fn so_much_may_be_on_its_way_and_members_wait_with_the_rest() {
    let limits = limits(&[("member_messages_per_minute", 0)]);
    let mut net = Net::of(1, true, Config { limits, ..Config::default() });
    let (ann, guest) = (net.member(0), net.connect(0));
    net.store.as_mut().unwrap().is_stopped = true;
    let body = "x".repeat(60_000);
    let mut sent = 0;
    while net.cores[0].holds(&net.peers[ann].session) == Hold::Go {
        assert_eq!(net.send(ann, &[ann], &format!(r#""id":"{sent}","body":"{body}""#)), Vec::<Value>::new());
        sent += 1;
    }
    assert_eq!(sent, (16 * 1024 * 1024usize).div_ceil(60_002));
    assert_eq!(net.cores[0].holds(&net.peers[ann].session), Hold::Letter);
    assert_eq!(net.cores[0].holds(&net.peers[guest].session), Hold::Go);
    net.store.as_mut().unwrap().is_stopped = false;
    net.run();
    assert_eq!(net.cores[0].holds(&net.peers[ann].session), Hold::Go);
    let receipts = net.hears(ann).iter().filter(|event| event["t"] == 131).count();
    assert_eq!(receipts, sent);
    net.finish();
}

#[test]
fn a_receipt_for_who_is_gone_is_for_nobody_else() {
    let mut net = Net::new(2, true);
    let (ann, bob) = (net.member(0), net.member(1));
    net.store.as_mut().unwrap().is_stopped = true;
    net.send(ann, &[bob], r#""id":"a","body":1"#);
    net.close(ann);
    net.store.as_mut().unwrap().is_stopped = false;
    net.run();
    assert_eq!(bodies(&net.hears(bob)), [&json!(1)]);
    let at = At { reactor: 0, token: net.peers[ann].heard.token() };
    assert_eq!(at.token.index, 0);
    net.finish();
}

#[test]
fn a_passing_message_that_is_sent_again_is_not_brought_again() {
    for cores in [1, 2] {
        let mut net = Net::of(cores, false, Config { anonymous: Permissions::JOIN, ..Config::default() });
        let (ann, bob) = (net.member(0), net.member(cores - 1));
        let gone = net.member(0);
        net.close(gone);
        let say = |net: &mut Net, body: &str| {
            let mut heard =
                net.send(ann, &[bob, gone, bob], &format!(r#""id":"a","live":true,"body":{body}"#));
            heard.sort_by_key(|event| event["data"]["state"].to_string());
            heard
        };
        let first = say(&mut net, "1");
        assert_eq!(first.iter().map(|event| receipt(event).1).collect::<Vec<_>>(), ["delivered", "refused"]);
        assert_eq!((say(&mut net, "1"), net.hears(bob).len()), (first, 1));
        let other = say(&mut net, "2");
        assert_eq!(other.iter().map(receipt).collect::<Vec<_>>(), [("a", "refused", "id_reused"); 2]);
        assert!(net.hears(bob).is_empty());
        net.asks(bob, r#"{"t":133,"data":{"topic":"t"}}"#);
        let publish = r#"{"t":135,"data":{"topic":"t","id":"p","body":1}}"#;
        let first = net.asks(ann, publish);
        assert_eq!((net.asks(ann, publish), net.hears(bob).len()), (first, 1));
        let other = net.asks(ann, &publish.replace("\"body\":1", "\"body\":2"));
        assert_eq!(other.iter().map(receipt).collect::<Vec<_>>(), [("p", "refused", "id_reused")]);
        // Without an id there is nothing to know it by.
        (0..2).for_each(|_| drop(net.asks(ann, r#"{"t":135,"data":{"topic":"t","body":1}}"#)));
        assert_eq!(net.hears(bob).len(), 2);
        net.finish();
    }
}
