//! Messages between keys (PROTOCOL.md section 12).

use super::*;

/// What each event of a text comes to, written out.
fn shown(message: &Message<'_>) -> String {
    let text = |body| str::from_utf8(body).unwrap();
    let id = message.id.unwrap_or("-");
    match message.event {
        Ok(Event::Send(Send { to, body, live })) => {
            format!("{id} send {:?} {live} {}", to.iter().collect::<Vec<_>>(), text(body))
        }
        Ok(Event::Ack(ids)) => format!("{id} ack {:?}", ids.iter().collect::<Vec<_>>()),
        Ok(Event::Join(topic)) => format!("{id} join {topic:?}"),
        Ok(Event::Leave(topic)) => format!("{id} leave {topic:?}"),
        Ok(Event::Publish(Publish { topic, body })) => format!("{id} publish {topic:?} {}", text(body)),
        Ok(other) => format!("{other:?}"),
        Err(code) => format!("{id} {}", code.name()),
    }
}

#[track_caller]
fn all(text: &str, expected: &[&str]) {
    let (mut decoder, limits) = fresh();
    decoded(&mut decoder, text.as_bytes(), &limits, true, |said| {
        let (_, messages) = said.unwrap_or_else(|code| panic!("{code} {text}"));
        assert_eq!(messages.iter().map(shown).collect::<Vec<_>>(), expected, "{text}");
    });
}

