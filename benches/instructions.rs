//! How many instructions the hot path takes, step by step: `benches/instructions.sh`. Inputs are those of
//! `hot.rs`, where their results are checked.

use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use hot::inputs::{self, MANY, Rotation};
use mida::{
    app::{
        crypto::{
            key::SecretKey,
            seal::{Epoch, OVERHEAD},
        },
        protocol::{decode::Decoder, encode},
    },
    engine::{limits::Limits, timer::Wheel, wire::frame},
};
use std::hint::black_box;

#[path = "../tests/common/frames.rs"]
mod frames;

#[allow(dead_code, reason = "only the inputs are used")]
mod hot {
    pub mod auth;
    pub mod clock;
    pub mod decode;
    pub mod encode;
    pub mod fanout;
    pub mod handshake;
    pub mod inputs;
    pub mod seal;
    pub mod unmask;
    pub mod wheel;
}

/// What is counted: so many calls, or one call that serves so many connections. `instructions.sh` divides by it.
const CALLS: usize = 200;

/// One call of what a bench is about, with the next input.
type Call = Box<dyn FnMut()>;

/// A call that has been made before: what happens once in a process is not counted.
fn warm(mut call: impl FnMut() + 'static) -> Call {
    (0..MANY).for_each(|_| call());
    Box::new(call)
}

/// The call is given back, so that what it holds is dropped where nothing is counted.
#[inline]
fn calls(mut call: Call) -> Call {
    for _ in 0..CALLS {
        call();
    }
    call
}

#[library_benchmark(setup = sealing)]
#[bench::_200(200)]
#[bench::_1024(1_024)]
fn seal_session(call: Call) -> Call {
    calls(call)
}

fn sealing(bytes: usize) -> Call {
    let mut rng = inputs::rng();
    let mut epochs = hot::seal::epochs(&inputs::secrets(&mut rng, MANY), &mut rng);
    let mut texts = hot::seal::texts(&mut rng, bytes);
    let mut message = vec![0; OVERHEAD + bytes];
    warm(move || hot::seal::seal(epochs.turn(), texts.turn(), &mut message))
}

#[library_benchmark(setup = answering)]
fn encode_metadata(call: Call) -> Call {
    calls(call)
}

fn answering() -> Call {
    let mut answers = hot::encode::answers(hot::encode::configs().leak());
    let mut text = Vec::new();
    warm(move || {
        text.clear();
        encode::metadata(&mut text, answers.turn());
        black_box(&text);
    })
}

#[library_benchmark]
#[bench::_200(reading_messages())]
fn decode_message(call: Call) -> Call {
    calls(call)
}

#[library_benchmark]
#[bench::_8(reading_batches())]
fn decode_batch(call: Call) -> Call {
    calls(call)
}

fn reading_messages() -> Call {
    let mut rng = inputs::rng();
    reading((0..MANY).map(|n| hot::decode::login(&mut rng, n)).collect(), false)
}

fn reading_batches() -> Call {
    let mut rng = inputs::rng();
    reading((0..MANY).map(|_| hot::decode::batch(&mut rng)).collect(), true)
}

fn reading(texts: Vec<String>, batching: bool) -> Call {
    let mut texts = Rotation::new(texts);
    let limits = Limits::default();
    let mut decoder = Decoder::new(&limits);
    warm(move || {
        let messages = decoder.decode(texts.turn().as_bytes(), &limits, batching);
        for message in &messages.expect("it is well-formed") {
            black_box(&message);
        }
    })
}

#[library_benchmark(setup = unmasking)]
#[bench::_200(200)]
fn unmask(call: Call) -> Call {
    calls(call)
}

fn unmasking(bytes: usize) -> Call {
    let mut payloads = hot::unmask::payloads(&mut inputs::rng(), bytes);
    warm(move || {
        let hot::unmask::Masked { read, at, key } = payloads.turn();
        frame::unmask(black_box(&mut read[*at..][..bytes]), *key, 0);
    })
}

