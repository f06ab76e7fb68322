//! What the operator has said, and what holds for all clients.

use mida::{
    app::{
        config::Config,
        protocol::encode::AuthMode,
        relay::{Command, Online, Reload},
    },
    engine::{io::sim::Dice, limits::Limits, reactor::Letter},
};
use std::sync::Arc;

/// The `uptime` of note 0: no server is up for so long, so it tells a note that is pushed from an answer.
pub const PUSHED: u64 = 1 << 50;

/// A note that everybody hears: event 1 as it was encoded once for all, and whether event 0 follows it.
pub struct Note {
    pub text: String,
    pub has_rules: bool,
}

pub struct Model {
    pub now_ms: u64,
    pub limits: Arc<Limits>,
    pub batching: bool,
    pub auth: AuthMode,
    pub auth_within_ms: u64,
    pub heartbeat_ms: u64,
    pub is_tight: bool,
    /// The note of this number is at this place; the first is in the first configuration and was not told.
    pub notes: Vec<Note>,
    pub is_draining: bool,
    /// Nobody pauses any more: the last note is to be heard.
    pub is_quiet: bool,
    config: Config,
    online: Online,
}

impl Model {
    pub fn new(config: Config, online: Online, is_tight: bool) -> Self {
        Self {
            now_ms: 0,
            limits: config.limits.clone(),
            batching: config.batching,
            auth: config.auth,
            auth_within_ms: config.auth_within_ms,
            heartbeat_ms: config.heartbeat_ms,
            is_tight,
            notes: vec![Note { text: String::new(), has_rules: false }],
            is_draining: false,
            is_quiet: false,
            config,
            online,
        }
    }

    /// How long a client that is honest does not read, at most.
    pub fn pause_ms(&self) -> u64 {
        self.heartbeat_ms / 8
    }

    pub fn last_note(&self) -> u64 {
        self.notes.len() as u64 - 1
    }

    /// The operator's next note, with new rules now and then: their `hb` says from which note on they are.
    pub fn note(&mut self, dice: &mut Dice, most_bytes: u64) -> Letter<Command> {
        let number = self.notes.len() as u64;
        let bytes = dice.pick([0, 30, 1_100, 1_500, 9_000]).min(most_bytes) as usize;
        let mut config = self.config.clone();
        // Neighbours differ, so that a segment in a wrong place is seen.
        let filler = (0..bytes).map(|at| char::from(b'a' + ((at / 26 + at + number as usize) % 26) as u8));
        config.note = Some(format!("n{number}:{}", filler.collect::<String>()));
        if dice.one_in(4) {
            config.heartbeat_ms = self.rules_hb_ms(number);
        }
        let reload = Reload::new(&self.config, Arc::new(config.clone()), &self.online, PUSHED + number);
        self.config = config;
        let text =
            reload.metadata.as_ref().map(|shared| String::from_utf8(shared.payload().to_vec()).unwrap());
        self.notes.push(Note { text: text.unwrap(), has_rules: reload.rules });
        Letter::Command(Command::Reload(reload))
    }

    /// A letter that nobody hears of.
    pub fn aside(&self) -> Letter<Command> {
        let config = Arc::new(self.config.clone());
        Letter::Command(Command::Reload(Reload::new(&self.config, config, &self.online, 0)))
    }

    pub fn rules_hb_ms(&self, number: u64) -> u64 {
        self.heartbeat_ms + 1_000_000 * number
    }
}
