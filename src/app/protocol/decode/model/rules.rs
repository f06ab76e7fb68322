//! A second decoder, written down as the rules stand (PROTOCOL.md sections 2 and 3), on what serde_json
//! reads. The fuzz target `decode` uses it too.

use super::{Auth, ErrorCode, Event, Limits, Message, Method, Solution};
use serde::{
    Deserialize,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use std::fmt;

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

/// What is to be made of a text that serde_json read as `json`: whether it is a batch, and its messages.
pub fn expected<'a>(
    json: &'a Json,
    limits: &Limits,
    batching: bool,
) -> Result<(bool, Vec<Message<'a>>), ErrorCode> {
    if json.depth() > limits.json_depth {
        return Err(ErrorCode::BadJson);
    }
    let Some(count) = json.all("count").first().copied() else {
        return Ok((false, vec![expected_message(json)]));
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
    Ok((true, messages.iter().map(expected_message).collect()))
}

fn expected_message(json: &Json) -> Message<'_> {
    static EMPTY: Json = Json::Object(Vec::new());
    let no_message = |t| Message { t, id: None, event: Err(ErrorCode::BadEnvelope) };
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
        1 if data.repeats(&["id"]) => Err(ErrorCode::BadData),
        1 => Ok(Event::Metadata),
        2 => expected_auth(data).map(Event::Auth).ok_or(ErrorCode::BadData),
        4 if data.repeats(&["id", "solution", "scheme"]) => Err(ErrorCode::BadData),
        4 => match (&data.all("solution")[..], &data.all("scheme")[..]) {
            ([Json::String(solution)], []) => Ok(Event::Solution(Solution { scheme: None, solution })),
            ([Json::String(solution)], [Json::String(scheme)]) => {
                Ok(Event::Solution(Solution { scheme: Some(scheme), solution }))
            }
            _ => Err(ErrorCode::BadData),
        },
        _ => Err(ErrorCode::UnknownEvent),
    };
    Message { t: Some(*t as u8), id, event }
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
