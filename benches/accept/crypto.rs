//! The public-key work that no login can do without.

use mida::app::crypto::{
    challenge::{Challenge, Scheme, sign_mida_v1, verify},
    key::SecretKey,
    rng::Rng,
    seal::Epoch,
};
use rustix::time::{ClockId, clock_gettime};

const HOST: &str = "chat.example";
/// Keys that take turns, so that branch predictors can't learn one by heart.
const KEYS: usize = 64;
const ROUNDS: usize = 32;

/// CPU nanoseconds of this thread to check one proof and to derive one epoch from an identity of 33 bytes: what
/// `auth/verify` and `auth/derive` measure.
pub fn login_ns() -> f64 {
    let mut rng = Rng::from_os().expect("random bytes");
    let proofs: Vec<_> = (0..KEYS)
        .map(|_| {
            let secret = SecretKey::generate(&mut rng);
            let (identity, challenge) = (secret.identity(), Challenge::fresh(&mut rng));
            let solution = sign_mida_v1(&secret, HOST, &challenge, &identity, &mut rng);
            (identity, challenge, solution)
        })
        .collect();
    let started_ns = now_ns();
    for (identity, challenge, solution) in std::iter::repeat_n(&proofs, ROUNDS).flatten() {
        assert_eq!(verify(Scheme::MidaV1, identity, challenge, solution, [HOST], None).0, Ok(()));
    }
    for (identity, ..) in std::iter::repeat_n(&proofs, ROUNDS).flatten() {
        std::hint::black_box(Epoch::derive(&identity.point(), 0, &mut rng));
    }
    (now_ns() - started_ns) as f64 / (KEYS * ROUNDS) as f64
}

fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
