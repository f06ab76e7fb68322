//! The last step before the kernel: messages are joined to a batch, sealed in place, and framed.

use super::{
    crypto::seal::OVERHEAD,
    protocol::batch,
    session::{Session, Sessions},
};
use crate::engine::{
    app::Later,
    outbox::Run,
    wire::frame::{self, HEADER_MAX, Opcode},
};

/// Appends one frame to `out`: the next message, or with batching the next batch of at most `most` messages
/// and about `most_bytes`. Sealed if there are sessions to seal with.
///
/// # Errors
/// [`Later`]: a new epoch is needed and the turn has no budget for it; nothing was taken.
pub fn flush(
    sessions: Option<&mut Sessions>,
    session: &Session,
    run: &mut Run<'_>,
    most: usize,
    most_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), Later> {
    let batching = session.batching();
    let overhead = if sessions.is_some() { OVERHEAD } else { 0 };
    let mut room = [0; batch::ROOM];
    let around = batch::ROOM + batch::SUFFIX.len() + overhead;
    // Commas between messages are counted with them.
    let (count, bytes) = run.survey(most.max(1), most_bytes.saturating_sub(around));
    if count == 0 {
        return Ok(());
    }
    let start = if batching { batch::prefix(&mut room, count as u32) } else { room.len() };
    let prefix = &room[start..];
    let suffix: &[u8] = if batching { batch::SUFFIX } else { &[] };
    let plaintext_bytes = prefix.len() + bytes + count - 1 + suffix.len();
    let mut epoch = None;
    if let Some(sessions) = sessions {
        epoch = Some((sessions.now_ms, sessions.epoch(session, plaintext_bytes).ok_or(Later)?));
    }
    let opcode = if epoch.is_some() { Opcode::Binary } else { Opcode::Text };
    let frame_at = out.len();
    let mut header = [0; HEADER_MAX];
    let used = frame::write_header(opcode, overhead + plaintext_bytes, &mut header);
    out.reserve(used + overhead + plaintext_bytes);
    out.extend_from_slice(&header[..used]);
    let at = out.len();
    out.resize(at + overhead, 0);
    out.extend_from_slice(prefix);
    for nth in 0..count {
        if nth > 0 {
            out.push(b',');
        }
        if let Some(message) = run.peek() {
            out.extend_from_slice(message);
        }
        run.advance();
    }
    out.extend_from_slice(suffix);
    if let Some((now_ms, epoch)) = epoch
        && let Err(error) = epoch.seal((now_ms / 1_000) as u32, &mut out[at..])
    {
        // It was asked whether it is spent; if it fails all the same, no plaintext may stay behind.
        out.truncate(frame_at);
        panic!("cannot seal: {error}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::config::Config,
        engine::outbox::{Gather, Outbox},
    };
    use proptest::prelude::*;

    const MARK: u8 = 0;

    /// The frames' payloads that come of these messages, in the clear.
    fn flushed(messages: &[String], batching: bool, most: usize, most_bytes: usize) -> Vec<Vec<u8>> {
        let session = Session::new(&Config { batching, ..Config::default() }, 0);
        let mut outbox = Outbox::default();
        let queue = outbox.open();
        for message in messages {
            outbox.push_message(queue, MARK, |out| out.extend_from_slice(message.as_bytes()));
        }
        let mut payloads = Vec::new();
        let close = |run: &mut Run<'_>, out: &mut Gather| {
            let from = out.bytes.len();
            flush(None, &session, run, most, most_bytes, &mut out.bytes).unwrap();
            let frame = &out.bytes[from..];
            let mut header = [0; HEADER_MAX];
            // The header is as long as the payload asks for.
            let used = (0..=HEADER_MAX)
                .find(|used| frame::write_header(Opcode::Text, frame.len() - used, &mut header) == *used)
                .unwrap();
            assert_eq!(frame[..used], header[..used]);
            payloads.push(frame[used..].to_vec());
        };
        assert!(outbox.gather(queue, close).is_some_and(|gather| !gather.is_empty()));
        payloads
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7),
            failure_persistence: None, ..Default::default() })]

        /// Every message once, in order, in as few batches as the two bounds allow.
        #[test]
        fn batches_hold_all_messages_within_their_bounds(
            lengths in prop::collection::vec(1usize..300, 1..40),
            most in 1usize..10,
            most_bytes in 100usize..900,
        ) {
            let messages: Vec<String> = lengths.iter().map(|len| format!("\"{}\"", "x".repeat(*len))).collect();
            let whole: Vec<serde_json::Value> =
                messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect();
            let mut got = Vec::new();
            for payload in flushed(&messages, true, most, most_bytes) {
                let batch: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                let data = batch["data"].as_array().unwrap();
                prop_assert_eq!(batch["count"].as_u64(), Some(data.len() as u64));
                prop_assert!(data.len() <= most);
                prop_assert!(data.len() == 1 || payload.len() <= most_bytes);
                // Another message would have broken a bound.
                let next = messages.get(got.len() + data.len()).map_or(usize::MAX, |next| next.len() + 1);
                prop_assert!(data.len() == most || payload.len().saturating_add(next) > most_bytes - batch::ROOM);
                got.extend(data.iter().cloned());
            }
            prop_assert_eq!(got, whole);
            let single: Vec<Vec<u8>> = messages.iter().map(|message| message.as_bytes().to_vec()).collect();
            prop_assert_eq!(flushed(&messages, false, 1, most_bytes), single);
        }
    }
}