#[test]
fn every_event_is_read() {
    for (t, data, expected) in [
        (129, r#""id":"a","to":"k","body":1.10"#, r#"a send ["k"] false 1.10"#),
        (
            129,
            r#""live":true,"body":null,"to":["k","\u006b"],"id":"\u0061""#,
            r#"a send ["k", "k"] true null"#,
        ),
        (
            129,
            r#""id":"a","to":["k"],"live":false,"body": {"a" : "\u0062\/" } "#,
            r#"a send ["k"] false {"a" : "\u0062\/" }"#,
        ),
        (
            129,
            r#""id":"a","b\u006fdy":"\ud83d\ude00","to":"","x":[{}]"#,
            r#"a send [""] false "\ud83d\ude00""#,
        ),
        (132, r#""ids":["b","c"],"id":"a""#, r#"a ack ["b", "c"]"#),
        (132, r#""ids":[]"#, "- ack []"),
        (133, r#""topic":"\n""#, r#"- join "\n""#),
        (134, r#""topic":"t","id":"a""#, r#"a leave "t""#),
        (135, r#""topic":"t","body":[ {} , 1e999,-0]"#, r#"- publish "t" [ {} , 1e999,-0]"#),
        (135, r#""body":{},"topic":"t","id":"a""#, r#"a publish "t" {}"#),
    ] {
        all(&format!(r#"{{"t":{t},"data":{{{data}}}}}"#), &[expected]);
        all(&format!(r#" {{ "data" : {{ {data} }} , "x" : {{}} , "t" : {t} }} "#), &[expected]);
    }
}

#[test]
fn what_is_missing_wrong_repeated_or_out_of_bounds_is_bad_data() {
    let long = "i".repeat(65);
    let keys = |n: usize| format!(r#""id":"a","body":1,"to":[{}]"#, vec![r#""k""#; n].join(","));
    let ids = |n: usize| format!(r#""id":"a","ids":[{}]"#, vec![r#""k""#; n].join(","));
    for (t, data, id) in [
        (129, r#""to":"k","body":1"#, "-"),
        (129, r#""id":1,"to":"k","body":1"#, "-"),
        (129, r#""id":"","to":"k","body":1"#, "-"),
        (129, &format!(r#""id":"{long}","to":"k","body":1"#), "-"),
        (129, r#""id":"a","id":"a","to":"k","body":1"#, "-"),
        (129, r#""id":"a","body":1"#, "a"),
        (129, r#""id":"a","to":"k""#, "a"),
        (129, r#""id":"a","to":null,"body":1"#, "a"),
        (129, r#""id":"a","to":{"k":"k"},"body":1"#, "a"),
        (129, r#""id":"a","to":["k",1],"body":1"#, "a"),
        (129, r#""id":"a","to":["k",["k"]],"body":1"#, "a"),
        (129, r#""id":"a","to":"k","to":"k","body":1"#, "a"),
        (129, r#""id":"a","to":"k","body":1,"bod\u0079":1"#, "a"),
        (129, r#""id":"a","to":"k","body":1,"live":null"#, "a"),
        (129, r#""id":"a","to":"k","body":1,"live":1"#, "a"),
        (129, r#""id":"a","to":"k","body":1,"live":true,"live":true"#, "a"),
        (129, &keys(0), "a"),
        (129, &keys(65), "a"),
        (132, r#""id":"a""#, "a"),
        (132, r#""id":"a","ids":"b""#, "a"),
        (132, r#""id":"a","ids":[["b"]]"#, "a"),
        (132, r#""id":"a","ids":[],"ids":[]"#, "a"),
        (132, &ids(1_001), "a"),
        (133, r#""id":"a""#, "a"),
        (133, r#""id":"a","topic":"""#, "a"),
        (134, r#""id":"a","topic":["t"]"#, "a"),
        (134, r#""id":"a","topic":"t","topic":"t""#, "a"),
        (135, r#""id":"a","topic":"t""#, "a"),
        (135, r#""id":"a","body":1"#, "a"),
        (135, r#""id":"a","topic":"t","body":1,"body":1"#, "a"),
    ] {
        all(&format!(r#"{{"t":{t},"data":{{{data}}}}}"#), &[&format!("{id} bad_data")]);
    }
    let (mut decoder, limits) = fresh();
    for (t, data) in [(129, keys(64)), (132, ids(1_000))] {
        let text = format!(r#"{{"t":{t},"data":{{{data}}}}}"#);
        decoded(&mut decoder, text.as_bytes(), &limits, true, |said| match said.unwrap().1[0].event {
            Ok(Event::Send(send)) => assert_eq!((send.to.len(), send.to.iter().count()), (64, 64)),
            Ok(Event::Ack(ids)) => assert_eq!((ids.len(), ids.iter().len()), (1_000, 1_000)),
            event => panic!("{event:?}"),
        });
    }
}

#[test]
fn a_topic_is_counted_in_bytes_as_it_is_when_unescaped() {
    for (topic, passes) in [
        ("t".repeat(128), true),
        ("é".repeat(64), true),
        (r"\u00e9".repeat(64), true),
        (r"\u0000".repeat(128), true),
        ("t".repeat(129), false),
        ("é".repeat(65), false),
    ] {
        let (mut decoder, limits) = fresh();
        for t in [133, 134, 135] {
            let text = format!(r#"{{"t":{t},"data":{{"topic":"{topic}","body":0}}}}"#);
            decoded(&mut decoder, text.as_bytes(), &limits, false, |said| {
                let event = said.unwrap().1[0].event;
                assert_eq!(event.err(), (!passes).then_some(ErrorCode::BadData), "{text}");
            });
        }
    }
}

#[test]
fn in_a_batch_each_message_has_its_own_body() {
    let text = r#"{"x":[{},[]],"count":7,"data":[
        {"t":135,"data":{"topic":"a","body":[{},[]]}}, 5 ,
        {"t":135,"data":{"topic":"b","x":{"body":{}},"body" : "]},{" }},[],
        {"data":{"body":[],"topic":"c","body":[]},"t":135},
        {"t":1,"data":{"body":{}}},{"x":[],"data":{"to":"k","body":{},"id":"i"},"t":129}],"y":{}}"#;
    let expected = [
        r#"- publish "a" [{},[]]"#,
        "- bad_envelope",
        r#"- publish "b" "]},{""#,
        "- bad_envelope",
        "- bad_data",
        "Metadata",
        r#"i send ["k"] false {}"#,
    ];
    all(text, &expected);
    all(&text.replace(r#""x":[{},[]],"count":7"#, r#""count":7,"x":1e999"#), &expected);
}

#[test]
fn a_lone_surrogate_in_a_body_is_bad_json() {
    refused(ErrorCode::BadJson, &[r#"{"t":135,"data":{"topic":"t","body":["\ud83d"]}}"#]);
}

#[test]
fn whole_batches_of_hostile_bodies_are_read() {
    let (mut decoder, limits) = fresh();
    for body in [
        r#"[[],{},"[\"",[[]]]"#.to_owned(),
        format!("\"{}\"", "\\\"".repeat(450)),
        "[[],[]".to_owned() + &",{}".repeat(300) + "]",
    ] {
        let message = format!(r#"{{"t":135,"data":{{"topic":"t","body":{body}}}}}"#);
        let text = format!(r#"{{"count":64,"data":[{}]}}"#, vec![message; 64].join(","));
        decoded(&mut decoder, text.as_bytes(), &limits, true, |said| {
            for message in said.unwrap().1 {
                assert_eq!(shown(&message), format!("- publish \"t\" {body}"));
            }
        });
    }
}

/// What clients say in the examples of the page.
fn examples() -> Vec<String> {
    let page = include_str!("../../../../../PROTOCOL.md");
    let mut texts: Vec<String> = Vec::new();
    let mut in_one = false;
    for line in page.lines() {
        if let Some((_, text)) = line.split_once("C text    ").filter(|(who, _)| who.len() < 5) {
            texts.push(text.to_owned());
            in_one = true;
        } else if in_one && line.starts_with("    ") {
            *texts.last_mut().unwrap() += line.trim_start();
        } else {
            in_one = false;
        }
    }
    texts
}

#[test]
fn the_examples_of_the_page_are_what_they_seem() {
    let (mut decoder, limits) = fresh();
    let mut mail = 0;
    for text in examples() {
        decoded(&mut decoder, text.as_bytes(), &limits, false, |said| {
            let (_, messages) = said.unwrap_or_else(|code| panic!("{code} {text}"));
            assert!(messages[0].event.is_ok(), "{text}");
            mail += u32::from(messages[0].t >= Some(SEND));
        });
    }
    assert_eq!(mail, 9, "examples of section 12");
}
