//! Several cores with their clients, and a store that is a map.

use super::super::*;
use crate::app::{
    mail::{Committed, From, Job, MessageId, Outcome, Receipt, Recipient, Refused, Word},
    relay::{Command, Homes, Mail, Offices, Task},
};
use crate::engine::inbox::Post;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

/// What is posted, without a bound.
pub struct Pile<T>(Mutex<VecDeque<T>>);

impl<T> Default for Pile<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Send> Post<T> for Pile<T> {
    fn post(&self, letter: T) -> Result<(), T> {
        self.0.lock().unwrap().push_back(letter);
        Ok(())
    }
}

impl<T> Pile<T> {
    fn take(&self) -> VecDeque<T> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// As a store, in memory.
#[derive(Default)]
pub struct Store {
    pub accounts: HashMap<Identity, Box<str>>,
    pub mailboxes: BTreeMap<Identity, BTreeMap<MessageId, Arc<Shared>>>,
    pub next: u64,
    /// Jobs that are done, or left until somebody says so.
    pub is_stopped: bool,
    pub waiting: VecDeque<Job>,
    pub asked: usize,
}

impl Store {
    fn work(&mut self, jobs: VecDeque<Job>) -> Vec<Word> {
        self.asked += jobs.len();
        self.waiting.extend(jobs);
        let mut words = Vec::new();
        while !self.is_stopped
            && let Some(job) = self.waiting.pop_front()
        {
            self.job(job, &mut words);
        }
        words
    }

    fn job(&mut self, job: Job, words: &mut Vec<Word>) {
        match job {
            Job::Login(login) => {
                let known = self.accounts.contains_key(&login.identity);
                let result = match login.method {
                    event::Method::Signup if known => Err(event::Reason::AccountExists),
                    event::Method::Login if !known => Err(event::Reason::NoAccount),
                    _ => {
                        let name = self.accounts.entry(login.identity).or_default();
                        if let Some(said) = login.display_name {
                            *name = said;
                        }
                        let unread = self.mailboxes.get(&login.identity).map_or(0, BTreeMap::len);
                        Ok(crate::app::mail::Account {
                            display_name: name.clone(),
                            unread_messages: unread as u64,
                        })
                    }
                };
                words.push(Word::Account { at: login.at, result });
            }
            Job::Look { .. } => panic!("no session looks"),
            Job::Send(send) => {
                for to in &send.to {
                    self.next += 1;
                    let mut id = [0; 16];
                    id[8..].copy_from_slice(&self.next.to_be_bytes());
                    let id = MessageId(id);
                    if send.body.starts_with(b"\"full") {
                        let outcome = Outcome::Refused(Refused::MailboxFull);
                        let receipt =
                            Receipt { re: send.re.clone(), to: Recipient::Key(*to), id: None, outcome };
                        words.push(Word::Receipt { from: send.from.clone(), receipt });
                        continue;
                    }
                    let committed = Committed { send: send.clone(), to: *to, id };
                    self.mailboxes.entry(*to).or_default().insert(id, committed.message());
                    words.push(Word::Committed(committed));
                }
            }
            Job::Ack { identity, ids } => {
                if let Some(mailbox) = self.mailboxes.get_mut(&identity) {
                    ids.iter().for_each(|id| drop(mailbox.remove(id)));
                }
                words.push(Word::Acked { identity, ids });
            }
            Job::Fetch { at, identity, after, messages, .. } => {
                let all = self.mailboxes.entry(identity).or_default();
                let behind = || all.iter().filter(|(id, _)| **id > after);
                let found: Vec<_> =
                    behind().take(messages as usize).map(|(id, message)| (*id, message.clone())).collect();
                let more = behind().count() > found.len();
                words.push(Word::Backlog { at, messages: found, more });
            }
        }
    }
}

/// A client of the net.
pub struct Peer {
    pub core: usize,
    pub session: Session,
    pub heard: Heard,
    pub secret: SecretKey,
}

/// Several cores, their clients and the store.
pub struct Net {
    pub config: Config,
    pub cores: Vec<Sessions>,
    pub inboxes: Vec<Arc<Pile<Command>>>,
    pub jobs: Vec<Arc<Pile<Job>>>,
    pub homes: Homes,
    pub store: Option<Store>,
    pub peers: Vec<Peer>,
    pub rng: Rng,
}

impl Net {
    pub fn new(cores: usize, store: bool) -> Self {
        Self::of(cores, store, Config::default())
    }

