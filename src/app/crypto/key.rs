//! A user: a point on secp256k1. And the secret behind it, for the tools that hold one.

use super::hex::{self, NotHex};
use super::rng::Rng;
use secp256k1::PublicKey;
use std::fmt;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// A public key as 33 bytes (SEC 1 section 2.3.3, compressed): the name of a user. Always on the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity([u8; 33]);

/// Why a text or bytes are no key; the peer's fault. The phrases echo nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// Neither 66 nor 130 hex digits.
    Length,
    NotHex,
    /// SEC 1 section 2.3.3: compressed is 02 or 03, uncompressed 04; infinity and hybrids are no keys.
    Prefix,
    OffCurve,
}

impl Identity {
    /// Reads 33 or 65 bytes of SEC 1 as 66 or 130 hex digits of either case (PROTOCOL.md, event 2). The
    /// point comes along because finding it is most of the work.
    ///
    /// # Errors
    /// [`BadKey`] says what is wrong with the text.
    pub fn parse_hex(text: &[u8]) -> Result<(Identity, PublicKey), BadKey> {
        match text.len() {
            66 => {
                let mut bytes = [0; 33];
                hex::decode(text, &mut bytes)?;
                Identity::from_bytes(bytes)
            }
            130 => {
                let mut bytes = [0; 65];
                hex::decode(text, &mut bytes)?;
                if bytes[0] != 4 {
                    return Err(BadKey::Prefix);
                }
                let point = PublicKey::from_byte_array_uncompressed(bytes).map_err(|_| BadKey::OffCurve)?;
                Ok((Identity::of(&point), point))
            }
            _ => Err(BadKey::Length),
        }
    }

    /// Checks 33 bytes, as [`Identity::as_bytes`] gave them.
    ///
    /// # Errors
    /// [`BadKey::Prefix`] or [`BadKey::OffCurve`].
    pub fn from_bytes(bytes: [u8; 33]) -> Result<(Identity, PublicKey), BadKey> {
        if !matches!(bytes[0], 2 | 3) {
            return Err(BadKey::Prefix);
        }
        let point = PublicKey::from_byte_array_compressed(bytes).map_err(|_| BadKey::OffCurve)?;
        Ok((Identity(bytes), point))
    }

    /// Takes 33 bytes that [`Identity::as_bytes`] gave, and that nobody could change since: only their first is checked,
    /// where [`Identity::from_bytes`] takes a square root.
    pub fn from_own_bytes(bytes: [u8; 33]) -> Option<Identity> {
        matches!(bytes[0], 2 | 3).then_some(Identity(bytes))
    }

    /// The name of a point.
    pub fn of(point: &PublicKey) -> Identity {
        Identity(point.serialize())
    }

    /// The point itself; takes a square root, some microseconds.
    pub fn point(&self) -> PublicKey {
        PublicKey::from_byte_array_compressed(self.0).expect("an Identity was on the curve when it was made")
    }

    pub const fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    /// 66 lowercase digits.
    pub fn to_hex(&self) -> [u8; 66] {
        let mut text = [0; 66];
        hex::encode(&self.0, &mut text);
        text
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl BadKey {
    /// For people: what is wrong and what to send.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Length => "a key is 66 or 130 hex digits",
            Self::NotHex => "a key is hex digits only",
            Self::Prefix => "a key starts with 02 or 03 (66 digits) or with 04 (130 digits)",
            Self::OffCurve => "the key is not a point on secp256k1",
        }
    }
}

impl From<NotHex> for BadKey {
    fn from(NotHex: NotHex) -> BadKey {
        BadKey::NotHex
    }
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

impl std::error::Error for BadKey {}

/// A secret key: a number from 1 to n - 1. Neither printed, compared nor cloned; erased when dropped.
pub struct SecretKey(secp256k1::SecretKey);

/// Not 64 hex digits, or a number that is no secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSecret;

impl SecretKey {
    /// A fresh one; `rng` cannot tell it again afterwards.
    pub fn generate(rng: &mut Rng) -> SecretKey {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            rng.fill(&mut bytes[..]);
            // Misses once in 2^128.
            if let Ok(secret) = secp256k1::SecretKey::from_secret_bytes(*bytes) {
                rng.forget();
                return SecretKey(secret);
            }
        }
    }

    /// Reads 64 hex digits of either case.
    ///
    /// # Errors
    /// [`BadSecret`], without a word on what it was.
    pub fn from_hex(text: &[u8]) -> Result<SecretKey, BadSecret> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode(text, &mut bytes[..]).map_err(|NotHex| BadSecret)?;
        secp256k1::SecretKey::from_secret_bytes(*bytes).map(SecretKey).map_err(|_| BadSecret)
    }

    /// 64 lowercase digits, erased when dropped.
    pub fn to_hex(&self) -> Zeroizing<[u8; 64]> {
        let mut text = Zeroizing::new([0; 64]);
        hex::encode(self.as_bytes(), &mut text[..]);
        text
    }

    /// The number, 32 bytes, big-endian.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_secret_bytes()
    }

    /// The user this is the secret of.
    pub fn identity(&self) -> Identity {
        Identity::of(&PublicKey::from_secret_key(&self.0))
    }

    pub(super) const fn scalar(&self) -> &secp256k1::SecretKey {
        &self.0
    }

    fn erase(&mut self) {
        self.0.non_secure_erase();
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.erase();
    }
}

impl ZeroizeOnDrop for SecretKey {}

impl fmt::Display for BadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret key is 64 hex digits, a number from 1 to n - 1")
    }
}

impl std::error::Error for BadSecret {}

#[cfg(test)]
mod tests;
