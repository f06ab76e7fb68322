use super::*;
use std::cell::RefCell;

const HOSTS: [&str; 3] = ["chat.example", "localhost:7700", "[::1]:7700"];
const N: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

struct Client {
    secret: SecretKey,
    identity: Identity,
    challenge: Challenge,
    rng: Rng,
}

impl Client {
    fn new(seed: u8) -> Client {
        let mut rng = Rng::from_seed([seed; 32]);
        let secret = SecretKey::generate(&mut rng);
        Client { identity: secret.identity(), challenge: Challenge::fresh(&mut rng), secret, rng }
    }

    fn mida_v1(&mut self, host: &str) -> String {
        let solution = sign_mida_v1(&self.secret, host, &self.challenge, &self.identity, &mut self.rng);
        String::from_utf8(solution.to_vec()).unwrap()
    }

    fn ecdsa(&self, digest: [u8; 32]) -> String {
        hex_of(&ecdsa::sign(Message::from_digest(digest), self.secret.scalar()).serialize_compact())
    }

    /// The plain scheme as current libraries do it: they hash first.
    fn ecdsa_hashed(&self) -> String {
        self.ecdsa(Sha256::digest(self.challenge.0).into())
    }

    fn verify(&self, scheme: Scheme, solution: &str) -> Result<(), Refused> {
        verify(scheme, &self.identity, &self.challenge, solution.as_bytes(), HOSTS, None).0
    }

    fn refuses(&self, scheme: Scheme, solution: &str, why: &str) {
        assert_eq!(self.verify(scheme, solution), Err(Refused::BadSignature), "{scheme:?}: {why}");
    }
}

fn hex_of(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    hex::append(bytes, &mut text);
    String::from_utf8(text).unwrap()
}

/// n - s, which verifies by the bare equations too.
fn high_s(solution: &str) -> String {
    let s = SecretKey::from_hex(&solution.as_bytes()[64..]).unwrap();
    format!("{}{}", &solution[..64], hex_of(s.scalar().negate().as_secret_bytes()))
}

#[test]
fn mida_v1_passes_for_each_accepted_host_and_either_case() {
    let mut client = Client::new(1);
    for host in HOSTS {
        let solution = client.mida_v1(host);
        assert_eq!(client.verify(Scheme::MidaV1, &solution), Ok(()));
        assert_eq!(client.verify(Scheme::MidaV1, &solution.to_uppercase()), Ok(()));
    }
}

#[test]
fn mida_v1_passes_for_keys_of_both_parities() {
    let parities = (2..12).map(Client::new).map(|mut client| {
        let solution = client.mida_v1(HOSTS[0]);
        assert_eq!(client.verify(Scheme::MidaV1, &solution), Ok(()));
        client.identity.as_bytes()[0]
    });
    assert_eq!(parities.collect::<std::collections::BTreeSet<_>>().len(), 2);
}

#[test]
fn ecdsa_passes_over_the_challenge_and_over_its_hash() {
    let client = Client::new(12);
    for solution in [client.ecdsa(client.challenge.0), client.ecdsa_hashed()] {
        assert_eq!(client.verify(Scheme::Ecdsa, &solution), Ok(()));
        assert_eq!(client.verify(Scheme::Ecdsa, &solution.to_uppercase()), Ok(()));
    }
}

#[test]
fn the_other_scheme_is_refused() {
    let mut client = Client::new(13);
    let solution = client.mida_v1(HOSTS[0]);
    client.refuses(Scheme::Ecdsa, &solution, "mida-v1 sent as ecdsa");
    client.refuses(Scheme::MidaV1, &client.ecdsa(client.challenge.0), "ecdsa sent as mida-v1");
    client.refuses(Scheme::MidaV1, &client.ecdsa_hashed(), "hashed ecdsa sent as mida-v1");
    let text = digest(HOSTS[0], &client.challenge, &client.identity);
    client.refuses(Scheme::MidaV1, &client.ecdsa(text), "ecdsa over the text of mida-v1");
    client.refuses(Scheme::Ecdsa, &client.ecdsa(text), "ecdsa over the text of mida-v1");
    let mut pair = Keypair::from_secret_key(client.secret.scalar());
    let bare = schnorr::sign_no_aux_rand(&client.challenge.0, &pair);
    pair.non_secure_erase();
    client.refuses(Scheme::MidaV1, &hex_of(bare.as_byte_array()), "BIP-340 over the bare challenge");
}

