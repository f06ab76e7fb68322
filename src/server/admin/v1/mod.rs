//! What a backend asks: messages to keys and topics, and who is there (`docs/openapi.yaml`). Reactors and the store are
//! asked by letter, and answer on a thread of their own time; a request waits for that no longer than a few seconds.

mod disconnect;
mod keys;
mod once;
mod online;
mod publish;
mod questions;
mod request;
mod send;

use self::{
    once::Once,
    questions::{Asked, Questions},
};
use super::{Answer, Head, Route, Service};
use crate::{
    app::{
        config::Config,
        crypto::rng::Rng,
        figures::Figures,
        mail::{Job, MessageId},
        protocol::encode::{self, Message},
        relay::{Command, Homes, Tally, Told},
    },
    engine::{inbox::Post, outbox::Shared, wire::Opcode},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        mpsc::{Receiver, Sender},
    },
    thread::{self, Builder},
    time::{Duration, Instant, UNIX_EPOCH},
};

pub const ROUTES: &[&[Route]] =
    &[send::ROUTES, publish::ROUTES, disconnect::ROUTES, online::ROUTES, keys::ROUTES];

/// A request waits so long for its answers.
pub const ANSWER_MOST: Duration = Duration::from_secs(5);
/// From a full inbox to the next try.
const TRY_AGAIN: Duration = Duration::from_millis(2);

/// What a server gives for its operator's messages.
pub struct Office {
    pub config: Arc<Config>,
    pub homes: Homes,
    /// To all reactors, in their order.
    pub reactors: Vec<Arc<dyn Post<Command>>>,
    /// An inbox of the store's of its own; without one nothing is kept.
    pub store: Option<Arc<dyn Post<Job>>>,
    /// What reactors tell the operator comes out of `told`.
    pub operator: Sender<Told>,
    pub told: Receiver<Told>,
    pub answer_most: Duration,
}

/// The operator as one of those who send messages.
pub struct Backend {
    config: RwLock<Arc<Config>>,
    homes: Homes,
    reactors: Vec<Arc<dyn Post<Command>>>,
    store: Option<Arc<dyn Post<Job>>>,
    operator: Sender<Told>,
    answer_most: Duration,
    questions: Arc<Questions>,
    once: Once,
    rng: Mutex<Rng>,
}

impl Backend {
    /// # Errors
    /// There is no thread to be had, or no random bytes.
    pub fn new(office: Office) -> io::Result<Self> {
        let Office { config, homes, reactors, store, operator, told, answer_most } = office;
        let questions = Arc::new(Questions::default());
        let asked = questions.clone();
        // Reactors neither wait for who asks nor share a lock with it.
        Builder::new()
            .name("mida-told".to_owned())
            .spawn(move || told.into_iter().for_each(|told| asked.told(told)))?;
        let rng = Mutex::new(Rng::from_os()?);
        let config = RwLock::new(config);
        Ok(Self {
            config,
            homes,
            reactors,
            store,
            operator,
            answer_most,
            questions,
            once: Once::default(),
            rng,
        })
    }

    /// From now on this holds.
    pub fn reload(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The receipts that the operator got.
    pub fn counts(&self) -> Figures {
        self.questions.counts()
    }

    /// Bytes of a request: what a client's message may have.
    pub fn request_bytes(&self) -> usize {
        self.config().limits.message_bytes as usize
    }

    fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn until(&self) -> Instant {
        Instant::now() + self.answer_most
    }

    /// A question to reactors or store.
    fn ask(&self, answers: usize, bytes: usize) -> Result<Asked, Answer> {
        self.questions.ask(answers, bytes as u64).ok_or_else(|| {
            let line = "Too many messages of the operator are on their way: try again.";
            Answer::error((429, "rate_limited"), line)
        })
    }

    /// Asks every reactor for something that it tallies: how many connections were reached, and whether all have said so.
    fn tally(&self, bytes: usize, command: impl Fn(Arc<Tally>) -> Command) -> Result<(u64, bool), Answer> {
        let until = self.until();
        let asked = self.ask(self.reactors.len(), bytes)?;
        let mut all = true;
        for way in &self.reactors {
            let tally = Arc::new(Tally::new(asked.number, self.operator.clone()));
            // What was not posted is dropped, and tells of no connection.
            all &= post(&**way, command(tally), until).is_ok();
        }
        let (told, is_whole) = asked.wait(until);
        Ok((told.iter().map(|told| u64::from(told.connections)).sum(), all && is_whole))
    }

    /// Event 0x82 of the operator, with a fresh id.
    fn encode(&self, topic: Option<&str>, body: &[u8]) -> (MessageId, Arc<Shared>) {
        let ts_ms = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64);
        let mut id = [0; 16];
        id[..6].copy_from_slice(&ts_ms.to_be_bytes()[2..]);
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut id[6..]);
        let id = MessageId(id);
        let message = Message { id, from: None, topic, ts_ms, body };
        (id, Shared::new(Opcode::Text, |text| encode::message(text, &message)))
    }

    /// Does what is not kept by the store, once for each Idempotency-Key.
    fn once(
        &self,
        head: &Head,
        body: &[u8],
        act: impl FnOnce() -> Result<Answer, Answer>,
    ) -> Result<Answer, Answer> {
        match request::idempotency_key(head)? {
            None => act(),
            Some(key) => {
                let content = Sha256::new().chain_update(&head.path).chain_update([0]).chain_update(body);
                self.once.answer(key, content.finalize().into(), act)
            }
        }
    }
}

/// Answers a request that changes something.
fn act(service: &Service, act: impl FnOnce(&Backend) -> Result<Answer, Answer>) -> Answer {
    if service.running.is_draining() {
        return Answer::error((503, "draining"), "The server is going away: try again.");
    }
    match backend(service).and_then(act) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn backend(service: &Service) -> Result<&Backend, Answer> {
    service
        .backend
        .as_ref()
        .ok_or_else(|| Answer::error((503, "no_backend"), "This server takes no messages."))
}

/// Leaves a letter as soon as there is room.
fn post<T>(way: &dyn Post<T>, mut letter: T, until: Instant) -> Result<(), T> {
    loop {
        match way.post(letter) {
            Err(back) if Instant::now() < until => letter = back,
            done => return done,
        }
        thread::park_timeout(TRY_AGAIN);
    }
}

/// Not all was heard of in time: `known` is what is.
fn late(known: Value) -> Answer {
    let line = "Not all was heard of in time: what is not told may have been done or not.";
    Answer::error_with((504, "timeout"), line, known)
}

/// `known`, if that is all there is to know.
fn whole(known: Value, is_whole: bool) -> Result<Answer, Answer> {
    if is_whole { Ok(Answer::json(200, &known)) } else { Err(late(known)) }
}

/// How many connections a message of this id was brought to.
fn delivered(connections: u64, id: MessageId, is_whole: bool) -> Result<Answer, Answer> {
    whole(json!({ "delivered": connections, "id": id.to_string() }), is_whole)
}
