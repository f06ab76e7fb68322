//! All attackers, on one thread.

use crate::{
    attacker::{Attacker, Tally},
    lines::{Line, Script},
};
use mio::{Events, Poll};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Events 2 and 4 a second, of all together.
const LOGINS_PER_S: u64 = 10_000;
/// Slow lines are looked at, and logins are sent, this often.
const TICK: Duration = Duration::from_millis(10);
/// Those who are gone come back at most this many at a time.
const DIALS: usize = 64;

/// Attacks for this long, with so many connections at once; what each line has done.
pub fn attack(server: SocketAddr, connections: usize, time: Duration) -> [Tally; Line::ALL.len()] {
    let mut poll = Poll::new().expect("epoll");
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; 64 * 1_024];
    let script = Script::new();
    let mut tallies: [Tally; Line::ALL.len()] = Default::default();
    let lines = Line::ALL.len();
    let mut attackers: Vec<_> =
        (0..connections).map(|number| Attacker::new(Line::ALL[number % lines], number)).collect();
    let begun = Instant::now();
    let (mut ticked, mut sent_logins, mut next_login) = (begun, 0, 0);
    // Numbers of those who have no connection, and of those who have something to send.
    let mut gone: Vec<usize> = (0..connections).rev().collect();
    let (mut active, mut next_active) = (Vec::new(), Vec::new());
    while begun.elapsed() < time {
        let now = Instant::now();
        for _ in 0..DIALS.min(gone.len()) {
            let Some(number) = gone.pop() else { break };
            let attacker = &mut attackers[number];
            attacker.dial(server, poll.registry(), &mut tallies[number % lines], now);
            if !attacker.is_there() {
                gone.insert(0, number);
                break;
            }
        }
        let waits = if active.is_empty() && gone.is_empty() {
            (ticked + TICK).saturating_duration_since(now)
        } else {
            Duration::ZERO
        };
        poll.poll(&mut events, Some(waits)).expect("epoll");
        for event in &events {
            let number = event.token().0;
            let (attacker, tally) = (&mut attackers[number], &mut tallies[number % lines]);
            let was_there = attacker.is_there();
            attacker.event(event, &mut buffer, tally);
            if attacker.is_there() {
                active.push(number);
            } else if was_there {
                gone.push(number);
            }
        }
        let now = Instant::now();
        let is_tick = now >= ticked + TICK;
        if is_tick {
            ticked = now;
            active.extend((0..connections).filter(|number| {
                attackers[*number].is_there()
                    && matches!(Line::ALL[number % lines], Line::SlowHead | Line::Fragments)
            }));
        }
        active.sort_unstable();
        active.dedup();
        for number in active.drain(..) {
            let (attacker, tally) = (&mut attackers[number], &mut tallies[number % lines]);
            let was_there = attacker.is_there();
            if attacker.attack(&script, now, tally) {
                next_active.push(number);
            } else if was_there && !attacker.is_there() {
                gone.push(number);
            }
        }
        std::mem::swap(&mut active, &mut next_active);
        if is_tick {
            let due = (now - begun).as_millis() as u64 * LOGINS_PER_S / 1_000;
            // Who could not keep up does not catch up at once.
            sent_logins = sent_logins.max(due.saturating_sub(LOGINS_PER_S / 10));
            let floods = connections / lines;
            let mut tried = 0;
            while sent_logins < due && tried < 2 * floods.max(1) {
                let number = next_login % floods.max(1) * lines + Line::Logins as usize;
                (next_login, tried) = (next_login + 1, tried + 1);
                let Some(attacker) = attackers.get_mut(number).filter(|one| one.is_there()) else { continue };
                sent_logins += u64::from(attacker.log_in(&script, &mut tallies[Line::Logins as usize]));
                if !attacker.is_there() {
                    gone.push(number);
                }
            }
        }
    }
    tallies
}
