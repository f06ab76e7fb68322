//! What the hot path costs, step by step: `cargo bench`. What each id measures is in `README.md`.

use criterion::Criterion;
use std::time::Duration;

#[path = "../tests/common/frames.rs"]
mod frames;

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

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(hot::clock::CpuTime)
        .warm_up_time(Duration::from_secs(2))
        .measurement_time(Duration::from_secs(10))
        .noise_threshold(0.02)
        .without_plots()
        .configure_from_args();
    hot::seal::all(&mut criterion);
    hot::encode::all(&mut criterion);
    hot::decode::all(&mut criterion);
    hot::unmask::all(&mut criterion);
    hot::handshake::all(&mut criterion);
    hot::auth::all(&mut criterion);
    hot::wheel::all(&mut criterion);
    hot::fanout::all(&mut criterion);
    criterion.final_summary();
}
