//! What is sent to keys and topics, and which of it waits for its receipts (PROTOCOL.md, messages between keys).

use mida::app::crypto::{hex, rng::Rng};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

pub const SEND: u8 = 0x81;
pub const RECEIPT: u8 = 0x83;
pub const JOIN: u8 = 0x85;
pub const LEAVE: u8 = 0x86;
pub const PUBLISH: u8 = 0x87;

/// Of a topic.
const TOPIC_BYTES: usize = 128;
/// Messages whose receipts are waited for, and told by what they were.
const WAITING_MAX: usize = 10_000;

/// Messages that have no receipt yet, by their id.
#[derive(Default)]
pub struct Post(BTreeMap<String, Waiting>);

struct Waiting {
    /// Receipts that are still to come.
    left: usize,
    is_topic: bool,
}

/// Event 0x83, as far as a person reads it.
#[derive(Deserialize)]
pub struct Receipt {
    pub re: String,
    pub to: Option<String>,
    pub state: String,
    pub code: Option<String>,
}

/// JSON that was typed, as far as it says whether receipts will come.
#[derive(Deserialize)]
struct Typed {
    t: u8,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize)]
struct Batch {
    data: Vec<Typed>,
}

#[derive(Default, Deserialize)]
struct Data {
    id: Option<String>,
    to: Option<To>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum To {
    Keys(Vec<String>),
    Key(IgnoredAny),
}

impl Post {
    /// Event 0x81 for one key. A text that is JSON goes as that, any other as a string.
    pub fn send(&mut self, rng: &mut Rng, to: &str, text: &str) -> String {
        self.message(rng, SEND, "to", to, text)
    }

    /// Event 0x87.
    pub fn publish(&mut self, rng: &mut Rng, topic: &str, text: &str) -> String {
        self.message(rng, PUBLISH, "topic", topic, text)
    }

    fn message(&mut self, rng: &mut Rng, t: u8, member: &str, to: &str, text: &str) -> String {
        let id = new_id(rng);
        let body = match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => text.trim().to_owned(),
            Err(_) => json!(text).to_string(),
        };
        self.expect(id.clone(), 1, t == PUBLISH);
        // Not by way of a value: the body goes as it was typed.
        format!(r#"{{"t":{t},"data":{{"id":"{id}","{member}":{},"body":{body}}}}}"#, json!(to))
    }

    /// JSON that was typed may send too.
    pub fn typed(&mut self, json: &str) {
        let messages = match serde_json::from_str::<Batch>(json) {
            Ok(batch) => batch.data,
            Err(_) => serde_json::from_str(json).into_iter().collect(),
        };
        for Typed { t, data } in messages {
            match (t, data.id, data.to) {
                (SEND, Some(id), Some(To::Key(_))) => self.expect(id, 1, false),
                (SEND, Some(id), Some(To::Keys(keys))) => {
                    let keys: BTreeSet<_> = keys.iter().map(|key| key.to_ascii_lowercase()).collect();
                    self.expect(id, keys.len(), false);
                }
                (PUBLISH, Some(id), _) => self.expect(id, 1, true),
                _ => {}
            }
        }
    }

    fn expect(&mut self, id: String, left: usize, is_topic: bool) {
        if self.0.len() < WAITING_MAX {
            self.0.insert(id, Waiting { left, is_topic });
        }
    }

    /// Whether the message with this id went to a topic.
    pub fn is_topic(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|waiting| waiting.is_topic)
    }

    /// A receipt has come.
    pub fn receipted(&mut self, id: &str) {
        if let Some(waiting) = self.0.get_mut(id) {
            waiting.left = waiting.left.saturating_sub(1);
            if waiting.left == 0 {
                self.0.remove(id);
            }
        }
    }

    /// An error came instead.
    pub fn refused(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Whether nothing waits for a receipt.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}

/// Event 0x85 or 0x86, with an id that an error would name.
pub fn topic(rng: &mut Rng, t: u8, topic: &str) -> String {
    json!({ "t": t, "data": { "topic": topic, "id": new_id(rng) } }).to_string()
}

/// Whether a server would take this topic.
///
/// # Errors
/// One line that says what it may be.
pub fn check_topic(topic: &str) -> Result<(), String> {
    match topic.len() {
        1..=TOPIC_BYTES => Ok(()),
        _ => Err(format!("not sent: a topic has 1 to {TOPIC_BYTES} bytes")),
    }
}

/// It has to differ from those of the user's other sessions: a server knows a repeat by it.
fn new_id(rng: &mut Rng) -> String {
    let (mut bytes, mut text) = ([0; 8], [0; 16]);
    rng.fill(&mut bytes);
    hex::encode(&bytes, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(message: &str) -> String {
        serde_json::from_str::<Typed>(message).unwrap().data.id.unwrap()
    }

    #[test]
    fn a_text_that_is_json_goes_as_it_was_typed_and_any_other_as_a_string() {
        let (mut post, mut rng) = (Post::default(), Rng::from_seed([1; 32]));
        for (text, body) in [
            ("hello", r#""hello""#),
            (r#"say "hi" \"#, r#""say \"hi\" \\""#),
            (r#"{"n": 1.10e400, "b":[]}"#, r#"{"n": 1.10e400, "b":[]}"#),
            ("12", "12"),
            (r#""12""#, r#""12""#),
            ("{not", r#""{not""#),
        ] {
            let message = post.send(&mut rng, "02ab", text);
            let start = format!(r#"{{"t":129,"data":{{"id":"{}","to":"02ab","body":"#, id(&message));
            assert_eq!(message, format!("{start}{body}}}}}"));
        }
        let message = post.publish(&mut rng, "a\"b", "x");
        assert_eq!(
            message,
            format!(r#"{{"t":135,"data":{{"id":"{}","topic":"a\"b","body":"x"}}}}"#, id(&message))
        );
        assert_eq!(post.0.len(), 7, "each has an id of its own");
        assert!(post.is_topic(&id(&message)));
    }

    #[test]
    fn what_was_sent_waits_for_each_of_its_receipts_or_an_error() {
        let mut post = Post::default();
        let first = post.send(&mut Rng::from_seed([1; 32]), "02ab", "x");
        post.typed(r#"{"t":129,"data":{"id":"many","to":["a","B","b"],"body":1e400}}"#);
        post.typed(
            r#"{"count":2,"data":[{"t":135,"data":{"id":"news"}},{"t":129,"data":{"id":"one","to":"a"}}]}"#,
        );
        post.typed(r#"{"t":129,"data":{"to":"a"}}"#);
        post.typed(r#"{"t":133,"data":{"id":"join"}}"#);
        post.typed(r#"{"t":1}"#);
        post.typed("[]");
        assert_eq!((post.0.len(), post.is_topic("news"), post.is_topic("one")), (4, true, false));
        for id in [&id(&first), "many", "news", "unknown"] {
            post.receipted(id);
        }
        post.refused("one");
        assert!(!post.is_done());
        post.receipted("many");
        assert!(post.is_done());
    }
}
