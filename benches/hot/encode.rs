//! What an answer costs to write, alone and in a batch.

use super::clock::Criterion;
use super::inputs::{self, MANY, Rotation};
use criterion::BenchmarkId;
use mida::{
    app::{
        Mida,
        config::Config,
        crypto::{key::SecretKey, rng::Rng},
        mail::{MessageId, Outcome, Receipt, Recipient, Refused},
        protocol::encode::{self, Message, Metadata},
        relay::Online,
        session::Session,
    },
    engine::{
        app::App,
        outbox::{Gather, Outbox},
    },
};
use serde_json::{Value, json};
use std::{hint::black_box, sync::Arc};

/// Messages in the batch.
const BATCH: usize = 8;

pub fn all(criterion: &mut Criterion) {
    let configs = configs();
    let mut group = criterion.benchmark_group("encode");

    let mut answers = answers(&configs);
    let mut text = Vec::new();
    for answer in answers.all() {
        text.clear();
        encode::metadata(&mut text, answer);
        assert_eq!(read(&text), expected(answer));
    }
    group.bench_function("metadata", |bencher| {
        bencher.iter(|| {
            text.clear();
            encode::metadata(&mut text, answers.turn());
            black_box(&text);
        });
    });

    let mut rng = inputs::rng();
    let mut receipts = receipts(&mut rng);
    for receipt in receipts.all() {
        text.clear();
        encode::receipt(&mut text, receipt);
        assert_eq!(read(&text)["data"]["re"], *receipt.re);
    }
    group.bench_function("receipt", |bencher| {
        bencher.iter(|| {
            text.clear();
            encode::receipt(&mut text, receipts.turn());
            black_box(&text);
        });
    });

    let senders = inputs::secrets(&mut rng, MANY).iter().map(SecretKey::identity).collect::<Vec<_>>();
    let bodies: Vec<String> = (0..MANY).map(|_| format!("\"{}\"", inputs::words(&mut rng, 37))).collect();
    let mut messages = Rotation::new(bodies.iter().zip(&senders).map(|(body, from)| Message {
        id: message_id(&mut rng),
        from: Some(from),
        topic: None,
        ts_ms: 1_700_000_000_000 + u64::from(rng.below(1_000_000)),
        body: body.as_bytes(),
    }));
    for message in messages.all() {
        text.clear();
        encode::message(&mut text, message);
        assert_eq!(text.len(), 200);
        assert_eq!(read(&text)["data"]["body"], read(message.body));
    }
    group.bench_function(BenchmarkId::new("message", 200), |bencher| {
        bencher.iter(|| {
            text.clear();
            encode::message(&mut text, messages.turn());
            black_box(&text);
        });
    });

    let mut turn = Turn::new();
    let answer = *answers.turn();
    let frame = turn.batch(|| answer);
    assert_eq!(frame[..2], [0x81, 126]);
    assert_eq!(frame[2..4], (frame.len() as u16 - 4).to_be_bytes());
    assert_eq!(read(&frame[4..]), json!({"count": BATCH, "data": vec![expected(&answer); BATCH]}));
    turn.end();
    group.bench_function(BenchmarkId::new("batch", BATCH), |bencher| {
        bencher.iter(|| {
            black_box(turn.batch(|| *answers.turn()));
            turn.end();
        });
    });
    group.finish();
}

/// What a turn of the reactor does for one connection that is owed several answers, in the clear.
struct Turn {
    app: Mida,
    session: Session,
    outbox: Outbox,
    queue: u32,
    gather: Option<Box<Gather>>,
}

impl Turn {
    fn new() -> Self {
        let config = Arc::new(Config { batching: true, ..Config::default() });
        let session = Session::new(&config, 0);
        let app = Mida::new(config, Online::new(1), inputs::rng());
        Self { app, session, outbox: Outbox::default(), queue: Outbox::NONE, gather: None }
    }

    /// Queues [`BATCH`] answers and flushes them; the bytes that the kernel would get.
    fn batch<'a>(&mut self, mut answer: impl FnMut() -> Metadata<'a>) -> &[u8] {
        let Self { app, session, outbox, queue, gather } = self;
        *queue = outbox.open();
        for _ in 0..BATCH {
            outbox.push_message(*queue, 0, |text| encode::metadata(text, &answer()));
        }
        *gather = outbox.gather(*queue, |run, gather| {
            app.flush(session, run, gather).expect("nothing to derive");
        });
        gather.as_ref().and_then(|gather| gather.as_slice()).expect("one segment")
    }

    /// The kernel took it all.
    fn end(&mut self) {
        if let Some(gather) = self.gather.take() {
            let bytes = gather.len();
            self.outbox.sent(self.queue, gather, bytes);
        }
        self.outbox.close(self.queue);
        self.outbox.end_turn();
    }
}

/// What operators say: names and notes of any length, some with a field of their own or a line break.
pub fn configs() -> Vec<Config> {
    let mut rng = inputs::rng();
    let config = |n: usize| {
        let (name, note) = (12 + rng.below(20), 40 + rng.below(80));
        let mut note = inputs::words(&mut rng, note as usize);
        if n.is_multiple_of(8) {
            note.insert(20, '\n');
        }
        Config {
            name: inputs::words(&mut rng, name as usize),
            note: (n % 4 != 1).then_some(note),
            maintenance_at_ms: (n.is_multiple_of(3)).then_some(1_700_000_000_000),
            public: if n.is_multiple_of(2) { r#""region":"north""#.to_owned() } else { String::new() },
            ..Config::default()
        }
    };
    (0..MANY).map(config).collect()
}

pub fn answers(configs: &[Config]) -> Rotation<Metadata<'_>> {
    Rotation::new(configs.iter().zip(1_u64..).map(|(config, n)| config.metadata(n * 997, n * 86_399_999)))
}

/// What becomes of messages, most of the time.
fn receipts(rng: &mut Rng) -> Rotation<Receipt> {
    let receipt = |(n, secret): (usize, &SecretKey)| {
        let outcome = match n % 8 {
            0 => Outcome::Refused(Refused::Offline),
            1..=3 => Outcome::Stored,
            _ => Outcome::Delivered,
        };
        Receipt {
            re: format!("{}", 1_000_000 + n * 7_919).into(),
            to: Recipient::Key(secret.identity()),
            id: (n % 8 > 0).then_some(MessageId([n as u8; 16])),
            outcome,
        }
    };
    Rotation::new(inputs::secrets(rng, MANY).iter().enumerate().map(receipt))
}

fn message_id(rng: &mut Rng) -> MessageId {
    let mut bytes = [0; 16];
    rng.fill(&mut bytes);
    MessageId(bytes)
}

fn read(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("it is JSON")
}

fn expected(answer: &Metadata<'_>) -> Value {
    let mut data = json!({"name": answer.name, "online": answer.online, "uptime": answer.uptime_ms});
    if let Some(note) = answer.note {
        data["note"] = note.into();
    }
    if let Some(maintenance_in_ms) = answer.maintenance_in_ms {
        data["maintenanceIn"] = maintenance_in_ms.into();
    }
    if !answer.public.is_empty() {
        data["region"] = "north".into();
    }
    json!({"t": 1, "data": data})
}
