//! What it costs to tell everybody: one message of 200 bytes, encoded once, through the queues of 10,000
//! connections, with a send for each. No kernel: what it would do is left out.

use super::clock::{Criterion, Group};
use super::inputs::{self, MANY, Rotation};
use crate::frames;
use criterion::{BenchmarkId, SamplingMode, Throughput};
use mida::{
    app::{
        Mida,
        config::Config,
        crypto::{key::SecretKey, rng::Rng},
        protocol::encode::{self, AuthMode},
        relay::{Command, Online, Reload},
    },
    engine::{
        io::memory::{Memory, Number},
        limits::Limits,
        reactor::{Letter, Reactor, Settings},
    },
};
use std::sync::Arc;

const CONNECTIONS: usize = 10_000;
/// The message, before it is sealed.
const EVENT_BYTES: usize = 200;
/// Time stands still: no heartbeat and no epoch ends.
const NOW_MS: u64 = 1;

pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    group.throughput(Throughput::Elements(CONNECTIONS as u64));
    // An iteration takes milliseconds.
    group.sampling_mode(SamplingMode::Flat);
    fan_out(&mut group, "clear", false);
    fan_out(&mut group, "sealed", true);
    group.finish();
}

fn fan_out(group: &mut Group<'_>, name: &str, sealed: bool) {
    // Only if this bench was asked for: 10,000 keys take a while.
    let mut everybody = None;
    group.bench_function(BenchmarkId::new(name, CONNECTIONS), |bencher| {
        let everybody = everybody.get_or_insert_with(|| Everybody::checked(CONNECTIONS, sealed));
        bencher.iter(|| everybody.tell());
    });
}

/// All connections of a server, each of which is told what the operator changes in event 1.
pub struct Everybody {
    connections: usize,
    reactor: Reactor<Memory, Mida>,
    news: Rotation<Reload>,
}

impl Everybody {
    pub fn checked(connections: usize, sealed: bool) -> Self {
        let mut rng = inputs::rng();
        let config = Config {
            auth: AuthMode::Key,
            // No limit: all epochs can be derived in the turn that needs them.
            limits: Arc::new(Limits { crypto_us_per_turn: u32::MAX, ..Limits::default() }),
            ..Config::default()
        };
        let news = Rotation::new((0..MANY).map(|_| news(&mut rng, &config)));
        let settings = Settings {
            limits: config.limits.clone(),
            proxies: Arc::default(),
            heartbeat_ms: u64::MAX,
            capacity: connections,
        };
        let app = Mida::new(Arc::new(config), Online::new(1), inputs::rng());
        let reactor = Reactor::new(Memory::new(), app, settings, Arc::default(), 0);
        let mut everybody = Self { connections, reactor, news };
        let clients: Vec<(Number, Option<SecretKey>)> =
            (0..connections).map(|_| everybody.open(sealed.then(|| SecretKey::generate(&mut rng)))).collect();
        let members = if sealed { connections } else { 0 };
        assert_eq!(everybody.reactor.connections(), connections);
        assert_eq!(everybody.reactor.app().members(), members);
        everybody.check(&clients);
        everybody
    }

    /// A client comes, and names its key if it has one.
    fn open(&mut self, secret: Option<SecretKey>) -> (Number, Option<SecretKey>) {
        let io = self.reactor.io();
        let number = io.connect(([127, 0, 0, 1], 9).into());
        io.feed(number, frames::UPGRADE);
        if let Some(secret) = &secret {
            let auth = format!(r#"{{"t":2,"data":{{"pubKey":"{}"}}}}"#, secret.identity());
            io.feed(number, &frames::text(&auth));
        }
        self.reactor.turn(NOW_MS);
        // What it is greeted with is of no interest here.
        self.reactor.io().take(number);
        (number, secret)
    }

    /// Tells everybody the next note; returns when all that has been sent.
    pub fn tell(&mut self) {
        let before = self.reactor.io().sends;
        let letter = Letter::Command(Command::Reload(self.news.turn().clone()));
        assert!(self.reactor.inbox().post(letter).is_ok());
        loop {
            self.reactor.turn(NOW_MS);
            if self.reactor.wakes_ms() > NOW_MS {
                break;
            }
        }
        assert_eq!(self.reactor.io().sends - before, self.connections as u64);
    }

    /// Everybody gets one frame, and it says the note; what is sealed, the stock crate opens.
    fn check(&mut self, clients: &[(Number, Option<SecretKey>)]) {
        self.tell();
        // The news in turn now are the ones that were told last.
        let note = self.news.current().config.note.clone();
        for (number, secret) in clients {
            let stream = self.reactor.io().take(*number);
            let [(opcode, payload)] = &frames::parse(&stream)[..] else {
                panic!("not one frame: {stream:?}")
            };
            let event = match secret {
                Some(secret) => ecies::decrypt(secret.as_bytes(), payload).expect("the stock crate opens it"),
                None => payload.clone(),
            };
            assert_eq!(*opcode, if secret.is_some() { 2 } else { 1 });
            assert_eq!(event.len(), EVENT_BYTES);
            let event: serde_json::Value = serde_json::from_slice(&event).expect("it is JSON");
            assert_eq!((&event["t"], event["data"]["note"].as_str()), (&1.into(), note.as_deref()));
        }
        self.reactor.io().discard = true;
    }
}

/// A reload that differs from the others in its note, which makes the event as long as it has to be.
fn news(rng: &mut Rng, before: &Config) -> Reload {
    let mut config = Config { note: Some(String::new()), ..before.clone() };
    let mut event = Vec::new();
    encode::metadata(&mut event, &config.metadata(0, NOW_MS));
    config.note = Some(inputs::words(rng, EVENT_BYTES - event.len()));
    Reload::new(before, Arc::new(config), &Online::new(1), NOW_MS)
}
