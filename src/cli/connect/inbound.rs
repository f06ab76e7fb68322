//! From messages to events: what is sealed is opened, batches are taken apart, and what no honest server
//! sends is told from what one does (PROTOCOL.md sections 1, 3 and 4).

use mida::app::{
    crypto::key::SecretKey,
    protocol::event::{CHALLENGE, RESULT, RULES},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::fmt;

/// The version of PROTOCOL.md this client knows.
const VERSION: u64 = 1;

/// One event, as it came.
#[derive(Debug, PartialEq)]
pub struct Event<'a> {
    pub sealed: bool,
    pub t: u8,
    /// The whole event as JSON.
    pub json: &'a str,
    /// Its `data` as JSON, an object.
    pub data: &'a str,
}

/// Why the connection has to end; the server's fault, or that of somebody on the line.
#[derive(Debug, PartialEq)]
pub enum Broken {
    /// Somebody else may be speaking for the server.
    Attack(&'static str),
    /// No server of this protocol.
    NotMida(&'static str),
    Version(u64),
    /// Nobody's fault but the user's, who sent a key by hand.
    NoKey,
}

/// What all messages of a connection have in common.
pub struct Inbound {
    /// Opens what is sealed.
    pub secret: Option<SecretKey>,
    /// Whether everything from now on must be sealed.
    sealed: bool,
    /// What the first rules said; none yet.
    batching: Option<bool>,
}

#[derive(Deserialize)]
struct Outer<'a> {
    t: Option<u8>,
    count: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct FirstRules {
    v: u64,
    batching: bool,
}

impl Inbound {
    /// A new connection.
    pub fn new(secret: Option<SecretKey>) -> Inbound {
        Inbound { secret, sealed: false, batching: None }
    }

    /// Whether the server seals.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether the rules have come.
    pub fn has_rules(&self) -> bool {
        self.batching.is_some()
    }

    /// A text message.
    ///
    /// # Errors
    /// [`Broken`]: nothing of it may be believed.
    pub fn clear<'a>(&mut self, text: &'a str) -> Result<Vec<Event<'a>>, Broken> {
        if self.sealed {
            return Err(Broken::Attack("a message in the clear came after sealed ones"));
        }
        let events = self.events(text, false)?;
        if events.iter().any(|event| matches!(event.t, CHALLENGE | RESULT)) {
            return Err(Broken::Attack("a challenge or its result came in the clear"));
        }
        Ok(events)
    }

    /// Opens a binary message.
    ///
    /// # Errors
    /// [`Broken`]: nothing of it may be believed.
    pub fn open(&mut self, message: &[u8]) -> Result<String, Broken> {
        let secret = self.secret.as_ref().ok_or(Broken::NoKey)?;
        // Not the server's own code: a mistake in its sealing is not to open here.
        let opened = ecies::decrypt(secret.as_bytes(), message);
        let opened =
            opened.map_err(|_| Broken::Attack("a sealed message is not for this key, or was changed"))?;
        self.sealed = true;
        String::from_utf8(opened).map_err(|_| Broken::NotMida("a sealed message is not UTF-8"))
    }

