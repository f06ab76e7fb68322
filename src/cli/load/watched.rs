//! The server's process, as /proc shows it.

use crate::cli::proc::field_bytes;
use std::{fs, io};

/// A process that is looked at from outside.
pub struct Watched {
    pid: u32,
}

/// Bytes of its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub resident_bytes: u64,
    /// Resident and in no file: stacks and heap.
    pub anonymous_bytes: u64,
}

impl Watched {
    /// Looks whether the process can be watched.
    ///
    /// # Errors
    /// One line: there is no such process, or it is another user's.
    pub fn new(pid: u32) -> Result<Self, String> {
        let watched = Self { pid };
        watched.cpu_seconds().and(watched.memory()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("--server-pid: there is no process {pid}"),
            _ => format!("--server-pid: cannot look at process {pid}: {error}"),
        })?;
        Ok(watched)
    }

    /// This process.
    pub fn own() -> Self {
        Self { pid: std::process::id() }
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Time on processors so far, user's and system's.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu_seconds(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let ticks = cpu_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// # Errors
    /// The process has ended, or may not be looked at.
    pub fn memory(&self) -> io::Result<Memory> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        Ok(memory(&rollup).ok_or(io::ErrorKind::InvalidData)?)
    }
}

/// utime and stime, fields 14 and 15; the second is a name in brackets that may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

fn memory(rollup: &str) -> Option<Memory> {
    let bytes = |name| field_bytes(rollup, name);
    Some(Memory { resident_bytes: bytes("Rss:")?, anonymous_bytes: bytes("Anonymous:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 900 0 1 0 123 45 6 7 20 0 3 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(168));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
        let rollup =
            "5581-7ffd ---p 00000000 00:00 0  [rollup]\nRss:   120 kB\nPss:  3 kB\nAnonymous:   16 kB\n";
        let expected = Memory { resident_bytes: 122_880, anonymous_bytes: 16_384 };
        assert_eq!(memory(rollup), Some(expected));
        assert_eq!(memory("Rss: 1 kB"), None);
    }

    #[test]
    fn this_process_can_be_watched_and_none_cannot() {
        let own = Watched::new(std::process::id()).unwrap();
        assert!(own.memory().unwrap().resident_bytes > 100_000 && own.cpu_seconds().unwrap() >= 0.0);
        assert!(Watched::new(0x7FFF_FFFF).err().unwrap().contains("no process"));
    }
}
