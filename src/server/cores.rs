//! Which processors there are, and how a thread is kept on one.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;

/// The processors that this process may use.
///
/// # Errors
/// The kernel does not say.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Reads a list like `0,2-3`: processors that exist and are allowed, each once, in order.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn parse(list: &str, allowed: &[usize]) -> Result<Vec<usize>, String> {
    let number = |text: &str| {
        text.trim().parse::<usize>().map_err(|_| format!("'{list}' is no list of cores: write it like 0,2-3"))
    };
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (from, to) = match part.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None => (number(part)?, number(part)?),
        };
        if from > to {
            return Err(format!("'{part}' counts backwards: write the lower core first"));
        }
        for core in from..=to {
            if !allowed.contains(&core) {
                let known = allowed.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
                return Err(format!("there is no core {core} for this process; it may use {known}"));
            }
            if !cores.contains(&core) {
                cores.push(core);
            }
        }
    }
    Ok(cores)
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// The core does not exist or is not allowed.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_cores_once_and_only_those_there_are() {
        let allowed = [0, 2, 3, 4];
        assert_eq!(parse("0,2-3", &allowed), Ok(vec![0, 2, 3]));
        assert_eq!(parse("3,2-4", &allowed), Ok(vec![3, 2, 4]));
        for (list, says) in [("1", "no core 1"), ("0-2", "no core 1"), ("3-2", "backwards")] {
            assert!(parse(list, &allowed).is_err_and(|e| e.contains(says)), "{list}");
        }
        for list in ["", "x", "0,", "-1", "0-", "1e3", "99999999999999999999"] {
            assert!(parse(list, &allowed).is_err_and(|e| e.contains("like 0,2-3")), "{list}");
        }
        assert!(parse("0-99999999999", &allowed).is_err());
    }
}
