//! Mida itself: texts that are no messages, batches, keys and proofs.

use crate::{
    peer::{BINARY, FIN, Peer, UPGRADE, auth, auth_of, frame, hex, secret, solution, solve, text, unhex},
    target::{Target, UNLIMITED, calm},
};
use mida::app::crypto::key::SecretKey;
use secp256k1::{Message, ecdsa};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const FREE: &[&str] = &["--limit", "strikes_per_minute=0", "--limit", "anonymous_messages_per_minute=0"];
/// The order of secp256k1 (SEC 2 section 2.4.1).
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

/// Plain ECDSA over this digest: r and s.
fn ecdsa(secret: &SecretKey, digest: &[u8]) -> (String, String) {
    let secret = secp256k1::SecretKey::from_secret_bytes(*secret.as_bytes()).unwrap();
    let digest = Message::from_digest(digest.try_into().unwrap());
    let signature = hex(&ecdsa::sign(digest, &secret).serialize_compact());
    (signature[..64].to_owned(), signature[64..].to_owned())
}

/// n - s.
fn negated(s: &str) -> String {
    let s: [u8; 32] = unhex(s).try_into().unwrap();
    hex(&secp256k1::SecretKey::from_secret_bytes(s).unwrap().negate().to_secret_bytes())
}

#[test]
fn l31_ten_texts_that_no_client_sends_get_4000() {
    let target = Target::start(&[]);
    let texts = [
        (
            "bad_json",
            &["", " ", "{", "hello", "{\"t\":1", "{'t':1}", "{\"t\":01}", "nul", "\"\0\"", "{\"t\":1,}"][..],
        ),
        (
            "bad_envelope",
            &["[]", "1", "null", "\"t\"", "{}", "[{\"t\":1}]", "true", "{\"data\":{}}", "1e400", "{\"T\":1}"],
        ),
        (
            "bad_envelope",
            &[
                r#"{"t":-1}"#,
                r#"{"t":256}"#,
                r#"{"t":1.5}"#,
                r#"{"t":1.0}"#,
                r#"{"t":1e0}"#,
                r#"{"t":"1"}"#,
                r#"{"t":1e99}"#,
                r#"{"t":null}"#,
                r#"{"t":18446744073709551617}"#,
                r#"{"t":-0}"#,
            ],
        ),
        (
            "bad_envelope",
            &[
                r#"{"t":1,"data":null}"#,
                r#"{"t":1,"data":[]}"#,
                r#"{"t":1,"data":"{}"}"#,
                r#"{"t":1,"data":1}"#,
                r#"{"t":true}"#,
                r#"{"t":[1]}"#,
                r#"{"t":{}}"#,
                r#"{"t":1e400}"#,
                r#"{"t":""}"#,
                r#"{"t":4,"data":null}"#,
            ],
        ),
        (
            "unknown_event",
            &[
                r#"{"t":0}"#,
                r#"{"t":3}"#,
                r#"{"t":5}"#,
                r#"{"t":6}"#,
                r#"{"t":127}"#,
                r#"{"t":128}"#,
                r#"{"t":136}"#,
                r#"{"t":137}"#,
                r#"{"t":200}"#,
                r#"{"t":255}"#,
            ],
        ),
    ];
    for (code, texts) in texts {
        let mut peer = Peer::open(&target);
        let (last, first) = texts.split_last().unwrap();
        assert_eq!(first.len(), 9);
        for text in first {
            peer.errs(text, code);
            // A message in between does no harm and takes no strike away.
            peer.ask();
        }
        peer.errs(last, code);
        peer.closed_with(4000);
    }
    // Not text at all.
    let mut peer = Peer::open(&target);
    peer.send(&frame(FIN | BINARY, br#"{"t":1}"#));
    peer.closed_with(1003);
    drop(peer);
    calm(&target);
}

#[test]
fn l32_json_that_breaks_parsers_gets_an_error() {
    for depth in [&[][..], &["--limit", "json_depth=0"]] {
        let target = Target::start(&[FREE, depth, &["--limit", "message_bytes=1000000"]].concat());
        let mut peer = Peer::open(&target);
        for [open, close] in [["[", "]"], ["{\"a\":", "}"]] {
            let deep = open.repeat(100_000);
            peer.errs(&deep, "bad_json");
            let closed = format!("{{\"t\":1,\"x\":{deep}0{}}}", close.repeat(100_000));
            match depth {
                [] => peer.errs(&closed, "bad_json"),
                _ => {
                    peer.say(&closed);
                    assert_eq!(peer.hear()["t"], 1);
                }
            }
            peer.errs(&closed[..closed.len() - 1], "bad_json");
        }
        drop(peer);
        calm(&target);
    }

    let target = Target::start(FREE);
    let mut peer = Peer::open(&target);
    let nested =
        |depth: usize| format!(r#"{{"t":1,"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    peer.errs(&nested(33), "bad_json");
    peer.say(&nested(32));
    assert_eq!(peer.hear()["t"], 1);
    for (text, code) in [
        ("\u{feff}{\"t\":1}", "bad_json"),
        (r#"{"t":1}{"t":1}"#, "bad_json"),
        (r#"{"t":1} x"#, "bad_json"),
        ("{\"t\":1}\0", "bad_json"),
        (r#"{"t":1,"x":"\ud800"}"#, "bad_json"),
        (r#"{"t":1,"x":"\udc00\ud800"}"#, "bad_json"),
        (r#"{"t":1,"x":"\ud800\ud800"}"#, "bad_json"),
        (r#"{"t":1,"\udfff":0}"#, "bad_json"),
        (r#"{"t":1,"x":"\ud83e\udd8"}"#, "bad_json"),
        ("{\"t\":1,\"x\":\"\n\"}", "bad_json"),
        (r#"{"t":1,"x":NaN}"#, "bad_json"),
        (r#"{"t":1} // x"#, "bad_json"),
        (r#"{"t":1,"t":1}"#, "bad_envelope"),
        (r#"{"t":1,"\u0074":1}"#, "bad_envelope"),
        (r#"{"t":1,"data":{},"data":{}}"#, "bad_envelope"),
        (r#"{"t":2,"data":{"pubKey":"02","pubKey":"02"}}"#, "bad_data"),
        (r#"{"t":2,"data":{"pubKey":"02","user":{"bio":"","bio":""}}}"#, "bad_data"),
    ] {
        peer.errs(text, code);
    }
    // Members that nobody knows may be anything, as often as they like.
    peer.say(r#"{"t":1,"x":1,"x":"\ud83e\udd80","y":1e400,"data":{"t":9,"x":null,"x":[]}}"#);
    assert_eq!(peer.hear()["t"], 1);
    drop(peer);
    calm(&target);
}

#[test]
fn l33_a_wrong_batch_gets_one_error_and_the_connection_lives() {
    let ask = r#"{"t":1}"#;
    let many = |count: usize| format!(r#"{{"count":{count},"data":[{}]}}"#, vec![ask; count].join(","));
    let wrong = [
        r#"{"count":2,"data":[{"t":1}]}"#.to_owned(),
        r#"{"count":1,"data":[{"t":1},{"t":1}]}"#.to_owned(),
        r#"{"count":0,"data":[]}"#.to_owned(),
        r#"{"count":-1,"data":[{"t":1}]}"#.to_owned(),
        r#"{"count":1.0,"data":[{"t":1}]}"#.to_owned(),
        r#"{"count":"1","data":[{"t":1}]}"#.to_owned(),
        r#"{"count":null,"data":[{"t":1}]}"#.to_owned(),
        r#"{"count":18446744073709551615,"data":[{"t":1}]}"#.to_owned(),
        r#"{"count":1e99,"data":[{"t":1}]}"#.to_owned(),
        r#"{"count":1}"#.to_owned(),
        r#"{"count":1,"data":{"t":1}}"#.to_owned(),
        r#"{"count":1,"data":{}}"#.to_owned(),
        r#"{"count":1,"count":1,"data":[{"t":1}]}"#.to_owned(),
        r#"{"count":1,"data":[{"t":1}],"data":[{"t":1}]}"#.to_owned(),
        r#"{"count":1,"data":[{"count":1,"data":[{"t":1}]}]}"#.to_owned(),
        r#"{"count":2,"data":[{"t":1},{"count":0,"data":[]}]}"#.to_owned(),
        many(65),
    ];
    let on = Target::start(&[FREE, &["--batching"]].concat());
    let mut peer = Peer::open(&on);
    let one = |peer: &mut Peer| {
        let heard = peer.hear();
        assert_eq!(heard["data"].as_array().unwrap().len() as u64, heard["count"].as_u64().unwrap());
        assert_eq!(heard["count"], 1, "{heard}");
        heard["data"][0].clone()
    };
    for (text, code) in wrong.iter().map(|text| (text.as_str(), "bad_batch")).chain([
        (r#"{"t":1,"count":1,"data":[{"t":1}]}"#, "bad_envelope"),
        (r#"{"t":1,"count":1}"#, "bad_envelope"),
    ]) {
        peer.say(text);
        let error = one(&mut peer);
        assert_eq!((&error["t"], &error["data"]["code"]), (&128.into(), &code.into()), "{text}: {error}");
        assert_eq!(error["data"]["re"], serde_json::Value::Null, "{text}");
        peer.say(ask);
        assert_eq!(one(&mut peer)["t"], 1, "{text}");
    }
    // In a right one each stands alone.
    peer.say(r#"{"count":3,"data":[{"t":1},7,{"t":1}]}"#);
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.extend(peer.hear()["data"].as_array().unwrap().iter().map(|event| event["t"].clone()));
    }
    assert_eq!(heard, [1, 128, 1]);
    peer.say(&many(64));
    let mut answers = 0;
    while answers < 64 {
        answers += peer.hear()["count"].as_u64().unwrap();
    }
    drop(peer);
    calm(&on);

    let off = Target::start(FREE);
    let mut peer = Peer::open(&off);
    for text in wrong.iter().map(String::as_str).chain([many(64).as_str(), many(1).as_str()]) {
        peer.errs(text, "batching_disabled");
        peer.ask();
    }
    peer.errs(r#"{"t":1,"count":1,"data":[{"t":1}]}"#, "bad_envelope");
    peer.ask();
    drop(peer);
    calm(&off);
}

#[test]
fn l34_a_key_that_is_no_point_gets_an_error() {
    let target = Target::start(FREE);
    let mut peer = Peer::open(&target);
    let key = String::from_utf8(secret(34).identity().to_hex().to_vec()).unwrap();
    let x = &key[2..];
    for wrong in [
        "",
        "02",
        "00",
        "0000",
        x,
        &key[..64],
        &format!("{key}00"),
        &format!("05{x}"),
        &format!("00{x}"),
        &format!("04{x}"),
        &format!("04{x}{x}"),
        &format!("06{x}{x}"),
        &format!("07{x}{x}"),
        &format!("0x{x}"),
        &format!("02{}", "zz".repeat(32)),
        &format!("02{}", "\u{e9}".repeat(32)),
        &format!("02{}", "00".repeat(32)),
        &format!("02{}", "ff".repeat(32)),
        &format!("02{}05", "00".repeat(31)),
        &format!("04{}", "00".repeat(64)),
        &format!(" {}", &key[1..]),
        &key.repeat(900),
    ] {
        peer.errs(&auth_of(wrong), "bad_key");
    }
    for wrong in [r#"{"t":2}"#, r#"{"t":2,"data":{"pubKey":7}}"#, r#"{"t":2,"data":{"pubKey":null}}"#] {
        peer.errs(wrong, "bad_data");
    }
    // Nothing of it was accepted: it is still in the clear, and a right key still counts.
    peer.ask();
    let challenge = peer.challenged(secret(34));
    peer.passes(&solve(&secret(34), &target.address().to_string(), &challenge));
    drop(peer);
    calm(&target);
}

#[test]
fn l35_a_solution_that_proves_nothing_uses_an_attempt_and_the_third_gets_4003() {
    let target = Target::start(FREE);
    let host = target.address().to_string();
    let (key, other) = (secret(35), secret(36));

    let mut peer = Peer::open(&target);
    let good_for = solve(&key, &host, &[7; 32]);
    peer.errs(&good_for, "auth_order");
    peer.errs(r#"{"t":4,"data":{}}"#, "auth_order");
    peer.ask();

    // Every way to be wrong costs one, and three of any kind are the end.
    let zero = "00".repeat(32);
    let wrong = |challenge: &[u8]| -> Vec<(String, &str)> {
        let hashed = |bytes: &[u8]| {
            use sha2::Digest;
            sha2::Sha256::digest(bytes)
        };
        let (r, s) = ecdsa(&key, challenge);
        let (_, over_hex) = ecdsa(&key, &hashed(hex(challenge).as_bytes()));
        let (other_r, other_s) = ecdsa(&other, challenge);
        let mine = |body: String| (solution("ecdsa", &body), "bad_signature");
        vec![
            (solve(&other, &host, challenge), "bad_signature"),
            mine(other_r + &other_s),
            mine(format!("{r}{}", negated(&s))),
            mine(format!("{zero}{s}")),
            mine(format!("{r}{zero}")),
            mine(format!("{ORDER}{s}")),
            mine(format!("{r}{ORDER}")),
            mine(format!("{r}{over_hex}")),
            (good_for.clone(), "bad_signature"),
            (solution("mida-v1", &format!("{r}{s}")), "bad_signature"),
            (solve(&key, "chat.example", challenge), "bad_signature"),
            (solve(&key, &host.to_uppercase().replace("127", "0127"), challenge), "bad_signature"),
            (solution("mida-v2", &format!("{r}{s}")), "bad_scheme"),
            (solution("", &format!("{r}{s}")), "bad_scheme"),
            mine(r.clone()),
            mine(format!("{r}{s}00")),
            mine("zz".repeat(64)),
            mine(String::new()),
            (r#"{"t":4}"#.to_owned(), "bad_signature"),
            (r#"{"t":4,"data":{"solution":7}}"#.to_owned(), "bad_signature"),
            (r#"{"t":4,"data":{"solution":"","solution":""}}"#.to_owned(), "bad_signature"),
            (format!(r#"{{"t":4,"data":{{"scheme":null,"solution":"{r}{s}"}}}}"#), "bad_signature"),
        ]
    };
    let ways = wrong(&[1; 32]).len();
    for first in 0..ways {
        let mut peer = Peer::open(&target);
        let challenge = peer.challenged(secret(35));
        let wrong = wrong(&challenge);
        for (step, left) in [2, 1, 0].into_iter().enumerate() {
            let (solution, reason) = &wrong[(first + step) % ways];
            assert_eq!(peer.fails(solution, reason), left, "{solution}");
        }
        peer.closed_with(4003);
    }

    // A solution is good on one connection only, and only once.
    let mut first = Peer::open(&target);
    let challenge = first.challenged(secret(35));
    let good = solve(&key, &host, &challenge);
    let mut thief = Peer::open(&target);
    thief.challenged(secret(35));
    assert_eq!(thief.fails(&good, "bad_signature"), 2);
    first.passes(&good);
    first.errs(&good, "auth_order");

    // A second event 2 is never looked at, before the proof, after it, and after a failed attempt.
    for peer in [&mut first, &mut thief] {
        for again in [auth(&key), auth(&other), auth_of("no key"), r#"{"t":2,"data":{}}"#.to_owned()] {
            peer.errs(&again, "auth_order");
        }
    }
    let (before, many) = (target.cpu(), 300);
    for _ in 0..many {
        first.errs(&auth(&other), "auth_order");
    }
    let each = (target.cpu() - before) / many;
    drop((peer, first, thief));
    calm(&target);
    assert!(each < Duration::from_millis(5), "{each:?} for an event 2 that is out of order");
}

#[test]
fn l35_a_signature_for_another_host_does_not_pass_whatever_the_host_field_says() {
    let target = Target::start(FREE);
    let host = target.address().to_string();
    let key = secret(35);
    let dial = |field: &str| {
        let mut peer = Peer::dial(&target);
        peer.send(UPGRADE.replace("localhost:7700", field).as_bytes());
        peer.upgraded();
        let challenge = peer.challenged(secret(35));
        (peer, challenge)
    };
    let (mut relayed, challenge) = dial("evil.example");
    assert_eq!(relayed.fails(&solve(&key, "evil.example", &challenge), "wrong_host"), 2);
    assert_eq!(relayed.fails(&solve(&key, "other.example", &challenge), "bad_signature"), 1);
    // The field does no harm to who signs for a host that is ours.
    relayed.passes(&solve(&key, &host, &challenge));
    let (mut local, challenge) = dial("evil.example");
    local.passes(&solve(&key, &format!("localhost:{}", target.address().port()), &challenge));
    drop((relayed, local));
    calm(&target);

    let target = Target::start(&["--public-host", "chat.example", "--bound-only"]);
    let mut peer = Peer::open(&target);
    let challenge = peer.challenged(secret(35));
    let (r, s) = ecdsa(&key, &challenge);
    assert_eq!(peer.fails(&solution("ecdsa", &(r + &s)), "bad_scheme"), 2);
    assert_eq!(peer.fails(&solve(&key, &target.address().to_string(), &challenge), "bad_signature"), 1);
    peer.passes(&solve(&key, "chat.example", &challenge));
    drop(peer);
    calm(&target);
}

#[test]
fn l36_a_flood_of_logins_leaves_others_their_turn() {
    let target = Target::start(&[UNLIMITED, &["--cores", "0", "--limit", "limit_loopback=1"]].concat());
    let mut other = Peer::dial_from(&target, [127, 0, 0, 3], 65_536);
    other.upgrade();
    let mut asks = |rounds: u32| {
        let mut slowest = Duration::ZERO;
        for _ in 0..rounds {
            let begun = Instant::now();
            other.ask();
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    asks(10);
    let (address, done) = (target.address(), AtomicBool::new(false));
    let (slowest, refused) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let (mut challenged, mut refused) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let mut peer = Peer::dial_at(address);
                peer.upgrade();
                peer.send(&text(&auth(&secret(37))).repeat(20));
                match peer.frame().0 {
                    BINARY => challenged += 1,
                    _ => refused += 1,
                }
            }
            assert!((100..=200).contains(&challenged), "{challenged} of them passed the rate");
            refused
        });
        let mut slowest = Duration::ZERO;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            slowest = slowest.max(asks(10));
        }
        done.store(true, Ordering::Relaxed);
        (slowest, flood.join().unwrap())
    });
    assert!(refused > 20, "{refused} logins refused");
    assert!(slowest < Duration::from_secs(1), "another client waited for {slowest:?}");
    drop(other);
    calm(&target);
}

#[test]
fn l37_no_proof_in_time_gets_4004_only_where_one_is_required() {
    let target = Target::start(&["--auth-within", "1"]);
    let begun = Instant::now();
    let mut silent = Peer::open(&target);
    let mut named = Peer::open(&target);
    named.challenged(secret(38));
    silent.closed_with(4004);
    named.closed_with(4004);
    let elapsed = begun.elapsed();
    assert!((990..3_000).contains(&elapsed.as_millis()), "closed after {elapsed:?}");
    let mut proven = Peer::open(&target);
    let challenge = proven.challenged(secret(38));
    proven.passes(&solve(&secret(38), &target.address().to_string(), &challenge));
    drop((silent, named, proven));
    calm(&target);

    // A challenge left to expire.
    for required in [true, false] {
        let within = ["--auth-within", "60"];
        let expires = ["--limit", "challenge_ms=300"];
        let target = Target::start(&[&within[..if required { 2 } else { 0 }], &expires].concat());
        let mut peer = Peer::open(&target);
        let challenge = peer.challenged(secret(38));
        let heard = peer.open_sealed();
        assert_eq!((&heard["t"], &heard["data"]["reason"]), (&5.into(), &"expired".into()), "{heard}");
        assert_eq!(heard["data"]["attemptsLeft"], 0);
        if required {
            peer.closed_with(4004);
        } else {
            peer.errs(&solve(&secret(38), &target.address().to_string(), &challenge), "auth_order");
            peer.say(r#"{"t":1}"#);
            let heard = peer.open_sealed();
            assert_eq!((&heard["t"], &heard["data"]["online"]), (&1.into(), &0.into()), "{heard}");
        }
        drop(peer);
        calm(&target);
    }
}
