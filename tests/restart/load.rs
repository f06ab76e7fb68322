//! Restarts in a loop under load: connections that open all the time, others that ask in bursts. `MIDA_RESTARTS`
//! says how many; `benches/restarts.sh` runs 24.
//!
//! What has to hold for whoever is told to go (1001): all that it asked for before the restart began is answered,
//! the last notice from before it has come, and the stream ends clean behind the close frame.

use crate::{
    Line,
    client::{At, Client, Said},
    path,
};
use rustix::process::Signal;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

const OPENERS: usize = 3;
const ASKERS: usize = 12;
const BURST: usize = 7;
/// Requests of a connection that does not read its answers meanwhile: more than the kernel holds for it.
const UNREAD: usize = 1_500;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Seen {
    stops: AtomicBool,
    /// Held by whoever connects, so that nobody does so when the last server ends.
    connecting: RwLock<()>,
    /// Held while there is no restart by who connects and then does not read until there is one.
    calm: RwLock<()>,
    /// When everybody was to be given the notice of this number, and when the restart began.
    restarts: Mutex<Vec<(Instant, Instant)>>,
    opened: AtomicUsize,
    told: AtomicUsize,
    asked: AtomicUsize,
    answered: AtomicUsize,
    refused: AtomicUsize,
    reset: AtomicUsize,
    unanswered: AtomicUsize,
    /// 503 for an upgrade.
    unavailable: AtomicUsize,
    lost_answers: AtomicUsize,
    lost_notices: AtomicUsize,
}

