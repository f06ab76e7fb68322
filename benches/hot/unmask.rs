//! What taking the mask off a payload costs (RFC 6455 section 5.3).

use super::clock::Criterion;
use super::inputs::{self, Rotation};
use criterion::{BenchmarkId, Throughput};
use mida::{app::crypto::rng::Rng, engine::wire::frame};
use std::hint::black_box;

/// A payload as it lies in a read: anywhere.
pub struct Masked {
    pub read: Vec<u8>,
    pub at: usize,
    pub key: [u8; 4],
}

pub fn all(criterion: &mut Criterion) {
    let mut rng = inputs::rng();
    let mut group = criterion.benchmark_group("unmask");
    for bytes in [200, 4_096] {
        let mut payloads = payloads(&mut rng, bytes);
        for masked in payloads.all() {
            let payload = &mut masked.read[masked.at..][..bytes];
            let plain: Vec<u8> = payload.iter().zip(masked.key.iter().cycle()).map(|(a, b)| a ^ b).collect();
            frame::unmask(payload, masked.key, 0);
            assert_eq!(payload, plain);
        }
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| {
                let Masked { read, at, key } = payloads.turn();
                frame::unmask(black_box(&mut read[*at..][..bytes]), *key, 0);
            });
        });
    }
    group.finish();
}

/// Payloads of so many bytes, at each alignment.
pub fn payloads(rng: &mut Rng, bytes: usize) -> Rotation<Masked> {
    Rotation::new((0..inputs::count(bytes)).map(|n| {
        let (mut read, mut key, at) = (vec![0; 8 + bytes], [0; 4], (n + 5) % 8);
        rng.fill(&mut read);
        rng.fill(&mut key);
        Masked { read, at, key }
    }))
}
