//! Events as lines for people. Whatever cannot be read as PROTOCOL.md has it is shown as it came.

use super::{
    escape,
    inbound::Event,
    inbox::{MESSAGE, Message},
    known::Known,
    post::{Post, RECEIPT, Receipt},
};
use mida::app::protocol::event::{CHALLENGE, ERROR, METADATA, RESULT, RULES};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// From this age on a message tells how old it is.
const OLD_MS: u64 = 60_000;

/// What a line can be told by, beside the event itself.
pub struct Context<'a> {
    pub known: &'a Known,
    pub post: &'a Post,
    /// Unix time.
    pub now_ms: u64,
}

/// Like `< sealed rules      heartbeat 30 s, batching off, you may: metadata`.
pub fn line(event: &Event<'_>, context: &Context<'_>) -> String {
    let name = match event.t {
        RULES => "rules",
        METADATA => "metadata",
        CHALLENGE => "challenge",
        RESULT => "result",
        ERROR => "error",
        MESSAGE => "message",
        RECEIPT => "receipt",
        t => &format!("event {t}"),
    };
    let text = match event.t {
        RULES => serde_json::from_str(event.data).ok().map(rules),
        METADATA => serde_json::from_str(event.data).ok().map(metadata),
        CHALLENGE => serde_json::from_str(event.data).ok().map(challenge),
        RESULT => serde_json::from_str(event.data).ok().and_then(result),
        ERROR => serde_json::from_str(event.data).ok().map(error),
        MESSAGE => serde_json::from_str(event.data).ok().map(|it| message(it, context)),
        RECEIPT => serde_json::from_str(event.data).ok().map(|it| receipt(it, context)),
        _ => None,
    };
    let text = text.map_or_else(|| escape::json(event.data), |text| escape::plain(&text));
    let how = if event.sealed { "sealed" } else { "clear" };
    format!("< {how:<6} {name:<10} {text}")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    hb: u64,
    perms: Vec<String>,
    batching: bool,
    auth: String,
    auth_within: u64,
    ext: Vec<String>,
}

