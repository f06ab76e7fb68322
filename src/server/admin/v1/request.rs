//! What a backend asks for, read from the JSON of its request. It is held to what a message of a client is held to.

use super::super::{Answer, Head};
use crate::{
    app::{
        crypto::key::Identity,
        protocol::{
            decode::Decoder,
            event::{ErrorCode, ID_BYTES, TO_MAX, TOPIC_BYTES},
        },
    },
    engine::limits::Limits,
};
use serde::Deserialize;
use serde_json::{Value, error::Category, value::RawValue};

/// `POST /v1/send`.
#[derive(Debug, PartialEq, Eq)]
pub struct Send<'a> {
    pub to: To,
    pub live: bool,
    pub body: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub enum To {
    /// Each once, in the order they came.
    Keys(Vec<Identity>),
    /// Every connection with a proven key.
    Everyone,
}

/// `POST /v1/publish`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish<'a> {
    pub topic: String,
    #[serde(borrow)]
    pub body: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSend<'a> {
    #[serde(borrow)]
    to: &'a RawValue,
    #[serde(borrow)]
    body: &'a RawValue,
    #[serde(default)]
    live: Flag,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDisconnect {
    key: String,
}

/// A boolean, if it is there; no null.
#[derive(Default, Deserialize)]
#[serde(from = "bool")]
struct Flag(Option<bool>);

impl From<bool> for Flag {
    fn from(flag: bool) -> Self {
        Self(Some(flag))
    }
}

impl<'a> Send<'a> {
    /// # Errors
    /// The answer that says what is wrong, and in which member; so with the others.
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Answer> {
        let raw: RawSend = read(bytes, limits)?;
        let (to, Flag(live)) = (recipients(raw.to)?, raw.live);
        if to == To::Everyone && live == Some(false) {
            return Err(bad_data("live: a message to everyone is not stored"));
        }
        Ok(Self { to, live: live.unwrap_or(false), body: raw.body.get().as_bytes() })
    }
}

impl<'a> Publish<'a> {
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Answer> {
        let publish: Self = read(bytes, limits)?;
        if !(1..=TOPIC_BYTES).contains(&publish.topic.len()) {
            return Err(bad_data("topic: 1 to 128 bytes"));
        }
        Ok(publish)
    }
}

/// The key of `POST /v1/disconnect`.
pub fn disconnect(bytes: &[u8], limits: &Limits) -> Result<Identity, Answer> {
    key("key", &read::<RawDisconnect>(bytes, limits)?.key)
}

/// The key that is called `name` in the request.
pub fn key(name: &str, text: &str) -> Result<Identity, Answer> {
    let (identity, _) = Identity::parse_hex(text.as_bytes())
        .map_err(|wrong| Answer::error((400, "bad_key"), &format!("{name}: {wrong}")))?;
    Ok(identity)
}