    pub fn of(cores: usize, has_store: bool, config: Config) -> Self {
        let homes = Homes::new([7; 16], cores);
        let inboxes: Vec<Arc<Pile<Command>>> = (0..cores).map(|_| Arc::default()).collect();
        let jobs: Vec<Arc<Pile<Job>>> = (0..cores).map(|_| Arc::default()).collect();
        let online = Online::new(cores);
        let core = |own: usize| {
            let mut sessions = Sessions::new(Rng::from_seed([own as u8; 32]), online.of(own));
            let store = has_store.then(|| jobs[own].clone() as Arc<dyn Post<Job>>);
            let mut relay = Relay::new(own as u16, Offices { homes: homes.clone(), store, operator: None });
            relay.meet(inboxes.iter().map(|inbox| inbox.clone() as Arc<dyn Post<Command>>).collect());
            sessions.connect(relay, 1_700_000_000_000);
            sessions.turn(1_000, &config);
            sessions
        };
        let cores = (0..cores).map(core).collect();
        let store = has_store.then(Store::default);
        let (peers, rng) = (Vec::new(), Rng::from_seed([8; 32]));
        Self { config, cores, inboxes, jobs, homes, store, peers, rng }
    }

    /// A client that is connected.
    pub fn connect(&mut self, core: usize) -> usize {
        let secret = SecretKey::generate(&mut self.rng);
        self.connect_as(core, secret)
    }

    pub fn connect_as(&mut self, core: usize, secret: SecretKey) -> usize {
        let number = self.peers.len();
        let heard = Heard { slot: number as u32, ..Heard::default() };
        let mut peer = Peer { core, session: Session::new(&self.config, 1_000), heard, secret };
        self.cores[core].opened(&mut peer.session, &self.config, HOST, &mut peer.heard);
        peer.heard.said.clear();
        self.peers.push(peer);
        number
    }

    /// One that has proven its key.
    pub fn member(&mut self, core: usize) -> usize {
        let peer = self.connect(core);
        self.log_in(peer, "");
        self.hears(peer);
        peer
    }

    /// Another device of the same key.
    pub fn device(&mut self, core: usize, of: usize) -> usize {
        let secret = SecretKey::from_hex(&self.peers[of].secret.to_hex()[..]).unwrap();
        let peer = self.connect_as(core, secret);
        self.log_in(peer, "");
        peer
    }

