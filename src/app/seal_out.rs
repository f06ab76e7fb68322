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
