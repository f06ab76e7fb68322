//! Requests that are not kept by the store, by their Idempotency-Key: one that comes again gets the answer of the first.

use super::super::Answer;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Keys that are remembered, and how long: as of passing messages of a connection, and stored ones of a key.
const KEYS: usize = 64;
const AGE: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct Once(Mutex<VecDeque<Entry>>);

struct Entry {
    key: Box<str>,
    content: [u8; 32],
    at: Instant,
    /// None: it is being done.
    answer: Option<Answer>,
}

impl Once {
    /// Does it, or answers as before: only what is sent may not be done twice, what is refused may.
    ///
    /// # Errors
    /// The key stands for other content, or for what is being done at this moment; or what `act` says.
    pub fn answer(
        &self,
        key: &str,
        content: [u8; 32],
        act: impl FnOnce() -> Result<Answer, Answer>,
    ) -> Result<Answer, Answer> {
        if let Some(answer) = self.begin(key, content, Instant::now())? {
            return Ok(answer);
        }
        let done = act();
        let kept = match &done {
            Ok(answer) => Some(answer),
            // It may have arrived.
            Err(answer) => Some(answer).filter(|answer| answer.status == 504),
        };
        let mut entries = self.lock();
        if let Some(at) = entries.iter().position(|entry| *entry.key == *key) {
            match kept {
                Some(answer) => entries[at].answer = Some(answer.clone()),
                None => drop(entries.remove(at)),
            }
        }
        done
    }

    /// The answer of the first time; none: this is the first time.
    fn begin(&self, key: &str, content: [u8; 32], now: Instant) -> Result<Option<Answer>, Answer> {
        let mut entries = self.lock();
        entries.retain(|entry| now.saturating_duration_since(entry.at) < AGE);
        if let Some(entry) = entries.iter().find(|entry| *entry.key == *key) {
            if entry.content != content {
                return Err(reused());
            }
            let busy = "This Idempotency-Key is being answered at this moment: try again.";
            return entry.answer.clone().map(Some).ok_or_else(|| Answer::error((409, "busy"), busy));
        }
        if entries.len() >= KEYS {
            entries.pop_front();
        }
        entries.push_back(Entry { key: key.into(), content, at: now, answer: None });
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key stands for something else.
pub fn reused() -> Answer {
    let line = "This Idempotency-Key already stands for other content: take a new one.";
    Answer::error((409, "id_reused"), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_sent_again_and_what_was_refused_may_be() {
        let once = Once::default();
        let status = |key: &str, content: u8, then: Result<u16, u16>| {
            let act =
                || then.map(|status| Answer::text(status, "")).map_err(|status| Answer::text(status, ""));
            once.answer(key, [content; 32], act).map(|answer| answer.status).map_err(|answer| answer.status)
        };
        assert_eq!(status("a", 1, Err(503)), Err(503));
        assert_eq!(status("a", 2, Ok(200)), Ok(200));
        assert_eq!(status("a", 2, Err(503)), Ok(200));
        assert_eq!(status("a", 1, Ok(200)), Err(409));
        assert_eq!(status("b", 1, Err(504)), Err(504));
        assert_eq!(status("b", 1, Ok(200)), Ok(504));
        let within = once.answer("c", [1; 32], || {
            assert_eq!(status("c", 1, Ok(200)), Err(409), "it is being done");
            Ok(Answer::text(200, ""))
        });
        assert!(within.is_ok());
        for n in 0..KEYS {
            assert_eq!(status(&n.to_string(), 1, Ok(200)), Ok(200));
        }
        assert_eq!(once.lock().len(), KEYS);
        // Forgotten: by then it is new.
        assert_eq!(status("a", 1, Ok(201)), Ok(201));
        let late = Instant::now() + AGE;
        assert!(once.begin("a", [9; 32], late).is_ok_and(|found| found.is_none()));
        assert_eq!(once.lock().len(), 1);
    }
}