/// The Idempotency-Key, if there is one; it may be in quotes.
pub fn idempotency_key(head: &Head) -> Result<Option<&str>, Answer> {
    let Some(value) = &head.idempotency_key else { return Ok(None) };
    let value = value.trim_ascii();
    let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let is_named = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"';
    let is_one = (1..=ID_BYTES).contains(&bare.len()) && bare.iter().all(is_named);
    let text = std::str::from_utf8(bare).ok().filter(|_| is_one);
    text.map(Some).ok_or_else(|| {
        Answer::error(
            (400, "bad_request"),
            "Idempotency-Key: 1 to 64 visible ASCII characters without quotes, or in them",
        )
    })
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8], limits: &Limits) -> Result<T, Answer> {
    let value = serde_json::from_slice(bytes).map_err(|wrong| match wrong.classify() {
        Category::Data => bad_data(&wrong.to_string()),
        _ => Answer::error((400, "bad_json"), &wrong.to_string()),
    })?;
    // What no client could have sent is not for clients to read.
    let text = [br#"{"t":1,"data":"#, bytes, b"}"].concat();
    let limits = Limits { message_bytes: u32::MAX, ..limits.clone() };
    match Decoder::new(&limits).decode(&text, &limits, false) {
        // An array would do for the members of a struct.
        Ok(messages) if messages.into_iter().any(|message| message.event.is_err()) => {
            Err(bad_data("the request is an object"))
        }
        Ok(_) => Ok(value),
        Err(code) => Err(Answer::error((400, "bad_json"), code.msg())),
    }
}

fn recipients(raw: &RawValue) -> Result<To, Answer> {
    let wrong = || bad_data("to: a key, an array of 1 to 64 keys, or \"*\"");
    let texts = match serde_json::from_str(raw.get()) {
        Ok(Value::String(text)) if text == "*" => return Ok(To::Everyone),
        Ok(Value::String(text)) => return Ok(To::Keys(vec![key("to", &text)?])),
        Ok(Value::Array(texts)) if (1..=TO_MAX).contains(&texts.len()) => texts,
        _ => return Err(wrong()),
    };
    let mut keys = Vec::with_capacity(texts.len());
    for (nth, text) in texts.iter().enumerate() {
        let identity = key(&format!("to[{nth}]"), text.as_str().ok_or_else(wrong)?)?;
        if !keys.contains(&identity) {
            keys.push(identity);
        }
    }
    Ok(To::Keys(keys))
}

fn bad_data(message: &str) -> Answer {
    Answer::error((400, ErrorCode::BadData.name()), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7";

    fn wrong(text: &str) -> String {
        let answer = Send::read(text.as_bytes(), &Limits::default()).expect_err(text);
        assert_eq!(answer.status, 400);
        serde_json::from_str::<Value>(&answer.body).unwrap()["error"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_body_is_taken_byte_for_byte_and_a_key_once() {
        let text = format!(
            "{{ \"to\":[\"{KEY}\",\"{}\"], \"body\" : [1.10, -0,\"\\u00e9\"] ,\"live\":true}}",
            KEY.to_uppercase()
        );
        let send = Send::read(text.as_bytes(), &Limits::default()).unwrap();
        let To::Keys(keys) = &send.to else { panic!("{send:?}") };
        assert_eq!((keys.len(), keys[0].to_string(), send.live), (1, KEY.to_owned(), true));
        assert_eq!(send.body, br#"[1.10, -0,"\u00e9"]"#);
        let send = Send::read(br#"{"to":"*","body":null}"#, &Limits::default()).unwrap();
        assert_eq!((send.to, send.body, send.live), (To::Everyone, &b"null"[..], false));
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        let to = format!(r#""to":"{KEY}""#);
        let deep = format!("{{{to},\"body\":{}{}}}", "[".repeat(31), "]".repeat(31));
        for (text, code) in [
            ("", "bad_json"),
            ("{", "bad_json"),
            ("[]", "bad_data"),
            ("{}", "bad_data"),
            (&format!("{{{to}}}"), "bad_data"),
            (&format!("{{{to},\"body\":1,\"body\":2}}"), "bad_data"),
            (&format!("{{{to},\"body\":1,\"lvie\":true}}"), "bad_data"),
            (&format!("{{{to},\"body\":1,\"live\":1}}"), "bad_data"),
            (&format!("{{{to},\"body\":1}}x"), "bad_json"),
            (&format!("{{{to},\"body\":01}}"), "bad_json"),
            (&format!(r#"{{{to},"body":"\ud800"}}"#), "bad_json"),
            (&deep, "bad_json"),
            (r#"["*",1,true]"#, "bad_data"),
            (r#"{"to":"*","body":1,"live":null}"#, "bad_data"),
            (r#"{"body":1,"to":7}"#, "bad_data"),
            (r#"{"body":1,"to":[]}"#, "bad_data"),
            (r#"{"body":1,"to":["*"]}"#, "bad_key"),
            (r#"{"body":1,"to":"02"}"#, "bad_key"),
            (r#"{"body":1,"to":"*","live":false}"#, "bad_data"),
            (&format!(r#"{{"body":1,"to":[{}]}}"#, vec![format!("\"{KEY}\""); 65].join(",")), "bad_data"),
        ] {
            assert_eq!(wrong(text), code, "{text}");
        }
        assert!(Publish::read(br#"{"topic":"","body":1}"#, &Limits::default()).is_err());
        assert!(disconnect(br#"{"key":"no"}"#, &Limits::default()).is_err());
    }

    #[test]
    fn a_name_for_a_request_may_stand_in_quotes() {
        let named = |value: &str| {
            let head = Head { idempotency_key: Some(value.into()), ..Head::default() };
            idempotency_key(&head).map(|key| key.map(str::to_owned)).map_err(|answer| answer.status)
        };
        assert_eq!(named("a-1"), Ok(Some("a-1".to_owned())));
        assert_eq!(named("\"a-1\" "), Ok(Some("a-1".to_owned())));
        for wrong in ["", "\"\"", "a\"b", "\"a", "a b", "\u{e9}", &"x".repeat(65)] {
            assert_eq!(named(wrong), Err(400), "{wrong}");
        }
    }
}
