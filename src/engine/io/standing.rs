//! Who waits for others: those who have just come, and those who have lately sent more than one receive brings. However
//! many come, or however much they send, whoever was there before is read first.

use super::Token;
use std::{collections::HashSet, time::Duration};

/// Sets keep room for so many entries when they are empty.
const KEEP: usize = 256;

/// Of all connections of a backend. Periods, which end when the backend says so, are what it is told in.
#[derive(Default)]
pub struct Standing {
    /// Who has sent too much for one receive in this period, and in the one before. After a stall each of them would
    /// have a whole receive of work in front of those who have a message.
    heavy: [HashSet<Token>; 2],
    /// Generations after this one have just come; those after `mark` came in this period.
    settled_to: u32,
    mark: u32,
    newest: u32,
}

impl Standing {
    /// How long a period is to be: who has been here for less, or up to twice as long, has just come.
    pub const PERIOD: Duration = Duration::from_secs(1);

    /// A connection has just come. Generations are given in order.
    pub fn opened(&mut self, token: Token) {
        self.newest = token.generation.get();
    }

    /// It has sent more than one receive has brought, and is taken to do so again for a period or two.
    pub fn sent_much(&mut self, token: Token) {
        self.heavy[0].insert(token);
    }

    pub fn period_ends(&mut self) {
        (self.settled_to, self.mark) = (self.mark, self.newest);
        self.heavy.swap(0, 1);
        self.heavy[0].clear();
        self.heavy[0].shrink_to(KEEP);
    }

    #[inline]
    pub fn is_young(&self, token: Token) -> bool {
        // Behind by less than half the numbers there are, also when they have begun again.
        (token.generation.get().wrapping_sub(self.settled_to) as i32) > 0
    }

    #[inline]
    pub fn is_heavy(&self, token: Token) -> bool {
        self.heavy.iter().any(|heavy| !heavy.is_empty() && heavy.contains(&token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn token(generation: u32) -> Token {
        Token { index: 7, generation: NonZeroU32::new(generation).unwrap() }
    }

    #[test]
    fn it_is_young_for_a_period_or_two_also_when_generations_begin_again() {
        for generation in [1, u32::MAX - 1, u32::MAX, 2] {
            let before = generation.wrapping_sub(3);
            let mut standing =
                Standing { settled_to: before, mark: before, newest: before, ..Standing::default() };
            standing.opened(token(generation));
            assert!(standing.is_young(token(generation)));
            standing.period_ends();
            assert!(standing.is_young(token(generation)));
            standing.period_ends();
            assert!(!standing.is_young(token(generation)), "{generation}");
        }
    }

    #[test]
    fn who_has_sent_much_is_heavy_for_a_period_or_two_after_the_last_time() {
        let mut standing = Standing::default();
        standing.sent_much(token(1));
        standing.period_ends();
        standing.sent_much(token(1));
        standing.period_ends();
        assert!(standing.is_heavy(token(1)) && !standing.is_heavy(token(2)));
        standing.period_ends();
        assert!(!standing.is_heavy(token(1)));
    }
}
