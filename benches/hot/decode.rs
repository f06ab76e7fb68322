//! What a client's text costs to read.

use super::clock::Criterion;
use super::inputs::{self, MANY, Rotation};
use criterion::{BenchmarkId, Throughput};
use mida::{
    app::{
        crypto::rng::Rng,
        protocol::{
            decode::{Decoder, Message},
            event::{Event, Send},
        },
    },
    engine::limits::Limits,
};
use serde_json::{Value, json};
use std::hint::black_box;

/// Messages in the batch.
pub const BATCH: usize = 8;

pub fn all(criterion: &mut Criterion) {
    let mut rng = inputs::rng();
    let mut group = criterion.benchmark_group("decode");
    let limits = Limits::default();
    let mut decoder = Decoder::new(&limits);

    let questions = (0..MANY).map(|n| question(&mut rng, n)).collect();
    let logins = (0..MANY).map(|n| login(&mut rng, n)).collect();
    let sends = (0..MANY).map(|n| send(&mut rng, n)).collect();
    let batches = (0..MANY).map(|_| batch(&mut rng)).collect();
    for (id, texts, batching) in [
        (BenchmarkId::new("message", 60), questions, false),
        (BenchmarkId::new("message", 200), logins, false),
        (BenchmarkId::new("send", 200), sends, false),
        (BenchmarkId::new("batch", BATCH), batches, true),
    ] {
        let texts: Vec<String> = texts;
        let bytes = texts[0].len();
        for text in &texts {
            assert_eq!(text.len(), bytes);
            let mut wanted: Value = serde_json::from_str(text).expect("it is JSON");
            let wanted = match wanted["data"].as_array() {
                Some(messages) => messages.clone(),
                None => vec![wanted.take()],
            };
            let messages = decoder.decode(text.as_bytes(), &limits, batching).expect("it is well-formed");
            assert_eq!(messages.len(), wanted.len());
            (&messages).into_iter().zip(&wanted).for_each(|(message, wanted)| assert_says(&message, wanted));
        }
        let mut texts = Rotation::new(texts);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let messages = decoder.decode(texts.turn().as_bytes(), &limits, batching);
                for message in &messages.expect("it was before") {
                    black_box(&message);
                }
            });
        });
    }
    group.finish();
}

/// Event 1, 60 bytes; its members are ignored, but they have to be read.
fn question(rng: &mut Rng, n: usize) -> String {
    let seen = 1_000_000 + rng.below(8_999_999);
    inputs::padded(rng, 60, |client| match n % 3 {
        0 => format!(r#"{{"t":1,"data":{{"client":"{client}","seen":{seen}}}}}"#),
        1 => format!(r#"{{"data":{{"seen":{seen},"client":"{client}"}},"t":1}}"#),
        _ => format!(r#"{{"t": 1, "data": {{"seen": {seen}, "client": "{client}"}}}}"#),
    })
}

/// Event 2 or event 4, 200 bytes.
pub fn login(rng: &mut Rng, n: usize) -> String {
    if n.is_multiple_of(2) {
        let key = inputs::digits(rng, 64);
        inputs::padded(rng, 200, |bio| {
            let user = format!(r#"{{"displayName":"Ada","bio":"{bio}"}}"#);
            format!(r#"{{"t":2,"data":{{"method":"login","pubKey":"02{key}","user":{user}}}}}"#)
        })
    } else {
        let solution = inputs::digits(rng, 128);
        inputs::padded(rng, 200, |client| {
            let proof = format!(r#""scheme":"mida-v1","solution":"{solution}""#);
            format!(r#"{{"t":4,"data":{{{proof},"client":"{client}"}}}}"#)
        })
    }
}

/// Event 0x81, 200 bytes: what people write to one another, or what programs do.
pub fn send(rng: &mut Rng, n: usize) -> String {
    let (id, key) = (1_000_000 + rng.below(8_999_999), inputs::digits(rng, 64));
    inputs::padded(rng, 200, |words| match n % 3 {
        0 => format!(r#"{{"t":129,"data":{{"id":"{id}","to":"02{key}","body":"{words}"}}}}"#),
        1 => format!(
            r#"{{"t":129,"data":{{"id":"{id}","to":["03{key}"],"body":{{"text":"{words}","seen":1.10,"in":[]}}}}}}"#
        ),
        _ => format!(
            r#"{{"data": {{"body": [{id}, "{words}", {{}}], "live": true, "to": "02{key}", "id": "{id}"}}, "t": 129}}"#
        ),
    })
}

/// Eight times event 1.
pub fn batch(rng: &mut Rng) -> String {
    let messages: Vec<String> = (0..BATCH).map(|n| question(rng, n)).collect();
    format!(r#"{{"count":{BATCH},"data":[{}]}}"#, messages.join(","))
}

fn assert_says(message: &Message<'_>, wanted: &Value) {
    let data = &wanted["data"];
    let (t, says) = match message.event.expect("it is right") {
        Event::Metadata => (1, true),
        Event::Auth(auth) => (
            2,
            data["pubKey"] == auth.pub_key
                && data["user"] == json!({"displayName": auth.display_name, "bio": auth.bio}),
        ),
        Event::Solution(solution) => {
            (4, data["solution"] == solution.solution && data["scheme"] == json!(solution.scheme))
        }
        Event::Send(Send { to, body, live }) => {
            let key = data["to"].as_str().or(data["to"][0].as_str());
            let body: Value = serde_json::from_slice(body).expect("it is JSON");
            let is_live = data["live"].as_bool().unwrap_or_default();
            (129, to.len() == 1 && to.iter().next() == key && body == data["body"] && live == is_live)
        }
        other => panic!("{other:?} is none of these"),
    };
    assert!(says && wanted["t"] == t && message.t == Some(t), "{message:?} is not {wanted}");
}
