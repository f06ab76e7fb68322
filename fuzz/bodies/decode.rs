//! Texts of a client through the decoder, against serde_json and the rules of the envelope.

use super::input::Input;
use mida::{
    app::protocol::{
        decode::{Decoder, Message},
        event::{Auth, ErrorCode, Event, Method, Publish, Send, Solution},
    },
    engine::limits::Limits,
};
use serde::de::IgnoredAny;

#[path = "../../src/app/protocol/decode/model/rules.rs"]
mod rules;

use rules::{Json, expected, told};

/// No text in UTF-8 holds this byte.
const SEPARATOR: u8 = 0xFF;

/// Limits, whether batching is on, and texts with [`SEPARATOR`] between them, for one decoder.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = Limits {
        json_depth: input.pick(&[32, 2, 3, 4, 5, 8, 100]),
        batch_messages: input.pick(&[64, 1, 2, 3]),
        ..Limits::default()
    };
    let batching = input.bool();
    let mut decoder = Decoder::new(&limits);
    for text in input.rest().split(|byte| *byte == SEPARATOR) {
        let before = text.to_vec();
        let read = str::from_utf8(text).ok().and_then(|text| Some((text, read(text)?)));
        let wanted = match &read {
            Some((text, json)) => expected(json, text, &limits, batching),
            None => Err(ErrorCode::BadJson),
        };
        for _ in 0..2 {
            let said = decoder.decode(text, &limits, batching);
            let messages = match &said {
                Ok(messages) => {
                    Ok((messages.batch, messages.into_iter().map(|message| told(&message)).collect()))
                }
                Err(code) => Err(*code),
            };
            assert_eq!(messages, wanted, "{}", text.escape_ascii());
            if let Ok(messages) = &said {
                assert_eq!(messages.len(), messages.into_iter().count());
            }
        }
        assert_eq!(text, before, "the text stays as it is");
    }
}

/// The text as serde_json reads it; but a number beyond the range of an f64 is JSON (RFC 8259 section 6),
/// and comes as one that no rule takes.
fn read(text: &str) -> Option<Json> {
    match serde_json::from_str(text) {
        Ok(json) => Some(json),
        Err(error) if error.to_string().contains("number out of range") => {
            serde_json::from_str(&without_huge_numbers(text)).ok()
        }
        Err(_) => None,
    }
}

fn without_huge_numbers(text: &str) -> String {
    let (mut tamed, mut rest) = (String::new(), text);
    let mut is_string = false;
    while let Some(first) = rest.chars().next() {
        let is_number = !is_string && matches!(first, '-' | '0'..='9');
        let len = match first {
            '\\' if is_string => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            _ if is_number => {
                rest.find(|c| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9')).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        is_string ^= first == '"';
        let (token, behind) = rest.split_at(len);
        // Not a value: it would be read, and refused.
        let is_huge = is_number
            && serde_json::from_str::<IgnoredAny>(token).is_ok()
            && token.parse::<f64>().is_ok_and(f64::is_infinite);
        tamed.push_str(if is_huge { "0.5" } else { token });
        rest = behind;
    }
    tamed
}