    pub fn log_in(&mut self, peer: usize, rest: &str) {
        let key = self.key(peer);
        self.says(peer, &format!(r#"{{"t":2,"data":{{"pubKey":"{key}"{rest}}}}}"#));
        let challenge = self.hears(peer).pop().unwrap()["data"]["challenge"].clone();
        let challenge = Challenge::from_hex(challenge.as_str().unwrap().as_bytes()).unwrap();
        self.solve(peer, &challenge);
        self.run();
    }

    pub fn solve(&mut self, peer: usize, challenge: &Challenge) {
        let secret = &self.peers[peer].secret;
        let solution = sign_mida_v1(secret, HOST, challenge, &secret.identity(), &mut self.rng);
        let solution = std::str::from_utf8(&solution).unwrap().to_owned();
        self.says(peer, &format!(r#"{{"t":4,"data":{{"scheme":"mida-v1","solution":"{solution}"}}}}"#));
    }

    pub fn key(&self, peer: usize) -> Identity {
        self.peers[peer].secret.identity()
    }

    pub fn says(&mut self, peer: usize, text: &str) {
        let Peer { core, session, heard, .. } = &mut self.peers[peer];
        let sessions = &mut self.cores[*core];
        let mut decoder = Decoder::new(&self.config.limits);
        let messages = decoder.decode(text.as_bytes(), &self.config.limits, session.batching()).unwrap();
        for message in &messages {
            sessions.message(session, &self.config, &message, heard);
        }
    }

    /// Says it, and lets everything come to rest.
    pub fn asks(&mut self, peer: usize, text: &str) -> Vec<Value> {
        self.says(peer, text);
        self.run();
        self.hears(peer)
    }

    pub fn send(&mut self, peer: usize, to: &[usize], rest: &str) -> Vec<Value> {
        let to: Vec<_> = to.iter().map(|to| format!("\"{}\"", self.key(*to))).collect();
        self.asks(peer, &format!(r#"{{"t":129,"data":{{"to":[{}],{rest}}}}}"#, to.join(",")))
    }

    pub fn hears(&mut self, peer: usize) -> Vec<Value> {
        self.peers[peer].heard.said.drain(..).map(|(_, event)| event).collect()
    }

    /// Turns of all cores and of the store, until there is nothing left to do.
    pub fn run(&mut self) {
        loop {
            let mut is_idle = true;
            for core in 0..self.cores.len() {
                for command in self.inboxes[core].take() {
                    let relay = &mut self.cores[core].relay;
                    match command {
                        Command::Mail(mail) => relay.receive(mail),
                        Command::Words(words) => relay.receive(words.into_iter().map(Mail::Word)),
                        _ => panic!("nobody else writes"),
                    }
                    is_idle = false;
                }
                while let Some(task) = self.cores[core].relay.next_task() {
                    self.carry_out(core, task);
                    is_idle = false;
                }
                self.cores[core].relay.end_turn(0);
                let jobs = self.jobs[core].take();
                is_idle &= jobs.is_empty();
                if let Some(store) = &mut self.store {
                    for word in store.work(jobs) {
                        is_idle = false;
                        let home = usize::from(self.homes.of_word(&word));
                        assert!(self.inboxes[home].post(Command::Words(vec![word])).is_ok());
                    }
                }
            }
            if is_idle && self.inboxes.iter().all(|inbox| inbox.0.lock().unwrap().is_empty()) {
                return;
            }
        }
    }

    /// As the application does with connections of the engine.
    pub fn carry_out(&mut self, core: usize, task: Task) {
        let Self { cores, peers, config, .. } = self;
        let sessions = &mut cores[core];
        let open = |peer: &&mut Peer| peer.core == core && peer.heard.closed.is_none();
        match task {
            Task::Bring(ticket) => {
                let slots: Vec<u32> = match &ticket.receipt.to {
                    Recipient::Key(identity) => sessions.connections_of(identity).collect(),
                    Recipient::Topic(topic) => sessions.subscribers_of(topic).collect(),
                };
                let mut taken = 0;
                for slot in slots {
                    if let Some(peer) = peers.get_mut(slot as usize).filter(open) {
                        taken += u32::from(sessions.bring(&peer.session, &ticket, &mut peer.heard));
                    }
                }
                sessions.relay.brought(ticket, taken);
            }
            Task::Done(ticket) => {
                let From::Member { at, .. } = ticket.from else { panic!("a member") };
                if let Some(receipt) = sessions.done(ticket, config)
                    && let Some(peer) = peers.get_mut(at.token.index as usize).filter(open)
                {
                    sessions.say_receipt(&peer.session, &receipt, &mut peer.heard);
                }
            }
            Task::Freed { identity, ids } => {
                for slot in sessions.connections_of(&identity).collect::<Vec<_>>() {
                    let peer = &mut peers[slot as usize];
                    sessions.freed(&peer.session, &ids, &mut peer.heard);
                }
            }
            Task::Word(Word::Account { at, result }) => {
                let peer = &mut peers[at.token.index as usize];
                sessions.account(&mut peer.session, config, result, &mut peer.heard);
            }
            Task::Word(Word::Receipt { from: From::Member { at, .. }, receipt }) => {
                sessions.answered(at, &receipt);
                if let Some(peer) = peers.get_mut(at.token.index as usize).filter(open) {
                    sessions.say_receipt(&peer.session, &receipt, &mut peer.heard);
                }
            }
            Task::Word(Word::Backlog { at, messages, more }) => {
                if let Some(peer) = peers.get_mut(at.token.index as usize).filter(open) {
                    sessions.backlog(&peer.session, &messages, more, &mut peer.heard);
                }
            }
            task => panic!("{task:?}"),
        }
    }

    pub fn close(&mut self, peer: usize) {
        let Peer { core, session, heard, .. } = &mut self.peers[peer];
        heard.closed = Some(Close::GoingAway);
        self.cores[*core].closing(session);
        self.cores[*core].closed(*session, heard.number());
        self.run();
    }

    /// All leave; nothing of them may stay.
    pub fn finish(mut self) {
        for peer in 0..self.peers.len() {
            if self.peers[peer].heard.closed != Some(Close::GoingAway) {
                self.close(peer);
            }
        }
        for sessions in &self.cores {
            let figures = sessions.figures();
            assert_eq!((figures.windows, figures.topics, figures.members), (0, 0, 0));
            assert_eq!((figures.on_the_way, figures.on_the_way_bytes), (0, 0));
            assert_eq!(sessions.relay.known(), (0, 0));
        }
    }
}
