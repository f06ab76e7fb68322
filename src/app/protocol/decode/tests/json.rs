//! What is JSON, and what is not (RFC 8259, PROTOCOL.md section 2).

use super::*;

#[test]
fn what_is_not_json_is_bad_json() {
    refused(
        ErrorCode::BadJson,
        &[
            "",
            " ",
            "\n\t",
            "x",
            "tru",
            "nul",
            "truex",
            "{",
            "}",
            "[",
            "]",
            "{]",
            "[}",
            "\"",
            "\"a",
            "{\"t\":1",
            "{\"t\":1,}",
            "{,\"t\":1}",
            "{\"t\"1}",
            "{\"t\" 1}",
            "{\"t\":}",
            "{\"t\"}",
            "{t:1}",
            "{'t':1}",
            "{1:1}",
            "{\"t\":1 \"data\":{}}",
            "{\"t\":1,\"data\":{}",
            "[1,]",
            "[,1]",
            "[1 2]",
            "/**/{\"t\":1}",
            "undefined",
        ],
    );
}

#[test]
fn a_bom_and_anything_behind_the_text_are_bad_json() {
    refused(
        ErrorCode::BadJson,
        &[
            "\u{FEFF}{\"t\":1}",
            "{\"t\":1}\u{FEFF}",
            "{\"t\":1}{\"t\":1}",
            "{\"t\":1} {}",
            "{\"t\":1}]",
            "{\"t\":1}}",
            "{\"t\":1},",
            "{\"t\":1}\0",
            "\0{\"t\":1}",
            "{\"t\":1}x",
            "{\"t\":1} 1",
            "{\"t\":1}\"\"",
            "1 1",
            "\"a\"\"b\"",
            "{\"t\":1}\u{A0}",
            "{\"t\":1}\u{C}",
            "\u{B}{\"t\":1}",
            "{\"t\":1}\u{2028}",
        ],
    );
}

