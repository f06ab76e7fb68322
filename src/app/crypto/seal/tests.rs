use super::Rng;
use super::*;
use crate::app::crypto::hex;
use aes_gcm::aes::Aes256;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;

const NOW_S: u32 = 1_000_000;

/// What tests of other modules may ask of an epoch.
impl Epoch {
    /// Goes on as if this much had been sealed; never back, which would repeat nonces.
    pub(crate) fn advance(&mut self, messages: u32, bytes: u32) {
        self.messages = self.messages.max(messages);
        self.bytes = self.bytes.max(bytes);
    }

    pub(crate) fn key(&self) -> [u8; 32] {
        self.key
    }
}

struct Recipient {
    secret: SecretKey,
    point: PublicKey,
    rng: Rng,
}

impl Recipient {
    fn new(seed: u8) -> Recipient {
        let mut rng = Rng::from_seed([seed; 32]);
        let secret = SecretKey::generate(&mut rng);
        Recipient { point: secret.identity().point(), secret, rng }
    }

    fn epoch(&mut self) -> Epoch {
        Epoch::derive(&self.point, NOW_S, &mut self.rng)
    }

    fn open(&self, message: &[u8]) -> Option<Vec<u8>> {
        ecies::decrypt(self.secret.as_bytes(), message).ok()
    }
}

fn room(plaintext: &[u8]) -> Vec<u8> {
    [&[0xaa; OVERHEAD], plaintext].concat()
}

fn sealed(epoch: &mut Epoch, plaintext: &[u8]) -> Vec<u8> {
    let mut message = room(plaintext);
    epoch.seal(NOW_S, &mut message).unwrap();
    message
}

fn counter(message: &[u8]) -> u64 {
    u64::from_be_bytes(message[73..81].try_into().unwrap())
}

#[test]
fn every_size_opens_with_the_stock_library() {
    let mut to = Recipient::new(1);
    let mut epoch = to.epoch();
    for size in [0, 1, 15, 16, 17, 31, 32, 63, 64, 65, 97, 127, 128, 129, 200, 1_000, 66_560] {
        let plaintext: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
        let message = sealed(&mut epoch, &plaintext);
        assert_eq!(message.len(), size + OVERHEAD);
        assert_eq!(message[0], 4);
        assert_eq!(to.open(&message), Some(plaintext), "{size} bytes");
    }
}

#[test]
fn only_the_recipient_opens_and_only_what_was_sealed() {
    let mut to = Recipient::new(2);
    let message = sealed(&mut to.epoch(), b"{\"t\":5}");
    assert_eq!(Recipient::new(3).open(&message), None);
    for at in [0, 1, 33, 65, 80, 81, 96, 97, 103] {
        let mut changed = message.clone();
        changed[at] ^= 1;
        assert_eq!(to.open(&changed), None, "byte {at}");
    }
}

/// What an epoch can run out of.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Messages,
    Bytes,
    Age,
}

