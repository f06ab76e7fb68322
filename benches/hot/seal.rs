//! What sealing one message costs: from the state a connection keeps, by the stock crate, and at least.

use super::clock::{CpuTime, Criterion, Group};
use super::inputs::{self, MANY, Rotation};
use aes_gcm::aes::{Aes256Enc, cipher::consts::U16};
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use criterion::{BenchmarkId, Throughput};
use mida::app::crypto::{
    key::SecretKey,
    rng::Rng,
    seal::{EPOCH_BYTES, EPOCH_MESSAGES, Epoch, OVERHEAD},
};
use std::{hint::black_box, time::Duration};

/// Messages that an epoch takes in any case; then there is a new one, derived while no clock runs.
const EPOCH: u64 = 1 << 18;
const LONGEST_BYTES: usize = 4_096;
const _: () = assert!(EPOCH <= EPOCH_MESSAGES as u64 && EPOCH * LONGEST_BYTES as u64 <= EPOCH_BYTES as u64);

pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for bytes in [60, 200, 1_024, LONGEST_BYTES] {
        session(&mut group, bytes);
    }
    naive(&mut group, 200);
    floor(&mut group, 200);
    group.finish();
}

fn session(group: &mut Group<'_>, bytes: usize) {
    let mut rng = inputs::rng();
    let secrets = inputs::secrets(&mut rng, MANY);
    let mut texts = texts(&mut rng, bytes);
    let mut message = vec![0; OVERHEAD + bytes];
    for (secret, epoch) in secrets.iter().zip(epochs(&secrets, &mut rng).all()) {
        let text = texts.turn();
        seal(epoch, text, &mut message);
        let opened = ecies::decrypt(secret.as_bytes(), &message).expect("the stock crate opens it");
        assert_eq!(opened, *text);
    }
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(BenchmarkId::new("session", bytes), |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut time, mut left) = (Duration::ZERO, iterations);
            while left > 0 {
                let mut epochs = epochs(&secrets, &mut rng);
                let round = left.min(EPOCH);
                let start = CpuTime::now();
                for _ in 0..round {
                    seal(epochs.turn(), texts.turn(), &mut message);
                }
                time += CpuTime::now() - start;
                left -= round;
            }
            time
        });
    });
}

#[inline]
pub fn seal(epoch: &mut Epoch, text: &[u8], message: &mut [u8]) {
    message[OVERHEAD..].copy_from_slice(text);
    epoch.seal(0, message).expect("the epoch is not spent");
    black_box(message);
}

/// An epoch to each client.
pub fn epochs(secrets: &[SecretKey], rng: &mut Rng) -> Rotation<Epoch> {
    Rotation::new(secrets.iter().map(|secret| Epoch::derive(&secret.identity().point(), 0, rng)))
}

fn naive(group: &mut Group<'_>, bytes: usize) {
    let mut rng = inputs::rng();
    let secrets = inputs::secrets(&mut rng, MANY);
    let mut identities = Rotation::new(secrets.iter().map(SecretKey::identity));
    let mut texts = texts(&mut rng, bytes);
    for (secret, identity) in secrets.iter().zip(identities.all()) {
        let message = ecies::encrypt(identity.as_bytes(), texts.turn()).expect("the identity is a key");
        assert_eq!(message.len(), OVERHEAD + bytes);
        assert!(ecies::decrypt(secret.as_bytes(), &message).is_ok());
    }
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(BenchmarkId::new("naive", bytes), |bencher| {
        bencher.iter(|| ecies::encrypt(identities.turn().as_bytes(), texts.turn()));
    });
}

fn floor(group: &mut Group<'_>, bytes: usize) {
    let mut rng = inputs::rng();
    let keys: Vec<[u8; 32]> = (0..8).map(|_| filled(&mut rng)).collect();
    let mut ciphers = Rotation::new(keys.iter().map(|key| AesGcm::<Aes256Enc, U16>::new(key.into())));
    let mut texts = texts(&mut rng, bytes);
    let mut nonces = Rotation::new((0..MANY).map(|_| filled::<16>(&mut rng)));
    for (key, cipher) in keys.iter().zip(ciphers.all()) {
        let (nonce, text) = (nonces.turn(), texts.turn());
        let before = text.clone();
        let tag = cipher.encrypt_inout_detached((&*nonce).into(), &[], text.as_mut_slice().into());
        let sealed = [&nonce[..], &tag.expect("a short text"), text].concat();
        assert_eq!(ecies::symmetric::sym_decrypt(key, &sealed), Some(before));
    }
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(BenchmarkId::new("floor", bytes), |bencher| {
        bencher.iter(|| {
            let (nonce, text) = (nonces.turn(), texts.turn());
            ciphers.turn().encrypt_inout_detached((&*nonce).into(), &[], text.as_mut_slice().into())
        });
    });
}

pub fn texts(rng: &mut Rng, bytes: usize) -> Rotation<Vec<u8>> {
    Rotation::new((0..inputs::count(bytes)).map(|_| inputs::words(rng, bytes).into_bytes()))
}

fn filled<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}
