//! What a seed decides before anything happens: the kernel's faults, the server's settings, and who comes.

use crate::{client::Kind, wire::HOST};
use mida::{
    app::{config::Config, protocol::encode::AuthMode},
    engine::{
        io::sim::{Dice, Faults},
        limits::Limits,
    },
};
use std::sync::Arc;

#[derive(Debug)]
pub struct Plan {
    pub faults: Faults,
    pub config: Config,
    pub capacity: usize,
    /// How many clients come, and how many at once.
    pub clients: usize,
    pub crowd: usize,
    /// When they have all come, about.
    pub last_ms: u64,
    /// Limits that honest clients may run into.
    pub is_tight: bool,
    /// The server's thread stands still for so long at that time.
    pub jump: Option<(u64, u64)>,
    pub drains: bool,
    /// Milliseconds between two notes of the operator, about.
    pub notes_ms: u64,
    /// Bytes of a note at most: sealing takes its time in a debug build.
    pub note_bytes: u64,
    pub kinds: &'static [Kind],
}

/// Everybody, the honest more often.
const MIXED: &[Kind] = &[
    Kind::Steady,
    Kind::Steady,
    Kind::Steady,
    Kind::Member,
    Kind::Member,
    Kind::Silent,
    Kind::Silent,
    Kind::Dead,
    Kind::Sloth,
    Kind::HalfRequest,
    Kind::HalfMessage,
    Kind::BadRequest,
    Kind::BadFrame,
    Kind::BadJson,
    Kind::Flood,
    Kind::Pings,
    Kind::Forger,
    Kind::Expired,
    Kind::Resets,
    Kind::Ends,
];
const HONEST: &[Kind] = &[Kind::Steady, Kind::Steady, Kind::Member, Kind::Silent];
const CHURN: &[Kind] = &[Kind::Steady, Kind::Sloth, Kind::Resets, Kind::Ends, Kind::Resets, Kind::Steady];
const IDLE: &[Kind] = &[Kind::Silent, Kind::Silent, Kind::Silent, Kind::Silent, Kind::Silent, Kind::Steady];

impl Plan {
    pub fn new(dice: &mut Dice) -> Self {
        let is_large = dice.one_in(64);
        let is_tight = !is_large && dice.one_in(5);
        let kinds = match dice.below(6) {
            _ if is_large => IDLE,
            0 => HONEST,
            1 | 2 => CHURN,
            _ => MIXED,
        };
        let clients = match is_large {
            true => 1_100 + dice.below(1_400),
            false => 40 + dice.below(80),
        } as usize;
        let mut limits = Limits {
            upgrade_ms: 2_000,
            message_ms: 3_000,
            challenge_ms: 4_000,
            anonymous_messages_per_minute: 60,
            crypto_us_per_turn: dice.pick([500, 500, 70, 30]),
            ..Limits::default()
        };
        // Where there is little budget, it does not suffice for everybody in time.
        limits.login_wait_ms = if limits.crypto_us_per_turn == 30 { 40 } else { 15_000 };
        if is_tight {
            limits.queue_soft_bytes = 6_000;
            limits.queue_soft_ms = 800;
            limits.queue_hard_bytes = 20_000;
            limits.reactor_queue_bytes = dice.pick([25_000, 60_000, 256 << 20]);
        }
        let config = Config {
            name: "sim".to_owned(),
            note: Some("n0:".to_owned()),
            heartbeat_ms: dice.pick([500, 1_000, 5_000]),
            batching: dice.one_in(2),
            auth: if dice.one_in(6) { AuthMode::Key } else { AuthMode::Signature },
            auth_within_ms: if dice.one_in(4) { 6_000 } else { 0 },
            bound_only: dice.one_in(2),
            hosts: vec![HOST.to_owned()],
            limits: Arc::new(limits),
            ..Config::default()
        };
        Self {
            faults: faults(dice, clients),
            capacity: if is_tight { clients / 2 } else { 2 * clients },
            config,
            clients,
            crowd: if is_large { 400 } else { 1 + dice.below(12) as usize },
            last_ms: 4_000 + dice.below(6_000),
            is_tight,
            jump: dice.one_in(3).then(|| (dice.below(9_000), dice.pick([700, 5_000, 3_600_000]))),
            drains: dice.one_in(2),
            note_bytes: match () {
                () if is_large => 30,
                () if !kinds.contains(&Kind::Member) => dice.pick([1_100, 1_500, 9_000]),
                () => dice.pick([30, 30, 1_100]),
            },
            notes_ms: if is_large { 1_500 } else { dice.pick([200, 400, 1_000]) },
            kinds,
        }
    }
}

fn faults(dice: &mut Dice, clients: usize) -> Faults {
    if dice.one_in(10) {
        return Faults::NONE;
    }
    Faults {
        untried: dice.pick([0, 1, 2, 8]),
        cut_send: dice.pick([0, 2, 5]),
        cut_receive: dice.pick([0, 3, 10]),
        late_sent: dice.pick([0, 1, 2]),
        stale: dice.pick([0, 3]),
        accept_fails: dice.pick([0, 0, 20]),
        open_fails: dice.pick([0, 0, 60]),
        early: dice.pick([0, 4]),
        late: dice.pick([0, 6]),
        late_ms: 15,
        events: dice.pick([usize::MAX, usize::MAX, 1_024, 12]),
        descriptors: dice.pick([usize::MAX, usize::MAX, clients / 3]),
    }
}