fn plaintexts(least_bytes: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let empty = prop::collection::vec(any::<u8>(), least_bytes);
    let any_size = prop::collection::vec(any::<u8>(), least_bytes..4_097);
    prop::collection::vec(prop_oneof![1 => empty, 3 => any_size], 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60, rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn every_message_opens_from_an_epochs_start_to_its_end_and_after_the_rekey(
        seed in any::<u8>(),
        bound in prop::sample::select(&[Bound::Messages, Bound::Bytes, Bound::Age][..]),
        first in plaintexts(0),
        last in plaintexts(0),
        // Nothing at all would still go into an epoch that has run out of bytes.
        after in plaintexts(1),
    ) {
        let mut to = Recipient::new(seed);
        let mut epoch = to.epoch();
        let mut now_s = NOW_S;
        let mut points = Vec::new();
        let mut seal = |epoch: &mut Epoch, now_s, plaintext: &Vec<u8>, to: &Recipient| {
            let mut message = room(plaintext);
            prop_assert_eq!(epoch.seal(now_s, &mut message), Ok(()));
            prop_assert_eq!(to.open(&message), Some(plaintext.clone()));
            points.push(message[..65].to_vec());
            Ok(())
        };
        for plaintext in &first {
            seal(&mut epoch, now_s, plaintext, &to)?;
        }
        match bound {
            Bound::Messages => epoch.messages = EPOCH_MESSAGES - last.len() as u32,
            Bound::Bytes => epoch.bytes = EPOCH_BYTES - last.iter().map(Vec::len).sum::<usize>() as u32,
            Bound::Age => now_s = epoch.end_s.get() - 1,
        }
        for plaintext in &last {
            prop_assert!(!epoch.is_spent(now_s, plaintext.len()));
            seal(&mut epoch, now_s, plaintext, &to)?;
        }
        now_s += 1;
        prop_assert!(epoch.is_spent(now_s, after[0].len()));
        prop_assert_eq!(epoch.seal(now_s, &mut room(&after[0])), Err(SealError::Spent));
        epoch = Epoch::derive(&to.point, now_s, &mut to.rng);
        for plaintext in &after {
            seal(&mut epoch, now_s, plaintext, &to)?;
        }
        let (old, new) = points.split_at(first.len() + last.len());
        prop_assert!(old.iter().all(|point| *point == old[0]) && new.iter().all(|point| *point == new[0]));
        prop_assert_ne!(&old[0], &new[0]);
    }
}

#[test]
fn nonces_rise_by_one_from_nought_to_the_last_and_stop() {
    let mut to = Recipient::new(5);
    let mut epoch = to.epoch();
    for (from, last) in [(0, 500), (EPOCH_MESSAGES - 500, EPOCH_MESSAGES)] {
        epoch.messages = from;
        for expected in from..last {
            let message = sealed(&mut epoch, b"");
            assert_eq!(message[65..73], message[1..9], "X first");
            assert_eq!(counter(&message), u64::from(expected));
        }
    }
    for _ in 0..2 {
        let mut message = room(b"one more");
        assert_eq!(epoch.seal(NOW_S, &mut message), Err(SealError::Spent));
        assert_eq!(message, room(b"one more"), "untouched");
        assert_eq!(epoch.messages, EPOCH_MESSAGES);
    }
}

#[test]
fn each_bound_spends_the_epoch_exactly() {
    let mut to = Recipient::new(6);
    let fresh = to.epoch();
    let end_s = fresh.end_s.get();
    // Messages and bytes sealed before, now, size of the next message, spent.
    let cases = [
        (0, 0, NOW_S, 0, false),
        (EPOCH_MESSAGES - 1, 0, NOW_S, 0, false),
        (EPOCH_MESSAGES, 0, NOW_S, 0, true),
        (u32::MAX, 0, NOW_S, 0, true),
        (0, EPOCH_BYTES - 10, NOW_S, 10, false),
        (0, EPOCH_BYTES - 10, NOW_S, 11, true),
        (0, EPOCH_BYTES, NOW_S, 0, false),
        (0, EPOCH_BYTES, NOW_S, 1, true),
        (0, u32::MAX, NOW_S, 1, true),
        (0, 0, end_s - 1, 0, false),
        (0, 0, end_s, 0, true),
        (0, 0, u32::MAX, 0, true),
    ];
    for (messages, bytes, now_s, size, spent) in cases {
        let mut epoch = to.epoch();
        (epoch.messages, epoch.bytes) = (messages, bytes);
        epoch.end_s = end_s.try_into().unwrap();
        assert_eq!(epoch.is_spent(now_s, size), spent, "{messages} {bytes} {now_s} {size}");
        let mut message = room(&vec![7; size]);
        let result = epoch.seal(now_s, &mut message);
        assert_eq!(result, if spent { Err(SealError::Spent) } else { Ok(()) });
        assert_eq!(message == room(&vec![7; size]), spent, "sealed or untouched");
        if !spent {
            assert_eq!((epoch.messages, epoch.bytes), (messages + 1, bytes + size as u32));
        }
    }
    for (size, spent) in [(EPOCH_BYTES as usize, false), (EPOCH_BYTES as usize + 1, true), (usize::MAX, true)]
    {
        assert_eq!(fresh.is_spent(NOW_S, size), spent);
    }
}

#[test]
fn a_message_that_no_epoch_takes_is_told_from_a_spent_epoch() {
    let mut epoch = Recipient::new(7).epoch();
    for size in [0, 1, OVERHEAD - 1] {
        assert_eq!(epoch.seal(NOW_S, &mut vec![0; size]), Err(SealError::Size));
    }
    // Zeroed pages that nobody reads take no memory.
    let mut huge = vec![0; OVERHEAD + EPOCH_BYTES as usize + 1];
    assert_eq!(epoch.seal(NOW_S, &mut huge), Err(SealError::Size));
    assert_eq!(epoch.messages, 0);
}

#[test]
fn lives_are_an_hour_less_up_to_a_tenth_and_spread() {
    let mut to = Recipient::new(8);
    let mut lives: Vec<u32> = (0..300).map(|_| to.epoch().end_s.get() - NOW_S).collect();
    lives.sort_unstable();
    assert!(lives[0] >= 3_240 && lives[299] <= 3_600, "{} to {}", lives[0], lives[299]);
    assert!(lives[30] < 3_300 && lives[270] > 3_540, "{} to {}", lives[30], lives[270]);
    let late = Epoch::derive(&to.point, u32::MAX - 5, &mut to.rng);
    assert!(!late.is_spent(u32::MAX - 5, 0), "the clock's last seconds do not wrap");
}

#[test]
fn epochs_share_nothing() {
    let mut to = Recipient::new(9);
    let epochs: Vec<Epoch> = (0..4).map(|_| to.epoch()).collect();
    for (i, one) in epochs.iter().enumerate() {
        assert!(epochs[..i].iter().all(|other| other.key != one.key && other.point != one.point));
    }
}

#[test]
fn the_derivation_opens_what_other_libraries_sealed() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/interop.json")).unwrap();
    let bytes = |vector: &Value, name: &str| {
        let text = vector[name].as_str().unwrap();
        let mut bytes = vec![0; text.len() / 2];
        hex::decode(text.as_bytes(), &mut bytes).unwrap();
        bytes
    };
    let vectors = vectors["ecies"].as_array().unwrap();
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        let secret = SecretKey::from_hex(vector["private_key_hex"].as_str().unwrap().as_bytes()).unwrap();
        let message = bytes(vector, "ciphertext_hex");
        let ephemeral = PublicKey::from_slice(&message[..65]).unwrap();
        let mut key = [0; 32];
        derive_key(
            message[1..65].try_into().unwrap(),
            &shared_secret_point(&ephemeral, secret.scalar()),
            &mut key,
        );
        let mut text = message[OVERHEAD..].to_vec();
        let nonce: [u8; 16] = message[65..81].try_into().unwrap();
        let tag: [u8; 16] = message[81..97].try_into().unwrap();
        AesGcm::<Aes256, U16>::new((&key).into())
            .decrypt_inout_detached((&nonce).into(), &[], text.as_mut_slice().into(), (&tag).into())
            .unwrap();
        assert_eq!(text, bytes(vector, "plaintext_hex"));
    }
}

#[test]
fn the_public_half_belongs_to_the_secret_one() {
    let mut to = Recipient::new(11);
    for seed in 0..10 {
        let secret = SecretKey::generate(&mut Rng::from_seed([seed; 32]));
        to.point = secret.identity().point();
        let mut epoch = to.epoch();
        epoch.agree(&to.point, &mut Rng::from_seed([seed; 32]));
        assert_eq!(epoch.point, to.point.serialize_uncompressed()[1..]);
    }
}

#[test]
fn an_erased_epoch_has_no_key_and_seals_nothing() {
    let mut epoch = Recipient::new(10).epoch();
    assert_ne!(epoch.key, [0; 32]);
    epoch.erase();
    assert_eq!(epoch.key, [0; 32]);
    assert_eq!(epoch.seal(NOW_S, &mut room(b"")), Err(SealError::Spent));
}