#[library_benchmark(setup = upgrading)]
fn handshake_upgrade(call: Call) -> Call {
    calls(call)
}

fn upgrading() -> Call {
    let limits = Limits::default();
    let mut requests = Rotation::new((0..MANY).map(hot::handshake::request));
    let mut response = Vec::new();
    warm(move || {
        response.clear();
        hot::handshake::answer(requests.turn(), &limits, &mut response);
        black_box(&response);
    })
}

#[library_benchmark(setup = verifying)]
fn auth_verify(call: Call) -> Call {
    calls(call)
}

fn verifying() -> Call {
    let mut rng = inputs::rng();
    let mut proofs = hot::auth::proofs(&inputs::secrets(&mut rng, MANY), &mut rng);
    warm(move || assert_eq!(proofs.turn().check(hot::auth::HOST), Ok(())))
}

#[library_benchmark(setup = deriving)]
fn auth_derive(call: Call) -> Call {
    calls(call)
}

fn deriving() -> Call {
    let mut rng = inputs::rng();
    let secrets = inputs::secrets(&mut rng, MANY);
    let mut identities = Rotation::new(secrets.iter().map(SecretKey::identity));
    warm(move || {
        black_box(Epoch::derive(&identities.turn().point(), 0, &mut rng));
    })
}

#[library_benchmark(setup = arming)]
fn wheel_arm(call: Call) -> Call {
    calls(call)
}

fn arming() -> Call {
    let mut timers = Timers::armed();
    warm(move || timers.arm())
}

#[library_benchmark(setup = expiring)]
fn wheel_expire(call: Call) -> Call {
    calls(call)
}

fn expiring() -> Call {
    let mut timers = Timers::armed();
    warm(move || timers.expire())
}

/// A timer for each of 10,000 connections.
struct Timers {
    wheel: Wheel,
    slots: hot::wheel::Slots,
    indexes: Rotation<u32>,
    deadlines: Rotation<u64>,
}

impl Timers {
    fn armed() -> Self {
        use hot::wheel::{CONNECTIONS, SPREAD_MS, Slot, Slots};
        let mut rng = inputs::rng();
        let mut timers = Self {
            wheel: Wheel::default(),
            slots: Slots(vec![Slot::default(); CONNECTIONS as usize]),
            indexes: Rotation::new((0..CONNECTIONS).map(|n| n * 7_919 % CONNECTIONS)),
            deadlines: Rotation::new((0..CONNECTIONS + 7).map(|_| u64::from(1 + rng.below(SPREAD_MS)))),
        };
        (0..CONNECTIONS).for_each(|_| timers.arm());
        timers
    }

    fn arm(&mut self) {
        self.wheel.arm(&mut self.slots, *self.indexes.turn(), *self.deadlines.turn());
    }

    /// Time passes until one fires, in the steps of a reactor that sleeps as long as it may.
    fn expire(&mut self) {
        while let Some(at_ms) = self.wheel.next_ms() {
            if let Some(fired) = self.wheel.pop(&mut self.slots, at_ms) {
                black_box(fired);
                return;
            }
        }
        panic!("nothing is armed");
    }
}

#[library_benchmark(setup = telling)]
#[bench::_200(false)]
fn fanout_clear(mut tell: Call) -> Call {
    tell();
    tell
}

#[library_benchmark(setup = telling)]
#[bench::_200(true)]
fn fanout_sealed(mut tell: Call) -> Call {
    tell();
    tell
}

fn telling(sealed: bool) -> Call {
    let mut everybody = hot::fanout::Everybody::checked(CALLS, sealed);
    warm(move || everybody.tell())
}

library_benchmark_group!(
    name = hot_path,
    benchmarks = [
        seal_session,
        encode_metadata,
        decode_message,
        decode_batch,
        unmask,
        handshake_upgrade,
        auth_verify,
        auth_derive,
        wheel_arm,
        wheel_expire,
        fanout_clear,
        fanout_sealed,
    ]
);

main!(
    // Instructions alone: a simulated cache would take time, and say little of the one at hand.
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = hot_path
);
