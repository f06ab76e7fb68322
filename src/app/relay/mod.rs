//! What spans cores: who is home of a key or a topic, what reactors tell each other about messages, and how much
//! may be on its way.
//!
//! A message goes from the reactor of its sender to the home of its recipient (one reactor for each key and topic,
//! by a hash), from there to the reactors that have connections for it, and what became of it back to the sender's.
//! All of one key takes this one way, so it stays in order. What is for the own reactor goes no way at all: it waits
//! in [`Relay::next_task`] for the same turn.

mod command;
mod credits;
mod directory;
mod homes;
mod online;
mod operator;
mod subscribers;
mod ticket;

pub use self::{
    command::{Command, Everyone, FOUND, Find, Found, Reload},
    credits::{BYTES_MAX, Credits, RECIPIENTS_MAX},
    homes::Homes,
    online::Online,
    operator::{Tally, Told},
    subscribers::{Subscribers, TOPICS_MAX},
    ticket::{Kind, Ticket},
};

use self::directory::Directory;
use super::{
    crypto::key::Identity,
    mail::{From, Job, MessageId, Recipient, Word},
};
use crate::engine::inbox::Post;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, mpsc::Sender},
};

/// Jobs that wait because the store has no room: with more, members wait too.
const JOBS_MAX: usize = 1_024;
/// From a full inbox to the next try.
const RETRY_MS: u64 = 1;

/// What one reactor tells another.
#[derive(Clone, Debug)]
pub enum Mail {
    /// To the home: this reactor has a connection of the key now, or none any more.
    Enter {
        identity: Identity,
        reactor: u16,
    },
    Exit {
        identity: Identity,
        reactor: u16,
    },
    /// To the home: somebody on this reactor has joined the topic, or the last has left it.
    Join {
        topic: Arc<str>,
        reactor: u16,
    },
    Part {
        topic: Arc<str>,
        reactor: u16,
    },
    /// To the home: a message to be brought to whoever is there.
    Route(Arc<Ticket>),
    /// To a reactor that has, or had, connections for it.
    Bring(Arc<Ticket>),
    /// To the reactor of the sender: it is known what became of it.
    Done(Arc<Ticket>),
    /// To a reactor that has connections of the key: these were acked, on whichever connection.
    Freed {
        identity: Identity,
        ids: Arc<[MessageId]>,
    },
    /// The operator wants these connections of the key closed.
    Dismiss {
        identity: Identity,
        tally: Arc<Tally>,
    },
    /// The store's word, to where it leads.
    Word(Word),
}

/// What is left to be done about connections of this reactor.
#[derive(Debug)]
pub enum Task {
    Bring(Arc<Ticket>),
    Done(Arc<Ticket>),
    Freed {
        identity: Identity,
        ids: Arc<[MessageId]>,
    },
    Dismiss {
        identity: Identity,
        tally: Arc<Tally>,
    },
    /// [`Word::Account`], [`Word::Receipt`] or [`Word::Backlog`].
    Word(Word),
}

/// What a server gives the relay of each of its reactors.
#[derive(Clone, Default)]
pub struct Offices {
    pub homes: Homes,
    /// The store's, for this reactor; without one nothing is kept.
    pub store: Option<Arc<dyn Post<Job>>>,
    /// Where the operator's receipts go.
    pub operator: Option<Sender<Told>>,
}

/// One reactor's part.
pub struct Relay {
    own: u16,
    homes: Homes,
    ways: Vec<Arc<dyn Post<Command>>>,
    /// For each reactor, what it is told at the end of the turn.
    abroad: Vec<Vec<Mail>>,
    near: VecDeque<Mail>,
    directory: Directory,
    /// Reactors with somebody who joined.
    topics: HashMap<Arc<str>, Vec<u16>>,
    store: Option<Arc<dyn Post<Job>>>,
    jobs: VecDeque<Job>,
    operator: Option<Sender<Told>>,
    pub credits: Credits,
    /// Kept from one look into the directory to the next.
    found: Vec<u16>,
}

impl Default for Relay {
    fn default() -> Self {
        Self::new(0, Offices::default())
    }
}

