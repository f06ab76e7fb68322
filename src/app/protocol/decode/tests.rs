mod batch;
mod json;
mod mail;
mod message;

use super::*;
use crate::app::protocol::event::{CHALLENGE, ERROR, MESSAGE, RECEIPT, RESULT, RULES};

/// What a text comes to: the one error of all of it, or whether it is a batch, and its messages.
type Said<'a> = Result<(bool, Vec<Message<'a>>), ErrorCode>;

/// Gives `then` what the text comes to.
pub(super) fn decoded<R>(
    decoder: &mut Decoder,
    text: &[u8],
    limits: &Limits,
    batching: bool,
    then: impl FnOnce(Said<'_>) -> R,
) -> R {
    let messages = match decoder.decode(text, limits, batching) {
        Ok(messages) => messages,
        Err(code) => return then(Err(code)),
    };
    let said: Vec<_> = (&messages).into_iter().collect();
    assert_eq!(said.len(), messages.len());
    then(Ok((messages.batch, said)))
}

/// Holds that the text comes to what is `expected`.
#[track_caller]
fn comes_to(decoder: &mut Decoder, text: &[u8], limits: &Limits, batching: bool, expected: &Said<'_>) {
    decoded(decoder, text, limits, batching, |said| assert_eq!(said, *expected, "{}", text.escape_ascii()));
}

fn fresh() -> (Decoder, Limits) {
    let limits = Limits::default();
    (Decoder::new(&limits), limits)
}

/// Holds that each text, as a single message, comes to what stands beside it, wherever a wrong envelope is told.
fn singles(table: &[(&str, Result<Message<'_>, ErrorCode>)]) {
    let (mut decoder, limits) = fresh();
    for (text, expected) in table {
        for batching in [false, true] {
            decoded(&mut decoder, text.as_bytes(), &limits, batching, |said| {
                let said = said.and_then(|(batch, messages)| match messages[0].event {
                    Err(ErrorCode::BadEnvelope) => Err(ErrorCode::BadEnvelope),
                    _ => Ok((batch, messages)),
                });
                assert_eq!(said, expected.map(|message| (false, vec![message])), "{text}");
            });
        }
    }
}

fn refused(code: ErrorCode, texts: &[&str]) {
    singles(&texts.iter().map(|text| (*text, Err(code))).collect::<Vec<_>>());
}

const ASKED: Message<'_> = Message { t: Some(METADATA), id: None, event: Ok(Event::Metadata) };

fn auth<'a>(
    pub_key: &'a str,
    method: Method,
    display_name: Option<&'a str>,
    bio: Option<&'a str>,
) -> Message<'a> {
    let event = Ok(Event::Auth(Auth { pub_key, method, display_name, bio }));
    Message { t: Some(AUTH), id: None, event }
}

fn solved<'a>(scheme: Option<&'a str>, solution: &'a str) -> Message<'a> {
    Message { t: Some(SOLUTION), id: None, event: Ok(Event::Solution(Solution { scheme, solution })) }
}

fn failed(t: u8, code: ErrorCode) -> Message<'static> {
    Message { t: Some(t), id: None, event: Err(code) }
}

/// `depth` levels, the outermost a message.
fn nested(depth: usize) -> String {
    let inner = depth.saturating_sub(1);
    format!(r#"{{"t":1,"x":{}0{}}}"#, "[".repeat(inner), "]".repeat(inner))
}

fn batch_of(count: &str, messages: usize) -> String {
    format!(r#"{{"count":{count},"data":[{}]}}"#, vec![r#"{"t":1}"#; messages].join(","))
}

#[test]
fn a_wrong_envelope_names_its_event_if_there_is_exactly_one() {
    let (mut decoder, limits) = fresh();
    for (text, t) in [
        (r#"{"t":1,"data":null}"#, Some(1)),
        (r#"{"t":4,"data":[]}"#, Some(4)),
        (r#"{"t":255,"data":{},"data":{}}"#, Some(255)),
        (r#"{"t":1,"t":1}"#, None),
        (r#"{"t":256}"#, None),
        (r#"{"t":"1"}"#, None),
        ("[]", None),
        ("7", None),
    ] {
        let message = Message { t, id: None, event: Err(ErrorCode::BadEnvelope) };
        comes_to(&mut decoder, text.as_bytes(), &limits, false, &Ok((false, vec![message])));
    }
}
