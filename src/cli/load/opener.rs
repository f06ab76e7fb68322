//! Opens sealed messages (PROTOCOL.md section 7.4), remembering the keys of the last two epochs: only the
//! first message of an epoch costs an ECDH.

use aes_gcm::{
    AeadInOut, AesGcm, KeyInit,
    aes::{Aes256, cipher::consts::U16},
};
use hkdf::Hkdf;
use mida::app::crypto::{key::SecretKey, seal::OVERHEAD};
use secp256k1::{PublicKey, ecdh::shared_secret_point};
use sha2::Sha256;

/// Not sealed to this key, or tampered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSealed;

/// What one connection remembers.
#[derive(Default)]
pub struct Opener {
    /// Ephemeral public key, X and Y, and the AES key; the newest last.
    epochs: Vec<([u8; 64], [u8; 32])>,
}

impl Opener {
    /// Replaces what is in `text` with the plaintext of `sealed`.
    ///
    /// # Errors
    /// [`NotSealed`]; what `text` holds is of no use then.
    pub fn open(&mut self, secret: &SecretKey, sealed: &[u8], text: &mut Vec<u8>) -> Result<(), NotSealed> {
        let (head, ciphertext) = sealed.split_first_chunk::<OVERHEAD>().ok_or(NotSealed)?;
        let (4, point) = (head[0], head[1..65].first_chunk().ok_or(NotSealed)?) else {
            return Err(NotSealed);
        };
        let known = self.epochs.iter().find(|(known, _)| known == point);
        let key = match known {
            Some((_, key)) => *key,
            None => derive(secret, point).ok_or(NotSealed)?,
        };
        let is_new = known.is_none();
        let nonce: &[u8; 16] = head[65..81].first_chunk().ok_or(NotSealed)?;
        let tag: &[u8; 16] = head[81..].first_chunk().ok_or(NotSealed)?;
        text.clear();
        text.extend_from_slice(ciphertext);
        AesGcm::<Aes256, U16>::new((&key).into())
            .decrypt_inout_detached(nonce.into(), &[], text.as_mut_slice().into(), tag.into())
            .map_err(|_| NotSealed)?;
        // Only a key that has opened something is worth remembering.
        if is_new {
            if self.epochs.len() == 2 {
                self.epochs.remove(0);
            }
            self.epochs.push((*point, key));
        }
        Ok(())
    }
}

fn derive(secret: &SecretKey, point: &[u8; 64]) -> Option<[u8; 32]> {
    let mut material = [4; 130];
    material[1..65].copy_from_slice(point);
    let public = PublicKey::from_byte_array_uncompressed(*material.first_chunk()?).ok()?;
    let scalar = secp256k1::SecretKey::from_secret_bytes(*secret.as_bytes()).ok()?;
    material[66..].copy_from_slice(&shared_secret_point(&public, &scalar));
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(None, &material).expand(&[], &mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mida::app::crypto::hex;

    fn bytes(text: &str) -> Vec<u8> {
        let mut bytes = vec![0; text.len() / 2];
        hex::decode(text.as_bytes(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn it_opens_the_example_of_the_protocol() {
        let secret =
            SecretKey::from_hex(b"c0c987e48b6c9b67cb211aaab1dda32081ae03e888f76e0bbb8d754b21f827ac").unwrap();
        let sealed = bytes(
            "04babef323498969339526126ed734337aaf6cae156789e3a98d67a0c374e1e168\
             26e76b25de2089d88a2c500ba558698de0af16b4f652672418927a239c7e8ec0\
             362388bbc3851bb86518ba25fcc38f37\
             36628719024a5e38ce9465c4f6b014e3\
             1a5662b2fb6d5648f2d408b9ba0dab6c543be09988abc79030a644c2",
        );
        let (mut opener, mut text) = (Opener::default(), b"before".to_vec());
        opener.open(&secret, &sealed, &mut text).unwrap();
        assert_eq!(text, br#"{"t": 7, "data": {"k": "v"}}"#);
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert_eq!(opener.open(&secret, &other, &mut text), Err(NotSealed), "byte {at}");
            assert_eq!(opener.open(&secret, &sealed[..at], &mut text), Err(NotSealed), "cut at {at}");
        }
        assert_eq!(opener.epochs.len(), 1);
    }

    #[test]
    fn it_opens_what_the_stock_crate_seals_and_remembers_two_epochs() {
        let secret = SecretKey::from_hex(&[b'7'; 64]).unwrap();
        let identity = secret.identity();
        let mut opener = Opener::default();
        let mut text = Vec::new();
        for n in 0..4u8 {
            // It makes a new ephemeral key for each.
            let sealed = ecies::encrypt(identity.as_bytes(), &[n; 40]).unwrap();
            opener.open(&secret, &sealed, &mut text).unwrap();
            assert_eq!(text, [n; 40]);
            assert_eq!(opener.epochs.last().unwrap().0, sealed[1..65]);
        }
        assert_eq!(opener.epochs.len(), 2);
    }
}
