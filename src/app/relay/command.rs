//! What a reactor's application is told by other threads.

use super::{Mail, Online, Tally};
use crate::{
    app::{config::Config, crypto::key::Identity, mail::Word, protocol::encode},
    engine::{app::About, outbox::Shared, wire::Opcode},
};
use std::sync::{Arc, mpsc::Sender};

/// What the server tells every core.
#[derive(Clone)]
pub enum Command {
    Reload(Reload),
    Find(Find),
    Everyone(Everyone),
    /// What another reactor had for this one at the end of a turn.
    Mail(Vec<Mail>),
    /// What the store says to connections of this reactor, or to the home of a key.
    Words(Vec<Word>),
}

/// Somebody asks which connections a key has.
#[derive(Clone)]
pub struct Find {
    pub identity: Identity,
    /// Who asks gets each; when all copies of this are gone the reactors have answered.
    pub found: Sender<Found>,
    /// Told with each, so that who asks knows which reactor it was.
    pub reactor: usize,
}

/// The operator has a message for every connection with a proven key.
#[derive(Clone)]
pub struct Everyone {
    /// Event 0x82.
    pub message: Arc<Shared>,
    pub tally: Arc<Tally>,
}

/// A connection that has proven a key, or named it where that is enough.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub reactor: usize,
    pub about: About,
    pub is_proven: bool,
}

/// So many connections of a key are told on each core.
pub const FOUND: usize = 256;

/// A new configuration holds, and those connected hear of what changed for them.
#[derive(Clone)]
pub struct Reload {
    pub config: Arc<Config>,
    /// Event 1, encoded once for all, if it says something else now.
    pub metadata: Option<Arc<Shared>>,
    /// Whether event 0 says something else now.
    pub rules: bool,
    /// Whether a key that was let in may be unwanted now.
    pub keys: bool,
}

impl Reload {
    /// From the configuration `before` to `config`, at `now_ms` of server time.
    pub fn new(before: &Config, config: Arc<Config>, online: &Online, now_ms: u64) -> Self {
        let metadata = config.tells_other_than(before).then(|| {
            let metadata = config.metadata(online.total(), now_ms);
            Shared::new(Opcode::Text, |text| encode::metadata(text, &metadata))
        });
        let (rules, keys) = (config.rules_other_than(before), config.admits_other_than(before));
        Self { metadata, rules, keys, config }
    }
}