#[test]
fn another_key_or_challenge_is_refused() {
    let mut client = Client::new(14);
    let solutions = [
        (Scheme::MidaV1, client.mida_v1(HOSTS[0])),
        (Scheme::Ecdsa, client.ecdsa(client.challenge.0)),
        (Scheme::Ecdsa, client.ecdsa_hashed()),
    ];
    for (scheme, solution) in &solutions {
        let other = Client { identity: Client::new(15).identity, ..Client::new(14) };
        other.refuses(*scheme, solution, "another key");
        let mut later = Client::new(14);
        later.challenge = Challenge::fresh(&mut later.rng);
        later.refuses(*scheme, solution, "another connection's challenge");
        assert_eq!(Client::new(14).verify(*scheme, solution), Ok(()));
    }
    // The sign of Y is part of the text, though not of the x-only key.
    let mut mirrored = *client.identity.as_bytes();
    mirrored[0] ^= 1;
    let mirrored = Client { identity: Identity::from_bytes(mirrored).unwrap().0, ..Client::new(14) };
    mirrored.refuses(Scheme::MidaV1, &solutions[0].1, "the mirrored key");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let mut client = Client::new(16);
    let good =
        [(Scheme::MidaV1, client.mida_v1(HOSTS[0])), (Scheme::Ecdsa, client.ecdsa(client.challenge.0))];
    for (scheme, solution) in good {
        let (r, s) = solution.split_at(64);
        for bad in [ZERO, N, &"f".repeat(64)] {
            client.refuses(scheme, &format!("{bad}{s}"), "r out of range");
            client.refuses(scheme, &format!("{r}{bad}"), "s out of range");
            client.refuses(scheme, &format!("{bad}{bad}"), "both out of range");
        }
        client.refuses(scheme, &high_s(&solution), "high s");
        client.refuses(scheme, &format!("{s}{r}"), "swapped");
    }
}

#[test]
fn high_s_differs_from_the_good_signature_in_nothing_but_s() {
    let client = Client::new(17);
    let mut bytes = [0; 64];
    hex::decode(high_s(&client.ecdsa_hashed()).as_bytes(), &mut bytes).unwrap();
    let mut signature = ecdsa::Signature::from_compact(&bytes).unwrap();
    signature.normalize_s();
    assert_eq!(client.verify(Scheme::Ecdsa, &hex_of(&signature.serialize_compact())), Ok(()));
}

#[test]
fn ecdsa_over_the_hex_text_or_a_part_of_it_is_refused() {
    let client = Client::new(18);
    let text = client.challenge.to_hex();
    let digests: [(&str, [u8; 32]); 5] = [
        ("hash of the hex text", Sha256::digest(text).into()),
        ("first half of the hex text", text[..32].try_into().unwrap()),
        ("second half of the hex text", text[32..].try_into().unwrap()),
        ("hash of half the challenge", Sha256::digest(&client.challenge.0[..16]).into()),
        ("hashed twice", Sha256::digest(Sha256::digest(client.challenge.0)).into()),
    ];
    for (why, digest) in digests {
        client.refuses(Scheme::Ecdsa, &client.ecdsa(digest), why);
    }
}

#[test]
fn what_is_not_128_hex_digits_is_a_bad_signature() {
    let mut client = Client::new(19);
    let der = ecdsa::sign(Message::from_digest(client.challenge.0), client.secret.scalar()).serialize_der();
    let good =
        [(Scheme::MidaV1, client.mida_v1(HOSTS[0])), (Scheme::Ecdsa, client.ecdsa(client.challenge.0))];
    for (scheme, solution) in good {
        let malformed = [
            String::new(),
            solution[..127].into(),
            solution[..64].into(),
            format!("{solution}00"),
            format!("00{solution}"),
            format!("0x{}", &solution[2..]),
            format!("{} ", &solution[..127]),
            solution.replace(|c: char| c.is_ascii_digit(), "g"),
            "é".repeat(64),
            hex_of(&der),
            hex_of(&der)[..128].into(),
        ];
        for text in malformed {
            client.refuses(scheme, &text, &text);
        }
    }
}

