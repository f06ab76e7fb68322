use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use super::*;
use crate::app::{mail::Refused, protocol::event};

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before".to_vec();
    write(&mut out);
    String::from_utf8(out.split_off(6)).unwrap()
}

fn parsed(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    serde_json::from_str(&written(write)).unwrap()
}

const SOME_RULES: Rules<'_> = Rules {
    hb_ms: 30_000,
    perms: &["metadata", "auth"],
    batching: false,
    auth: AuthMode::Signature,
    auth_within_ms: 0,
    max_message: 65_536,
    max_batch: 64,
    ext: &[],
};

#[test]
fn the_shapes_are_those_of_the_protocol_byte_for_byte() {
    assert_eq!(
        written(|out| rules(out, &SOME_RULES)),
        r#"{"t":0,"data":{"hb":30000,"perms":["metadata","auth"],"batching":false,"v":1,"auth":"signature","authWithin":0,"maxMessage":65536,"maxBatch":64,"ext":[]}}"#
    );
    let others = Rules {
        batching: true,
        auth: AuthMode::Key,
        perms: &[],
        ext: &["msg"],
        max_message: u32::MAX,
        ..SOME_RULES
    };
    assert_eq!(
        written(|out| rules(out, &others)),
        r#"{"t":0,"data":{"hb":30000,"perms":[],"batching":true,"v":1,"auth":"key","authWithin":0,"maxMessage":4294967295,"maxBatch":64,"ext":["msg"]}}"#
    );
    let full = Metadata {
        name: "Example Server",
        online: 50,
        uptime_ms: 86_400_000,
        maintenance_in_ms: Some(10_800_000),
        note: Some("Have a wonderful day!"),
        public: r#""region":"eu","slots":[1,2]"#,
    };
    assert_eq!(
        written(|out| metadata(out, &full)),
        r#"{"t":1,"data":{"name":"Example Server","online":50,"uptime":86400000,"maintenanceIn":10800000,"note":"Have a wonderful day!","region":"eu","slots":[1,2]}}"#
    );
    let bare = Metadata { maintenance_in_ms: None, note: None, public: "", ..full };
    assert_eq!(
        written(|out| metadata(out, &bare)),
        r#"{"t":1,"data":{"name":"Example Server","online":50,"uptime":86400000}}"#
    );
    let mut bytes = [0; 32];
    bytes[0] = 0xFE;
    bytes[31] = 0x09;
    assert_eq!(
        written(|out| challenge(out, &bytes, &["mida-v1", "ecdsa"], 60_000)),
        format!(
            r#"{{"t":3,"data":{{"challenge":"fe{}09","schemes":["mida-v1","ecdsa"],"expiresIn":60000}}}}"#,
            "00".repeat(30)
        )
    );
    assert_eq!(
        written(|out| result_passed(out, Some("Ada"), 3)),
        r#"{"t":5,"data":{"passed":true,"user":{"displayName":"Ada","unreadMessages":3}}}"#
    );
    assert_eq!(
        written(|out| result_passed(out, None, 0)),
        r#"{"t":5,"data":{"passed":true,"user":{"unreadMessages":0}}}"#
    );
    assert_eq!(
        written(|out| result_failed(out, Reason::BadSignature, 2)),
        r#"{"t":5,"data":{"passed":false,"reason":"bad_signature","attemptsLeft":2}}"#
    );
}

#[test]
fn an_error_has_an_id_only_if_there_was_one_and_a_wait_only_if_it_backs_off() {
    assert_eq!(
        written(|out| error(out, ErrorCode::BadData, Some(4), Some("a\"b"), 500)),
        r#"{"t":128,"data":{"code":"bad_data","msg":"A member of data is missing, repeated, too long or of the wrong type.","re":4,"id":"a\"b","retry":"no"}}"#
    );
    for code in ErrorCode::ALL {
        for (re, id, wait_ms) in [(None, None, 0), (Some(255), Some("x"), 1_500), (Some(0), None, 1)] {
            let mut data =
                json!({"code": code.name(), "msg": code.msg(), "re": re, "retry": code.retry().name()});
            if let Some(id) = id {
                data["id"] = id.into();
            }
            if code.retry() == Retry::Backoff {
                data["retryAfter"] = wait_ms.into();
            }
            let expected = json!({"t": event::ERROR, "data": data});
            assert_eq!(parsed(|out| error(out, *code, re, id, wait_ms)), expected);
        }
    }
}