    /// The events of a message that was opened.
    ///
    /// # Errors
    /// [`Broken`]: it is no message of this protocol.
    pub fn opened<'a>(&mut self, text: &'a str) -> Result<Vec<Event<'a>>, Broken> {
        self.events(text, true)
    }

    fn events<'a>(&mut self, text: &'a str, sealed: bool) -> Result<Vec<Event<'a>>, Broken> {
        let Some(batching) = self.batching else { return self.first(text, sealed) };
        let no_event = Broken::NotMida("a message is no event");
        let outer: Outer = serde_json::from_str(text).map_err(|_| no_event)?;
        match (outer.count, batching) {
            (None, false) => Ok(vec![event(text, sealed)?]),
            (None, true) => Err(Broken::NotMida("a message came alone, and its rules have batching on")),
            (Some(_), false) => Err(Broken::NotMida("a batch came, and its rules have batching off")),
            (Some(count), true) => {
                let list = outer.data.map_or("", RawValue::get);
                let list: Vec<&RawValue> =
                    serde_json::from_str(list).map_err(|_| Broken::NotMida("a batch has no list"))?;
                if count == 0 || count != list.len() as u64 || outer.t.is_some() {
                    return Err(Broken::NotMida("a batch's count is not that of its messages"));
                }
                list.into_iter().map(|message| event(message.get(), sealed)).collect()
            }
        }
    }

    /// The first message must be the rules.
    fn first<'a>(&mut self, text: &'a str, sealed: bool) -> Result<Vec<Event<'a>>, Broken> {
        const NO_RULES: Broken = Broken::NotMida("its first message is not the rules");
        let event = event(text, sealed).map_err(|_| NO_RULES)?;
        if event.t != RULES {
            return Err(NO_RULES);
        }
        let rules: FirstRules = serde_json::from_str(event.data).map_err(|_| NO_RULES)?;
        if rules.v != VERSION {
            return Err(Broken::Version(rules.v));
        }
        self.batching = Some(rules.batching);
        Ok(vec![event])
    }
}

