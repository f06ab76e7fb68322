//! What the operator is told of what it has asked.

use crate::app::mail::Receipt;
use std::sync::{
    atomic::{AtomicU32, Ordering},
    mpsc::Sender,
};

/// One of the answers to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub question: u64,
    /// Connections that were reached.
    pub connections: u32,
    /// What became of a message; none from a [`Tally`].
    pub receipt: Option<Receipt>,
}

/// Counts the connections of one reactor that were reached. When it is dropped, on whatever way, the operator is told.
#[derive(Debug)]
pub struct Tally {
    question: u64,
    operator: Sender<Told>,
    connections: AtomicU32,
}

impl Tally {
    pub fn new(question: u64, operator: Sender<Told>) -> Self {
        Self { question, operator, connections: AtomicU32::new(0) }
    }

    /// One more.
    pub fn add(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let connections = *self.connections.get_mut();
        // Whoever asked may have given up.
        let _ = self.operator.send(Told { question: self.question, connections, receipt: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc::channel};

    #[test]
    fn the_operator_is_told_once_and_only_when_the_last_copy_is_gone() {
        let (operator, told) = channel();
        let tally = Arc::new(Tally::new(7, operator));
        let copy = tally.clone();
        copy.add();
        tally.add();
        drop(tally);
        assert!(told.try_recv().is_err());
        drop(copy);
        assert_eq!(told.try_recv(), Ok(Told { question: 7, connections: 2, receipt: None }));
        assert!(told.try_recv().is_err());
    }
}
