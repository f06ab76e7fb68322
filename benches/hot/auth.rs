//! What a login costs in public-key work: checking its proof, and the epoch that is derived to its key.

use super::clock::Criterion;
use super::inputs::{self, MANY, Rotation};
use mida::app::crypto::{
    challenge::{Challenge, Refused, Scheme, sign_mida_v1, verify},
    key::{Identity, SecretKey},
    rng::Rng,
    seal::{Epoch, OVERHEAD},
};

pub const HOST: &str = "chat.example";

/// What the server knows when event 4 comes.
pub struct Proof {
    identity: Identity,
    challenge: Challenge,
    solution: [u8; 128],
}

pub fn all(criterion: &mut Criterion) {
    let mut rng = inputs::rng();
    let secrets = inputs::secrets(&mut rng, MANY);
    let mut group = criterion.benchmark_group("auth");

    let mut proofs = proofs(&secrets, &mut rng);
    for proof in proofs.all() {
        assert_eq!(proof.check(HOST), Ok(()));
        assert_eq!(proof.check("elsewhere.example"), Err(Refused::BadSignature));
    }
    group.bench_function("verify", |bencher| bencher.iter(|| proofs.turn().check(HOST)));

    let mut identities = Rotation::new(secrets.iter().map(SecretKey::identity));
    for (secret, identity) in secrets.iter().zip(identities.all()) {
        let mut message = [1; OVERHEAD + 20];
        let sealed = Epoch::derive(&identity.point(), 0, &mut rng).seal(0, &mut message);
        assert_eq!((sealed, ecies::decrypt(secret.as_bytes(), &message).ok()), (Ok(()), Some(vec![1; 20])));
    }
    // From the 33 bytes that a connection keeps; the epoch is also erased again.
    group.bench_function("derive", |bencher| {
        bencher.iter(|| Epoch::derive(&identities.turn().point(), 0, &mut rng));
    });
    group.finish();
}

/// A right proof of each secret.
pub fn proofs(secrets: &[SecretKey], rng: &mut Rng) -> Rotation<Proof> {
    Rotation::new(secrets.iter().map(|secret| {
        let (identity, challenge) = (secret.identity(), Challenge::fresh(rng));
        let solution = sign_mida_v1(secret, HOST, &challenge, &identity, rng);
        Proof { identity, challenge, solution }
    }))
}

impl Proof {
    pub fn check(&self, host: &str) -> Result<(), Refused> {
        verify(Scheme::MidaV1, &self.identity, &self.challenge, &self.solution, [host], None).0
    }
}
