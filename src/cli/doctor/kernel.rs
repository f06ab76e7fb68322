//! Open files, watches and processors.

use super::{
    findings::{Bounds, Row, Wish},
    machine::Machine,
    network::sysctl,
};
use mida::server::files;

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

/// Connections that a limit on the open files of a table allows: each reactor has one of its own. None, where
/// what reactors share takes it all: the server may not start.
fn capacity(limit: u64, wish: &Wish) -> u64 {
    let reactors = wish.reactors();
    reactors.saturating_mul(limit.saturating_sub(files::kept(reactors)).min(files::ROOM_MAX as u64))
}

/// The limit that each table needs for so many connections of the server.
fn limit_for(connections: u64, wish: &Wish) -> u64 {
    connections.div_ceil(wish.reactors()) + files::kept(wish.reactors())
}

fn tables(wish: &Wish) -> String {
    match wish.reactors() {
        1 => "one reactor".to_owned(),
        reactors => format!("for each of {reactors} reactors"),
    }
}

fn open_files(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "RLIMIT_NOFILE";
    let Some((soft, hard)) = machine.open_files else { return Row::unknown(NAME, Bounds::Connections) };
    let name = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    let at = capacity(hard, wish);
    let commands = wish.beyond(at).map(|wanted| {
        let limit = limit_for(wanted, wish);
        // The kernel takes no limit above this one.
        let first = machine.nr_open.filter(|most| *most < limit).map(|_| sysctl("fs.nr_open", limit));
        let mut commands: Vec<_> = first.into_iter().collect();
        commands.push(format!("ulimit -n {limit}  # as root; in a service's unit: LimitNOFILE={limit}"));
        commands
    });
    let mut note = tables(wish);
    if let Some(wanted) = wish.beyond(at) {
        let enough = (wish.reactors_per_core..=1_024)
            .find(|per_core| capacity(hard, &Wish { reactors_per_core: *per_core, ..*wish }) >= wanted);
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
    let at = capacity(most, wish);
    let commands = wish.beyond(at).map(|wanted| sysctl(NAME, limit_for(wanted, wish)));
    Row::new(NAME, most, Bounds::Connections).at(at).note("the most RLIMIT_NOFILE can be").commands(commands)
}

fn file_max(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "fs.file-max";
    let Some(most) = machine.file_max else { return Row::unknown(NAME, Bounds::Connections) };
    let used = machine.files_used.unwrap_or(0);
    let taken = used.saturating_add(files::kept(wish.reactors()));
    let at = most.saturating_sub(taken);
    let commands = wish.beyond(at).map(|wanted| sysctl(NAME, taken.saturating_add(wanted)));
    Row::new(NAME, most, Bounds::Connections)
        .at(at)
        .note(format!("of all processes, {used} open now"))
        .commands(commands)
}

fn watches(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "fs.epoll.max_user_watches";
    let Some(most) = machine.epoll_watches else { return Row::unknown(NAME, Bounds::Connections) };
    let own = files::kept(wish.reactors());
    let at = most.saturating_sub(own);
    let commands = wish.beyond(at).map(|wanted| sysctl(NAME, wanted + own));
    Row::new(NAME, most, Bounds::Connections).at(at).note("of all processes of a user").commands(commands)
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