#[test]
fn numbers_that_json_does_not_know_are_bad_json() {
    let numbers = [
        "01",
        "+1",
        ".5",
        "1.",
        "-",
        "--1",
        "-01",
        "1e",
        "1e+",
        "1.e1",
        "0x1",
        "1_0",
        "NaN",
        "nan",
        "Infinity",
        "-Infinity",
        "1a",
        "1\0",
        "00",
        "1.2.3",
        "1e1e1",
        "1e1.5",
        "- 1",
        "\u{661}",
        "1e999x",
        "01e999",
        "1.e999",
    ];
    for number in numbers {
        refused(
            ErrorCode::BadJson,
            &[
                &format!(r#"{{"t":1,"x":{number}}}"#),
                &format!(r#"{{"t":{number}}}"#),
                &format!(r#"{{"t":1,"data":{{"x":[{number}]}}}}"#),
                number,
            ],
        );
    }
}

#[test]
fn numbers_of_any_size_are_ignored_in_unknown_members() {
    let long = "9".repeat(400);
    let numbers = [
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "340282366920938463463374607431768211456",
        "123456789012345678901234567890.5",
        "1e308",
        "1e309",
        "-1e400",
        "1e99999999999",
        "1E+999",
        "1e-999",
        "-0",
        "-0.0",
        "0e0",
        "0.00000000000000000000000000000000000000001",
        long.as_str(),
    ];
    for number in numbers {
        singles(&[
            (&format!(r#"{{"t":1,"x":{number}}}"#), Ok(ASKED)),
            (&format!(r#"{{"x":[{number},{{"y":{number}}}],"\u0074":1}}"#), Ok(ASKED)),
            (
                &format!(
                    r#"{{"t":4,"data":{{"scheme":"\n\"{number}\u00e9","x":{number},"solution":"a\\"}}}}"#
                ),
                Ok(solved(Some(&format!("\n\"{number}é")), "a\\")),
            ),
            (number, Err(ErrorCode::BadEnvelope)),
        ]);
    }
    // One that is too large does not cover for one that is wrong.
    refused(
        ErrorCode::BadJson,
        &[r#"{"t":1,"x":[1e999,01]}"#, r#"{"t":1,"x":1e999}}"#, r#"{"x":"1e999",t:1}"#],
    );
}

#[test]
fn strings_with_raw_control_characters_or_unknown_escapes_are_bad_json() {
    for control in '\0'..' ' {
        refused(
            ErrorCode::BadJson,
            &[&format!("{{\"t\":1,\"x\":\"a{control}b\"}}"), &format!("{{\"t\":1,\"x{control}\":1}}")],
        );
    }
    for escape in
        ["\\x41", "\\a", "\\'", "\\0", "\\u", "\\u00", "\\u004", "\\u00g0", "\\U0041", "\\ ", "\\u+041"]
    {
        refused(
            ErrorCode::BadJson,
            &[&format!(r#"{{"t":1,"x":"{escape}"}}"#), &format!(r#"{{"t":1,"{escape}":1}}"#)],
        );
    }
    singles(&[("{\"t\":1,\"x\":\"\u{7F}\u{80}\u{2028}\\u0000\\/\"}", Ok(ASKED))]);
}

#[test]
fn a_lone_surrogate_escape_anywhere_is_bad_json() {
    let lone = [
        r"\ud800",
        r"\uDBFF",
        r"\udc00",
        r"\uDFFF",
        r"\ud800x",
        r"\ud800\n",
        r"\ud800A",
        r"\ud800\ud800",
        r"\udc00\ud800",
        r"\ud83d\ude00\ud83d",
        r"\ude00\ud83d\ude00",
        r"\ud800\\udc00",
        r"\ud800\udbff\udc00",
        r"\ud800\ue000",
    ];
    for lone in lone {
        // At every place within and beyond the 32 bytes that are looked at together.
        for before in 0..70 {
            let text = format!("{}{lone}", "a".repeat(before));
            refused(
                ErrorCode::BadJson,
                &[
                    &format!(r#"{{"t":1,"x":"{text}"}}"#),
                    &format!(r#"{{"t":1,"{text}":0}}"#),
                    &format!(r#"{{"t":1,"data":{{"x":["{text}"]}}}}"#),
                    &format!(r#"{{"t":2,"data":{{"pubKey":"{text}"}}}}"#),
                    &format!(r#""{text}""#),
                ],
            );
        }
    }
    let name = "😀\\ud800\u{FFFF}";
    singles(&[(
        r#"{"t":2,"data":{"pubKey":"","user":{"displayName":"\uD83D\ude00\\ud800\uffff"}}}"#,
        Ok(auth("", Method::LoginOrSignup, Some(name), None)),
    )]);
}

#[test]
fn text_that_is_not_utf8_is_bad_json_even_here() {
    let (mut decoder, limits) = fresh();
    for bytes in [&b"\xFF"[..], b"\xC0\xAF", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\xE2\x82"] {
        let text = [br#"{"t":1,"x":""#, bytes, br#""}"#].concat();
        comes_to(&mut decoder, &text, &limits, false, &Err(ErrorCode::BadJson));
    }
}

#[test]
fn nesting_ends_at_the_limit_and_100_000_levels_break_nothing() {
    let (mut decoder, mut limits) = fresh();
    for (json_depth, depth, passes) in [
        (32, 32, true),
        (32, 33, false),
        (1, 1, true),
        (1, 2, false),
        (4, 5, false),
        (1_000, 1_000, true),
        (32, 33, false),
    ] {
        limits.json_depth = json_depth;
        let expected = if passes { Ok((false, vec![ASKED])) } else { Err(ErrorCode::BadJson) };
        comes_to(&mut decoder, nested(depth).as_bytes(), &limits, false, &expected);
    }
    let deep = nested(100_000);
    for text in [
        deep.as_str(),
        &"[".repeat(100_000),
        &"{\"a\":".repeat(100_000),
        &"[{\"a\":".repeat(50_000),
        &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
    ] {
        comes_to(&mut decoder, text.as_bytes(), &limits, false, &Err(ErrorCode::BadJson));
    }
    limits.set("json_depth", 0).unwrap();
    comes_to(&mut decoder, deep.as_bytes(), &limits, false, &Ok((false, vec![ASKED])));
}

#[test]
fn every_length_around_the_padding_is_read() {
    let (mut decoder, limits) = fresh();
    for length in (0..300).chain([4_000, 65_500, 1 << 20]) {
        let filler = "x".repeat(length);
        for text in [
            format!(r#"{{"t":4,"data":{{"solution":"{filler}\n"}}}}"#),
            format!(r#"{{"t":4,"data":{{"solution":"{filler}\n"}}}}{}"#, " ".repeat(length)),
        ] {
            let solution = format!("{filler}\n");
            let expected = Ok((false, vec![solved(None, &solution)]));
            comes_to(&mut decoder, text.as_bytes(), &limits, false, &expected);
        }
        let cut = format!(r#"{{"t":4,"data":{{"solution":"{filler}"#);
        comes_to(&mut decoder, cut.as_bytes(), &limits, false, &Err(ErrorCode::BadJson));
    }
}

#[test]
fn a_tape_that_grew_out_of_bounds_is_not_kept() {
    let (mut decoder, limits) = fresh();
    let kept = |decoder: &Decoder| decoder.tape.0.capacity();
    drop(decoder.decode(batch_of("64", 64).as_bytes(), &limits, true).unwrap());
    assert!((1..=KEPT_NODES).contains(&kept(&decoder)));
    for text in [format!(r#"{{"t":1,"x":[{}0]}}"#, "0,".repeat(KEPT_NODES)), "[".repeat(2 * KEPT_NODES)] {
        let _ = decoder.decode(text.as_bytes(), &limits, true);
        assert_eq!(kept(&decoder), 0);
    }
}
