use super::*;
use std::collections::{BTreeSet, HashSet};

/// The generator: X, even Y, and the group order.
const X: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
const Y: &str = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
const MINUS_Y: &str = "b7c52588d95c3b9aa25b0403f1eef75702e84bb7597aabe663b82f6f04ef2777";
const N: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

#[test]
fn both_encodings_in_either_case_name_one_user() {
    let compressed = format!("02{X}");
    for text in [compressed.clone(), format!("04{X}{Y}")] {
        for text in [text.clone(), text.to_uppercase()] {
            let (identity, point) = Identity::parse_hex(text.as_bytes()).unwrap();
            assert_eq!(identity.to_hex(), compressed.as_bytes());
            assert_eq!(format!("{identity} {identity:?}"), format!("{compressed} {compressed}"));
            assert_eq!((identity.point(), Identity::of(&point)), (point, identity));
            assert_eq!(Identity::from_bytes(*identity.as_bytes()).unwrap(), (identity, point));
        }
    }
    let (other, _) = Identity::parse_hex(format!("04{X}{MINUS_Y}").as_bytes()).unwrap();
    assert_eq!(other.to_string(), format!("03{X}"));
}

#[test]
fn what_is_no_key_is_refused_by_name() {
    let zero = "0".repeat(64);
    let five = format!("{:0>64}", 5);
    // p, the field's order, and above it.
    let p = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f";
    let top = "f".repeat(64);
    let bad = [
        (String::new(), BadKey::Length),
        ("00".into(), BadKey::Length),
        (X.into(), BadKey::Length),
        (format!("02{X}")[..65].into(), BadKey::Length),
        (format!("02{X}0"), BadKey::Length),
        (format!("{X}{Y}"), BadKey::Length),
        (format!("04{X}{Y}")[..129].into(), BadKey::Length),
        (format!("04{X}{Y}0"), BadKey::Length),
        ("02".repeat(50_000), BadKey::Length),
        (format!("0x{X}"), BadKey::NotHex),
        (format!("02{}g", &X[1..]), BadKey::NotHex),
        (format!(" 2{X}"), BadKey::NotHex),
        (format!("02{}é", &X[2..]), BadKey::NotHex),
        (format!("04{X}{}\n", &Y[1..]), BadKey::NotHex),
        (format!("00{zero}"), BadKey::Prefix),
        (format!("00{zero}{zero}"), BadKey::Prefix),
        (format!("00{X}"), BadKey::Prefix),
        (format!("01{X}"), BadKey::Prefix),
        (format!("04{X}"), BadKey::Prefix),
        (format!("05{X}"), BadKey::Prefix),
        (format!("06{X}"), BadKey::Prefix),
        (format!("82{X}"), BadKey::Prefix),
        (format!("02{X}{Y}"), BadKey::Prefix),
        (format!("03{X}{MINUS_Y}"), BadKey::Prefix),
        // Hybrids, with the parity they ought to have.
        (format!("06{X}{Y}"), BadKey::Prefix),
        (format!("07{X}{MINUS_Y}"), BadKey::Prefix),
        (format!("02{five}"), BadKey::OffCurve),
        (format!("03{five}"), BadKey::OffCurve),
        (format!("02{zero}"), BadKey::OffCurve),
        (format!("02{p}"), BadKey::OffCurve),
        (format!("02{top}"), BadKey::OffCurve),
        (format!("04{zero}{zero}"), BadKey::OffCurve),
        (format!("04{X}{X}"), BadKey::OffCurve),
        (format!("04{Y}{X}"), BadKey::OffCurve),
        (format!("04{X}{top}"), BadKey::OffCurve),
        (format!("04{p}{Y}"), BadKey::OffCurve),
    ];
    for (text, why) in bad {
        assert_eq!(Identity::parse_hex(text.as_bytes()).err(), Some(why), "{text:.140}");
    }
}