fn rules(rules: Rules) -> String {
    let batching = if rules.batching { "on" } else { "off" };
    let mut text = format!("heartbeat {}, batching {batching}", span(rules.hb));
    match rules.auth.as_str() {
        "signature" => {}
        "key" => text += ", keys need no proof",
        other => text += &format!(", auth by {other}"),
    }
    if rules.auth_within > 0 {
        text += &format!(", log in within {}", span(rules.auth_within));
    }
    if !rules.ext.is_empty() {
        text += &format!(", extensions: {}", rules.ext.join(" "));
    }
    text + ", you may: " + if rules.perms.is_empty() { "nothing" } else { "" } + &rules.perms.join(" ")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    online: u64,
    uptime: u64,
    maintenance_in: Option<u64>,
    note: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

fn metadata(metadata: Metadata) -> String {
    let mut text = format!("{}, {} online, up {}", metadata.name, metadata.online, span(metadata.uptime));
    if let Some(maintenance_in_ms) = metadata.maintenance_in {
        text += &format!(", maintenance in {}", span(maintenance_in_ms));
    }
    if let Some(note) = metadata.note {
        text += &format!(", note: {note}");
    }
    for (name, value) in metadata.others {
        text += &format!(", {name}: {value}");
    }
    text
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Challenge {
    challenge: String,
    schemes: Vec<String>,
    expires_in: u64,
}

fn challenge(challenge: Challenge) -> String {
    format!(
        "sign {} within {}, scheme {}",
        challenge.challenge,
        span(challenge.expires_in),
        challenge.schemes.join(" or ")
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    passed: bool,
    user: Option<User>,
    reason: Option<String>,
    attempts_left: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    display_name: String,
    unread_messages: u64,
}

fn result(outcome: Outcome) -> Option<String> {
    Some(match (outcome.passed, outcome.user, outcome.reason) {
        (true, Some(user), _) if user.display_name.is_empty() => {
            format!("passed, {} unread", user.unread_messages)
        }
        (true, Some(user), _) => {
            format!("passed as {:?}, {} unread", user.display_name, user.unread_messages)
        }
        (false, _, Some(reason)) => {
            format!("refused: {reason}, attempts left: {}", outcome.attempts_left?)
        }
        _ => return None,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Error {
    code: String,
    msg: String,
    re: Option<u8>,
    retry: String,
    retry_after: Option<u64>,
}

fn error(error: Error) -> String {
    let mut text = format!("{}: {}", error.code, error.msg);
    if let Some(t) = error.re {
        text += &format!(" (event {t})");
    }
    match (error.retry_after, error.retry.as_str()) {
        (Some(wait_ms), _) => text += &format!("; again in {}", span(wait_ms)),
        (None, "backoff") => text += "; again later",
        (None, "now") => text += "; it may be sent again",
        (None, _) => {}
    }
    text
}

fn message(message: Message, context: &Context<'_>) -> String {
    let from = message.from.map_or("the operator".to_owned(), |from| context.known.short(&from));
    let topic = message.topic.map_or(String::new(), |topic| format!("#{topic} "));
    let old = match context.now_ms.saturating_sub(message.ts) {
        0..OLD_MS => String::new(),
        _ => format!(", {} ago", age(message.ts, context.now_ms)),
    };
    format!("{topic}from {from}{old}: {}", body(&message.body))
}

/// A string is text, anything else the JSON that it is; on one line.
pub fn body(body: &RawValue) -> String {
    match serde_json::from_str::<String>(body.get()) {
        Ok(text) => escape::plain(&text),
        Err(_) => escape::json(body.get()),
    }
}

/// How long ago that was, in whole seconds at least. A clock that is ahead of ours says `now`.
pub fn age(ts_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(ts_ms) {
        0..1_000 => "now".to_owned(),
        ms => span(ms / 1_000 * 1_000),
    }
}

fn receipt(receipt: Receipt, context: &Context<'_>) -> String {
    let to = match receipt.to {
        Some(topic) if context.post.is_topic(&receipt.re) => format!("#{topic}"),
        Some(key) => context.known.short(&key),
        None => "the topic".to_owned(),
    };
    match (receipt.state.as_str(), receipt.code.as_deref()) {
        ("delivered", _) => format!("delivered to {to}"),
        ("stored", _) => format!("stored for {to}"),
        ("refused", Some(code)) => format!("refused for {to}: {}", refusal(code)),
        (state, _) => format!("{state}, {to}"),
    }
}

fn refusal(code: &str) -> &str {
    match code {
        "offline" => "nobody is there now",
        "mailbox_full" => "its mailbox is full until its owner reads",
        "store_full" => "the server can keep no more now; try again later",
        "id_reused" => "this id stands for another message already",
        "bad_key" => "this is no public key",
        "forbidden" => "the operator does not allow it",
        code => code,
    }
}

/// Milliseconds in the unit a person would use, rounded down to a tenth.
fn span(ms: u64) -> String {
    let (unit_ms, unit) = match ms {
        0..1_000 => (1, "ms"),
        1_000..120_000 => (1_000, "s"),
        120_000..7_200_000 => (60_000, "min"),
        7_200_000..172_800_000 => (3_600_000, "h"),
        _ => (86_400_000, "d"),
    };
    match (ms / unit_ms, ms % unit_ms * 10 / unit_ms) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_one_readable_line() {
        for (t, data, shown) in [
            (
                0,
                r#"{"v":1,"hb":30000,"perms":["metadata","auth"],"batching":false,"auth":"signature",
                    "authWithin":0,"maxMessage":65536,"maxBatch":64,"ext":[]}"#,
                "rules      heartbeat 30 s, batching off, you may: metadata auth",
            ),
            (
                0,
                r#"{"hb":500,"perms":[],"batching":true,"auth":"key","authWithin":10000,"ext":["msg"]}"#,
                "rules      heartbeat 500 ms, batching on, keys need no proof, log in within 10 s, \
                 extensions: msg, you may: nothing",
            ),
            (
                1,
                r#"{"name":"Example","online":50,"uptime":86400000,"maintenanceIn":10800000,"note":"Hi\u001b[1m\n!",
                    "region":"eu","z":[1]}"#,
                r#"metadata   Example, 50 online, up 24 h, maintenance in 3 h, note: Hi\u{1b}[1m\n!, region: "eu", z: [1]"#,
            ),
            (1, r#"{"name":"a","online":0,"uptime":1500}"#, "metadata   a, 0 online, up 1.5 s"),
            (
                3,
                r#"{"challenge":"53dd","schemes":["mida-v1","ecdsa"],"expiresIn":60000}"#,
                "challenge  sign 53dd within 60 s, scheme mida-v1 or ecdsa",
            ),
            (
                5,
                r#"{"passed":true,"user":{"displayName":"Ada\u0007","unreadMessages":2}}"#,
                r#"result     passed as "Ada\u{7}", 2 unread"#,
            ),
            (
                5,
                r#"{"passed":true,"user":{"displayName":"","unreadMessages":0}}"#,
                "result     passed, 0 unread",
            ),
            (
                5,
                r#"{"passed":false,"reason":"wrong_host","attemptsLeft":2}"#,
                "result     refused: wrong_host, attempts left: 2",
            ),
            (128, r#"{"code":"bad_key","msg":"no","re":2,"retry":"no"}"#, "error      bad_key: no (event 2)"),
            (
                128,
                r#"{"code":"rate_limited","msg":"slow","re":null,"retry":"backoff","retryAfter":500}"#,
                "error      rate_limited: slow; again in 500 ms",
            ),
            (5, r#"{"passed":"\u001b"}"#, r#"result     {"passed":"\u001b"}"#),
            (200, "{\"a\":\n\"\u{9b}\"}", r#"event 200  {"a": "\u009b"}"#),
        ] {
            let event = Event { sealed: false, t, json: "", data };
            let (known, post) = (&Known::default(), &Post::default());
            let context = Context { known, post, now_ms: 0 };
            assert_eq!(line(&event, &context), format!("< clear  {shown}"), "{data}");
            assert_eq!(
                line(&Event { sealed: true, ..event }, &context),
                format!("< sealed {shown}"),
                "{data}"
            );
        }
    }

    #[test]
    fn messages_and_receipts_name_keys_short() {
        const ANN: &str = "0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7";
        let (mut known, mut post) = (Known::default(), Post::default());
        known.set_own("02cd".to_owned());
        known.note(ANN);
        post.typed(r#"{"t":135,"data":{"id":"p"}}"#);
        let context = Context { known: &known, post: &post, now_ms: 1_000_000 };
        let ann = format!(r#""id":"m","from":"{ANN}""#);
        for (t, data, shown) in [
            (
                MESSAGE,
                format!(r#"{{{ann},"ts":999000,"body":"hi\u001b[1m\n"}}"#),
                r"message    from 0207a11a6364…: hi\u{1b}[1m\n",
            ),
            (
                MESSAGE,
                format!(r#"{{{ann},"ts":700000,"body":"hi"}}"#),
                "message    from 0207a11a6364…, 5 min ago: hi",
            ),
            (
                MESSAGE,
                format!("{{{ann},\"ts\":2000000,\"topic\":\"news\",\"body\":[1,\n\"\u{9b}\"]}}"),
                r#"message    #news from 0207a11a6364…: [1, "\u009b"]"#,
            ),
            (
                MESSAGE,
                r#"{"id":"m","from":"02cd","ts":1000000,"body":null}"#.to_owned(),
                "message    from you: null",
            ),
            (MESSAGE, r#"{"id":"m","ts":1000000,"body":""}"#.to_owned(), "message    from the operator: "),
            (MESSAGE, r#"{"id":"m"}"#.to_owned(), r#"message    {"id":"m"}"#),
            (
                RECEIPT,
                format!(r#"{{"re":"a","to":"{ANN}","state":"delivered"}}"#),
                "receipt    delivered to 0207a11a6364…",
            ),
            (RECEIPT, r#"{"re":"a","to":"02cd","state":"stored"}"#.to_owned(), "receipt    stored for you"),
            (
                RECEIPT,
                r#"{"re":"p","to":"02cd","state":"refused","code":"offline"}"#.to_owned(),
                "receipt    refused for #02cd: nobody is there now",
            ),
            (
                RECEIPT,
                r#"{"re":"a","to":"02ef","state":"refused","code":"new\u009b"}"#.to_owned(),
                r"receipt    refused for 02ef: new\u{9b}",
            ),
        ] {
            let event = Event { sealed: true, t, json: "", data: &data };
            assert_eq!(line(&event, &context), format!("< sealed {shown}"), "{data}");
        }
    }

    #[test]
    fn times_are_in_the_unit_a_person_would_use() {
        for (ms, shown) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (119_999, "119.9 s"),
            (120_000, "2 min"),
            (3_600_000, "60 min"),
            (7_200_000, "2 h"),
            (129_600_000, "36 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(span(ms), shown);
        }
    }
}
