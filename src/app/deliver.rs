//! What comes out of the relay goes to the connections that it concerns.

use super::{Mida, Sealer, session::Session};
use crate::{
    app::{
        mail::{At, From, Receipt, Recipient, Word},
        relay::{Task, Ticket},
    },
    engine::{
        app::{Link, Others},
        error::Close,
    },
};
use std::{collections::VecDeque, sync::Arc};

/// Tasks between two looks at what is to be flushed.
const TASKS: usize = 64;
/// Subscribers that messages to topics reach in one turn, and between two looks at what is to be flushed.
const VISITS: usize = 1_024;
const VISITS_AT_ONCE: usize = 128;

/// Messages to topics on their way around this reactor, one after the other.
#[derive(Default)]
pub struct Rounds {
    waiting: VecDeque<Arc<Ticket>>,
    /// Those who had joined when the first of them set out, and how many of them it has been to.
    slots: Vec<u32>,
    next: usize,
    is_under_way: bool,
    taken: u32,
    /// Visits that are left in this turn.
    left: usize,
}

impl Rounds {
    pub fn turn(&mut self) {
        self.left = VISITS;
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    #[inline]
    pub fn can_go_on(&self) -> bool {
        self.left > 0 && !self.waiting.is_empty()
    }
}

impl Mida {
    pub(super) fn bring_all(&mut self, others: &mut dyn Others<Session>) {
        for _ in 0..TASKS {
            match self.sessions.relay.next_task() {
                Some(task) => self.carry_out(task, others),
                None => break,
            }
        }
        self.go_round(others);
    }

    fn carry_out(&mut self, task: Task, others: &mut dyn Others<Session>) {
        match task {
            Task::Bring(ticket) => match &ticket.receipt.to {
                Recipient::Topic(_) => self.rounds.waiting.push_back(ticket),
                Recipient::Key(identity) => {
                    let mut slots = std::mem::take(&mut self.slots);
                    slots.clear();
                    slots.extend(self.sessions.connections_of(identity));
                    let mut taken = 0;
                    for slot in &slots {
                        taken += u32::from(self.bring(*slot, &ticket, others));
                    }
                    self.slots = slots;
                    self.sessions.relay.brought(ticket, taken);
                }
            },
            Task::Done(ticket) => {
                let From::Member { at, .. } = ticket.from else { return };
                if let Some(receipt) = self.sessions.done(ticket, &self.config) {
                    self.say_receipt(at, &receipt, others);
                }
            }
            Task::Freed { identity, ids } => {
                let slots: Vec<_> = self.sessions.connections_of(&identity).collect();
                for slot in slots {
                    others.visit(slot, &mut |link| {
                        let session = *link.conn;
                        let mut out = Sealer { link, own_hosts: &mut self.own_hosts };
                        self.sessions.freed(&session, &ids, &mut out);
                    });
                }
            }
            Task::Dismiss { identity, tally } => {
                let slots: Vec<_> = self.sessions.connections_of(&identity).collect();
                for slot in slots {
                    others.visit(slot, &mut |link| {
                        link.close(Close::Normal);
                        tally.add();
                    });
                }
            }
            Task::Word(Word::Account { at, result }) => {
                let mut result = Some(result);
                self.visit_at(at, others, |mida, link| {
                    let Some(result) = result.take() else { return };
                    let mut session = *link.conn;
                    let mut out = Sealer { link, own_hosts: &mut mida.own_hosts };
                    mida.sessions.account(&mut session, &mida.config, result, &mut out);
                    *link.conn = session;
                });
                others.changed(at.token.index);
            }
            Task::Word(Word::Receipt { from: From::Member { at, .. }, receipt }) => {
                self.sessions.answered(at, &receipt);
                self.say_receipt(at, &receipt, others);
            }
            Task::Word(Word::Backlog { at, messages, more }) => {
                self.visit_at(at, others, |mida, link| {
                    let session = *link.conn;
                    let mut out = Sealer { link, own_hosts: &mut mida.own_hosts };
                    mida.sessions.backlog(&session, &messages, more, &mut out);
                });
            }
            // What is left is not for a connection.
            Task::Word(_) => {}
        }
    }

    fn bring(&mut self, slot: u32, ticket: &Ticket, others: &mut dyn Others<Session>) -> bool {
        let mut taken = false;
        others.visit(slot, &mut |link| {
            let session = *link.conn;
            let mut out = Sealer { link, own_hosts: &mut self.own_hosts };
            taken = self.sessions.bring(&session, ticket, &mut out);
        });
        taken
    }

    fn say_receipt(&mut self, at: At, receipt: &Receipt, others: &mut dyn Others<Session>) {
        self.visit_at(at, others, |mida, link| {
            let session = *link.conn;
            let mut out = Sealer { link, own_hosts: &mut mida.own_hosts };
            mida.sessions.say_receipt(&session, receipt, &mut out);
        });
    }

    /// Visits the connection that was there, and not the one that has its slot now.
    fn visit_at(
        &mut self,
        at: At,
        others: &mut dyn Others<Session>,
        mut f: impl FnMut(&mut Self, &mut Link<'_, Session>),
    ) {
        others.visit(at.token.index, &mut |link| {
            if link.token == at.token {
                f(self, link);
            }
        });
    }

    /// Messages to topics reach some more subscribers.
    fn go_round(&mut self, others: &mut dyn Others<Session>) {
        let mut visits = VISITS_AT_ONCE.min(self.rounds.left);
        while visits > 0
            && let Some(ticket) = self.rounds.waiting.front().cloned()
        {
            let Recipient::Topic(topic) = &ticket.receipt.to else { return };
            let rounds = &mut self.rounds;
            if !rounds.is_under_way {
                (rounds.is_under_way, rounds.taken, rounds.next) = (true, 0, 0);
                rounds.slots.clear();
                rounds.slots.extend(self.sessions.subscribers_of(topic));
            }
            let next = rounds.next;
            let until = rounds.slots.len().min(next + visits);
            for at in next..until {
                let Some(slot) = self.rounds.slots.get(at).copied() else { break };
                if self.sessions.is_subscriber(slot, topic) {
                    let taken = self.bring(slot, &ticket, others);
                    self.rounds.taken += u32::from(taken);
                }
            }
            let rounds = &mut self.rounds;
            // An empty topic costs a little too.
            let cost = (until - next).max(1);
            visits -= cost.min(visits);
            rounds.left -= cost.min(rounds.left);
            rounds.next = until;
            if until == rounds.slots.len() {
                rounds.is_under_way = false;
                rounds.slots = Vec::new();
                rounds.waiting.pop_front();
                let taken = rounds.taken;
                self.sessions.relay.brought(ticket, taken);
            }
        }
    }
}