#[test]
fn integers_are_decimal_and_end_where_every_client_can_read_them() {
    let mut edges = vec![0, u64::MAX, INTEGER_MAX, INTEGER_MAX + 1, INTEGER_MAX - 1];
    for digits in 1..16 {
        let power = 10_u64.pow(digits);
        edges.extend([power - 1, power, power + 1]);
    }
    for n in edges {
        assert_eq!(written(|out| integer(out, n)), n.min(9_007_199_254_740_991).to_string());
    }
    assert_eq!(decimal(&mut [0; 20], u64::MAX), b"18446744073709551615");
}

#[test]
fn only_what_must_be_escaped_is() {
    assert_eq!(
        written(|out| string(out, "\0\u{1F}\u{8}\t\n\u{C}\r\"\\/\u{7F}é\u{2028}😀")),
        "\"\\u0000\\u001f\\b\\t\\n\\f\\r\\\"\\\\/\u{7F}é\u{2028}😀\""
    );
}

#[test]
fn every_character_is_read_back_as_it_was() {
    for character in '\0'..=char::MAX {
        let text = character.to_string();
        let json = written(|out| string(out, &text));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}

const ADA: &str = "0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7";

fn ada() -> Identity {
    Identity::parse_hex(ADA.as_bytes()).unwrap().0
}

#[test]
fn messages_and_receipts_have_the_shapes_of_the_protocol_byte_for_byte() {
    let id = MessageId([0xab; 16]);
    let hex = "ab".repeat(16);
    let of_key = Message {
        id,
        from: Some(&ada()),
        topic: None,
        ts_ms: 1_700_000_000_000,
        body: b"[1.10, \"\\u0061\"]",
    };
    assert_eq!(
        written(|out| message(out, &of_key)),
        format!(
            r#"{{"t":130,"data":{{"id":"{hex}","from":"{ADA}","ts":1700000000000,"body":[1.10, "\u0061"]}}}}"#
        )
    );
    let of_topic = Message { topic: Some("a\"b"), body: b"null", ..of_key };
    assert_eq!(
        written(|out| message(out, &of_topic)),
        format!(
            r#"{{"t":130,"data":{{"id":"{hex}","from":"{ADA}","topic":"a\"b","ts":1700000000000,"body":null}}}}"#
        )
    );
    let of_operator = Message { from: None, ..of_key };
    assert_eq!(
        written(|out| message(out, &of_operator)),
        format!(r#"{{"t":130,"data":{{"id":"{hex}","ts":1700000000000,"body":[1.10, "\u0061"]}}}}"#)
    );
    let longest = Message { ts_ms: u64::MAX, body: b"", ..of_key };
    assert_eq!(written(|out| message(out, &longest)).len(), 164, "what PROTOCOL.md section 12.3 says");

    let stored =
        Receipt { re: "a".into(), to: Recipient::Key(ada()), id: Some(id), outcome: Outcome::Stored };
    assert_eq!(
        written(|out| receipt(out, &stored)),
        format!(r#"{{"t":131,"data":{{"re":"a","to":"{ADA}","id":"{hex}","state":"stored"}}}}"#)
    );
    let refused = Receipt {
        re: "\"".into(),
        to: Recipient::Topic("a\nb".into()),
        id: None,
        outcome: Outcome::Refused(Refused::Offline),
    };
    assert_eq!(
        written(|out| receipt(out, &refused)),
        r#"{"t":131,"data":{"re":"\"","to":"a\nb","state":"refused","code":"offline"}}"#
    );
}

#[test]
fn every_outcome_has_the_name_that_the_protocol_gives_it() {
    for (outcome, expected) in [
        (Outcome::Stored, json!({"state": "stored"})),
        (Outcome::Delivered, json!({"state": "delivered"})),
        (Outcome::Refused(Refused::Offline), json!({"state": "refused", "code": "offline"})),
        (Outcome::Refused(Refused::MailboxFull), json!({"state": "refused", "code": "mailbox_full"})),
        (Outcome::Refused(Refused::StoreFull), json!({"state": "refused", "code": "store_full"})),
        (Outcome::Refused(Refused::IdReused), json!({"state": "refused", "code": "id_reused"})),
        (Outcome::Refused(Refused::Forbidden), json!({"state": "refused", "code": "forbidden"})),
    ] {
        let to = Recipient::Key(ada());
        let mut said = parsed(|out| receipt(out, &Receipt { re: "r".into(), to, id: None, outcome }));
        let data = said["data"].as_object_mut().unwrap();
        assert_eq!((data.remove("re"), data.remove("to")), (Some(json!("r")), Some(json!(ADA))));
        assert_eq!(said, json!({"t": event::RECEIPT, "data": expected}));
    }
}

/// Any text, with what must be escaped far more often than chance has it.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        (0_u8..0x80).prop_map(char::from),
        prop::sample::select(vec!['"', '\\', '\0', '\u{1F}', '/', 'u', '\u{FEFF}', '\u{2028}', '\u{10FFFF}']),
    ];
    prop::collection::vec(character, 0..80).prop_map(String::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_the_strings_and_numbers_are_a_reader_finds_exactly_them(
        texts in prop::collection::vec(text(), 0..4), a in text(), b in text(),
        n in 0..=INTEGER_MAX, m in 0..=INTEGER_MAX, small: u32, flag: bool, bytes: [u8; 32],
    ) {
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let given = Rules {
            hb_ms: n, perms: &refs, batching: flag, auth: AuthMode::Key, auth_within_ms: m,
            max_message: small, max_batch: !small, ext: &refs,
        };
        prop_assert_eq!(parsed(|out| rules(out, &given)), json!({"t": event::RULES, "data": {
            "hb": n, "perms": texts, "batching": flag, "v": 1, "auth": "key", "authWithin": m,
            "maxMessage": small, "maxBatch": !small, "ext": texts,
        }}));

        let public = json!({"x": a, "y": [texts]});
        let fragment = public.to_string();
        let given = Metadata {
            name: &a, online: n, uptime_ms: m, maintenance_in_ms: flag.then_some(n),
            note: flag.then_some(b.as_str()), public: &fragment[1..fragment.len() - 1],
        };
        let mut data = json!({"name": a, "online": n, "uptime": m, "x": a, "y": [texts]});
        if flag {
            data["maintenanceIn"] = n.into();
            data["note"] = b.as_str().into();
        }
        prop_assert_eq!(parsed(|out| metadata(out, &given)), json!({"t": event::METADATA, "data": data}));

        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(parsed(|out| challenge(out, &bytes, &refs, n)), json!({"t": event::CHALLENGE, "data": {
            "challenge": hex, "schemes": texts, "expiresIn": n,
        }}));

        let passed = parsed(|out| result_passed(out, Some(&a), n));
        prop_assert_eq!(passed, json!({"t": event::RESULT, "data": {
            "passed": true, "user": {"displayName": a, "unreadMessages": n},
        }}));
        for reason in Reason::ALL {
            prop_assert_eq!(parsed(|out| result_failed(out, *reason, small)), json!({"t": event::RESULT, "data": {
                "passed": false, "reason": reason.name(), "attemptsLeft": small,
            }}));
        }
        let id = MessageId(bytes[..16].try_into().unwrap());
        let from = ada();
        let body = json!([a, n, {"b": b}]);
        let written_body = body.to_string();
        let given = Message {
            id, from: flag.then_some(&from), topic: (!texts.is_empty()).then_some(&*a), ts_ms: n,
            body: written_body.as_bytes(),
        };
        let mut data = json!({"id": id.to_string(), "ts": n, "body": body});
        if flag {
            data["from"] = ADA.into();
        }
        if !texts.is_empty() {
            data["topic"] = a.as_str().into();
        }
        let said = written(|out| message(out, &given));
        prop_assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), json!({"t": event::MESSAGE, "data": data}));
        let end = format!("\"body\":{body}}}}}");
        prop_assert!(said.ends_with(&end));

        let given = Receipt {
            re: b.as_str().into(), to: Recipient::Topic(a.as_str().into()), id: flag.then_some(id),
            outcome: Outcome::Delivered,
        };
        let mut data = json!({"re": b, "to": a, "state": "delivered"});
        if flag {
            data["id"] = id.to_string().into();
        }
        prop_assert_eq!(parsed(|out| receipt(out, &given)), json!({"t": event::RECEIPT, "data": data}));

        let told = parsed(|out| error(out, ErrorCode::StoreFull, Some(bytes[0]), Some(&b), n));
        prop_assert_eq!(told, json!({"t": event::ERROR, "data": {
            "code": "store_full", "msg": ErrorCode::StoreFull.msg(), "re": bytes[0], "id": b,
            "retry": "backoff", "retryAfter": n,
        }}));
    }
}
