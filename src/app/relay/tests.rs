//! Several relays in one thread, their letters in any order by seed, against a model that knows who is where.

use super::*;
use crate::{
    app::{
        crypto::{key::SecretKey, rng::Rng},
        mail::{self, At, Committed, Outcome, Receipt, Refused},
    },
    engine::{
        io::{Token, sim::Dice},
        outbox::Shared,
        wire::Opcode,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::{LazyLock, Mutex},
};

static KEYS: LazyLock<Vec<Identity>> = LazyLock::new(|| {
    let mut rng = Rng::from_seed([9; 32]);
    (0..12).map(|_| SecretKey::generate(&mut rng).identity()).collect()
});
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

/// An inbox that holds so many letters.
struct Letters<T>(Mutex<VecDeque<T>>, usize);

impl<T: Send> Post<T> for Letters<T> {
    fn post(&self, letter: T) -> Result<(), T> {
        let mut letters = self.0.lock().unwrap();
        if letters.len() >= self.1 {
            return Err(letter);
        }
        letters.push_back(letter);
        Ok(())
    }
}

/// One reactor as far as the relay can tell: keys with how many connections, and topics with how many subscribers.
#[derive(Default)]
struct Here {
    keys: BTreeMap<usize, usize>,
    topics: BTreeMap<usize, usize>,
}

struct World {
    relays: Vec<Relay>,
    here: Vec<Here>,
    inboxes: Vec<Arc<Letters<Command>>>,
    jobs: Vec<Arc<Letters<Job>>>,
    homes: Homes,
    dice: Dice,
    /// Messages by number: who sent it from where, to which key or topic, and how often it was brought.
    sent: Vec<Sent>,
    /// Of each reactor, for each sender and recipient, the numbers as they came.
    brought: BTreeMap<(usize, usize, bool, usize), Vec<usize>>,
    done: BTreeMap<usize, Outcome>,
    operator: std::sync::mpsc::Receiver<Told>,
}

struct Sent {
    reactor: usize,
    is_topic: bool,
    to: usize,
}

fn numbered(number: usize) -> Arc<Shared> {
    Shared::new(Opcode::Text, |text| text.extend_from_slice(number.to_string().as_bytes()))
}

/// Its body is this number.
fn committed(from: From, re: &str, number: usize, to: Identity, id: MessageId) -> Committed {
    let body = number.to_string().into_bytes().into();
    Committed { send: Arc::new(mail::Send::new(from, re.into(), [to].into(), body)), to, id }
}

fn number(ticket: &Ticket) -> usize {
    let text = std::str::from_utf8(ticket.message.payload()).unwrap();
    let body = text.split_once(r#""body":"#).map_or(text, |(_, body)| body.trim_end_matches('}'));
    body.parse().unwrap()
}

impl World {
    fn new(seed: u64, reactors: usize, room: usize) -> Self {
        let homes = Homes::new([seed as u8; 16], reactors);
        let (operator, told) = std::sync::mpsc::channel();
        let inboxes: Vec<_> = (0..reactors).map(|_| Arc::new(Letters(Mutex::default(), room))).collect();
        let jobs: Vec<_> = (0..reactors).map(|_| Arc::new(Letters(Mutex::default(), room))).collect();
        let relay = |own: usize| {
            let store = Some(jobs[own].clone() as Arc<dyn Post<Job>>);
            let offices = Offices { homes: homes.clone(), store, operator: Some(operator.clone()) };
            let mut relay = Relay::new(own as u16, offices);
            relay.meet(inboxes.iter().map(|inbox| inbox.clone() as Arc<dyn Post<Command>>).collect());
            relay
        };
        Self {
            relays: (0..reactors).map(relay).collect(),
            here: (0..reactors).map(|_| Here::default()).collect(),
            inboxes,
            jobs,
            homes,
            dice: Dice::new(seed),
            sent: Vec::new(),
            brought: BTreeMap::new(),
            done: BTreeMap::new(),
            operator: told,
        }
    }

    fn below(&mut self, below: usize) -> usize {
        self.dice.below(below as u64) as usize
    }

    /// Somebody comes, goes, joins, leaves, or sends something.
    fn act(&mut self, moves: bool) {
        let (reactor, key, topic) = (self.below(self.relays.len()), self.below(12), self.below(4));
        let relay = &mut self.relays[reactor];
        let here = &mut self.here[reactor];
        match self.dice.below(if moves { 8 } else { 3 }) {
            0 | 1 => self.send(reactor, false, key),
            2 => self.send(reactor, true, topic),
            3 | 4 => {
                let count = here.keys.entry(key).or_default();
                *count += 1;
                if *count == 1 {
                    relay.enter(KEYS[key]);
                }
            }
            5 => {
                let count = here.keys.entry(key).or_default();
                if *count == 1 {
                    relay.exit(KEYS[key]);
                }
                *count = count.saturating_sub(1);
            }
            6 => {
                let count = here.topics.entry(topic).or_default();
                *count += 1;
                if *count == 1 {
                    relay.join(TOPICS[topic].into());
                }
            }
            _ => {
                let count = here.topics.entry(topic).or_default();
                if *count == 1 {
                    relay.part(TOPICS[topic].into());
                }
                *count = count.saturating_sub(1);
            }
        }
    }

    fn send(&mut self, reactor: usize, is_topic: bool, to: usize) {
        if self.relays[reactor].is_full() {
            return;
        }
        let number = self.sent.len();
        let token = Token { index: number as u32, generation: NonZeroU32::MIN };
        let from = From::Member { identity: KEYS[reactor], at: At { reactor: reactor as u16, token } };
        let recipient = if is_topic { Recipient::Topic(TOPICS[to].into()) } else { Recipient::Key(KEYS[to]) };
        let id = MessageId([number as u8; 16]);
        let message = numbered(number);
        self.sent.push(Sent { reactor, is_topic, to });
        if !is_topic && self.dice.one_in(3) {
            // As if the store had it on disk at once.
            let committed = committed(from, "re", number, KEYS[to], id);
            self.relays[reactor].credits.take_stored(token.number(), "re", 1, 1);
            let home = self.homes.of_key(&KEYS[to]) as usize;
            self.relays[home].receive([Mail::Word(Word::Committed(committed))]);
        } else {
            self.relays[reactor].route(Ticket::passing(from, Some("re".into()), recipient, id, message));
        }
    }

    /// Some of what waits for this reactor is read, its letters to itself are worked off, and its turn ends.
    fn turn(&mut self, reactor: usize) {
        let mut inbox = self.inboxes[reactor].0.lock().unwrap();
        let all = inbox.len();
        let count = if all == 0 { 0 } else { 1 + self.dice.below(all as u64) as usize };
        let letters: Vec<_> = inbox.drain(..count).collect();
        drop(inbox);
        for letter in letters {
            match letter {
                Command::Mail(mail) => self.relays[reactor].receive(mail),
                _ => panic!("nobody else writes"),
            }
        }
        while let Some(task) = self.relays[reactor].next_task() {
            self.carry_out(reactor, task);
        }
        self.relays[reactor].end_turn(0);
    }

    fn carry_out(&mut self, reactor: usize, task: Task) {
        match task {
            Task::Bring(ticket) => {
                let number = number(&ticket);
                let Sent { reactor: from, is_topic, to } = self.sent[number];
                let here = &self.here[reactor];
                let there = if is_topic { &here.topics } else { &here.keys };
                let taken = there.get(&to).map_or(0, |count| *count as u32);
                if taken > 0 {
                    self.brought.entry((reactor, from, is_topic, to)).or_default().push(number);
                }
                self.relays[reactor].brought(ticket, taken);
            }
            Task::Done(ticket) => {
                let number = number(&ticket);
                assert_eq!(self.sent[number].reactor, reactor);
                match ticket.kind {
                    Kind::Passing => self.relays[reactor].credits.give_back(1, ticket.bytes()),
                    Kind::Stored => {
                        let From::Member { at, .. } = &ticket.from else { panic!("a member") };
                        self.relays[reactor].credits.give_back_stored(at.token.number(), "re");
                    }
                }
                let outcome = ticket.outcome(true);
                assert!(self.done.insert(number, outcome).is_none(), "two receipts");
            }
            task => panic!("{task:?}"),
        }
    }

    /// Turns in any order until nothing is on its way.
    fn settle(&mut self) {
        let is_quiet = |world: &Self| {
            let is_idle = |relay: &Relay| !relay.is_busy() && relay.abroad.iter().all(Vec::is_empty);
            world.relays.iter().all(is_idle)
                && world.inboxes.iter().all(|inbox| inbox.0.lock().unwrap().is_empty())
        };
        while !is_quiet(self) {
            let reactor = self.below(self.relays.len());
            self.turn(reactor);
        }
    }

    /// The directory, and the topics, are those of the model.
    fn check(&mut self) {
        for (key, identity) in KEYS.iter().enumerate() {
            let expected: BTreeSet<u16> = (0..self.here.len())
                .filter(|reactor| self.here[*reactor].keys.get(&key).is_some_and(|count| *count > 0))
                .map(|reactor| reactor as u16)
                .collect();
            let home = usize::from(self.homes.of_key(identity));
            let found = self.relays[home].reactors_of(identity);
            if self.relays.len() > 1 {
                assert_eq!(BTreeSet::from_iter(found), expected);
            }
        }
        for (topic, name) in TOPICS.iter().enumerate() {
            let expected: BTreeSet<u16> = (0..self.here.len())
                .filter(|reactor| self.here[*reactor].topics.get(&topic).is_some_and(|count| *count > 0))
                .map(|reactor| reactor as u16)
                .collect();
            let home = usize::from(self.homes.of_topic(name));
            let found = self.relays[home].topics.get(*name).cloned().unwrap_or_default();
            assert_eq!(found.len(), expected.len());
            assert_eq!(BTreeSet::from_iter(found), expected);
        }
    }
}

#[test]
fn each_message_has_one_receipt_and_none_overtakes_another_whatever_the_order() {
    for seed in 0..200 {
        let reactors = 1 + seed as usize % 5;
        let mut world = World::new(seed, reactors, 1 + seed as usize % 3);
        for step in 0..600 {
            // First they come and go while messages are on their way, then all stay where they are.
            let moves = step < 300;
            world.act(moves);
            if step == 300 {
                world.settle();
                world.check();
            }
            if world.dice.one_in(2) {
                let reactor = world.below(reactors);
                world.turn(reactor);
            }
        }
        let stays_from = world.sent.len();
        world.settle();
        world.check();
        (0..100).for_each(|_| world.act(false));
        world.settle();
        assert_eq!(world.done.len(), world.sent.len(), "seed {seed}: a receipt is missing");
        for numbers in world.brought.values() {
            let once = BTreeSet::from_iter(numbers);
            assert_eq!(once.len(), numbers.len(), "seed {seed}: brought twice");
        }
        // Nobody moves any more: who is there got it, on each reactor, and nobody else's outcome is delivered.
        for (number, sent) in world.sent.iter().enumerate().skip(stays_from) {
            let mut places = 0;
            for (reactor, here) in world.here.iter().enumerate() {
                let there = if sent.is_topic { &here.topics } else { &here.keys };
                let is_there = there.get(&sent.to).is_some_and(|count| *count > 0);
                let got = world.brought.get(&(reactor, sent.reactor, sent.is_topic, sent.to));
                let got = got.is_some_and(|numbers| numbers.contains(&number));
                assert_eq!(got, is_there, "seed {seed}: message {number}");
                places += usize::from(is_there);
            }
            let delivered = world.done[&number] == Outcome::Delivered;
            assert_eq!(delivered, places > 0, "seed {seed}: message {number}");
        }
        for relay in &world.relays {
            assert_eq!(relay.credits.in_use(), (0, 0), "seed {seed}");
        }
    }
}

#[test]
fn passing_messages_of_one_sender_to_one_recipient_stay_in_order() {
    for seed in 0..100 {
        let reactors = 2 + seed as usize % 3;
        let mut world = World::new(seed, reactors, 1);
        for reactor in 0..reactors {
            world.here[reactor].keys.insert(0, 1);
            world.relays[reactor].enter(KEYS[0]);
        }
        world.settle();
        for number in 0..200 {
            let from = number % reactors;
            let token = Token { index: number as u32, generation: NonZeroU32::MIN };
            let from_member = From::Member { identity: KEYS[from], at: At { reactor: from as u16, token } };
            let id = MessageId([0; 16]);
            world.sent.push(Sent { reactor: from, is_topic: false, to: 0 });
            let to = Recipient::Key(KEYS[0]);
            let ticket = Ticket::passing(from_member, Some("re".into()), to, id, numbered(number));
            world.relays[from].route(ticket);
            if world.dice.one_in(3) {
                let reactor = world.below(reactors);
                world.turn(reactor);
            }
        }
        world.settle();
        for ((_, from, ..), numbers) in &world.brought {
            assert_eq!(numbers.len(), (0..200).filter(|number| number % reactors == *from).count());
            assert!(numbers.is_sorted(), "seed {seed}: {numbers:?}");
        }
        assert_eq!(world.brought.len(), reactors * reactors);
    }
}

#[test]
fn the_store_is_asked_only_when_others_know_what_they_must() {
    let mut world = World::new(1, 2, 1);
    // A key whose home is the other reactor, whose inbox is full.
    let key = (0..12).find(|key| world.homes.of_key(&KEYS[*key]) == 1).unwrap();
    assert!(world.inboxes[1].post(Command::Mail(Vec::new())).is_ok());
    let token = Token { index: 1, generation: NonZeroU32::MIN };
    let relay = &mut world.relays[0];
    relay.enter(KEYS[key]);
    relay.ask(Job::Fetch {
        at: At { reactor: 0, token },
        identity: KEYS[key],
        after: MessageId::FIRST,
        messages: 1,
        bytes: 1,
    });
    assert_eq!(relay.end_turn(5), 5 + RETRY_MS);
    assert!(world.jobs[0].0.lock().unwrap().is_empty());
    world.turn(1);
    let relay = &mut world.relays[0];
    // Two more jobs: the store takes one at a time here, and in order.
    (0..2).for_each(|_| relay.ask(Job::Ack { identity: KEYS[key], ids: [].into() }));
    assert_eq!(relay.end_turn(6), 6 + RETRY_MS);
    let taken = world.jobs[0].0.lock().unwrap().pop_front();
    assert!(matches!(taken, Some(Job::Fetch { .. })));
    assert_eq!((relay.end_turn(7), relay.jobs.len()), (7 + RETRY_MS, 1));
    world.jobs[0].0.lock().unwrap().clear();
    assert_eq!((relay.end_turn(8), relay.jobs.len()), (u64::MAX, 0));
}

#[test]
fn the_operator_is_told_what_became_of_its_messages() {
    let mut world = World::new(2, 2, 8);
    world.relays[0].enter(KEYS[3]);
    world.here[0].keys.insert(3, 1);
    world.settle();
    for (key, outcome) in [(3, Outcome::Delivered), (4, Outcome::Stored)] {
        world.sent.push(Sent { reactor: 0, is_topic: false, to: key });
        let (from, id) = (From::Operator { question: key as u64 }, MessageId([1; 16]));
        let committed = committed(from, "q", world.sent.len() - 1, KEYS[key], id);
        let home = usize::from(world.homes.of_key(&KEYS[key]));
        world.relays[home].receive([Mail::Word(Word::Committed(committed))]);
        world.settle();
        let told = world.operator.try_recv().unwrap();
        let receipt = told.receipt.unwrap();
        assert_eq!((told.question, receipt.outcome, receipt.id), (key as u64, outcome, Some(id)));
        assert_eq!(told.connections, u32::from(outcome == Outcome::Delivered));
    }
    let receipt = Receipt {
        re: "q".into(),
        to: Recipient::Key(KEYS[1]),
        id: None,
        outcome: Outcome::Refused(Refused::MailboxFull),
    };
    let word = Word::Receipt { from: From::Operator { question: 9 }, receipt: receipt.clone() };
    assert_eq!(world.homes.of_word(&word), 0);
    world.relays[0].receive([Mail::Word(word)]);
    world.settle();
    assert_eq!(world.operator.try_recv(), Ok(Told { question: 9, connections: 0, receipt: Some(receipt) }));
}