#[test]
fn another_library_agrees_on_what_is_a_key() {
    let mut rng = Rng::from_seed([3; 32]);
    let (mut good, mut bytes) = (0, [0; 33]);
    for _ in 0..200 {
        rng.fill(&mut bytes);
        bytes[0] = 2 + (bytes[0] & 1);
        let mut text = Vec::new();
        hex::append(&bytes, &mut text);
        let parsed = Identity::parse_hex(&text).ok();
        assert_eq!(parsed.is_some(), ecies::PublicKey::parse_slice(&bytes, None).is_ok());
        if let Some((identity, point)) = parsed {
            let mut long = Vec::new();
            hex::append(&point.serialize_uncompressed(), &mut long);
            assert_eq!(Identity::parse_hex(&long).unwrap(), (identity, point));
            good += 1;
        }
    }
    assert!((60..140).contains(&good), "half of all X have a Y: {good}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn no_text_breaks_the_parser(text in proptest::collection::vec(proptest::num::u8::ANY, 0..140)) {
        if let Ok((identity, _)) = Identity::parse_hex(&text) {
            proptest::prop_assert!(text.eq_ignore_ascii_case(&identity.to_hex()) || text.len() == 130);
        }
    }
}

#[test]
fn identities_serve_as_keys_of_maps() {
    let mut rng = Rng::from_seed([4; 32]);
    let some: Vec<_> = (0..10).map(|_| SecretKey::generate(&mut rng).identity()).collect();
    assert_eq!(some.iter().collect::<HashSet<_>>().len(), 10);
    let sorted: Vec<_> = some.iter().collect::<BTreeSet<_>>().into_iter().map(|i| i.to_hex()).collect();
    assert!(sorted.is_sorted());
}

#[test]
fn a_secret_is_a_number_from_1_to_n_minus_1() {
    let n_minus_1 = format!("{}40", &N[..62]);
    let one = format!("{:0>64}", 1);
    for (text, identity) in [(&one, format!("02{X}")), (&n_minus_1, format!("03{X}"))] {
        for case in [text.clone(), text.to_uppercase()] {
            let secret = SecretKey::from_hex(case.as_bytes()).unwrap();
            assert_eq!(secret.to_hex()[..], *text.as_bytes());
            assert_eq!(secret.identity().to_string(), identity);
        }
    }
    for text in
        ["0".repeat(64), N.into(), "f".repeat(64), one[1..].into(), one + "0", format!("0x{}", &X[2..])]
    {
        assert_eq!(SecretKey::from_hex(text.as_bytes()).err(), Some(BadSecret), "{text}");
    }
}

#[test]
fn generated_secrets_differ_and_repeat_with_the_seed() {
    let mut rng = Rng::from_seed([5; 32]);
    let (one, two) = (SecretKey::generate(&mut rng), SecretKey::generate(&mut rng));
    assert_ne!(one.as_bytes(), two.as_bytes());
    assert_eq!(SecretKey::generate(&mut Rng::from_seed([5; 32])).as_bytes(), one.as_bytes());
}

#[test]
fn a_generator_forgets_the_secret_it_gave() {
    let mut rng = Rng::from_seed([6; 32]);
    let secret = SecretKey::generate(&mut rng);
    let mut plain = Rng::from_seed([6; 32]);
    let mut first = [[0; 32]; 2];
    first.iter_mut().for_each(|bytes| plain.fill(bytes));
    assert_eq!(*secret.as_bytes(), first[0]);
    // Without `forget` the stream would just go on.
    let mut next = [[0; 32]; 2];
    next.iter_mut().for_each(|bytes| rng.fill(bytes));
    plain.fill(&mut first[0]);
    assert!(next.iter().all(|bytes| !first.contains(bytes)));
}

#[test]
fn erasing_a_secret_leaves_nothing_of_it() {
    let mut secret = SecretKey::from_hex(X.as_bytes()).unwrap();
    let before = *secret.as_bytes();
    secret.erase();
    assert!(secret.as_bytes().iter().zip(before).filter(|(now, before)| *now == before).count() <= 1);
}
