//! The decoder against a second one, on generated and damaged texts.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

mod rules;

use self::rules::{Json, expected, told};
use super::tests::decoded;

/// A string in JSON: `escaped` picks how each character is written.
fn quoted(text: &str, escaped: u64) -> String {
    let mut json = String::from('"');
    for (i, character) in text.chars().enumerate() {
        if escaped >> (i % 64) & 1 == 1 || character < ' ' || matches!(character, '"' | '\\') {
            for unit in character.encode_utf16(&mut [0; 2]) {
                json += &format!("\\u{unit:04x}");
            }
        } else {
            json.push(character);
        }
    }
    json + "\""
}

fn scalar() -> impl Strategy<Value = String> {
    let known = [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "128",
        "129",
        "130",
        "132",
        "133",
        "134",
        "135",
        "255",
        "256",
        "-0",
        "-1",
        "1.0",
        "1e0",
        "2.50",
        "1E-7",
        "1.10",
        "-0.0",
        "18446744073709551616",
        "-9223372036854775809",
        "null",
        "true",
        "false",
        r#""login""#,
        r#""signup""#,
        r#""mida-v1""#,
        r#""\ud83d\ude00""#,
        r#""\ud83d""#,
        r#""\\\"""#,
        "{}",
        "[]",
        "[{}]",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        2 => (".{0,20}", any::<u64>()).prop_map(|(text, escaped)| quoted(&text, escaped)),
        1 => (55_usize..75).prop_map(|length| quoted(&"é".repeat(length), 0)),
        1 => (1_020_usize..1_030).prop_map(|length| quoted(&"b".repeat(length), 0)),
        1 => any::<f64>().prop_map(|number| if number.is_finite() { number.to_string() } else { "7".to_owned() }),
        1 => any::<i64>().prop_map(|number| number.to_string()),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "", "", " ", "\n", "\t\r ", "                                 "])
}

fn key() -> impl Strategy<Value = String> {
    let known = [
        "t",
        "data",
        "count",
        "id",
        "pubKey",
        "method",
        "user",
        "displayName",
        "bio",
        "scheme",
        "solution",
        "to",
        "body",
        "live",
        "ids",
        "topic",
        "x",
        "",
        "T",
    ];
    let escaped = prop_oneof![5 => Just(0), 1 => any::<u64>()];
    (prop::sample::select(known.to_vec()), escaped).prop_map(|(name, escaped)| quoted(name, escaped))
}

fn object(members: impl Strategy<Value = Vec<(String, String)>>) -> impl Strategy<Value = String> {
    (members, space(), space()).prop_map(|(members, a, b)| {
        let members: Vec<_> =
            members.iter().map(|(key, value)| format!("{a}{key}{b}:{a}{value}{b}")).collect();
        format!("{{{}{a}}}", members.join(","))
    })
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            object(prop::collection::vec((key(), inner.clone()), 0..5)),
            prop::collection::vec(inner, 0..4).prop_map(|elements| format!("[{}]", elements.join(","))),
        ]
    })
}

