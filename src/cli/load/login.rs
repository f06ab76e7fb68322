//! The client's side of an authentication (PROTOCOL.md sections 4.2 to 4.5 and 5), without a socket.

use super::opener::{NotSealed, Opener};
use mida::app::crypto::{
    challenge::{Challenge, Scheme, sign_mida_v1},
    hex,
    key::{Identity, SecretKey},
    rng::Rng,
};
use sha2::{Digest, Sha256};

/// A user, and what is remembered of the epochs sealed to it.
pub struct Member {
    secret: SecretKey,
    identity: Identity,
    opener: Opener,
}

impl Member {
    pub fn new(secret: SecretKey) -> Self {
        Self { identity: secret.identity(), secret, opener: Opener::default() }
    }

    /// The user of this number, the same in every run: its key protects nothing.
    pub fn numbered(number: u64) -> Self {
        let mut text = [0; 64];
        for salt in 0u8.. {
            let mut hash = Sha256::new_with_prefix(b"mida load");
            hash.update([salt]);
            hash.update(number.to_be_bytes());
            hex::encode(&hash.finalize(), &mut text);
            // Misses once in 2^128.
            if let Ok(secret) = SecretKey::from_hex(&text) {
                return Self::new(secret);
            }
        }
        unreachable!("one of 256 hashes is a secret key")
    }

    /// Event 2.
    pub fn auth(&self) -> String {
        format!(r#"{{"t":2,"data":{{"pubKey":"{}"}}}}"#, self.identity)
    }

    /// Event 4, from the `data` of event 3; `None`: no challenge, or one that `mida-v1` does not answer.
    pub fn solution(&self, host: &str, data: &serde_json::Value, rng: &mut Rng) -> Option<String> {
        let scheme = Scheme::MidaV1.name();
        if !data["schemes"].as_array()?.iter().any(|offered| offered == scheme) {
            return None;
        }
        let challenge = Challenge::from_hex(data["challenge"].as_str()?.as_bytes())?;
        let solution = sign_mida_v1(&self.secret, host, &challenge, &self.identity, rng);
        let solution = str::from_utf8(&solution).ok()?;
        Some(format!(r#"{{"t":4,"data":{{"scheme":"{scheme}","solution":"{solution}"}}}}"#))
    }

    /// Replaces what is in `text` with the plaintext of `sealed`.
    ///
    /// # Errors
    /// It was not sealed to this user, or tampered with.
    pub fn open(&mut self, sealed: &[u8], text: &mut Vec<u8>) -> Result<(), NotSealed> {
        self.opener.open(&self.secret, sealed, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mida::app::crypto::challenge::verify;

    #[test]
    fn numbers_name_users_and_their_solutions_verify() {
        let (member, other) = (Member::numbered(7), Member::numbered(8));
        assert!(member.identity == Member::numbered(7).identity && member.identity != other.identity);
        assert_eq!(member.auth(), format!(r#"{{"t":2,"data":{{"pubKey":"{}"}}}}"#, member.identity));
        let mut rng = Rng::from_seed([3; 32]);
        let data = serde_json::json!({"schemes": ["mida-v1"], "challenge": "ab".repeat(32)});
        let event = member.solution("localhost:1", &data, &mut rng).unwrap();
        let event: serde_json::Value = serde_json::from_str(&event).unwrap();
        let solution = event["data"]["solution"].as_str().unwrap().as_bytes();
        let challenge = Challenge::from_hex("ab".repeat(32).as_bytes()).unwrap();
        let verified = |host| verify(Scheme::MidaV1, &member.identity, &challenge, solution, [host], None).0;
        assert!(verified("localhost:1").is_ok() && verified("localhost:2").is_err());
    }

    #[test]
    fn without_the_scheme_or_a_challenge_there_is_no_solution() {
        let (member, mut rng) = (Member::numbered(1), Rng::from_seed([3; 32]));
        for data in [
            serde_json::json!({}),
            serde_json::json!({"schemes": ["ecdsa"], "challenge": "ab".repeat(32)}),
            serde_json::json!({"schemes": ["mida-v1"], "challenge": "ab"}),
        ] {
            assert!(member.solution("a", &data, &mut rng).is_none(), "{data}");
        }
    }
}
