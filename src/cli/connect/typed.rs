//! What is typed or piped in: lines, and what each of them asks for.

use rustix::io::Errno;
use serde::de::IgnoredAny;
use std::{io, path::PathBuf};

/// A line may not be longer: far more than any server takes.
const LINE_BYTES: usize = 16 << 20;

pub const HELP: &str = "\
what you type, a line each:
  {\"t\":1}               JSON is sent as it is
  /send KEY TEXT        a message to a key, whole or the start of one seen here; JSON goes as JSON
  /inbox                what came to you, and how much is still to come
  /join TOPIC           gets what is published there from now on; /leave TOPIC ends that
  /publish TOPIC TEXT   to all who are in the topic now
  /metadata             asks what the server says about itself
  /login FILE           logs in with the key in FILE, made by mida keygen
  /quit                 closes the connection, like Ctrl-D or Ctrl-C
  /help                 this
";

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub enum Typed {
    /// JSON, sent as it is.
    Json(String),
    Metadata,
    Login(PathBuf),
    Send {
        to: String,
        text: String,
    },
    Join(String),
    Leave(String),
    Publish {
        topic: String,
        text: String,
    },
    Inbox,
    Quit,
    Help,
    Nothing,
    /// None of these: what to do instead.
    Complaint(String),
}

impl Typed {
    /// Reads one line, without its end.
    pub fn read(line: &[u8]) -> Typed {
        let Ok(line) = std::str::from_utf8(line) else {
            return Typed::Complaint("not sent: the line is not UTF-8".to_owned());
        };
        let line = line.trim();
        if line.starts_with('{') {
            return match serde_json::from_str::<IgnoredAny>(line) {
                Ok(_) => Typed::Json(line.to_owned()),
                Err(error) => {
                    let text = error.to_string();
                    let what = text.split(" at line").next().unwrap_or_default();
                    Typed::Complaint(format!("not sent, it is no JSON: {what} at column {}", error.column()))
                }
            };
        }
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (command, rest.trim_start()) {
            ("", _) => Typed::Nothing,
            ("/metadata", "") => Typed::Metadata,
            ("/login", "") => Typed::Complaint("write it like /login mida.key".to_owned()),
            ("/login", file) => Typed::Login(file.into()),
            ("/send", rest) => match words(rest) {
                Some((to, text)) => Typed::Send { to, text },
                None => Typed::Complaint("not sent: write it like /send KEY TEXT".to_owned()),
            },
            ("/publish", rest) => match words(rest) {
                Some((topic, text)) => Typed::Publish { topic, text },
                None => Typed::Complaint("not sent: write it like /publish TOPIC TEXT".to_owned()),
            },
            ("/join" | "/leave", topic) if topic.is_empty() || topic.contains(char::is_whitespace) => {
                Typed::Complaint(format!("not sent: write it like {command} TOPIC, the topic in one word"))
            }
            ("/join", topic) => Typed::Join(topic.to_owned()),
            ("/leave", topic) => Typed::Leave(topic.to_owned()),
            ("/inbox", "") => Typed::Inbox,
            ("/quit", "") => Typed::Quit,
            ("/help", "") => Typed::Help,
            ("/metadata" | "/inbox" | "/quit" | "/help", _) => {
                Typed::Complaint(format!("{command} stands alone on its line"))
            }
            _ if command.starts_with('/') => {
                Typed::Complaint(format!("no command is called {}: see /help", command.escape_debug()))
            }
            _ => Typed::Complaint("not sent: a message is /send KEY TEXT, or JSON; see /help".to_owned()),
        }
    }
}

/// The first word and what follows it, if both are there.
fn words(rest: &str) -> Option<(String, String)> {
    let (first, text) = rest.split_once(char::is_whitespace)?;
    Some((first.to_owned(), text.trim_start().to_owned()))
}

/// Standard input, by lines.
#[derive(Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Up to here the lines are taken, and up to there is no end of one.
    taken: usize,
    searched: usize,
    ended: bool,
}