#[test]
fn every_changed_bit_is_refused() {
    let mut client = Client::new(20);
    let good = [(Scheme::MidaV1, client.mida_v1(HOSTS[0])), (Scheme::Ecdsa, client.ecdsa_hashed())];
    for (scheme, solution) in good {
        let mut bytes = [0; 64];
        hex::decode(solution.as_bytes(), &mut bytes).unwrap();
        for at in 0..64 {
            bytes[at] ^= 1 << (at % 8);
            client.refuses(scheme, &hex_of(&bytes), &format!("byte {at}"));
            bytes[at] ^= 1 << (at % 8);
        }
    }
}

#[test]
fn another_host_is_told_from_a_bad_signature_only_by_the_host_header() {
    let mut client = Client::new(21);
    let relayed = client.mida_v1("evil.example");
    let here = client.mida_v1(HOSTS[2]);
    let cases = [
        (&here, None, Ok(())),
        (&here, Some(HOSTS[2]), Ok(())),
        // Headers that name another host, accepted or not, do no harm to a good signature.
        (&here, Some(HOSTS[0]), Ok(())),
        (&here, Some("evil.example"), Ok(())),
        (&relayed, None, Err(Refused::BadSignature)),
        (&relayed, Some(HOSTS[0]), Err(Refused::BadSignature)),
        (&relayed, Some("other.example"), Err(Refused::BadSignature)),
        (&relayed, Some("evil.example"), Err(Refused::WrongHost)),
    ];
    for (solution, dialled, expected) in cases {
        let (result, _) =
            verify(Scheme::MidaV1, &client.identity, &client.challenge, solution.as_bytes(), HOSTS, dialled);
        assert_eq!(result, expected, "{dialled:?}");
    }
    let nobody = verify(Scheme::MidaV1, &client.identity, &client.challenge, here.as_bytes(), [], None);
    assert_eq!(nobody, (Err(Refused::BadSignature), 0));
}

#[test]
fn hosts_match_whole_and_exactly() {
    let mut client = Client::new(22);
    for host in ["", "Chat.Example", "chat.example:443", "chat.example.", "chat.exampl", "localhost", "[::1]"]
    {
        let solution = client.mida_v1(host);
        client.refuses(Scheme::MidaV1, &solution, host);
    }
}

#[test]
fn no_host_is_verified_twice_and_the_dialled_one_goes_first() {
    // Signed for, dialled, hosts verified in order.
    let cases: [(&str, Option<&str>, &[&str]); 7] = [
        ("a", None, &["a"]),
        ("c", None, &["a", "b", "c"]),
        ("c", Some("c"), &["c"]),
        ("c", Some("b"), &["b", "a", "c"]),
        ("c", Some("x"), &["a", "b", "c"]),
        ("x", Some("x"), &["a", "b", "c", "x"]),
        ("x", Some("b"), &["b", "a", "c"]),
    ];
    for (signed, dialled, expected) in cases {
        let seen = RefCell::new(Vec::new());
        let signs = |host: &str| {
            seen.borrow_mut().push(host.to_owned());
            host == signed
        };
        let result = verify_mida_v1(signs, ["a", "b", "c"], dialled);
        assert_eq!(seen.into_inner(), expected, "{signed} {dialled:?}");
        assert_eq!(result.is_ok(), signed != "x");
    }
}

#[test]
fn names_are_those_of_the_wire() {
    assert_eq!(Scheme::from_name(None), Ok(Scheme::Ecdsa));
    assert_eq!(Scheme::ALL.map(Scheme::name), ["mida-v1", "ecdsa"]);
    for scheme in Scheme::ALL {
        assert_eq!(Scheme::from_name(Some(scheme.name())), Ok(scheme));
    }
    for name in ["", "ECDSA", "mida-v2", "mida-v1 ", "schnorr"] {
        assert_eq!(Scheme::from_name(Some(name)), Err(Refused::BadScheme), "{name}");
    }
}

#[test]
fn challenges_are_fresh_and_cross_the_wire() {
    let mut rng = Rng::from_seed([23; 32]);
    let (one, two) = (Challenge::fresh(&mut rng), Challenge::fresh(&mut rng));
    assert_ne!(one.0, two.0);
    let text = one.to_hex();
    assert!(Challenge::from_hex(&text) == Some(one));
    for bad in [&text[1..], &[&text[..], b"0"].concat(), b"", &[b'g'; 64]] {
        assert!(Challenge::from_hex(bad).is_none());
    }
}
