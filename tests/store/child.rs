//! A store in a process of its own, under load, that reports what it has committed until it is killed.

use super::client::{Client, KEYS, at, key, number};
use mida::app::{mail::*, protocol::event::Method};
use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

const FOLDER: &str = "MIDA_STORE_CHILD";
const ROUND: &str = "MIDA_STORE_ROUND";
const IN_FLIGHT: usize = 300;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Committed {
        id: MessageId,
        to: u8,
        re: String,
    },
    /// An ack is about to be asked for.
    Asked(MessageId),
    Acked(MessageId),
    /// A message was refused.
    Full,
    LoggedIn,
}

pub struct Reporter {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Starts one, whose files may have at most so many KiB.
pub fn start(folder: &Path, round: u64, most_kib: Option<u32>) -> Reporter {
    let limit = most_kib.map_or(String::new(), |kib| format!("trap '' XFSZ; ulimit -f {};", kib * 2));
    let mut child = Command::new("sh")
        .args(["-c", &format!("{limit} exec \"$0\" --exact child::works_until_it_is_killed --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Reporter { child, lines }
}

impl Reporter {
    /// The next thing it tells; none: it has ended.
    pub fn line(&mut self) -> Option<Told> {
        loop {
            let line = self.lines.next()?.ok()?;
            let words: Vec<_> = line.split(' ').collect();
            let id = |text| MessageId::parse(text).expect("a whole line");
            return Some(match words[..] {
                // Its last line may be cut.
                ["+", text, to, re, "."] => {
                    Told::Committed { id: id(text), to: to.parse().unwrap(), re: re.to_owned() }
                }
                ["?", text, "."] => Told::Asked(id(text)),
                ["-", text, "."] => Told::Acked(id(text)),
                ["full", "."] => Told::Full,
                ["in", "."] => Told::LoggedIn,
                _ => continue,
            });
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whom the message of this number is for.
pub fn recipients(number: u64) -> Vec<u8> {
    let (one, other) = (1 + (number % u64::from(KEYS - 1)) as u8, ((number * 3) % u64::from(KEYS)) as u8);
    if one == other || number.is_multiple_of(3) { vec![one] } else { vec![one, other] }
}

/// No test of its own: what [`start`] runs.
#[test]
fn works_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let round = std::env::var(ROUND).unwrap();
    let mut store = Client::open(Path::new(&folder));
    let mut stdout = std::io::stdout().lock();
    let mut say =
        |line: String| stdout.write_all(format!("{line} .\n").as_bytes()).and_then(|()| stdout.flush());
    let mut sent = 0;
    let mut waiting = 0;
    loop {
        while waiting < IN_FLIGHT {
            let to = recipients(sent);
            store.send(&format!("{round}.{sent}"), &to);
            waiting += to.len();
            sent += 1;
        }
        match store.word() {
            Word::Committed(done) => {
                waiting -= 1;
                say(format!("+ {} {} {}", done.id, number(&done.to), done.send.re)).unwrap();
                // Every other one is acked.
                if done.id.0[15].is_multiple_of(2) {
                    say(format!("? {}", done.id)).unwrap();
                    store.post(Job::Ack { identity: done.to, ids: [done.id].into() });
                }
            }
            Word::Acked { ids, .. } => {
                for id in ids {
                    say(format!("- {id}")).unwrap();
                }
            }
            Word::Receipt { .. } => {
                waiting -= 1;
                say("full".to_owned()).unwrap();
                let (identity, method) = (key(1), Method::LoginOrSignup);
                let login = Login { at: at(), identity, method, display_name: None, bio: None };
                store.post(Job::Login(Box::new(login)));
            }
            Word::Account { result, .. } => {
                assert!(result.is_ok());
                say("in".to_owned()).unwrap();
            }
            Word::Backlog { .. } => {}
        }
    }
}