/// A member named `name` most of the time, and then with a value that fits it.
fn member(
    name: &'static str,
    fitting: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<Vec<(String, String)>> {
    prop_oneof![
        12 => fitting.prop_map(move |value| vec![(quoted(name, 0), value)]),
        2 => Just(Vec::new()),
        1 => value().prop_map(move |value| vec![(quoted(name, 0), value)]),
        1 => (value(), value()).prop_map(move |(a, b)| vec![(quoted(name, 0), a), (quoted(name, 2), b)]),
    ]
    .boxed()
}

fn members(parts: Vec<BoxedStrategy<Vec<(String, String)>>>) -> BoxedStrategy<String> {
    let unknown = prop::collection::vec((key(), value()), 0..2);
    let unknown = prop_oneof![3 => Just(Vec::new()), 1 => unknown];
    object((parts, unknown).prop_map(|(parts, unknown)| [parts.concat(), unknown].concat()).prop_shuffle())
        .boxed()
}

fn text_value() -> impl Strategy<Value = String> {
    (".{0,70}", any::<u64>()).prop_map(|(text, escaped)| quoted(&text, escaped & escaped >> 7))
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof![text_value(), (120_usize..135).prop_map(|length| quoted(&"t".repeat(length), 0))]
}

/// An array of strings, mostly a short one; `long` is around how many there may be.
fn strings(long: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let element = prop_oneof![30 => text_value(), 1 => scalar()];
    prop_oneof![
        8 => prop::collection::vec(element, 0..4).prop_map(|elements| format!("[{}]", elements.join(" , "))),
        1 => long.prop_map(|length| format!("[{}]", vec!["\"\""; length].join(","))),
    ]
}

fn to() -> impl Strategy<Value = String> {
    prop_oneof![text_value(), strings(60..70)]
}

fn spaced_value() -> impl Strategy<Value = String> {
    (space(), value(), space()).prop_map(|(a, value, b)| format!("{a}{value}{b}"))
}

fn near_message() -> BoxedStrategy<String> {
    let method = prop::sample::select(vec![r#""login""#, r#""signup""#]).prop_map(str::to_owned);
    let user = members(vec![member("displayName", text_value()), member("bio", text_value())]);
    let auth = [member("pubKey", text_value()), member("method", method), member("user", user)];
    let body = || member("body", spaced_value());
    let flag = prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned);
    let send = [member("to", to()), body(), prop_oneof![Just(Vec::new()), member("live", flag)].boxed()];
    let topic = || member("topic", topic());
    let solution = [member("solution", text_value()), member("scheme", text_value())];
    let id = || member("id", text_value());
    let t = |t: &str| member("t", Just(t.to_owned()));
    prop_oneof![
        members(vec![t("2"), member("data", members([&auth[..], &[id()]].concat()))]),
        members(vec![t("4"), member("data", members([&solution[..], &[id()]].concat()))]),
        members(vec![t("129"), member("data", members([&send[..], &[id()]].concat()))]),
        members(vec![t("132"), member("data", members(vec![member("ids", strings(990..1_010)), id()]))]),
        members(vec![t("133"), member("data", members(vec![topic(), id()]))]),
        members(vec![t("134"), member("data", members(vec![topic(), id()]))]),
        members(vec![t("135"), member("data", members(vec![topic(), body(), id()]))]),
        members(vec![t("1"), member("data", members(vec![id()]))]),
        members(vec![member("t", scalar()), member("data", members(vec![id()]))]),
    ]
    .boxed()
}

fn near_batch() -> BoxedStrategy<String> {
    let element = prop_oneof![
        30 => near_message(),
        1 => value(),
        1 => near_message().prop_map(|inner| format!(r#"{{"count":1,"data":[{inner}]}}"#)),
    ];
    prop::collection::vec(element, 0..6)
        .prop_flat_map(|elements| {
            let count = Just(elements.len().to_string());
            let array = Just(format!("[{}]", elements.join(",")));
            let rare = prop_oneof![9 => Just(Vec::new()), 1 => member("t", scalar())];
            members(vec![member("count", count), member("data", array), rare.boxed()])
        })
        .boxed()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => near_message(), 4 => near_batch(), 1 => value()]
}

/// Where, how, and with which bytes a text is damaged.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, &'static str)>> {
    let pieces = [
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        " ",
        "\n",
        "\0",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E9",
        "t",
        "true",
        "null",
        "\\u",
        "\\ud800",
        "\\udc00",
        "\\u0074",
        "é",
        "\u{FEFF}",
        "\u{1F}",
        "\"t\":1,",
        "\"count\":1,",
        "\"body\":[{},[],\"]\"],",
        "/",
    ];
    prop::collection::vec(
        (any::<prop::sample::Index>(), 0_u8..4, prop::sample::select(pieces.to_vec())),
        1..4,
    )
}

fn damaged(text: &str, damage: &[(prop::sample::Index, u8, &str)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (index, how, piece) in damage {
        let at = index.index(bytes.len() + 1);
        let end = (at + usize::from(*how)).min(bytes.len());
        match how {
            0 => drop(bytes.splice(at..at, piece.bytes())),
            1 => drop(bytes.splice(at..end, piece.bytes())),
            2 => drop(bytes.drain(at..end)),
            _ => bytes.truncate(at.max(bytes.len() / 2)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn agree(decoder: &mut Decoder, limits: &Limits, text: &str) -> Result<bool, TestCaseError> {
    let json = serde_json::from_str::<Json>(text);
    // The one difference: a number beyond the range of an f64 is JSON here.
    if matches!(&json, Err(error) if error.to_string().contains("number out of range")) {
        return Ok(false);
    }
    for batching in [true, false] {
        let expected = match &json {
            Ok(json) => expected(json, text, limits, batching),
            Err(_) => Err(ErrorCode::BadJson),
        };
        decoded(decoder, text.as_bytes(), limits, batching, |said| {
            let said = said.map(|(batch, messages)| (batch, messages.iter().map(told).collect()));
            prop_assert_eq!(said, expected, "{}", text);
            Ok(())
        })?;
    }
    Ok(json.is_ok())
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(31),
        failure_persistence: None,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_texts_come_to_what_the_rules_say(text in text(), batch_messages in 1_u32..6, json_depth in 3_u32..8) {
        let limits = Limits { batch_messages, json_depth, ..Limits::default() };
        agree(&mut Decoder::new(&limits), &limits, &text)?;
    }

    #[test]
    fn damaged_texts_come_to_what_the_rules_say(text in text(), damage in damage()) {
        let limits = Limits::default();
        agree(&mut Decoder::new(&limits), &limits, &damaged(&text, &damage))?;
    }

    #[test]
    fn a_decoder_forgets_the_text_before(texts in prop::collection::vec((text(), damage(), any::<bool>()), 2..4)) {
        let limits = Limits::default();
        let mut decoder = Decoder::new(&limits);
        for (text, damage, is_damaged) in &texts {
            let text = if *is_damaged { damaged(text, damage) } else { text.clone() };
            agree(&mut decoder, &limits, &text)?;
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), batching: bool) {
        let limits = Limits::default();
        let mut decoder = Decoder::new(&limits);
        if let Ok(messages) = decoder.decode(&bytes, &limits, batching) {
            (&messages).into_iter().for_each(drop);
        }
    }
}

#[test]
fn every_byte_between_and_around_tokens_is_taken_or_refused_alike() {
    let limits = Limits::default();
    let mut decoder = Decoder::new(&limits);
    for place in [
        "@{\"t\":1}",
        "{@\"t\":1}",
        "{\"t\"@:1}",
        "{\"t\":@1}",
        "{\"t\":1@}",
        "{\"t\":1}@",
        "{\"t\":1,\"x\":[true@,\"@\"]}",
    ] {
        for character in '\0'..='\u{FF}' {
            agree(&mut decoder, &limits, &place.replace('@', &character.to_string())).unwrap();
        }
    }
}
