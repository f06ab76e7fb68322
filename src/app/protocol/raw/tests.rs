use super::*;
use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::value::RawValue;
use simd_json::{Buffers, INPUT_PADDING, Tape, fill_tape_padded};

/// Every value in `text`, from front to back: the text simd-json leaves it in, and how many containers are open around it.
fn values<'a>(text: &'a str, found: &mut Vec<(&'a str, usize)>, open: usize) {
    found.push((text, open));
    match text.as_bytes()[0] {
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            elements.iter().for_each(|element| values(element.get(), found, open + 1));
        }
        b'{' => {
            let Members(members) = serde_json::from_str(text).unwrap();
            for (key, value) in members {
                found.push((key.get(), open + 1));
                values(value.get(), found, open + 1);
            }
        }
        _ => {}
    }
}

/// All members, repeated ones too.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'a> serde::Deserialize<'a> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'a> serde::de::Visitor<'a> for Each {
            type Value = Members<'a>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'a>>(self, mut access: A) -> Result<Members<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Holds that each value of `text` is found in it, asked for alone and one after the other.
fn finds_all(text: &str) {
    let mut expected = Vec::new();
    values(serde_json::from_str::<&RawValue>(text).unwrap().get(), &mut expected, 0);
    let mut padded = [text.as_bytes(), &[0; INPUT_PADDING]].concat();
    let mut buffers = Buffers::with_max_depth(0, 1_000);
    let mut tape = Tape(Vec::new());
    fill_tape_padded(&mut padded, text.len(), &mut buffers, &mut tape).unwrap();
    assert_eq!(tape.0.len(), expected.len(), "{text}");

    let raw = Raw { text: text.as_bytes(), structurals: buffers.structural_indexes(), nodes: &tape.0 };
    let mut in_order = Seen::default();
    for (at, (value, open)) in expected.iter().enumerate() {
        let width = match &tape.0[at] {
            Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
            _ => 1,
        };
        // What ends with the text has nothing behind it: no member of anything.
        if *open > 0 {
            assert_eq!(
                raw.value(at, width, *open, &mut Seen::default()),
                Some(value.as_bytes()),
                "{at} of {text}"
            );
        }
        if *open > 0 && width == 1 {
            assert_eq!(raw.value(at, width, *open, &mut in_order), Some(value.as_bytes()), "{at} of {text}");
        }
    }
}

#[test]
fn values_are_found_whatever_is_around_and_in_them() {
    for text in [
        "[1]",
        r#"{"a":{},"b":[],"c":[{}],"d":{"e":[[],[]]},"f":1.10}"#,
        r#" { "a" : [ ] , "a" : { } , "b" : -0.0 , "c" : "]}\",\\" } "#,
        r#"[[[[[]]]],[{},{"":{}}],"\u005d",true , null,1e999]"#.replace("1e999", "1e9").as_str(),
        "[\"\",\"\\\\\",\"\\\\\\\"\",[ \"é\u{2028}\" ]\r\n, 12345678901234567890123\t]",
    ] {
        finds_all(text);
    }
    finds_all(&format!("{}{}", "[".repeat(100), "]".repeat(100)));
    finds_all(&format!("[{}0]", "{\"a\":[]},".repeat(1_000)));
}

#[test]
fn what_is_in_nothing_or_behind_is_not_found() {
    let (text, structurals) = (b"[1,2]", [0, 1, 2, 3, 4]);
    let nodes = [
        Node::Array { len: 2, count: 2 },
        Node::Static(simd_json::StaticNode::U64(1)),
        Node::Static(simd_json::StaticNode::U64(2)),
    ];
    let (raw, mut seen) = (Raw { text, structurals: &structurals, nodes: &nodes }, Seen::default());
    assert_eq!(raw.value(2, 1, 1, &mut seen), Some(&b"2"[..]));
    assert_eq!(raw.value(1, 1, 1, &mut seen), None);
    assert_eq!(raw.value(3, 1, 1, &mut seen), None);
    assert_eq!(raw.value(0, 3, 0, &mut Seen::default()), None);
}

fn json() -> impl Strategy<Value = String> {
    let space =
        || prop::sample::select(vec!["", "", "", " ", "\t\r\n", "                                        "]);
    let scalar = prop_oneof![
        prop::sample::select(vec![
            "0",
            "-0",
            "1.10",
            "1E-7",
            "2.50e+3",
            "18446744073709551616",
            "true",
            "false",
            "null",
            "{}",
            "[]",
            r#""""#,
            r#""\\""#,
            r#""\"""#,
            r#""[{,:""#,
            r#""\ud83d\ude00""#,
            r#""\\\\\\\"]""#,
            "{ }",
            "[\n]",
        ])
        .prop_map(str::to_owned),
        ".{0,80}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let spaced = (space(), scalar, space()).prop_map(|(a, scalar, b)| format!("{a}{scalar}{b}"));
    spaced.prop_recursive(6, 60, 6, move |inner| {
        let key = prop::sample::select(vec![r#""""#, r#""a""#, r#""\"""#, r#""b\u006fdy" "#, r#" "{""#]);
        let container = prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec((key, inner), 0..6).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ];
        (space(), container, space()).prop_map(|(a, container, b)| format!("{a}{container}{b}"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000, rng_seed: RngSeed::Fixed(41), failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn values_are_those_that_serde_json_leaves_as_they_are(text in json()) {
        finds_all(&text);
    }
}
