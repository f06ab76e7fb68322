//! The server is killed under load, again and again: what has a receipt is acked, or still in the mailbox, in its order.
//! `MIDA_CRASHES` says how often; `MIDA_CRASH_SEED` repeats a run's moments.

use crate::common::Server;
use crate::{
    Folder,
    client::{Client, Said, ack, id, receipt, send},
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Condvar, Mutex},
    thread,
    time::Duration,
};

const SENDERS: u64 = 4;
/// Who reads all the time and acks, and who comes only after a crash.
const READERS: u64 = 6;
const ABSENT: u64 = 2;
/// Messages of a sender without a receipt.
const IN_FLIGHT: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// Who sent it to whom, and which it was of all between the two.
type Sent = (u64, u64, u64);

#[derive(Default)]
struct Seen {
    /// Those with a receipt that says `stored` or `delivered`.
    kept: BTreeSet<Sent>,
    /// Those that their recipient has acked, or may have.
    acked: BTreeSet<Sent>,
    refused: usize,
}

/// What clients see between a start and a crash.
#[derive(Default)]
struct Load {
    seen: Mutex<Seen>,
    grown: Condvar,
}

impl Load {
    /// Waits until there are so many receipts.
    fn wait(&self, receipts: usize) {
        let seen = self.seen.lock().unwrap();
        let few = |seen: &mut Seen| seen.kept.len() < receipts;
        let (seen, late) = self.grown.wait_timeout_while(seen, PATIENCE, few).unwrap();
        assert!(!late.timed_out(), "{} receipts of {receipts}", seen.kept.len());
    }

    /// Sends until the server is gone, to one key after the other.
    fn send(
        &self,
        address: SocketAddr,
        from: u64,
        keys: &[String],
        next: &mut BTreeMap<u64, u64>,
    ) -> io::Result<()> {
        let mut client = Client::log_in(address, from);
        let mut to = from;
        let mut waiting = BTreeMap::new();
        loop {
            while waiting.len() < IN_FLIGHT {
                to = (to + 1) % (READERS + ABSENT);
                let number = next.entry(to).and_modify(|number| *number += 1).or_insert(0);
                let sent = (from, to, *number);
                let re = format!("{from}-{to}-{number}");
                let body = format!(r#""body":[{from},{to},{number}]"#);
                waiting.insert(re.clone(), sent);
                client.try_say(&send(&re, &[&keys[to as usize]], &body))?;
            }
            let Said::Event(event) = client.try_next()? else {
                panic!("a server that is killed closes nobody")
            };
            let (re, state, code) = receipt(&event);
            let sent = waiting.remove(&re).expect("one receipt each");
            let mut seen = self.seen.lock().unwrap();
            match &*state {
                "stored" | "delivered" => drop(seen.kept.insert(sent)),
                _ => {
                    assert_eq!((&*state, &*code), ("refused", "mailbox_full"), "{event}");
                    seen.refused += 1;
                }
            }
            self.grown.notify_one();
        }
    }

    /// Reads and acks until the server is gone.
    fn read(&self, address: SocketAddr, number: u64) -> io::Result<()> {
        let mut client = Client::log_in(address, reader(number));
        loop {
            let Said::Event(event) = client.try_next()? else {
                panic!("a server that is killed closes nobody")
            };
            self.seen.lock().unwrap().acked.insert(sent(&event));
            client.try_say(&ack(&[id(&event)]))?;
        }
    }
}

/// The key number of a recipient.
fn reader(number: u64) -> u64 {
    100 + number
}

fn sent(message: &Value) -> Sent {
    assert_eq!(message["t"], 130, "{message}");
    let number = |at: usize| message["data"]["body"][at].as_u64().unwrap();
    (number(0), number(1), number(2))
}

/// Reads a mailbox to its end after a crash, and empties it.
fn check(address: SocketAddr, number: u64, crash: u64, seen: &Seen) -> usize {
    let mut client = Client::log_in(address, reader(number));
    let unread = client.result["data"]["user"]["unreadMessages"].as_u64().unwrap();
    let mut found = BTreeSet::new();
    let mut last = BTreeMap::new();
    for _ in 0..unread {
        let message = client.event();
        let sent = sent(&message);
        assert_eq!(sent.1, number, "somebody else's");
        let before = last.insert(sent.0, sent.2);
        assert!(before < Some(sent.2), "out of order, or twice: {sent:?} behind {before:?}");
        found.insert(sent);
        client.ack(&[id(&message)]);
    }
    for sent in seen.kept.iter().filter(|sent| sent.1 == number) {
        assert!(found.contains(sent) || seen.acked.contains(sent), "lost: {sent:?}");
    }
    // Its acks are done, and nothing comes any more.
    client.send(&format!("after {crash}"), &[&client.key.clone()], r#""body":null"#);
    let (mut message, mut is_receipted) = (None, false);
    while message.is_none() || !is_receipted {
        let event = client.event();
        if event["t"] == 131 {
            is_receipted = true;
        } else {
            assert_eq!(event["data"]["body"], Value::Null, "{event}");
            message = Some(id(&event));
        }
    }
    client.ack(&message.into_iter().collect::<Vec<_>>());
    client.leave();
    let mut client = Client::log_in(address, reader(number));
    client.sync();
    assert_eq!(client.result["data"]["user"]["unreadMessages"], 0);
    found.len()
}

#[test]
fn nothing_with_a_receipt_is_lost_or_out_of_order_when_the_server_is_killed() {
    let of = |name: &str, value: u64| std::env::var(name).map_or(value, |value| value.parse().unwrap());
    let crashes = of("MIDA_CRASHES", 3);
    let mut seed = of("MIDA_CRASH_SEED", 7);
    let folder = Folder::new("crashes");
    let data = folder.path("data");
    let flags = ["--cores", "0", "--reactors-per-core", "2", "--data", &data];
    let flags = [&flags[..], &["--limit", "member_messages_per_minute=0"]].concat();
    let mut next = vec![BTreeMap::new(); SENDERS as usize];
    let (mut kept, mut acked, mut refused, mut read) = (0, 0, 0, 0);
    let mut server = Server::start(&flags);
    let keys: Vec<_> =
        (0..READERS + ABSENT).map(|number| Client::log_in(server.address(), reader(number)).key).collect();
    for crash in 0..crashes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let receipts = 20 + (seed >> 33) as usize % 1_500;
        let address = server.address();
        let load = Load::default();
        thread::scope(|scope| {
            for number in 0..READERS {
                let load = &load;
                scope.spawn(move || load.read(address, number).unwrap_err());
            }
            for (from, next) in (0..).zip(&mut next) {
                let (load, keys) = (&load, &keys);
                scope.spawn(move || load.send(address, from, keys, next).unwrap_err());
            }
            load.wait(receipts);
            server.signal(Signal::KILL);
        });
        server.wait();
        server = Server::start(&flags);
        let seen = load.seen.into_inner().unwrap();
        for number in 0..READERS + ABSENT {
            read += check(server.address(), number, crash, &seen);
        }
        (kept, acked, refused) = (kept + seen.kept.len(), acked + seen.acked.len(), refused + seen.refused);
        eprintln!("crash {crash}: after {receipts} receipts, {} in all so far", kept);
    }
    println!(
        "{crashes} crashes: {kept} receipts, {acked} acked, {refused} refused as their mailbox was full, {read} read after a crash, 0 lost"
    );
    assert!(kept > acked / 2 && read > 0);
}
