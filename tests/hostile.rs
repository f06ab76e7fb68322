//! Hostile and broken peers against the real server, over real sockets. Each test is one way to be hostile; its
//! name starts with the number of that way. A peer that is closed gets a close frame, or a refusal, and then the
//! end of TCP; after it [`target::calm`] holds.

#[path = "hostile/accept.rs"]
mod accept;
mod common;
#[path = "hostile/mida.rs"]
mod events;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/load.rs"]
mod load;
#[path = "common/metrics.rs"]
mod metrics;
#[path = "hostile/peer.rs"]
mod peer;
#[path = "hostile/target.rs"]
mod target;
#[path = "hostile/upgrade.rs"]
mod upgrade;

use std::collections::BTreeSet;

/// What cannot be brought about from outside, or not today. A number may stand here for a part of it, and have
/// a test for the rest.
const NOT_TRIED: &[(u8, &str)] = &[
    (2, "ECONNABORTED: Linux accepts a connection that was reset in the queue; needs a backend with faults"),
    (36, "10,000 logins a second and twice the latency: needs a release build and a machine of its own"),
    (40, "EINTR at every single byte: needs a kernel that can be told; tests/simulation cuts sends anywhere"),
    (41, "100,000 at once: needs more descriptors than a test may count on"),
    (43, "nobody can make the monotonic clock jump that all deadlines are told by"),
    (44, "that 1001 is spread evenly needs a clock of its own: the reactor's tests of `drain` have one"),
];

#[test]
fn every_way_to_be_hostile_is_tried_or_it_is_said_why_not() {
    let sources = [
        include_str!("hostile/accept.rs"),
        include_str!("hostile/upgrade.rs"),
        include_str!("hostile/frames.rs"),
        include_str!("hostile/mida.rs"),
        include_str!("hostile/load.rs"),
    ];
    let tried: BTreeSet<u8> = sources
        .iter()
        .flat_map(|source| source.split("#[test]\nfn l").skip(1))
        .map(|test| test[..2].parse().expect("a test's name starts with its number"))
        .collect();
    let said = NOT_TRIED.iter().map(|(number, _)| *number);
    let known: BTreeSet<u8> = tried.iter().copied().chain(said).collect();
    assert_eq!(known, (1..=45).collect());
    assert!(tried.len() >= 44 && NOT_TRIED.is_sorted_by(|a, b| a.0 < b.0));
}
