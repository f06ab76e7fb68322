//! The reactor with Mida on it, over a backend in which everything that a kernel may do happens by seed
//! (`mida::engine::io::sim`), in virtual time, against clients that keep to PROTOCOL.md or break it, and a
//! model that knows what each of them must get.
//!
//! A failure names its seed; `MIDA_SEED=N cargo test --test simulation` replays it, step by step the same.
//! `MIDA_SEEDS=10000` runs that many, `MIDA_SEEDS=2500..5000` those (with `--release` a thousand take 8 s).
//! `tests/planted.sh` shows that it finds what unit tests do not.

mod client;
#[path = "../../src/cli/load/login.rs"]
mod login;
mod model;
#[path = "../../src/cli/load/opener.rs"]
mod opener;
mod plan;
mod script;
mod wire;
mod world;

use mida::engine::io::sim::{Dice, Sim, Together};
use plan::Plan;
use std::{collections::BTreeMap, ops::Range};
use world::{Simulated, World};

const SEEDS: u64 = 256;
/// Seeds beyond those that have failed before.
const FAILED: [u64; 2] = [5786, 6944];

/// Says which seed it was, should the run fail.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay it: MIDA_SEED={} cargo test --test simulation", self.0);
        }
    }
}

fn run(seed: u64, ends: &mut BTreeMap<String, usize>) {
    let _seed = Seed(seed);
    let mut dice = Dice::new(seed);
    let plan = Plan::new(&mut dice);
    if std::env::var_os("MIDA_SEED").is_some() {
        eprintln!("{plan:?}");
    }
    // Every other seed has the sends of a flush together.
    let all = if seed.is_multiple_of(2) { lived::<Sim>(plan, dice) } else { lived::<Together>(plan, dice) };
    for end in all {
        *ends.entry(end).or_default() += 1;
    }
}

fn lived<I: Simulated>(plan: Plan, dice: Dice) -> Vec<String> {
    let mut world = World::<I>::new(plan, dice);
    world.run();
    world.ends()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number of seeds"))
}

/// `10000` or `2500..5000`.
fn range(text: &str) -> Range<u64> {
    text.split_once("..").map_or_else(|| 0..number(text), |(start, end)| number(start)..number(end))
}

#[test]
fn each_client_gets_what_it_must_once_and_in_order_whatever_the_kernel_does() {
    let mut ends = BTreeMap::new();
    if let Ok(seed) = std::env::var("MIDA_SEED") {
        run(number(&seed), &mut ends);
        return eprintln!("{ends:#?}");
    }
    let seeds = std::env::var("MIDA_SEEDS").map_or(0..SEEDS, |text| range(&text));
    for seed in seeds.clone().chain(FAILED) {
        run(seed, &mut ends);
    }
    eprintln!("seeds {seeds:?}: {ends:?}");
    if seeds.end.saturating_sub(seeds.start) < SEEDS {
        return;
    }
    // The runs are worth their time: all of these were seen.
    for end in [
        "left", "1000", "1001", "1002", "1003", "1007", "1008", "1009", "4000", "4003", "4004", "4008",
        "4009", "4010", "http 400", "http 408", "http 503", "reset", "passed", "expired", "message",
    ] {
        assert!(ends.contains_key(end), "nobody's end was {end}, only {ends:?}");
    }
}