impl Seen {
    fn failed(&self, error: &io::Error) {
        let count = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => &self.refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => &self.reset,
            _ => &self.unanswered,
        };
        count.fetch_add(1, SeqCst);
        eprintln!("a client finds: {error}");
    }

    /// The number of the first restart that began after this time, when its notice was sent, and when it began.
    fn first_after(&self, time: Instant) -> Option<(usize, Instant, Instant)> {
        let restarts = self.restarts.lock().unwrap();
        let found = restarts.iter().enumerate().find(|(_, (_, began))| *began > time);
        found.map(|(number, (noticed, began))| (number, *noticed, *began))
    }

    /// Connects, upgrades, gets rules, asks, and leaves.
    fn come_and_go(&self, at: &At) -> io::Result<()> {
        let _connecting = self.connecting.read().unwrap();
        if self.stops.load(SeqCst) {
            return Ok(());
        }
        let mut client = Client::dial(at)?;
        match client.upgrade()? {
            101 => {}
            _ => {
                self.unavailable.fetch_add(1, SeqCst);
                return Ok(());
            }
        }
        let Said::Text(rules) = client.next()? else { return Err(io::ErrorKind::InvalidData.into()) };
        assert!(rules.starts_with(r#"{"t":0,"#), "{rules}");
        client.ask(1)?;
        self.opened.fetch_add(1, SeqCst);
        loop {
            match client.next()? {
                Said::Text(text) if text.contains(r#""uptime""#) => return client.leave(),
                Said::Text(_) => {}
                // It was told to go before its question was there.
                Said::Close(1001) => return client.leave(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Asks in bursts, until it is told to go.
    fn ask_on(&self, at: &At, reads: bool) -> io::Result<()> {
        let calm = (!reads).then(|| self.calm.read().unwrap());
        let connecting = self.connecting.read().unwrap();
        if self.stops.load(SeqCst) {
            return Ok(());
        }
        let mut client = Client::open(at);
        let opened = Instant::now();
        drop((connecting, calm));
        let (mut asked, mut answered, mut notice) = (Vec::new(), 0, None);
        loop {
            if !self.stops.load(SeqCst) && (reads || asked.is_empty()) {
                let times = if reads { BURST } else { UNREAD };
                client.ask(times)?;
                asked.push((Instant::now(), times));
                self.asked.fetch_add(times, SeqCst);
            }
            if !reads {
                // Until this restart is under way nothing is read.
                while self.first_after(opened).is_none() && !self.stops.load(SeqCst) {
                    thread::park_timeout(LOOK_AGAIN);
                }
            }
            for _ in 0..BURST {
                match client.next()? {
                    Said::Text(text) => {
                        answered += usize::from(text.contains(r#""uptime""#));
                        if let Some((_, number)) = text.split_once(r#""note":"restart "#) {
                            let digits = number.chars().take_while(char::is_ascii_digit).collect::<String>();
                            notice = notice.max(digits.parse::<usize>().ok());
                        }
                    }
                    Said::Close(code) => {
                        assert_eq!(code, 1001);
                        client.leave()?;
                        self.told.fetch_add(1, SeqCst);
                        self.answered.fetch_add(answered, SeqCst);
                        if let Some((number, noticed, began)) = self.first_after(opened) {
                            let before = asked.iter().filter(|(at, _)| *at < began);
                            let due: usize = before.map(|(_, times)| times).sum();
                            self.lost_answers.fetch_add(due.saturating_sub(answered), SeqCst);
                            let is_lost = opened < noticed && notice < Some(number);
                            self.lost_notices.fetch_add(usize::from(is_lost), SeqCst);
                        }
                        return Ok(());
                    }
                    Said::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        }
    }

    /// Does it again and again.
    fn repeat(&self, f: impl Fn() -> io::Result<()>) {
        while !self.stops.load(SeqCst) {
            if let Err(error) = f() {
                self.failed(&error);
            }
        }
    }
}

/// The same name in memory, where there is such a place: rewriting a file on a busy disk takes up to 20 seconds, and who
/// does not read until the next restart misses its heartbeats meanwhile.
fn memory(file: PathBuf) -> PathBuf {
    let memory = Path::new("/dev/shm");
    file.file_name().filter(|_| memory.is_dir()).map_or(file.clone(), |name| memory.join(name))
}

#[test]
fn restarts_under_load_refuse_reset_and_lose_nothing() {
    let rounds = std::env::var("MIDA_RESTARTS").map_or(2, |rounds| rounds.parse().unwrap());
    let config = memory(path("load.toml"));
    fs::write(&config, "").unwrap();
    let unix = format!("unix:{}", path("load.sock").display());
    let flags = ["--listen", "127.0.0.1:0", "--listen", &unix, "--config", config.to_str().unwrap()];
    let limits = ["--limit", "anonymous_messages_per_minute=0", "--drain-seconds", "1"];
    let mut line = Line::with(&[&flags[..], &limits].concat());
    let at = line.at.clone();
    let seen = Seen::default();
    thread::scope(|scope| {
        for nth in 0..OPENERS + ASKERS {
            let (seen, at) = (&seen, &at[nth % at.len()]);
            scope.spawn(move || match nth {
                ..OPENERS => seen.repeat(|| seen.come_and_go(at)),
                OPENERS..6 => seen.repeat(|| seen.ask_on(at, false)),
                _ => seen.repeat(|| seen.ask_on(at, true)),
            });
        }
        for round in 0..rounds {
            fs::write(&config, format!("note = 'restart {round}'\n")).unwrap();
            let restarting = seen.calm.write().unwrap();
            let noticed = Instant::now();
            line.signal(Signal::HUP);
            line.first.stderr_with_several(" reloaded", round + 1);
            seen.restarts.lock().unwrap().push((noticed, Instant::now()));
            line.signal(Signal::USR2);
            line.succeeded();
            line.first.stderr_with_several(" ended ", round + 1);
            drop(restarting);
        }
        seen.stops.store(true, SeqCst);
        drop(seen.connecting.write().unwrap());
        line.signal(Signal::TERM);
    });
    let log = line.first.stderr_with_several(" ended ", rounds + 1);
    fs::remove_file(&config).unwrap();
    let told: Vec<_> = log.lines().filter(|line| line.contains(" ended ")).collect();
    let of = |count: &AtomicUsize| count.load(SeqCst);
    println!(
        "{rounds} restarts: {} connections opened, {} told to go, {} requests asked, {} answered\n\
         refused {}, reset {}, unanswered {}, upgrades answered 503 {}, lost answers {}, lost notices {}",
        of(&seen.opened),
        of(&seen.told),
        of(&seen.asked),
        of(&seen.answered),
        of(&seen.refused),
        of(&seen.reset),
        of(&seen.unanswered),
        of(&seen.unavailable),
        of(&seen.lost_answers),
        of(&seen.lost_notices)
    );
    told.iter().for_each(|line| println!("{line}"));
    let bad = [&seen.refused, &seen.reset, &seen.unanswered, &seen.unavailable, &seen.lost_answers];
    assert_eq!(bad.map(of), [0; 5], "{log}");
    assert_eq!(of(&seen.lost_notices), 0);
    assert!(of(&seen.opened) > 10 * rounds && of(&seen.told) >= rounds * ASKERS / 2);
    assert!(told.iter().all(|line| line.contains("cut=0")), "{told:?}");
}
