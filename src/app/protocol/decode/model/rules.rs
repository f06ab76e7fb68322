//! A second decoder, written down as the rules stand (PROTOCOL.md sections 2 and 3), on what serde_json
//! reads. The fuzz target `decode` uses it too.

use super::{Auth, ErrorCode, Event, Limits, Message, Method, Publish, Send, Solution};
use serde::{
    Deserialize,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// A message, or why it is none, with what it lists in a list.
#[derive(Debug, PartialEq)]
pub struct Told<'a> {
    pub t: Option<u8>,
    pub id: Option<&'a str>,
    pub event: Result<Saying<'a>, ErrorCode>,
}

#[derive(Debug, PartialEq)]
pub enum Saying<'a> {
    Send { to: Vec<&'a str>, body: &'a str, live: bool },
    Ack(Vec<&'a str>),
    Publish { topic: &'a str, body: &'a str },
    Other(Event<'a>),
}

/// What the decoder said, as the rules tell it.
pub fn told<'a>(message: &Message<'a>) -> Told<'a> {
    let text = |body| str::from_utf8(body).expect("a body is UTF-8");
    let event = message.event.map(|event| match event {
        Event::Send(Send { to, body, live }) => {
            assert_eq!((to.len(), to.is_empty()), (to.iter().count(), false));
            Saying::Send { to: to.iter().collect(), body: text(body), live }
        }
        Event::Ack(ids) => Saying::Ack(ids.iter().collect()),
        Event::Publish(Publish { topic, body }) => Saying::Publish { topic, body: text(body) },
        other => Saying::Other(other),
    });
    Told { t: message.t, id: message.id, event }
}

/// JSON with repeated members kept; numbers as serde_json tells them apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Unsigned(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value as f64))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Number(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::String(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = access.next_element()? {
                    elements.push(element);
                }
                Ok(Json::Array(elements))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry()? {
                    members.push(member);
                }
                Ok(Json::Object(members))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Json {
    fn depth(&self) -> u32 {
        match self {
            Self::Array(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn all(&self, name: &str) -> Vec<&Json> {
        let Self::Object(members) = self else { return Vec::new() };
        members.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect()
    }

    fn repeats(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.all(name).len() > 1)
    }

    fn string(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }
}

/// What is to be made of `text`, which serde_json read as `json`: whether it is a batch, and its messages.
pub fn expected<'a>(
    json: &'a Json,
    text: &'a str,
    limits: &Limits,
    batching: bool,
) -> Result<(bool, Vec<Told<'a>>), ErrorCode> {
    if json.depth() > limits.json_depth {
        return Err(ErrorCode::BadJson);
    }
    let Some(count) = json.all("count").first().copied() else {
        return Ok((false, vec![expected_message(json, text)]));
    };
    if !json.all("t").is_empty() {
        return Err(ErrorCode::BadEnvelope);
    }
    if !batching {
        return Err(ErrorCode::BatchingDisabled);
    }
    let [Json::Array(messages)] = json.all("data")[..] else { return Err(ErrorCode::BadBatch) };
    if json.repeats(&["count", "id"])
        || *count != Json::Unsigned(messages.len() as u64)
        || messages.is_empty()
        || messages.len() > limits.batch_messages as usize
        || messages.iter().any(|message| !message.all("count").is_empty())
    {
        return Err(ErrorCode::BadBatch);
    }
    let Batch { data: texts } = serde_json::from_str(text).expect("it was read before");
    let texts = texts.into_iter().map(RawValue::get);
    Ok((true, messages.iter().zip(texts).map(|(message, text)| expected_message(message, text)).collect()))
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// The body of a message that has one.
fn body(text: &str) -> &str {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        body: &'a RawValue,
    }
    serde_json::from_str::<Envelope<'_>>(text).expect("it has a body").data.body.get()
}

fn expected_message<'a>(json: &'a Json, text: &'a str) -> Told<'a> {
    static EMPTY: Json = Json::Object(Vec::new());
    let no_message = |t| Told { t, id: None, event: Err(ErrorCode::BadEnvelope) };
    let [Json::Unsigned(t @ 0..=255)] = &json.all("t")[..] else { return no_message(None) };
    let data = json.all("data").first().copied().unwrap_or(&EMPTY);
    let (Json::Object(_), false) = (data, json.repeats(&["data", "id"])) else {
        return no_message(Some(*t as u8));
    };
    let id = match data.all("id")[..] {
        [Json::String(id)] if (1..=64).contains(&id.len()) => Some(id.as_str()),
        _ => None,
    };
    let event = match t {
        1 if data.repeats(&["id"]) => None,
        1 => Some(Saying::Other(Event::Metadata)),
        2 => expected_auth(data).map(Event::Auth).map(Saying::Other),
        4 => expected_solution(data).map(Event::Solution).map(Saying::Other),
        0x81 => id.and_then(|_| expected_send(data, text)),
        0x84 => expected_ack(data),
        0x85 | 0x86 if data.repeats(&["id", "topic"]) => None,
        0x85 => expected_topic(data).map(Event::Join).map(Saying::Other),
        0x86 => expected_topic(data).map(Event::Leave).map(Saying::Other),
        0x87 if data.repeats(&["id", "topic", "body"]) || data.all("body").is_empty() => None,
        0x87 => expected_topic(data).map(|topic| Saying::Publish { topic, body: body(text) }),
        _ => return Told { t: Some(*t as u8), id, event: Err(ErrorCode::UnknownEvent) },
    };
    Told { t: Some(*t as u8), id, event: event.ok_or(ErrorCode::BadData) }
}

fn expected_send<'a>(data: &'a Json, text: &'a str) -> Option<Saying<'a>> {
    let live = match data.all("live")[..] {
        [] | [Json::Bool(false)] => false,
        [Json::Bool(true)] => true,
        _ => return None,
    };
    let to = match data.all("to")[..] {
        [Json::String(key)] => vec![key.as_str()],
        [Json::Array(keys)] => keys.iter().map(Json::string).collect::<Option<_>>()?,
        _ => return None,
    };
    if data.repeats(&["id"]) || data.all("body").len() != 1 || !(1..=64).contains(&to.len()) {
        return None;
    }
    Some(Saying::Send { to, body: body(text), live })
}

fn expected_ack(data: &Json) -> Option<Saying<'_>> {
    let [Json::Array(ids)] = data.all("ids")[..] else { return None };
    let ids = ids.iter().map(Json::string).collect::<Option<Vec<_>>>()?;
    (!data.repeats(&["id"]) && ids.len() <= 1_000).then_some(Saying::Ack(ids))
}

