//! What the store says, to the reactors that it is for.

use mida::{
    app::{
        mail::Word,
        relay::{Command, Homes},
    },
    engine::inbox::Post,
    store::Words,
};
use std::sync::Arc;

/// For each reactor the way to it, and what did not fit its inbox yet.
pub struct Reactors {
    homes: Homes,
    ways: Vec<(Arc<dyn Post<Command>>, Vec<Word>)>,
}

impl Reactors {
    /// `ways` lead to all of them, in their order.
    pub fn new(homes: Homes, ways: Vec<Arc<dyn Post<Command>>>) -> Self {
        Self { homes, ways: ways.into_iter().map(|way| (way, Vec::new())).collect() }
    }
}

impl Words for Reactors {
    fn give(&mut self, word: Word) {
        if let Some((_, words)) = self.ways.get_mut(usize::from(self.homes.of_word(&word))) {
            words.push(word);
        }
    }

    fn give_all(&mut self, words: &mut Vec<Word>) {
        match &mut self.ways[..] {
            [(_, all)] if all.is_empty() => return std::mem::swap(all, words),
            [(_, all)] => return all.append(words),
            _ => {}
        }
        words.drain(..).for_each(|word| self.give(word));
    }

    fn flush(&mut self) -> bool {
        let mut all = true;
        for (way, words) in self.ways.iter_mut().filter(|(_, words)| !words.is_empty()) {
            if let Err(Command::Words(back)) = way.post(Command::Words(std::mem::take(words))) {
                *words = back;
                all = false;
            }
        }
        all
    }
}