fn event(json: &str, sealed: bool) -> Result<Event<'_>, Broken> {
    const NO_EVENT: Broken = Broken::NotMida("a message is no event");
    let outer: Outer = serde_json::from_str(json).map_err(|_| NO_EVENT)?;
    let data = outer.data.map_or("{}", RawValue::get);
    // Not only an object: one that can be read to its end.
    let readable = data.starts_with('{') && serde_json::from_str::<IgnoredAny>(data).is_ok();
    match outer.t {
        Some(t) if readable && outer.count.is_none() => Ok(Event { sealed, t, json, data }),
        _ => Err(NO_EVENT),
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attack(what) => {
                write!(
                    f,
                    "{what}: this is an attack on the connection, which is closed; trust nothing it said since"
                )
            }
            Self::NotMida(what) => write!(f, "this is no Mida server, or a broken one: {what}"),
            Self::Version(theirs) => {
                write!(f, "the server speaks version {theirs} of Mida, this client version {VERSION}")
            }
            Self::NoKey => f.write_str(
                "the server seals to a key this client does not hold: log in with --key FILE or /login FILE",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"t":0,"data":{"v":1,"batching":false}}"#;
    const FIRST_OF_BATCHES: &str = r#"{"t":0,"data":{"v":1,"batching":true}}"#;
    const SECRET: &str = "dcd25cfbae2ede5f4dbf2b90e3858f2b7abeb9b26fe99331f2f7c827f7be9692";

    fn inbound(first: &str) -> Inbound {
        let secret = SecretKey::from_hex(SECRET.as_bytes()).ok();
        let mut inbound = Inbound::new(secret);
        assert_eq!(inbound.clear(first).unwrap()[0].t, 0);
        inbound
    }

    fn seal(text: &str) -> Vec<u8> {
        let identity = SecretKey::from_hex(SECRET.as_bytes()).unwrap().identity();
        ecies::encrypt(identity.as_bytes(), text.as_bytes()).unwrap()
    }

    fn opened(inbound: &mut Inbound, message: &[u8]) -> Result<Vec<u8>, Broken> {
        let text = inbound.open(message)?;
        let events = inbound.opened(&text)?;
        assert!(events.iter().all(|event| event.sealed));
        Ok(events.iter().map(|event| event.t).collect())
    }

    #[test]
    fn the_first_message_is_the_rules_alone_and_in_the_clear() {
        for (text, why) in [
            (r#"{"t":1}"#, "not the rules"),
            ("hello", "not the rules"),
            ("{}", "not the rules"),
            (r#"{"t":0}"#, "not the rules"),
            (r#"{"t":0,"data":{"v":1}}"#, "not the rules"),
            (r#"{"t":0,"data":{"v":2,"batching":false}}"#, "version 2"),
            (r#"{"count":1,"data":[{"t":0,"data":{"v":1,"batching":true}}]}"#, "not the rules"),
        ] {
            let mut inbound = Inbound::new(None);
            assert!(inbound.clear(text).unwrap_err().to_string().contains(why), "{text}");
            assert!(!inbound.has_rules());
        }
    }

    #[test]
    fn events_come_as_they_were_sent() {
        let mut inbound = inbound(FIRST);
        let json = r#" {"data" : {"b":1e400,"a":[]}, "t":1,"new":null}"#;
        let expected = Event { sealed: false, t: 1, json, data: r#"{"b":1e400,"a":[]}"# };
        assert_eq!(inbound.clear(json).unwrap(), [expected]);
        assert_eq!(inbound.clear(r#"{"t":255}"#).unwrap()[0].data, "{}");
        for text in [
            "",
            "[]",
            "{}",
            r#"{"t":256}"#,
            r#"{"t":-1}"#,
            r#"{"t":"1"}"#,
            r#"{"t":1,"data":[]}"#,
            r#"{"t":1,"t":1}"#,
            r#"{"t":1}{}"#,
            r#"{"count":1,"data":[{"t":1}]}"#,
        ] {
            assert!(matches!(inbound.clear(text), Err(Broken::NotMida(_))), "{text}");
        }
    }

    #[test]
    fn batches_are_taken_apart() {
        let mut inbound = inbound(FIRST_OF_BATCHES);
        let events = inbound.clear(r#"{"count":2,"data":[ {"t":1,"data":{"x":1}} ,{"t":128}]}"#).unwrap();
        let read: Vec<_> = events.iter().map(|event| (event.t, event.json, event.data)).collect();
        assert_eq!(read, [(1, r#"{"t":1,"data":{"x":1}}"#, r#"{"x":1}"#), (128, r#"{"t":128}"#, "{}")]);
        for text in [
            r#"{"t":1}"#,
            r#"{"count":0,"data":[]}"#,
            r#"{"count":2,"data":[{"t":1}]}"#,
            r#"{"count":1}"#,
            r#"{"count":1,"data":{"t":1}}"#,
            r#"{"count":1,"t":1,"data":[{"t":1}]}"#,
            r#"{"count":1,"data":[{"count":1,"data":[{"t":1}]}]}"#,
        ] {
            assert!(matches!(inbound.clear(text), Err(Broken::NotMida(_))), "{text}");
        }
        let sealed = seal(r#"{"count":2,"data":[{"t":5},{"t":0}]}"#);
        assert_eq!(opened(&mut inbound, &sealed).unwrap(), [5, 0]);
    }

    #[test]
    fn text_after_sealed_is_an_attack() {
        let mut inbound = inbound(FIRST);
        assert_eq!(inbound.clear(r#"{"t":1}"#).unwrap().len(), 1);
        assert_eq!(opened(&mut inbound, &seal(r#"{"t":3}"#)).unwrap(), [3]);
        assert!(inbound.is_sealed());
        assert!(matches!(inbound.clear(r#"{"t":1}"#), Err(Broken::Attack(_))));
    }

    #[test]
    fn challenge_and_result_in_the_clear_are_an_attack() {
        for (first, text) in [
            (FIRST, r#"{"t":3}"#),
            (FIRST, r#"{"t":5,"data":{"passed":true}}"#),
            (FIRST_OF_BATCHES, r#"{"count":2,"data":[{"t":1},{"t":5}]}"#),
        ] {
            assert!(matches!(inbound(first).clear(text), Err(Broken::Attack(_))), "{text}");
        }
    }

    #[test]
    fn what_does_not_open_is_an_attack() {
        let good = seal(r#"{"t":3}"#);
        for flip in 0..good.len() {
            let mut bad = good.clone();
            bad[flip] ^= 1;
            assert!(matches!(inbound(FIRST).open(&bad), Err(Broken::Attack(_))), "byte {flip}");
        }
        for short in [0, 1, 65, 96, good.len() - 1] {
            assert!(matches!(inbound(FIRST).open(&good[..short]), Err(Broken::Attack(_))), "{short} bytes");
        }
        let mut other = inbound(FIRST);
        other.secret = None;
        assert_eq!(other.open(&good), Err(Broken::NoKey));
        assert!(!other.is_sealed());
    }
}
