//! Keys, ciphertexts and signatures that other implementations made (`vectors/interop.json`).

use aes_gcm::aes::{Aes256, cipher::consts::U16};
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use hkdf::Hkdf;
use mida::app::crypto::challenge::{Challenge, Refused, Scheme, sign_mida_v1, verify};
use mida::app::crypto::hex;
use mida::app::crypto::key::{Identity, SecretKey};
use mida::app::crypto::rng::Rng;
use mida::app::crypto::seal::{Epoch, OVERHEAD};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The vectors of one kind; `count` of them, so that one that vanishes is missed.
fn vectors(kind: &str, count: usize) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors/interop.json")).unwrap();
    let vectors = all[kind].as_array().unwrap().clone();
    assert_eq!(vectors.len(), count, "vectors of {kind}");
    vectors
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("no {name} in {vector}"))
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = vec![0; text.len() / 2];
    hex::decode(text.as_bytes(), &mut bytes).unwrap();
    bytes
}

fn identity(text: &str) -> Identity {
    Identity::parse_hex(text.as_bytes()).unwrap().0
}

fn challenge(vector: &Value, name: &str) -> Challenge {
    Challenge::from_hex(text(vector, name).as_bytes()).unwrap()
}

/// Opens a message from the words of PROTOCOL.md alone, with none of the server's code.
fn reopen(secret: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let secret = secp256k1::SecretKey::from_secret_bytes(secret.try_into().unwrap()).unwrap();
    let ephemeral = secp256k1::PublicKey::from_slice(message.get(..65)?).ok()?;
    let shared = secp256k1::ecdh::shared_secret_point(&ephemeral, &secret);
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(None, &[&message[..65], &[4], &shared].concat()).expand(&[], &mut key).unwrap();
    let mut plaintext = message.get(97..)?.to_vec();
    AesGcm::<Aes256, U16>::new(&key.into())
        .decrypt_inout_detached(
            message[65..81].try_into().unwrap(),
            &[],
            plaintext.as_mut_slice().into(),
            message[81..97].try_into().unwrap(),
        )
        .ok()?;
    Some(plaintext)
}

#[test]
fn what_other_libraries_sealed_opens() {
    for vector in vectors("ecies", 8) {
        let secret = bytes(text(&vector, "private_key_hex"));
        let message = bytes(text(&vector, "ciphertext_hex"));
        let plaintext = bytes(text(&vector, "plaintext_hex"));
        assert_eq!(ecies::decrypt(&secret, &message).unwrap(), plaintext);
        assert_eq!(reopen(&secret, &message), Some(plaintext));
    }
}

#[test]
fn what_is_sealed_here_opens_with_their_keys() {
    let mut rng = Rng::from_seed([1; 32]);
    for vector in vectors("ecies", 8) {
        let secret = bytes(text(&vector, "private_key_hex"));
        let plaintext = bytes(text(&vector, "plaintext_hex"));
        let (named, point) = Identity::parse_hex(text(&vector, "public_key_hex").as_bytes()).unwrap();
        let own = SecretKey::from_hex(text(&vector, "private_key_hex").as_bytes()).unwrap();
        assert_eq!(own.identity(), named);
        let mut message = [vec![0; OVERHEAD], plaintext.clone()].concat();
        Epoch::derive(&point, 0, &mut rng).seal(0, &mut message).unwrap();
        assert_eq!(ecies::decrypt(&secret, &message).unwrap(), plaintext);
        assert_eq!(reopen(&secret, &message), Some(plaintext));
    }
}

fn plain(vector: &Value, scheme: Scheme) -> Result<(), Refused> {
    let solution = text(vector, "signature_compact_hex").as_bytes();
    let identity = identity(text(vector, "public_key"));
    verify(scheme, &identity, &challenge(vector, "challenge_hex"), solution, ["chat.example"], None).0
}

/// The file says of itself how each challenge was made; a slip there would make a refusal worthless.
fn assert_challenge(vector: &Value) {
    let hash = Sha256::digest(text(vector, "challenge_preimage_hex_string"));
    assert_eq!(hash[..], bytes(text(vector, "challenge_hex")));
    let secret = SecretKey::from_hex(text(vector, "private_key").as_bytes()).unwrap();
    assert_eq!(secret.identity(), identity(text(vector, "public_key")));
}

#[test]
fn plain_signatures_of_other_libraries_pass_as_ecdsa_only() {
    let vectors = vectors("signatures", 4);
    for vector in &vectors {
        assert_challenge(vector);
        assert_eq!(plain(vector, Scheme::Ecdsa), Ok(()), "{}", text(vector, "version"));
        assert_eq!(plain(vector, Scheme::MidaV1), Err(Refused::BadSignature));
    }
    let prehashed = vectors.iter().filter(|vector| vector["prehash"] == true).count();
    assert_eq!(prehashed, 1, "both forms of the plain scheme are here");
}

#[test]
fn misused_signing_calls_of_other_libraries_are_refused() {
    for vector in vectors("negative_signatures", 2) {
        assert_challenge(&vector);
        for scheme in Scheme::ALL {
            assert_eq!(plain(&vector, scheme), Err(Refused::BadSignature), "{}", text(&vector, "note"));
        }
    }
}

#[test]
fn mida_v1_solutions_pass_for_their_host_and_for_no_other() {
    let vectors = vectors("mida_v1", 3);
    let hosts: Vec<&str> = vectors.iter().map(|vector| text(vector, "host")).collect();
    let mut rng = Rng::from_seed([2; 32]);
    for vector in &vectors {
        let identity = identity(text(vector, "identity"));
        let challenge = challenge(vector, "challenge");
        let host = text(vector, "host");
        let solution = text(vector, "solution").as_bytes();
        let check = |scheme, hosts: &[&str], dialled| {
            verify(scheme, &identity, &challenge, solution, hosts.iter().copied(), dialled).0
        };
        assert_eq!(check(Scheme::MidaV1, &hosts, None), Ok(()));
        assert_eq!(check(Scheme::MidaV1, &[host], Some("elsewhere.example")), Ok(()));
        assert_eq!(check(Scheme::Ecdsa, &hosts, None), Err(Refused::BadSignature));
        let others: Vec<&str> = hosts.iter().copied().filter(|other| *other != host).collect();
        assert_eq!(others.len(), 2);
        assert_eq!(check(Scheme::MidaV1, &others, None), Err(Refused::BadSignature));
        assert_eq!(check(Scheme::MidaV1, &others, Some(host)), Err(Refused::WrongHost));

        assert_eq!(
            text(vector, "signed_text"),
            format!("mida-auth-v1\n{host}\n{}\n{}", text(vector, "challenge"), text(vector, "identity"))
        );
        assert_eq!(Sha256::digest(text(vector, "signed_text"))[..], bytes(text(vector, "digest")));

        let secret = SecretKey::from_hex(text(vector, "private_key").as_bytes()).unwrap();
        assert_eq!(secret.identity(), identity);
        let own = sign_mida_v1(&secret, host, &challenge, &identity, &mut rng);
        assert_eq!(verify(Scheme::MidaV1, &identity, &challenge, &own, [host], None).0, Ok(()));
    }
}
