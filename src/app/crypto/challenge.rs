//! The proof that a client holds its key's secret (PROTOCOL.md, events 3 to 5).
//!
//! All that is checked here is public, so nothing needs constant time.

use super::hex;
use super::key::{Identity, SecretKey};
use super::rng::Rng;
use secp256k1::{Keypair, Message, PublicKey, XOnlyPublicKey, ecdsa, schnorr};
use sha2::{Digest, Sha256};
use std::cell::Cell;

/// 32 fresh bytes to sign: for one success on one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; 32]);

/// How a solution was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// BIP-340 over a text that names the host: cannot be relayed from another server.
    MidaV1,
    /// Plain ECDSA over the challenge: can be relayed; an operator may refuse it.
    Ecdsa,
}

/// Why a solution is refused; the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    BadSignature,
    /// Good, but for a host this server is not: the client dialled something else, or is being relayed.
    WrongHost,
    BadScheme,
}

/// Checks event 4's `solution`: 128 hex digits over `challenge`, by the holder of `identity`.
///
/// `accepted` are the hosts this server answers to, `dialled` is the Host header of the upgrade. The header
/// is never trusted: it picks which accepted host is tried first, and tells [`Refused::WrongHost`] from
/// [`Refused::BadSignature`] once all have failed. `mida-v1` so costs one verification where all is well,
/// and one for each accepted host and one more at worst; `ecdsa` costs two at worst, and asks no host.
///
/// Returns how many verifications it took, too.
///
/// # Errors
/// [`Refused::BadSignature`], also for a malformed solution, or [`Refused::WrongHost`].
pub fn verify<'a, H>(
    scheme: Scheme,
    identity: &Identity,
    challenge: &Challenge,
    solution: &[u8],
    accepted: H,
    dialled: Option<&str>,
) -> (Result<(), Refused>, u32)
where
    H: IntoIterator<Item = &'a str> + Clone,
{
    let mut signature = [0; 64];
    if hex::decode(solution, &mut signature).is_err() {
        return (Err(Refused::BadSignature), 0);
    }
    let point = identity.point();
    let tries = Cell::new(0);
    let count = || tries.set(tries.get() + 1);
    let result = match scheme {
        Scheme::MidaV1 => {
            let signature = schnorr::Signature::from_byte_array(signature);
            let key = XOnlyPublicKey::from(point);
            let signs = |host: &str| {
                count();
                schnorr::verify(&signature, &digest(host, challenge, identity), &key).is_ok()
            };
            verify_mida_v1(signs, accepted, dialled)
        }
        Scheme::Ecdsa => verify_ecdsa(&signature, challenge, &point, count),
    };
    (result, tries.get())
}

fn verify_mida_v1<'a, H>(
    signs: impl Fn(&str) -> bool,
    accepted: H,
    dialled: Option<&str>,
) -> Result<(), Refused>
where
    H: IntoIterator<Item = &'a str> + Clone,
{
    let first = dialled.filter(|dialled| accepted.clone().into_iter().any(|host| host == *dialled));
    if first.is_some_and(&signs) {
        return Ok(());
    }
    if accepted.into_iter().any(|host| first != Some(host) && signs(host)) {
        return Ok(());
    }
    match dialled {
        Some(host) if first.is_none() && signs(host) => Err(Refused::WrongHost),
        _ => Err(Refused::BadSignature),
    }
}

/// r and s in [1, n-1], s low, over the challenge as digest or over its SHA-256.
fn verify_ecdsa(
    compact: &[u8; 64],
    challenge: &Challenge,
    point: &PublicKey,
    count: impl Fn(),
) -> Result<(), Refused> {
    // Parsing refuses r or s of n and above; verifying refuses 0 and a high s.
    let signature = ecdsa::Signature::from_compact(compact).map_err(|_| Refused::BadSignature)?;
    let signs = |digest| {
        count();
        ecdsa::verify(&signature, Message::from_digest(digest), point).is_ok()
    };
    // The hash first: it is what current libraries sign.
    if signs(Sha256::digest(challenge.0).into()) || signs(challenge.0) {
        Ok(())
    } else {
        Err(Refused::BadSignature)
    }
}

/// The client's side: event 4's `solution`, 128 hex digits, for the `host` of the URL that was dialled.
pub fn sign_mida_v1(
    secret: &SecretKey,
    host: &str,
    challenge: &Challenge,
    identity: &Identity,
    rng: &mut Rng,
) -> [u8; 128] {
    let mut auxiliary = [0; 32];
    rng.fill(&mut auxiliary);
    let mut pair = Keypair::from_secret_key(secret.scalar());
    let signature = schnorr::sign_with_aux_rand(&digest(host, challenge, identity), &pair, &auxiliary);
    pair.non_secure_erase();
    let mut solution = [0; 128];
    hex::encode(signature.as_byte_array(), &mut solution);
    solution
}

/// SHA-256 of the text that `mida-v1` signs; the challenge and the identity stand in it in lowercase hex.
fn digest(host: &str, challenge: &Challenge, identity: &Identity) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"mida-auth-v1\n");
    hash.update(host);
    hash.update(b"\n");
    hash.update(challenge.to_hex());
    hash.update(b"\n");
    hash.update(identity.to_hex());
    hash.finalize().into()
}

impl Challenge {
    pub fn fresh(rng: &mut Rng) -> Challenge {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        Challenge(bytes)
    }

    /// The client's side: reads event 3's 64 hex digits; `None` for anything else.
    pub fn from_hex(text: &[u8]) -> Option<Challenge> {
        let mut bytes = [0; 32];
        hex::decode(text, &mut bytes).ok()?;
        Some(Challenge(bytes))
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lowercase digits.
    pub fn to_hex(&self) -> [u8; 64] {
        let mut text = [0; 64];
        hex::encode(&self.0, &mut text);
        text
    }
}

impl Scheme {
    /// As event 3's `schemes` lists them, the better one first.
    pub const ALL: [Scheme; 2] = [Scheme::MidaV1, Scheme::Ecdsa];

    pub const fn name(self) -> &'static str {
        match self {
            Self::MidaV1 => "mida-v1",
            Self::Ecdsa => "ecdsa",
        }
    }

    /// Event 4's `scheme`; without one it is the plain scheme.
    ///
    /// # Errors
    /// [`Refused::BadScheme`]: the name is none of ours.
    pub fn from_name(name: Option<&str>) -> Result<Scheme, Refused> {
        match name {
            None => Ok(Scheme::Ecdsa),
            Some(name) => {
                Scheme::ALL.into_iter().find(|scheme| scheme.name() == name).ok_or(Refused::BadScheme)
            }
        }
    }
}

#[cfg(test)]
mod tests;
