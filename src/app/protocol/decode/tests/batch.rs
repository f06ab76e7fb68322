//! Batches (PROTOCOL.md section 2).

use super::*;

#[test]
fn a_batch_and_its_array_are_two_levels() {
    let (mut decoder, mut limits) = fresh();
    limits.json_depth = 4;
    for (depth, passes) in [(2, true), (3, false)] {
        let text = format!(r#"{{"count":1,"data":[{}]}}"#, nested(depth));
        let expected = if passes { Ok((true, vec![ASKED])) } else { Err(ErrorCode::BadJson) };
        comes_to(&mut decoder, text.as_bytes(), &limits, true, &expected);
    }
}

#[test]
fn in_a_batch_each_message_stands_alone() {
    let (mut decoder, limits) = fresh();
    let text = r#"{"count":8,"data":[{"t":1},5,{"t":4,"data":{"solution":"a\n","id":"b"}},{"t":1,"t":1},
        {"t":3,"data":{"id":"c"}},{"t":1,"data":null},{"t":2,"data":{"id":"d","user":[[[]]]}},{"data":{"count":{"t":1}},"t":1}]}"#;
    let solution = Ok(Event::Solution(Solution { scheme: None, solution: "a\n" }));
    let expected = [
        ASKED,
        Message { t: None, id: None, event: Err(ErrorCode::BadEnvelope) },
        Message { t: Some(SOLUTION), id: Some("b"), event: solution },
        Message { t: None, id: None, event: Err(ErrorCode::BadEnvelope) },
        Message { t: Some(CHALLENGE), id: Some("c"), event: Err(ErrorCode::UnknownEvent) },
        failed(METADATA, ErrorCode::BadEnvelope),
        Message { t: Some(AUTH), id: Some("d"), event: Err(ErrorCode::BadData) },
        ASKED,
    ];
    comes_to(&mut decoder, text.as_bytes(), &limits, true, &Ok((true, expected.to_vec())));
    let messages = decoder.decode(text.as_bytes(), &limits, true).unwrap();
    let mut half = (&messages).into_iter();
    assert_eq!((half.next(), half.len(), messages.len()), (Some(ASKED), 7, 8));
    drop(messages);
    comes_to(&mut decoder, br#"{"t":1}"#, &limits, true, &Ok((false, vec![ASKED])));
}

/// Wrong batches, each refused whole.
fn wrong_batches() -> Vec<String> {
    let mut texts: Vec<String> = [
        r#"{"count":1}"#,
        r#"{"count":1,"data":null}"#,
        r#"{"count":1,"data":{}}"#,
        r#"{"count":1,"data":{"t":1}}"#,
        r#"{"count":1,"data":"x"}"#,
        r#"{"count":1,"count":1,"data":[{"t":1}]}"#,
        r#"{"count":1,"data":[{"t":1}],"data":[{"t":1}]}"#,
        r#"{"id":1,"count":1,"data":[{"t":1}],"id":1}"#,
        r#"{"count":1,"data":[{"count":1,"data":[{"t":1}]}]}"#,
        r#"{"count":2,"data":[{"t":1},{"count":0}]}"#,
        r#"{"count":2,"data":[{"t":1},{"t":1,"count":null}]}"#,
        r#"{"count":2,"data":[[{"x":0}],{"\u0063ount":1}]}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    for count in [
        "0",
        "-1",
        "-0",
        "3",
        "1",
        "2.0",
        "2e0",
        "\"2\"",
        "null",
        "[2]",
        "4294967298",
        "18446744073709551618",
        "1e999",
    ] {
        texts.push(batch_of(count, 2));
    }
    texts.extend([
        batch_of("0", 0),
        batch_of("1", 0),
        batch_of("65", 65),
        batch_of("64", 65),
        batch_of("65", 64),
    ]);
    texts
}

#[test]
fn a_wrong_batch_is_refused_whole() {
    let (mut decoder, limits) = fresh();
    for text in wrong_batches() {
        comes_to(&mut decoder, text.as_bytes(), &limits, true, &Err(ErrorCode::BadBatch));
    }
}

#[test]
fn t_beside_count_is_neither_a_message_nor_a_batch() {
    let (mut decoder, limits) = fresh();
    for text in [
        r#"{"t":1,"count":1,"data":[{"t":1}]}"#,
        r#"{"count":1,"data":[{"t":1}],"t":1}"#,
        r#"{"count":0,"t":1,"data":{}}"#,
        r#"{"count":null,"t":null}"#,
    ] {
        for batching in [false, true] {
            comes_to(&mut decoder, text.as_bytes(), &limits, batching, &Err(ErrorCode::BadEnvelope));
        }
    }
}

#[test]
fn while_batching_is_off_a_batch_is_refused_whole_right_or_wrong() {
    let (mut decoder, limits) = fresh();
    for text in wrong_batches().into_iter().chain([batch_of("1", 1), batch_of("64", 64)]) {
        comes_to(&mut decoder, text.as_bytes(), &limits, false, &Err(ErrorCode::BatchingDisabled));
    }
    comes_to(&mut decoder, b"{\"count\":1,\"data\":[}", &limits, false, &Err(ErrorCode::BadJson));
}

#[test]
fn a_batch_may_be_as_large_as_the_rules_say() {
    let (mut decoder, mut limits) = fresh();
    for (most, messages) in [(64, 64), (64, 1), (1, 1), (u32::MAX, 5_000)] {
        limits.batch_messages = most;
        let text = batch_of(&messages.to_string(), messages);
        comes_to(&mut decoder, text.as_bytes(), &limits, true, &Ok((true, vec![ASKED; messages])));
    }
    limits.batch_messages = 1;
    comes_to(&mut decoder, batch_of("2", 2).as_bytes(), &limits, true, &Err(ErrorCode::BadBatch));
}