impl Lines {
    /// Whether there was an end of input.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads what is there. It waits if there is nothing: poll first.
    ///
    /// # Errors
    /// Standard input cannot be read, or has a line that is too long.
    pub fn fill(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        if self.bytes.len() > LINE_BYTES {
            return Err(io::Error::other("a line is longer than 16 MiB"));
        }
        let mut room = [0; 65_536];
        match rustix::io::read(rustix::stdio::stdin(), &mut room) {
            // A terminal that was hung up says so by EIO.
            Ok(0) | Err(Errno::IO) => self.ended = true,
            Ok(read) => self.bytes.extend_from_slice(&room[..read]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The next line; at the end of input also one without an end.
    pub fn next(&mut self) -> Option<Typed> {
        let end = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = match end {
            Some(at) => self.searched + at,
            None if self.ended && self.taken < self.bytes.len() => self.bytes.len(),
            None => {
                self.searched = self.bytes.len();
                return None;
            }
        };
        let typed = Typed::read(&self.bytes[self.taken..end]);
        self.taken = (end + 1).min(self.bytes.len());
        self.searched = self.taken;
        Some(typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_asks_for_one_thing() {
        for (line, typed) in [
            ("", Typed::Nothing),
            (" \t\r", Typed::Nothing),
            (r#" {"t" : 1}  "#, Typed::Json(r#"{"t" : 1}"#.to_owned())),
            (r#"{"n":1e999,"n":"\ud800"}"#, Typed::Json(r#"{"n":1e999,"n":"\ud800"}"#.to_owned())),
            ("/metadata", Typed::Metadata),
            ("  /quit\r", Typed::Quit),
            ("/help", Typed::Help),
            ("/login a key.txt ", Typed::Login("a key.txt".into())),
            ("/send 02ab  hello,  Ann ", Typed::Send { to: "02ab".into(), text: "hello,  Ann".into() }),
            ("/send x {\"a\":1}", Typed::Send { to: "x".into(), text: "{\"a\":1}".into() }),
            ("/publish news it rains", Typed::Publish { topic: "news".into(), text: "it rains".into() }),
            ("/join  news", Typed::Join("news".into())),
            ("/leave news", Typed::Leave("news".into())),
            ("/inbox", Typed::Inbox),
        ] {
            assert_eq!(Typed::read(line.as_bytes()), typed, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        for (line, says) in [
            (&br#"{"t":1"#[..], "EOF while parsing an object at column 6"),
            (br#"{"t":1} x"#, "trailing characters at column 9"),
            (b"{t:1}", "key must be a string at column 2"),
            (b"{\"t\":\"\xff\"}", "UTF-8"),
            (b"/login", "/login mida.key"),
            (b"/quit now", "stands alone"),
            (b"/inbox all", "stands alone"),
            (b"/send", "/send KEY TEXT"),
            (b"/send 02ab", "/send KEY TEXT"),
            (b"/publish news", "/publish TOPIC TEXT"),
            (b"/join", "/join TOPIC"),
            (b"/leave two words", "/leave TOPIC"),
            (b"/exit\x1b[2J", r"/exit\u{1b}[2J"),
            (b"hello", "see /help"),
            (b"[1]", "see /help"),
        ] {
            let Typed::Complaint(complaint) = Typed::read(line) else { panic!("{line:?} was taken") };
            assert!(complaint.contains(says) && !complaint.contains('\n'), "{complaint}");
        }
    }

    #[test]
    fn lines_come_whole_and_the_last_needs_no_end() {
        let mut lines = Lines { bytes: b"/help\n\n/qu".to_vec(), ..Lines::default() };
        assert_eq!(
            [lines.next(), lines.next(), lines.next()],
            [Some(Typed::Help), Some(Typed::Nothing), None]
        );
        lines.bytes.extend_from_slice(b"it\n/metadata");
        assert_eq!([lines.next(), lines.next()], [Some(Typed::Quit), None]);
        lines.ended = true;
        assert_eq!([lines.next(), lines.next()], [Some(Typed::Metadata), None]);
    }
}
