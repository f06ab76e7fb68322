//! Sealed messages, whole and damaged, opened by the client that remembers keys and by the `ecies` crate.

use super::input::Input;
use inbound::{Broken, Inbound};
use mida::app::crypto::{
    key::SecretKey,
    rng::Rng,
    seal::{Epoch, OVERHEAD},
};
use opener::{NotSealed, Opener};

#[path = "../../src/cli/connect/inbound.rs"]
mod inbound;
#[path = "../../src/cli/load/opener.rs"]
mod opener;

/// Messages that one input may seal: each costs two openings.
const MESSAGES_MAX: usize = 6;

/// First rules, with and without batching, and what a sealed message may hold.
const TEXTS: [&str; 8] = [
    r#"{"t":0,"data":{"v":1,"batching":false}}"#,
    r#"{"t":0,"data":{"v":1,"batching":true}}"#,
    "",
    r#"{"t":3,"data":{}}"#,
    r#"{"count":2,"data":[{"t":5,"data":{"passed":true}},{"t":0}]}"#,
    r#"{"count":1,"data":[{"t":128}]}"#,
    r#"{"t":1,"data":null}"#,
    "0123456789abcdef0123456789abcdef!",
];

/// Whether the connection has rules, and what comes on it, each piece with its damage.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rng = Rng::from_seed([11; 32]);
    let secrets = [(); 2].map(|()| SecretKey::generate(&mut rng));
    let own = SecretKey::from_hex(&secrets[0].to_hex()[..]).expect("a key");
    // The last one is sealed to somebody else.
    let mut epochs = [const { None }; 4];
    let mut inbound = Inbound::new(Some(own));
    if input.bool() {
        let rules = TEXTS[usize::from(input.bool())];
        assert!(inbound.clear(rules).is_ok_and(|events| events.len() == 1));
    }
    let (mut opener, mut text) = (Opener::default(), Vec::new());
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for _ in 0..MESSAGES_MAX {
        if input.is_empty() {
            break;
        }
        let kind = input.byte() % 8;
        let message = match kind {
            0..4 => {
                let recipient = &secrets[usize::from(kind / 3)];
                let derive = || Epoch::derive(&recipient.identity().point(), 0, &mut rng);
                seal(epochs[usize::from(kind)].get_or_insert_with(derive), &mut input)
            }
            4 => sent.get(usize::from(input.byte())).cloned().unwrap_or_default(),
            5 => {
                let len = usize::from(input.byte());
                input.take(len).to_vec()
            }
            _ => {
                let len = usize::from(input.byte());
                clear(&mut inbound, input.take(len));
                continue;
            }
        };
        let message = damaged(message, &sent, &mut input);
        let verdict = ecies::decrypt(&secrets[0].as_bytes()[..], &message);
        let opened = opener.open(&secrets[0], &message, &mut text);
        assert_eq!(opened, verdict.as_ref().map(|_| ()).map_err(|_| NotSealed), "{message:02x?}");
        if let Ok(plain) = &verdict {
            assert_eq!(plain, &text);
        }
        receive(&mut inbound, &message, verdict.ok().as_deref());
        sent.push(message);
    }
}

fn seal(epoch: &mut Epoch, input: &mut Input<'_>) -> Vec<u8> {
    let len = usize::from(input.byte());
    let plain = if len < TEXTS.len() { TEXTS[len].as_bytes() } else { input.take(len) };
    let mut message = vec![0; OVERHEAD + plain.len()];
    message[OVERHEAD..].copy_from_slice(plain);
    epoch.seal(0, &mut message).expect("a fresh epoch");
    message
}

/// Nothing happens to it, or up to three things.
fn damaged(mut message: Vec<u8>, sent: &[Vec<u8>], input: &mut Input<'_>) -> Vec<u8> {
    for _ in 0..input.pick(&[0, 0, 1, 3]) {
        let at = usize::from(input.u16());
        match input.byte() % 8 {
            0 => message.truncate(at),
            1 => message.extend_from_slice(input.take(at % 64)),
            2 => {
                // The start of one message and the end of another.
                let from = sent.get(at % 16).map(Vec::as_slice).unwrap_or_default();
                let cut = [1, 33, 65, 81, OVERHEAD][at % 5].min(message.len()).min(from.len());
                message[..cut].copy_from_slice(&from[..cut]);
            }
            3 => {
                // Prefixes of SEC 1, and of the hybrids that are none.
                if let Some(first) = message.first_mut() {
                    *first = input.pick(&[2, 3, 0, 6, 7, 5]);
                }
            }
            4 => {
                // The point's negative: Y from p.
                if let Some(y) = message.get_mut(33..65) {
                    negate(y);
                }
            }
            5 => {
                if let Some(x) = message.get_mut(1..65) {
                    x.fill(input.pick(&[0, 0xFF]));
                }
            }
            _ => {
                let len = message.len().max(1);
                if let Some(byte) = message.get_mut(at % len) {
                    *byte ^= input.byte();
                }
            }
        }
    }
    message
}

/// p - y, bytewise, with p = 2^256 - 2^32 - 977.
fn negate(y: &mut [u8]) {
    let mut p = [0xFF_u8; 32];
    p[27..].copy_from_slice(&[0xFE, 0xFF, 0xFF, 0xFC, 0x2F]);
    let mut borrow = 0;
    for (y, p) in y.iter_mut().zip(p).rev() {
        let difference = i16::from(p) - i16::from(*y) - borrow;
        borrow = i16::from(difference < 0);
        *y = difference.rem_euclid(256) as u8;
    }
}

/// A text on the connection: nothing of it counts once something sealed was opened.
fn clear(inbound: &mut Inbound, bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let sealed = inbound.is_sealed();
    match inbound.clear(text) {
        Ok(events) => {
            assert!(!sealed && inbound.has_rules());
            assert!(events.iter().all(|event| !event.sealed && !matches!(event.t, 3 | 5)));
            assert!(events.iter().all(|event| text.contains(event.json)));
        }
        Err(Broken::Attack(_)) => {}
        Err(_) => assert!(!sealed, "text behind sealed messages is an attack"),
    }
}

/// The same message to the client that people use.
fn receive(inbound: &mut Inbound, message: &[u8], plain: Option<&[u8]>) {
    let sealed = inbound.is_sealed();
    match (inbound.open(message), plain) {
        (Ok(text), Some(plain)) => {
            assert_eq!(text.as_bytes(), plain);
            assert!(inbound.is_sealed());
            if let Ok(events) = inbound.opened(&text) {
                assert!(!events.is_empty() && events.iter().all(|event| event.sealed));
            }
        }
        (Err(Broken::NotMida(_)), Some(plain)) => {
            assert!(str::from_utf8(plain).is_err() && inbound.is_sealed());
        }
        (Err(Broken::Attack(_)), None) => assert_eq!(inbound.is_sealed(), sealed),
        (opened, plain) => panic!("{opened:?} of {plain:02x?}"),
    }
}
