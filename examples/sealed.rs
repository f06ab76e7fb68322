//! Sealed messages for other implementations to open, over two changes of the epoch: after its last message,
//! and after its last second. The same ones in every run: `cargo run --release --example sealed`.
//!
//! One JSON object a line, in hex: the recipient's `secret`, the `plaintext`, and the message as `sealed`.

use mida::app::crypto::{
    hex,
    key::SecretKey,
    rng::Rng,
    seal::{EPOCH_MESSAGES, Epoch, OVERHEAD, SealError},
};
use std::io::{self, BufWriter, Write};

/// Messages that are shown of an epoch's start, and of its end.
const SHOWN: u32 = 20;
const BYTES_MAX: u32 = 4_096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut rng = Rng::from_seed([7; 32]);
    let secret = SecretKey::generate(&mut rng);
    let recipient = secret.identity().point();
    let mut now_s = 1_000_000;
    let mut out = BufWriter::new(io::stdout().lock());

    let mut epoch = Epoch::derive(&recipient, now_s, &mut rng);
    show(&mut out, &secret, &mut epoch, now_s, &mut rng)?;
    for _ in SHOWN..EPOCH_MESSAGES - SHOWN {
        epoch.seal(now_s, &mut [0; OVERHEAD])?;
    }
    show(&mut out, &secret, &mut epoch, now_s, &mut rng)?;
    expect_spent(&mut epoch, now_s)?;

    epoch = Epoch::derive(&recipient, now_s, &mut rng);
    show(&mut out, &secret, &mut epoch, now_s, &mut rng)?;
    while !epoch.is_spent(now_s + 1, 0) {
        now_s += 1;
    }
    show(&mut out, &secret, &mut epoch, now_s, &mut rng)?;
    now_s += 1;
    expect_spent(&mut epoch, now_s)?;

    epoch = Epoch::derive(&recipient, now_s, &mut rng);
    show(&mut out, &secret, &mut epoch, now_s, &mut rng)?;
    out.flush()?;
    Ok(())
}

/// Seals and prints [`SHOWN`] messages: an empty one, one as long as they get, and others.
fn show(
    out: &mut impl Write,
    secret: &SecretKey,
    epoch: &mut Epoch,
    now_s: u32,
    rng: &mut Rng,
) -> Result<(), Box<dyn std::error::Error>> {
    for nth in 0..SHOWN {
        let bytes = match nth {
            0 => 0,
            1 => BYTES_MAX,
            _ => rng.below(BYTES_MAX + 1),
        };
        let mut message = vec![0; OVERHEAD + bytes as usize];
        rng.fill(&mut message[OVERHEAD..]);
        let plaintext = digits(&message[OVERHEAD..]);
        epoch.seal(now_s, &mut message)?;
        let (secret, sealed) = (digits(secret.as_bytes()), digits(&message));
        writeln!(out, r#"{{"secret":"{secret}","plaintext":"{plaintext}","sealed":"{sealed}"}}"#)?;
    }
    Ok(())
}

/// An epoch that went on would be shown as if it had ended.
fn expect_spent(epoch: &mut Epoch, now_s: u32) -> Result<(), &'static str> {
    match epoch.seal(now_s, &mut [0; OVERHEAD]) {
        Err(SealError::Spent) => Ok(()),
        _ => Err("the epoch should have been spent"),
    }
}

fn digits(bytes: &[u8]) -> String {
    let mut text = vec![0; 2 * bytes.len()];
    hex::encode(bytes, &mut text);
    text.into_iter().map(char::from).collect()
}
