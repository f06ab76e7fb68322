//! The findings, for people and for programs.

use super::findings::{Bounds, Findings, Row};
use serde_json::{Value, json};
use std::fmt::{self, Display, Formatter};

impl Findings {
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "setting": row.setting,
                "value": row.value,
                "bounds": row.bounds.name(),
                "connections": row.at,
                "enough": row.at.is_none_or(|at| self.wish.beyond(at).is_none()),
                "note": row.note,
                "commands": row.commands,
            })
        };
        let (holds, first) = self.first().unzip();
        json!({
            "wanted": self.wish.connections,
            "cores": self.wish.cores,
            "reactors": self.wish.reactors(),
            "holds": holds,
            "first": first,
            "enough": self.is_enough(),
            "settings": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

impl Display for Findings {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (title, bounds) in [
            ("connections at which each setting stops:", Bounds::Connections),
            ("what does not stop connections, but bounds a moment or a place:", Bounds::Moment),
            ("what else there is:", Bounds::Nothing),
        ] {
            writeln!(f, "{title}")?;
            for row in self.that_bound(bounds) {
                write_row(row, f)?;
            }
        }
        match self.first() {
            Some((holds, first)) => {
                writeln!(f, "this machine holds about {holds} connections; the first to stop it is {first}")
            }
            None => writeln!(f, "nothing that could be read stops at any number of connections"),
        }
    }
}

fn write_row(row: &Row, f: &mut Formatter<'_>) -> fmt::Result {
    let at = row.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let value = row.value.as_deref().unwrap_or("unknown");
    let line = format!("{at:>10}  {:<32} {value:<26} {}", row.setting, row.note);
    writeln!(f, "{}", line.trim_end())?;
    row.commands.iter().try_for_each(|command| writeln!(f, "{:>10}  {command}", "set:"))
}
