//! Sealing (PROTOCOL.md, "Sealing"): what a connection is sent, only its key opens.
//!
//! The format is the `ecies` family's: `0x04 X Y ‖ nonce (16) ‖ tag (16) ‖ AES-256-GCM ciphertext`. The
//! expensive part, an ephemeral key and one ECDH, is done once for an [`Epoch`]; a message then costs one
//! AES-GCM, in place, with neither allocation nor system call.

use super::key::SecretKey;
use super::rng::Rng;
use aes_gcm::aes::Aes256Enc;
use aes_gcm::aes::cipher::consts::U16;
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use hkdf::Hkdf;
use secp256k1::ecdh::shared_secret_point;
use secp256k1::{PublicKey, constants};
use sha2::Sha256;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing, zeroize_stack};

/// Bytes a sealed message is longer than its plaintext: public key 65, nonce 16, tag 16.
pub const OVERHEAD: usize = 97;
/// Messages of one epoch.
pub const EPOCH_MESSAGES: u32 = 1 << 20;
/// Plaintext bytes of one epoch, so also of one message.
pub const EPOCH_BYTES: u32 = 1 << 30;
/// Life of an epoch, at most; up to a tenth less, so that connections don't end theirs together.
pub const EPOCH_S: u32 = 3_600;

/// What one connection seals with until it is spent: one AES-256 key and the public key it belongs to.
pub struct Epoch {
    key: [u8; 32],
    /// X and Y of the ephemeral public key.
    point: [u8; 64],
    /// Sealed so far, and so the next nonce's counter.
    messages: u32,
    bytes: u32,
    end_s: NonZeroU32,
}

const _: () = assert!(size_of::<Option<Epoch>>() == 108);
// The sums in `seal` cannot wrap.
const _: () = assert!(EPOCH_BYTES.checked_mul(2).is_some() && EPOCH_MESSAGES < u32::MAX);

/// Why a message was left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The epoch is at one of its bounds. Nobody's fault: derive the next one.
    Spent,
    /// The caller's fault: no room for [`OVERHEAD`], or more than [`EPOCH_BYTES`]; no epoch takes it.
    Size,
}

impl Epoch {
    /// Starts an epoch to `recipient` at `now_s`, seconds of any clock that never goes back: a fresh key
    /// pair, one ECDH. The secret half and all it was mixed with are erased before this returns.
    pub fn derive(recipient: &PublicKey, now_s: u32, rng: &mut Rng) -> Epoch {
        let life_s = EPOCH_S - rng.below(EPOCH_S / 10 + 1);
        let mut epoch = Epoch {
            key: [0; 32],
            point: [0; 64],
            messages: 0,
            bytes: 0,
            end_s: NonZeroU32::new(now_s.saturating_add(life_s)).unwrap_or(NonZeroU32::MIN),
        };
        epoch.agree(recipient, rng);
        zeroize_stack::<STACK_BYTES>();
        epoch
    }

    /// Reads a byte of each cache line that sealing needs.
    #[inline]
    pub fn touch(&self) {
        std::hint::black_box((self.key[0], self.point[0], self.point[63], self.messages));
    }

    #[inline(never)]
    fn agree(&mut self, recipient: &PublicKey, rng: &mut Rng) {
        let ephemeral = SecretKey::generate(rng);
        // Constant time as `PublicKey::from_secret_key` is, but without blinding a context anew, which
        // would cost more than it guards: this secret is used twice in its life.
        self.point = shared_secret_point(&GENERATOR, ephemeral.scalar());
        let shared = Zeroizing::new(shared_secret_point(recipient, ephemeral.scalar()));
        derive_key(&self.point, &shared, &mut self.key);
    }

    /// Whether a message of this size would break a bound of the epoch: messages, bytes or time.
    pub const fn is_spent(&self, now_s: u32, plaintext_bytes: usize) -> bool {
        self.messages >= EPOCH_MESSAGES
            || now_s >= self.end_s.get()
            || plaintext_bytes > EPOCH_BYTES.saturating_sub(self.bytes) as usize
    }

    /// Seals `message[OVERHEAD..]` in place and writes the rest of the format into `message[..OVERHEAD]`.
    ///
    /// # Errors
    /// [`SealError`]; `message` is untouched then.
    #[inline(never)]
    pub fn seal(&mut self, now_s: u32, message: &mut [u8]) -> Result<(), SealError> {
        let Some((head, plaintext)) = message.split_first_chunk_mut::<OVERHEAD>() else {
            return Err(SealError::Size);
        };
        if plaintext.len() > EPOCH_BYTES as usize {
            return Err(SealError::Size);
        }
        if self.is_spent(now_s, plaintext.len()) {
            return Err(SealError::Spent);
        }
        let nonce = self.nonce();
        // Counted before use: there is no way out of here that leaves a nonce to be used again.
        self.messages += 1;
        self.bytes += plaintext.len() as u32;
        let schedule = Aes256Enc::new((&self.key).into());
        let tag = Cipher::from(&schedule)
            .encrypt_inout_detached((&nonce).into(), &[], plaintext.into())
            .map_err(|_| SealError::Size)?;
        head[0] = 4;
        head[1..65].copy_from_slice(&self.point);
        head[65..81].copy_from_slice(&nonce);
        head[81..].copy_from_slice(&tag);
        Ok(())
    }

    /// The first 8 bytes of X, then the counter, 64 bits, big-endian.
    fn nonce(&self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.point[..8]);
        nonce[8..].copy_from_slice(&u64::from(self.messages).to_be_bytes());
        nonce
    }

    /// Erases the key, here and where sealing left copies of it, and leaves a spent epoch.
    fn erase(&mut self) {
        self.messages = EPOCH_MESSAGES;
        self.key.zeroize();
        zeroize_stack::<STACK_BYTES>();
    }
}

/// Rebuilt for each message, on the stack: with room for what any processor needs it takes 1,104 bytes,
/// ten times the epoch. It borrows the key schedule, which is too large to be moved for nothing. Neither is
/// erased after each message, which would cost a quarter more: while the epoch lives, so does its key.
type Cipher<'a> = AesGcm<&'a Aes256Enc, U16>;

/// Deeper than what deriving and sealing use of the stack, and the calls that lead there. Copies of keys are
/// left there that no destructor knows of; what works on a key therefore is never inlined, and its stack is
/// overwritten when the epoch ends.
const STACK_BYTES: usize = 16_384;

static GENERATOR: LazyLock<PublicKey> = LazyLock::new(|| {
    let one = secp256k1::SecretKey::from_secret_bytes(constants::ONE).expect("1 is a secret key");
    PublicKey::from_secret_key(&one)
});

/// HKDF-SHA256 (RFC 5869) over both points as 65 bytes each, no salt, empty info.
fn derive_key(public: &[u8; 64], shared: &[u8; 64], key: &mut [u8; 32]) {
    let mut material = Zeroizing::new([4; 130]);
    material[1..65].copy_from_slice(public);
    material[66..].copy_from_slice(shared);
    let (mut pseudorandom, hkdf) = Hkdf::<Sha256>::extract(None, &material[..]);
    pseudorandom.as_mut_slice().zeroize();
    hkdf.expand(&[], key).expect("32 bytes are one block of HKDF-SHA256");
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.erase();
    }
}

impl ZeroizeOnDrop for Epoch {}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spent => "the sealing epoch is spent",
            Self::Size => "the message has no room for the overhead, or is too large to seal",
        })
    }
}

impl std::error::Error for SealError {}

#[cfg(test)]
mod tests;
