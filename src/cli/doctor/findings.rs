//! At how many connections each setting stops, and the command that moves it: arithmetic alone.

use super::{kernel, machine::Machine, memory, network};
use std::fmt::Display;

/// More connections than any machine holds: a number beyond it is no bound.
const NO_BOUND: u64 = 1 << 32;

/// What is asked of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub connections: Option<u64>,
    pub cores: u64,
    pub reactors_per_core: u64,
}

impl Wish {
    /// Those of the whole server.
    pub const fn reactors(&self) -> u64 {
        self.cores * self.reactors_per_core
    }

    /// The number that is wished for, if `at` is below it.
    pub fn beyond(&self, at: u64) -> Option<u64> {
        self.connections.filter(|wanted| *wanted > at)
    }
}

/// What a setting bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bounds {
    /// Connections: there are no more.
    Connections,
    /// What happens at one time or from one place: the rest waits or goes another way.
    Moment,
    Nothing,
}

impl Bounds {
    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Moment => "moment",
            Self::Nothing => "nothing",
        }
    }
}

/// A setting of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub setting: &'static str,
    /// None: it could not be read.
    pub value: Option<String>,
    pub bounds: Bounds,
    /// Connections at which it stops.
    pub at: Option<u64>,
    pub note: String,
    /// What makes it enough, one after the other; none: it is, or no command can.
    pub commands: Vec<String>,
}

impl Row {
    /// One that could not be read.
    pub fn unknown(setting: &'static str, bounds: Bounds) -> Self {
        Self { setting, value: None, bounds, at: None, note: String::new(), commands: Vec::new() }
    }

    /// One that was read.
    pub fn new(setting: &'static str, value: impl ToString, bounds: Bounds) -> Self {
        Self { value: Some(value.to_string()), ..Self::unknown(setting, bounds) }
    }

    /// A kernel parameter that bounds connections and `taken` others.
    pub fn counted(setting: &'static str, most: u64, taken: u64, wish: &Wish) -> Self {
        let at = most.saturating_sub(taken);
        let commands = wish.beyond(at).map(|wanted| sysctl(setting, taken.saturating_add(wanted)));
        Self::new(setting, most, Bounds::Connections).at(at).commands(commands)
    }

    pub fn at(self, connections: u64) -> Self {
        Self { at: Some(connections).filter(|at| *at < NO_BOUND), ..self }
    }

    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    pub fn commands(self, commands: impl IntoIterator<Item = String>) -> Self {
        Self { commands: commands.into_iter().collect(), ..self }
    }
}

/// The command that sets a kernel parameter.
pub fn sysctl(name: &str, value: impl Display) -> String {
    let value = value.to_string();
    let quote = if value.contains(' ') { "\"" } else { "" };
    format!("sysctl -w {name}={quote}{value}{quote}")
}

/// Every setting, and what they come to.
#[derive(Clone, Debug)]
pub struct Findings {
    pub wish: Wish,
    /// Those that bound connections, then those that bound a moment, then the others; lowest first.
    pub rows: Vec<Row>,
}

impl Findings {
    pub fn of(machine: &Machine, wish: Wish) -> Self {
        let mut rows = kernel::rows(machine, &wish);
        rows.extend(memory::rows(machine, &wish));
        rows.extend(network::rows(machine, &wish));
        rows.sort_by_key(|row| (row.bounds, row.at.unwrap_or(u64::MAX)));
        Self { wish, rows }
    }

    pub fn that_bound(&self, bounds: Bounds) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.bounds == bounds)
    }

    /// What the machine holds, and the first setting that stops it.
    pub fn first(&self) -> Option<(u64, &'static str)> {
        self.that_bound(Bounds::Connections).find_map(|row| Some((row.at?, row.setting)))
    }

    /// Whether nothing known stops below what is wished for.
    pub fn is_enough(&self) -> bool {
        self.first().is_none_or(|(at, _)| self.wish.beyond(at).is_none())
    }
}

#[cfg(test)]
mod tests;
