//! Standard output is what the server said; standard error is everything else.

use super::{
    escape,
    farewell::Farewell,
    inbound::Event,
    inbox::Inbox,
    known::Known,
    show::{self, Context},
};
use std::io::{self, Write};

#[derive(Clone, Copy)]
pub enum Output {
    People,
    /// One JSON value on each line.
    Json,
}

impl Output {
    /// # Errors
    /// Standard output is closed or full.
    pub fn event(self, event: &Event<'_>, context: &Context<'_>) -> io::Result<()> {
        put(&match self {
            Output::People => show::line(event, context),
            Output::Json => format!(r#"{{"sealed":{},"event":{}}}"#, event.sealed, escape::json(event.json)),
        })
    }

    /// What was sent for a command: a script learns the id from it, a person has typed it.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn sent(self, json: &str) -> io::Result<()> {
        match self {
            Output::People => Ok(()),
            Output::Json => put(&format!(r#"{{"sent":{}}}"#, escape::json(json))),
        }
    }

    /// # Errors
    /// Standard output is closed or full.
    pub fn inbox(self, inbox: &Inbox, known: &Known, now_ms: u64) -> io::Result<()> {
        match self {
            Output::People => {
                inbox.lines(known, now_ms).iter().try_for_each(|line| put(&escape::plain(line)))
            }
            Output::Json => put(&escape::json(&inbox.json())),
        }
    }

    /// The end of the connection; what it means for people also goes to them when scripts read along.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn closed(self, farewell: &Farewell, by_server: bool) -> io::Result<()> {
        match self {
            Output::People => put(&farewell.line(by_server)),
            Output::Json => {
                if by_server {
                    remark(&farewell.line(true));
                }
                put(&farewell.json())
            }
        }
    }
}

fn put(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush())
}

/// A line on standard error.
pub fn remark(line: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{line}");
}
