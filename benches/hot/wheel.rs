//! What timers cost, with one for each of 10,000 connections.

use super::clock::{CpuTime, Criterion};
use super::inputs::{self, Rotation};
use mida::engine::timer::{Link, Links, Wheel};
use std::{hint::black_box, time::Duration};

pub const CONNECTIONS: u32 = 10_000;
/// Deadlines are spread over this, as heartbeats are.
pub const SPREAD_MS: u32 = 30_000;

/// As the reactor has it: a link among what else a cache line knows of a connection.
#[derive(Clone, Default)]
#[repr(align(64))]
pub struct Slot(Link);

pub struct Slots(pub Vec<Slot>);

impl Links for Slots {
    #[inline]
    fn link(&mut self, index: u32) -> &mut Link {
        &mut self.0[index as usize].0
    }
}

pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    let mut slots = Slots(vec![Slot::default(); CONNECTIONS as usize]);
    let mut wheel = Wheel::default();

    // A few more deadlines than connections: a connection gets another one each time it comes round.
    let mut rng = inputs::rng();
    let mut deadlines = Rotation::new((0..CONNECTIONS + 7).map(|_| u64::from(1 + rng.below(SPREAD_MS))));
    let mut indexes = Rotation::new((0..CONNECTIONS).map(|n| n * 7_919 % CONNECTIONS));
    for _ in 0..CONNECTIONS {
        let (index, deadline_ms) = (*indexes.turn(), *deadlines.turn());
        wheel.arm(&mut slots, index, deadline_ms);
        assert_eq!(slots.link(index).deadline_ms(), deadline_ms);
    }
    assert!(slots.0.iter().all(|slot| slot.0.deadline_ms() != u64::MAX), "each connection has its timer");
    group.bench_function("arm", |bencher| {
        bencher.iter(|| wheel.arm(&mut slots, *indexes.turn(), *deadlines.turn()));
    });
    // Afterwards the wheel is empty.
    expire(&mut wheel, &mut slots, |_, _, _| {});

    let mut now_ms = u64::from(SPREAD_MS);
    let mut arm = |wheel: &mut Wheel, slots: &mut Slots, count: u64| {
        let start_ms = now_ms;
        for _ in 0..count {
            let deadline_ms = start_ms + *deadlines.turn();
            now_ms = now_ms.max(deadline_ms);
            wheel.arm(slots, *indexes.turn(), deadline_ms);
        }
    };
    arm(&mut wheel, &mut slots, CONNECTIONS.into());
    let armed_ms: Vec<u64> = slots.0.iter().map(|slot| slot.0.deadline_ms()).collect();
    let mut fired = 0;
    expire(&mut wheel, &mut slots, |index, deadline_ms, at_ms| {
        assert_eq!((deadline_ms, at_ms), (armed_ms[index as usize], deadline_ms));
        fired += 1;
    });
    assert_eq!(fired, CONNECTIONS);
    group.bench_function("expire", |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut time, mut left) = (Duration::ZERO, iterations);
            while left > 0 {
                let round = left.min(CONNECTIONS.into());
                arm(&mut wheel, &mut slots, round);
                let start = CpuTime::now();
                expire(&mut wheel, &mut slots, |index, deadline_ms, at_ms| {
                    black_box((index, deadline_ms, at_ms));
                });
                time += CpuTime::now() - start;
                left -= round;
            }
            time
        });
    });
    group.finish();
}

/// Lets time pass until nothing is armed, in the steps of a reactor that sleeps as long as it may.
fn expire(wheel: &mut Wheel, slots: &mut Slots, mut fired: impl FnMut(u32, u64, u64)) {
    while let Some(at_ms) = wheel.next_ms() {
        while let Some((index, deadline_ms)) = wheel.pop(slots, at_ms) {
            fired(index, deadline_ms, at_ms);
        }
    }
}