fn expected_topic(data: &Json) -> Option<&str> {
    data.all("topic").first()?.string().filter(|topic| (1..=128).contains(&topic.len()))
}

fn expected_solution(data: &Json) -> Option<Solution<'_>> {
    if data.repeats(&["id", "solution", "scheme"]) {
        return None;
    }
    match (&data.all("solution")[..], &data.all("scheme")[..]) {
        ([Json::String(solution)], []) => Some(Solution { scheme: None, solution }),
        ([Json::String(solution)], [Json::String(scheme)]) => {
            Some(Solution { scheme: Some(scheme), solution })
        }
        _ => None,
    }
}

fn expected_auth(data: &Json) -> Option<Auth<'_>> {
    static EMPTY: Json = Json::Object(Vec::new());
    let user = data.all("user").first().copied().unwrap_or(&EMPTY);
    if data.repeats(&["id", "pubKey", "method", "user"]) || user.repeats(&["displayName", "bio"]) {
        return None;
    }
    let Json::Object(_) = user else { return None };
    let short = |name, most: usize| match user.all(name)[..] {
        [] => Some(None),
        [value] => value.string().filter(|text| text.chars().count() <= most).map(Some),
        _ => None,
    };
    let method = match data.all("method")[..] {
        [] => Method::LoginOrSignup,
        [Json::String(method)] if method == "login" => Method::Login,
        [Json::String(method)] if method == "signup" => Method::Signup,
        _ => return None,
    };
    Some(Auth {
        pub_key: data.all("pubKey").first()?.string()?,
        method,
        display_name: short("displayName", 64)?,
        bio: short("bio", 1_024)?,
    })
}
