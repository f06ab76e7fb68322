//! Who waits for which answers of reactors and store, and how much of the operator's may be on its way.

use crate::app::{
    figures::Figures,
    relay::{Credits, Told},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

#[derive(Default)]
pub struct Questions(Mutex<Held>);

#[derive(Default)]
struct Held {
    last: u64,
    open: HashMap<u64, Open>,
    /// Of questions that nobody waits for any more, too, until they are answered.
    credits: Credits,
    /// Receipts are counted here.
    counts: Figures,
}

/// A question that is not answered yet.
struct Open {
    tell: Sender<Told>,
    /// Answers that are still to come.
    left: usize,
    bytes: u64,
}

impl Questions {
    /// A question that so many answers will come to, about a message of so many bytes; none while too much is under way.
    pub fn ask(self: &Arc<Self>, answers: usize, bytes: u64) -> Option<Asked> {
        let mut held = self.lock();
        if held.credits.is_spent() {
            return None;
        }
        held.credits.take(answers, bytes);
        held.last += 1;
        let number = held.last;
        let (tell, told) = channel();
        held.open.insert(number, Open { tell, left: answers, bytes });
        drop(held);
        Some(Asked { number, questions: self.clone(), left: answers, told })
    }

    /// An answer has come.
    pub fn told(&self, told: Told) {
        let mut held = self.lock();
        if let Some(receipt) = &told.receipt {
            held.counts.count(receipt.outcome);
        }
        if let Some(open) = held.open.get(&told.question) {
            // Whoever asked may have given up.
            let _ = open.tell.send(told.clone());
        }
        held.settle(told.question, 1);
    }

    pub fn counts(&self) -> Figures {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// So many answers have come, or will not.
    fn settle(&mut self, number: u64, answers: usize) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let answers = answers.min(open.left);
        open.left -= answers;
        let (is_over, bytes) = (open.left == 0, open.bytes);
        self.credits.give_back(answers, if is_over { bytes } else { 0 });
        if is_over {
            self.open.remove(&number);
        }
    }
}

/// A question, by who has asked it.
pub struct Asked {
    pub number: u64,
    questions: Arc<Questions>,
    left: usize,
    told: Receiver<Told>,
}

impl Asked {
    /// So many answers will not come: what they would be to was not sent.
    pub fn forget(&mut self, answers: usize) {
        self.left = self.left.saturating_sub(answers);
        self.questions.lock().settle(self.number, answers);
    }

    /// What came before `until`, and whether it is all that will.
    pub fn wait(mut self, until: Instant) -> (Vec<Told>, bool) {
        let mut all = Vec::with_capacity(self.left);
        while self.left > 0 {
            let Ok(told) = self.told.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                return (all, false);
            };
            self.left -= 1;
            all.push(told);
        }
        (all, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::relay::RECIPIENTS_MAX;
    use std::time::Duration;

    fn told(question: u64) -> Told {
        Told { question, connections: 1, receipt: None }
    }

    #[test]
    fn answers_come_to_who_asked_and_give_room_back_even_when_nobody_waits() {
        let questions = Arc::new(Questions::default());
        let now = Instant::now();
        let first = questions.ask(2, 10).unwrap();
        let mut second = questions.ask(RECIPIENTS_MAX - 2, 10).unwrap();
        assert!(questions.ask(1, 0).is_none());
        let number = first.number;
        questions.told(told(number));
        // One of two, in the time there was.
        assert_eq!(first.wait(now), (vec![told(number)], false));
        // Late, and once more than there are.
        questions.told(told(number));
        questions.told(told(number));
        second.forget(RECIPIENTS_MAX - 3);
        let number = second.number;
        questions.told(told(number));
        assert_eq!(second.wait(now + Duration::from_secs(9)), (vec![told(number)], true));
        assert_eq!(questions.lock().credits.in_use(), (0, 0));
        assert!(questions.lock().open.is_empty());
    }
}
