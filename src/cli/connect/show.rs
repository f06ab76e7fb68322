//! Events as lines for people. Whatever cannot be read as PROTOCOL.md has it is shown as it came.

use super::{escape, inbound::Event};
use mida::app::protocol::event::{CHALLENGE, ERROR, METADATA, RESULT, RULES};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Like `< sealed rules      heartbeat 30 s, batching off, you may: metadata`.
pub fn line(event: &Event<'_>) -> String {
    let name = match event.t {
        RULES => "rules",
        METADATA => "metadata",
        CHALLENGE => "challenge",
        RESULT => "result",
        ERROR => "error",
        t => &format!("event {t}"),
    };
    let text = match event.t {
        RULES => serde_json::from_str(event.data).ok().map(rules),
        METADATA => serde_json::from_str(event.data).ok().map(metadata),
        CHALLENGE => serde_json::from_str(event.data).ok().map(challenge),
        RESULT => serde_json::from_str(event.data).ok().and_then(result),
        ERROR => serde_json::from_str(event.data).ok().map(error),
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
            assert_eq!(line(&event), format!("< clear  {shown}"), "{data}");
            assert_eq!(line(&Event { sealed: true, ..event }), format!("< sealed {shown}"), "{data}");
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
