//! Single messages: envelope and data (PROTOCOL.md sections 2 and 3).

use super::*;

#[test]
fn every_event_of_a_client_is_read() {
    singles(&[
        (r#"{"t":1}"#, Ok(ASKED)),
        (r#"{"t":1,"data":{}}"#, Ok(ASKED)),
        (" \t\r\n{ \"data\" : { } , \"t\" : 1 } \n", Ok(ASKED)),
        (r#"{"t":1,"data":{"name":null,"name":[{"t":9}],"online":1.10}}"#, Ok(ASKED)),
        (r#"{"t":2,"data":{"pubKey":"02"}}"#, Ok(auth("02", Method::LoginOrSignup, None, None))),
        (r#"{"t":2,"data":{"pubKey":"","method":"login"}}"#, Ok(auth("", Method::Login, None, None))),
        (
            r#"{"t":2,"data":{"user":{"bio":"","displayName":"\u0041\ud83d\ude00\n","x":{}},"method":"signup","pubKey":"é","resume":1}}"#,
            Ok(auth("é", Method::Signup, Some("A😀\n"), Some(""))),
        ),
        (r#"{"t":2,"data":{"pubKey":"02","user":{}}}"#, Ok(auth("02", Method::LoginOrSignup, None, None))),
        (r#"{"t":4,"data":{"solution":"ab"}}"#, Ok(solved(None, "ab"))),
        (r#"{"t":4,"data":{"scheme":"mida-v1","solution":"ab"}}"#, Ok(solved(Some("mida-v1"), "ab"))),
    ]);
}

#[test]
fn keys_written_with_escapes_are_the_keys_they_stand_for() {
    singles(&[
        (r#"{"\u0074":1,"d\u0061ta":{}}"#, Ok(ASKED)),
        (r#"{"\u0074":4,"data":{"so\u006Cution":"a","\u0073cheme":"b"}}"#, Ok(solved(Some("b"), "a"))),
        (r#"{"t":1,"\u0074":1}"#, Err(ErrorCode::BadEnvelope)),
        (r#"{"t":1,"T":2,"t ":3,"\u0000t":4}"#, Ok(ASKED)),
    ]);
    let (mut decoder, limits) = fresh();
    let batch = br#"{"\u0063ount":1,"data":[{"t":1}]}"#;
    comes_to(&mut decoder, batch, &limits, true, &Ok((true, vec![ASKED])));
}

#[test]
fn json_that_is_no_message_is_a_bad_envelope() {
    refused(
        ErrorCode::BadEnvelope,
        &[
            "{}",
            "[]",
            "1",
            "null",
            "true",
            "\"t\"",
            "[{\"t\":1}]",
            r#"{"data":{}}"#,
            r#"{"T":1}"#,
            r#"{"x":{"t":1}}"#,
        ],
    );
}

#[test]
fn t_is_an_integer_token_from_0_to_255() {
    for t in [
        "1.0",
        "1e0",
        "1E0",
        "10e-1",
        "-0",
        "-0.0",
        "0.0",
        "-1",
        "256",
        "1.5",
        "\"1\"",
        "true",
        "false",
        "null",
        "[1]",
        "{}",
        "1e99",
        "1e999",
        "4294967297",
        "18446744073709551615",
        "18446744073709551617",
        "-9223372036854775808",
        "0e0",
        "0e999999",
    ] {
        refused(
            ErrorCode::BadEnvelope,
            &[
                &format!(r#"{{"t":{t}}}"#),
                &format!(r#"{{"t":{t},"data":{{}}}}"#),
                &format!("{{\"t\": {t} }}"),
            ],
        );
    }
}

#[test]
fn data_is_an_object_or_absent() {
    for data in ["null", "[]", "[{}]", "0", "\"\"", "true", "1e999"] {
        for t in ["1", "2", "4", "200"] {
            refused(ErrorCode::BadEnvelope, &[&format!(r#"{{"t":{t},"data":{data}}}"#)]);
        }
    }
}

#[test]
fn an_event_that_clients_do_not_have_is_unknown() {
    let (mut decoder, limits) = fresh();
    for t in 0..=u8::MAX {
        let text = format!(r#"{{"t":{t},"data":{{"id":"x","id2":"x"}}}}"#);
        let event = match t {
            METADATA => Ok(Event::Metadata),
            AUTH | SOLUTION | SEND | ACK | JOIN | LEAVE | PUBLISH => Err(ErrorCode::BadData),
            _ => Err(ErrorCode::UnknownEvent),
        };
        let message = Message { t: Some(t), id: Some("x"), event };
        comes_to(&mut decoder, text.as_bytes(), &limits, false, &Ok((false, vec![message])));
    }
    for t in [RULES, CHALLENGE, RESULT, ERROR, 6, 0x7F, MESSAGE, RECEIPT, 0x88, 255] {
        singles(&[
            (&format!(r#"{{"t":{t}}}"#), Ok(failed(t, ErrorCode::UnknownEvent))),
            (&format!(r#"{{"t":{t},"data":{{"id":"x","id":"y"}}}}"#), Ok(failed(t, ErrorCode::UnknownEvent))),
        ]);
    }
}

#[test]
fn a_repeated_known_member_is_refused_where_it_is_known() {
    refused(
        ErrorCode::BadEnvelope,
        &[
            r#"{"t":1,"t":1}"#,
            r#"{"t":1,"data":{},"data":{}}"#,
            r#"{"t":1,"t":2,"t":1}"#,
            r#"{"t":null,"t":1}"#,
            r#"{"id":"a","t":1,"id":"a"}"#,
            r#"{"t":1,"data":{},"x":0,"\u0064ata":{}}"#,
            r#"{"t":200,"t":200}"#,
        ],
    );
    for data in [
        r#""pubKey":"a","pubKey":"a""#,
        r#""pubKey":"a","method":"login","method":"login""#,
        r#""pubKey":"a","user":{},"user":{}"#,
        r#""pubKey":"a","user":{"bio":"","bio":""}"#,
        r#""pubKey":"a","user":{"displayName":"a","x":1,"displayName":"a"}"#,
        r#""pubKey":"a","id":"a","id":"a""#,
        r#""pubKey":"a","id":1,"\u0069d":"a""#,
    ] {
        singles(&[(&format!(r#"{{"t":2,"data":{{{data}}}}}"#), Ok(failed(AUTH, ErrorCode::BadData)))]);
    }
    for data in [
        r#""solution":"a","solution":"a""#,
        r#""solution":"a","scheme":"a","scheme":"a""#,
        r#""id":"a","solution":"a","id":"a","id":"a""#,
    ] {
        singles(&[(&format!(r#"{{"t":4,"data":{{{data}}}}}"#), Ok(failed(SOLUTION, ErrorCode::BadData)))]);
    }
    singles(&[(r#"{"t":1,"data":{"id":"a","id":"a"}}"#, Ok(failed(METADATA, ErrorCode::BadData)))]);
    // Elsewhere the same names are unknown members.
    singles(&[
        (r#"{"t":1,"x":0,"x":0,"pubKey":1,"pubKey":1,"name":1,"name":2}"#, Ok(ASKED)),
        (
            r#"{"t":1,"data":{"t":1,"t":1,"count":1,"count":1,"pubKey":1,"pubKey":1,"data":0,"data":0}}"#,
            Ok(ASKED),
        ),
        (
            r#"{"t":2,"data":{"pubKey":"a","x":1,"x":1,"bio":1,"bio":1,"user":{"id":1,"id":1,"user":1,"user":1}}}"#,
            Ok(auth("a", Method::LoginOrSignup, None, None)),
        ),
        (
            r#"{"t":4,"data":{"solution":"a","pubKey":1,"pubKey":1,"y":{"solution":1,"solution":1}}}"#,
            Ok(solved(None, "a")),
        ),
    ]);
}

#[test]
fn a_member_that_is_missing_or_of_the_wrong_type_is_bad_data() {
    for data in [
        "",
        r#","data":{}"#,
        r#","data":{"pubKey":1}"#,
        r#","data":{"pubKey":null}"#,
        r#","data":{"pubKey":["a"]}"#,
        r#","data":{"pubkey":"a"}"#,
        r#","data":{"pubKey":"a","method":"LOGIN"}"#,
        r#","data":{"pubKey":"a","method":""}"#,
        r#","data":{"pubKey":"a","method":null}"#,
        r#","data":{"pubKey":"a","method":1}"#,
        r#","data":{"pubKey":"a","method":["login"]}"#,
        r#","data":{"pubKey":"a","user":null}"#,
        r#","data":{"pubKey":"a","user":"Ada"}"#,
        r#","data":{"pubKey":"a","user":[]}"#,
        r#","data":{"pubKey":"a","user":{"displayName":1}}"#,
        r#","data":{"pubKey":"a","user":{"displayName":null}}"#,
        r#","data":{"pubKey":"a","user":{"bio":{}}}"#,
        r#","data":{"pubKey":"a","user":{"bio":false}}"#,
    ] {
        singles(&[(&format!(r#"{{"t":2{data}}}"#), Ok(failed(AUTH, ErrorCode::BadData)))]);
    }
    for data in [
        "",
        r#","data":{}"#,
        r#","data":{"scheme":"mida-v1"}"#,
        r#","data":{"solution":0}"#,
        r#","data":{"solution":null}"#,
        r#","data":{"solution":"a","scheme":null}"#,
        r#","data":{"solution":"a","scheme":1}"#,
        r#","data":{"solution":"a","scheme":[]}"#,
    ] {
        singles(&[(&format!(r#"{{"t":4{data}}}"#), Ok(failed(SOLUTION, ErrorCode::BadData)))]);
    }
}

#[test]
fn names_and_bios_are_counted_in_characters() {
    for character in ["a", "é", "😀", r"\u00e9", r"\ud83d\ude00", r"\u0000"] {
        for (member, most) in [("displayName", DISPLAY_NAME_CHARS), ("bio", BIO_CHARS)] {
            for (chars, passes) in [(0, true), (1, true), (most, true), (most + 1, false), (4 * most, false)]
            {
                let text = format!(
                    r#"{{"t":2,"data":{{"pubKey":"","user":{{"{member}":"{}"}}}}}}"#,
                    character.repeat(chars)
                );
                let (mut decoder, limits) = fresh();
                decoded(&mut decoder, text.as_bytes(), &limits, false, |said| {
                    let event = said.unwrap().1[0].event;
                    assert_eq!(event.is_ok(), passes, "{chars} of {character}");
                    assert_eq!(event.err(), (!passes).then_some(ErrorCode::BadData));
                });
            }
        }
    }
}

#[test]
fn an_id_is_a_string_of_1_to_64_bytes_in_data_and_comes_with_errors_too() {
    let most = "i".repeat(64);
    let wide = "é".repeat(32);
    for (value, id) in [
        (r#""a""#.to_owned(), Some("a")),
        (r#""\u0000\"""#.to_owned(), Some("\0\"")),
        (format!("\"{most}\""), Some(&*most)),
        (format!("\"{}\"", r"\u00e9".repeat(32)), Some(&*wide)),
        (format!("\"{most}i\""), None),
        (format!("\"{wide}i\""), None),
        (r#""""#.to_owned(), None),
        ("1".to_owned(), None),
        ("null".to_owned(), None),
        (r#"{"id":"a"}"#.to_owned(), None),
    ] {
        for (t, data, event) in [
            (1, "", Ok(Event::Metadata)),
            (2, "", Err(ErrorCode::BadData)),
            (2, r#""pubKey":1,"#, Err(ErrorCode::BadData)),
            (4, r#""solution":"a","#, Ok(Event::Solution(Solution { scheme: None, solution: "a" }))),
            (129, "", Err(ErrorCode::BadData)),
            (130, "", Err(ErrorCode::UnknownEvent)),
        ] {
            let text = format!(r#"{{"t":{t},"id":"outside","data":{{{data}"id":{value}}}}}"#);
            singles(&[(&text, Ok(Message { t: Some(t), id, event }))]);
        }
    }
}
