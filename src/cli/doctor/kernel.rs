//! Open files, watches and processors.

use super::{
    findings::{Bounds, Row, Wish, sysctl},
    machine::Machine,
};
use crate::cli::options::REACTORS_PER_CORE_MAX;
use mida::server::files;

/// From this version on each reactor can have a table of open files of its own (close_range(2)).
pub const OWN_TABLES: (u32, u32) = (5, 9);

pub fn rows(machine: &Machine, wish: &Wish) -> Vec<Row> {
    vec![
        open_files(machine, wish),
        nr_open(machine, wish),
        file_max(machine, wish),
        watches(machine, wish),
        processors(machine, wish),
        io_uring(machine),
    ]
}

/// The version of a kernel that has no tables for reactors of their own; one that is unknown has.
fn without_tables(machine: &Machine) -> Option<(u32, u32)> {
    machine.version.filter(|version| *version < OWN_TABLES)
}

/// Reactors that have the same table of open files.
fn together(machine: &Machine, wish: &Wish) -> u64 {
    if without_tables(machine).is_some() { wish.reactors() } else { 1 }
}

/// Connections that a limit on the open files of a table allows. None, where what reactors share takes it all:
/// the server may not start.
fn capacity(limit: u64, machine: &Machine, wish: &Wish) -> u64 {
    let (reactors, together) = (wish.reactors(), together(machine, wish));
    let each = limit.saturating_sub(files::kept(reactors, together)) / together;
    reactors.saturating_mul(each.min(files::ROOM_MAX as u64))
}

/// The limit that each table needs for so many connections of the server.
fn limit_for(connections: u64, machine: &Machine, wish: &Wish) -> u64 {
    let (reactors, together) = (wish.reactors(), together(machine, wish));
    connections.div_ceil(reactors) * together + files::kept(reactors, together)
}

/// Files and watches of the whole server that are no connections.
fn own(wish: &Wish) -> u64 {
    files::kept(wish.reactors(), wish.reactors())
}

fn tables(machine: &Machine, wish: &Wish) -> String {
    match (wish.reactors(), without_tables(machine)) {
        (1, _) => "one reactor".to_owned(),
        (reactors, None) => format!("for each of {reactors} reactors"),
        (reactors, Some((major, minor))) => {
            format!("for all {reactors} reactors: Linux {major}.{minor} gives them no tables of their own")
        }
    }
}

fn open_files(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "RLIMIT_NOFILE";
    let Some((soft, hard)) = machine.open_files else { return Row::unknown(NAME, Bounds::Connections) };
    let name = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    let at = capacity(hard, machine, wish);
    let commands = wish.beyond(at).map(|wanted| {
        let limit = limit_for(wanted, machine, wish);
        // The kernel takes no limit above this one.
        let first = machine.nr_open.filter(|most| *most < limit).map(|_| sysctl("fs.nr_open", limit));
        let mut commands: Vec<_> = first.into_iter().collect();
        commands.push(format!("ulimit -n {limit}  # as root; in a service's unit: LimitNOFILE={limit}"));
        commands
    });
    let mut note = tables(machine, wish);
    if let Some(wanted) = wish.beyond(at) {
        let holds = |per_core: &u64| {
            capacity(hard, machine, &Wish { reactors_per_core: *per_core, ..*wish }) >= wanted
        };
        let enough = (wish.reactors_per_core..=REACTORS_PER_CORE_MAX.into()).find(holds);
        if let Some(per_core) = enough {
            note += &format!("; --reactors-per-core {per_core} is enough, too");
        }
    }
    Row::new(NAME, format!("{} (soft {})", name(hard), name(soft)), Bounds::Connections)
        .at(at)
        .note(note)
        .commands(commands.into_iter().flatten())
}

fn nr_open(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "fs.nr_open";
    let Some(most) = machine.nr_open else { return Row::unknown(NAME, Bounds::Connections) };
    let at = capacity(most, machine, wish);
    let commands = wish.beyond(at).map(|wanted| sysctl(NAME, limit_for(wanted, machine, wish)));
    Row::new(NAME, most, Bounds::Connections).at(at).note("the most RLIMIT_NOFILE can be").commands(commands)
}

fn file_max(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "fs.file-max";
    let Some(most) = machine.file_max else { return Row::unknown(NAME, Bounds::Connections) };
    let used = machine.files_used.unwrap_or(0);
    Row::counted(NAME, most, used.saturating_add(own(wish)), wish)
        .note(format!("of all processes, {used} open now"))
}

fn watches(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "fs.epoll.max_user_watches";
    let Some(most) = machine.epoll_watches else { return Row::unknown(NAME, Bounds::Connections) };
    Row::counted(NAME, most, own(wish), wish).note("of all processes of a user")
}

fn processors(machine: &Machine, wish: &Wish) -> Row {
    let reactors =
        if wish.reactors() == 1 { "1 reactor".to_owned() } else { format!("{} reactors", wish.reactors()) };
    match &machine.cores {
        Some(cores) => Row::new("processors", cores.len(), Bounds::Nothing),
        None => Row::unknown("processors", Bounds::Nothing),
    }
    .note(format!("counted for {reactors}"))
}

fn io_uring(machine: &Machine) -> Row {
    const NAME: &str = "kernel.io_uring_disabled";
    let Some(disabled) = machine.io_uring_disabled else { return Row::unknown(NAME, Bounds::Nothing) };
    let who = match disabled {
        0 => "for every process",
        1 => "for privileged processes only",
        _ => "for none",
    };
    Row::new(NAME, disabled, Bounds::Nothing).note(format!("io_uring is there {who}; the server uses epoll"))
}