impl Relay {
    /// That of reactor number `own`.
    pub fn new(own: u16, offices: Offices) -> Self {
        let Offices { homes, store, operator } = offices;
        let reactors = homes.reactors();
        Self {
            own,
            ways: Vec::new(),
            abroad: (0..reactors).map(|_| Vec::new()).collect(),
            near: VecDeque::new(),
            directory: Directory::new(reactors),
            topics: HashMap::new(),
            store,
            jobs: VecDeque::new(),
            operator,
            credits: Credits::default(),
            found: Vec::new(),
            homes,
        }
    }

    /// The ways to all reactors, in their order.
    pub fn meet(&mut self, ways: Vec<Arc<dyn Post<Command>>>) {
        self.ways = ways;
    }

    /// This reactor's number.
    pub fn own(&self) -> u16 {
        self.own
    }

    /// Whether this reactor is all there is: then its members are the directory.
    pub fn is_alone(&self) -> bool {
        self.abroad.len() < 2
    }

    pub fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// Whether so much is on its way that members have to wait before they say more.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.credits.is_spent() || self.jobs.len() >= JOBS_MAX
    }

    /// Whether [`Relay::next_task`] has something.
    #[inline]
    pub fn is_busy(&self) -> bool {
        !self.near.is_empty()
    }

    /// Keys, once for each reactor that has them, and topics that this reactor is home of.
    pub fn known(&self) -> (usize, usize) {
        (self.directory.len(), self.topics.len())
    }

    /// The first connection of the key has come to this reactor.
    pub fn enter(&mut self, identity: Identity) {
        if !self.is_alone() {
            let reactor = self.own;
            self.tell(self.homes.of_key(&identity), Mail::Enter { identity, reactor });
        }
    }

    /// The last one has gone.
    pub fn exit(&mut self, identity: Identity) {
        if !self.is_alone() {
            let reactor = self.own;
            self.tell(self.homes.of_key(&identity), Mail::Exit { identity, reactor });
        }
    }

    /// The first subscriber of the topic is on this reactor.
    pub fn join(&mut self, topic: Arc<str>) {
        let reactor = self.own;
        self.tell(self.homes.of_topic(&topic), Mail::Join { topic, reactor });
    }

    /// The last one has left it.
    pub fn part(&mut self, topic: Arc<str>) {
        let reactor = self.own;
        self.tell(self.homes.of_topic(&topic), Mail::Part { topic, reactor });
    }

    /// A message that is not stored sets out.
    pub fn route(&mut self, ticket: Ticket) {
        let home = match &ticket.receipt.to {
            Recipient::Key(identity) => self.homes.of_key(identity),
            Recipient::Topic(topic) => self.homes.of_topic(topic),
        };
        self.credits.take(1, ticket.bytes());
        self.tell(home, Mail::Route(Arc::new(ticket)));
    }

    /// Asks the store, if there is one.
    pub fn ask(&mut self, job: Job) {
        if self.store.is_some() {
            self.jobs.push_back(job);
        }
    }

    /// This reactor has brought it to so many connections as took it; the last to say so lets the sender know.
    pub fn brought(&mut self, ticket: Arc<Ticket>, taken: u32) {
        if ticket.settle(taken) {
            self.done(ticket);
        }
    }

    /// What came from elsewhere.
    pub fn receive(&mut self, mail: impl IntoIterator<Item = Mail>) {
        self.near.extend(mail);
    }

    /// What the connections of this reactor are next to hear of.
    pub fn next_task(&mut self) -> Option<Task> {
        loop {
            match self.near.pop_front()? {
                Mail::Bring(ticket) => return Some(Task::Bring(ticket)),
                Mail::Done(ticket) => return Some(Task::Done(ticket)),
                Mail::Freed { identity, ids } => return Some(Task::Freed { identity, ids }),
                Mail::Dismiss { identity, tally } => return Some(Task::Dismiss { identity, tally }),
                Mail::Word(word) => {
                    if let Some(word) = self.heard(word) {
                        return Some(Task::Word(word));
                    }
                }
                mail => self.at_home(mail),
            }
        }
    }

    /// The turn ends: what is for others goes. Returns when there is to be another turn.
    pub fn end_turn(&mut self, now_ms: u64) -> u64 {
        let mut all = true;
        for (list, way) in self.abroad.iter_mut().zip(&self.ways) {
            if list.is_empty() {
                continue;
            }
            if let Err(Command::Mail(back)) = way.post(Command::Mail(std::mem::take(list))) {
                *list = back;
                all = false;
            }
        }
        // A key's home must know of a connection before the store is asked on its behalf: what is committed behind
        // the answer would find nobody.
        while all && let Some(job) = self.jobs.pop_front() {
            if let Some(store) = &self.store
                && let Err(job) = store.post(job)
            {
                self.jobs.push_front(job);
                all = false;
            }
        }
        match () {
            () if self.is_busy() => now_ms,
            () if !all => now_ms + RETRY_MS,
            () => u64::MAX,
        }
    }

    /// What this reactor has to do as the home of a key or topic.
    fn at_home(&mut self, mail: Mail) {
        match mail {
            Mail::Enter { identity, reactor } => self.directory.enter(self.homes.hash(&identity), reactor),
            Mail::Exit { identity, reactor } => self.directory.leave(self.homes.hash(&identity), reactor),
            Mail::Join { topic, reactor } => self.topics.entry(topic).or_default().push(reactor),
            Mail::Part { topic, reactor } => {
                if let Some(reactors) = self.topics.get_mut(&topic) {
                    reactors.retain(|other| *other != reactor);
                    if reactors.is_empty() {
                        self.topics.remove(&topic);
                    }
                }
            }
            Mail::Route(ticket) => self.spread(ticket),
            _ => {}
        }
    }

    /// To every reactor that may have connections for it.
    fn spread(&mut self, ticket: Arc<Ticket>) {
        let found = match &ticket.receipt.to {
            Recipient::Key(identity) => self.reactors_of(identity),
            Recipient::Topic(topic) => {
                let mut found = std::mem::take(&mut self.found);
                found.clear();
                found.extend(self.topics.get(topic).into_iter().flatten());
                found
            }
        };
        ticket.expect(found.len() as u32);
        if found.is_empty() {
            self.done(ticket);
        } else {
            for reactor in &found {
                self.tell(*reactor, Mail::Bring(ticket.clone()));
            }
        }
        self.found = found;
    }

    fn reactors_of(&mut self, identity: &Identity) -> Vec<u16> {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        if self.is_alone() {
            found.push(self.own);
        } else {
            self.directory.find(self.homes.hash(identity), &mut found);
        }
        found
    }

    fn done(&mut self, ticket: Arc<Ticket>) {
        match &ticket.from {
            From::Member { at, .. } => self.tell(at.reactor, Mail::Done(ticket)),
            From::Operator { question } => {
                let (question, connections, receipt) =
                    (*question, ticket.taken(), Some(ticket.receipt(true)));
                self.tell_operator(Told { question, connections, receipt });
            }
        }
    }

    fn tell_operator(&self, told: Told) {
        if let Some(operator) = &self.operator {
            // Whoever asked may have given up.
            let _ = operator.send(told);
        }
    }

    /// The store has spoken: what a connection is to hear of is returned.
    fn heard(&mut self, word: Word) -> Option<Word> {
        match word {
            Word::Committed(committed) => {
                self.spread(Arc::new(Ticket::stored(committed)));
                None
            }
            Word::Acked { identity, ids } => {
                let found = self.reactors_of(&identity);
                let ids: Arc<[MessageId]> = ids.into();
                for reactor in &found {
                    self.tell(*reactor, Mail::Freed { identity, ids: ids.clone() });
                }
                self.found = found;
                None
            }
            Word::Receipt { from: From::Operator { question }, receipt } => {
                self.tell_operator(Told { question, connections: 0, receipt: Some(receipt) });
                None
            }
            word => Some(word),
        }
    }

    fn tell(&mut self, reactor: u16, mail: Mail) {
        match self.abroad.get_mut(usize::from(reactor)) {
            Some(list) if reactor != self.own => list.push(mail),
            _ => self.near.push_back(mail),
        }
    }
}

#[cfg(test)]
mod tests;
