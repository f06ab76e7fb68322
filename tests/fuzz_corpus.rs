//! The bodies of the fuzz targets over their corpus, and over inputs made from a fixed seed: what the
//! fuzzer once found stays found, on any toolchain.

use mida::app::crypto::rng::Rng;
use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

#[path = "../fuzz/bodies/lib.rs"]
mod bodies;

const INPUTS: u32 = 2_000;
const INPUT_BYTES: u32 = 400;

/// Runs `body` over the corpus of `target`, and over as many inputs that are random or come of the corpus
/// by damage.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, input) in paths.iter().zip(&corpus) {
        run(body, input, &path.display().to_string());
    }
    let mut rng = Rng::from_seed([17; 32]);
    for number in 0..INPUTS {
        let input = if number % 4 == 0 { random(&mut rng) } else { damaged(&corpus, &mut rng) };
        run(body, &input, &format!("input {number} of {target}"));
    }
}

/// Says which input it was: `input` can be written to a file and kept in the corpus.
fn run(body: fn(&[u8]), input: &[u8], name: &str) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| body(input))) {
        eprintln!("{name}: b\"{}\"", input.escape_ascii());
        panic::resume_unwind(panic);
    }
}

fn random(rng: &mut Rng) -> Vec<u8> {
    let mut input = vec![0; rng.below(INPUT_BYTES) as usize];
    rng.fill(&mut input);
    input
}

/// One input of the corpus with up to four bytes or stretches changed, and now and then another's end.
fn damaged(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let one = |rng: &mut Rng| corpus[rng.below(corpus.len() as u32) as usize].clone();
    let mut input = one(rng);
    for _ in 0..=rng.below(4) {
        let at = rng.below(input.len() as u32 + 1) as usize;
        let end = (at + rng.below(9) as usize).min(input.len());
        let byte = rng.next_u32() as u8;
        match rng.below(5) {
            0 => drop(input.drain(at..end)),
            1 => input.insert(at, byte),
            2 => input.extend_from_within(at..end),
            3 => {
                let other = one(rng);
                input.truncate(at);
                input.extend_from_slice(&other[at.min(other.len())..]);
            }
            _ => input[at..end].iter_mut().for_each(|to| *to ^= byte),
        }
    }
    input
}

#[test]
fn frames_come_out_alike_however_the_stream_is_cut() {
    replay("frames", bodies::frames::run);
}

#[test]
fn an_upgrade_is_accepted_exactly_if_a_plain_reading_of_the_head_says_so() {
    replay("upgrade", bodies::upgrade::run);
}

#[test]
fn a_text_decodes_to_what_serde_json_and_the_rules_of_the_envelope_say() {
    replay("decode", bodies::decode::run);
}

#[test]
fn a_session_says_what_the_protocol_says_and_seals_it() {
    replay("session", bodies::session::run);
}

#[test]
fn a_sealed_message_opens_exactly_if_the_stock_crate_opens_it() {
    replay("open", bodies::open::run);
}
