//! Connections that memory holds: idle ones, with nothing queued and no message begun.

use super::{
    findings::{Bounds, Row, Wish, sysctl},
    machine::Machine,
};

/// A connection's slot in the server.
const ANONYMOUS_BYTES: u64 = 90;
/// The slot, and what a key adds: its identity and its sealing epoch.
const MEMBER_BYTES: u64 = 254;
/// In the kernel: a TCP socket with its file, and its place in epoll.
const KERNEL_BYTES: u64 = 3_640 + 216;
/// What huge pages round up, a connection.
const HUGE_PAGE_BYTES: u64 = 150;
/// The server without connections: the program, and for each reactor its thread and buffers.
const FIXED_BYTES: u64 = 8 << 20;
const REACTOR_BYTES: u64 = 1 << 20;

pub fn rows(machine: &Machine, wish: &Wish) -> Vec<Row> {
    let mut rows = vec![available(machine, wish), overcommit(machine, wish), huge_pages(machine)];
    rows.extend(cgroup(machine, wish));
    rows
}

fn fixed(wish: &Wish) -> u64 {
    FIXED_BYTES + wish.reactors() * REACTOR_BYTES
}

/// Bytes of memory that a connection with a key takes, and one without.
fn each(machine: &Machine) -> (u64, u64) {
    let always = machine.huge_pages.as_deref() == Some("always");
    let more = KERNEL_BYTES + if always { HUGE_PAGE_BYTES } else { 0 };
    (MEMBER_BYTES + more, ANONYMOUS_BYTES + more)
}

fn available(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "memory (MemAvailable)";
    let Some(bytes) = machine.available_bytes else { return Row::unknown(NAME, Bounds::Connections) };
    let (member, anonymous) = each(machine);
    let free = bytes.saturating_sub(fixed(wish));
    let at = free / member;
    let note = match wish.beyond(at) {
        Some(wanted) => format!("{wanted} need {}", Size(fixed(wish) + wanted * member)),
        None => format!("idle, each with a key, {member} bytes; {} without", free / anonymous),
    };
    Row::new(NAME, Size(bytes), Bounds::Connections).at(at).note(note)
}

fn cgroup(machine: &Machine, wish: &Wish) -> Option<Row> {
    const NAME: &str = "cgroup memory.max";
    let group = machine.cgroup.as_ref()?;
    if group.max_bytes == u64::MAX {
        return Some(Row::new(NAME, "max", Bounds::Connections));
    }
    let (member, _) = each(machine);
    let taken = group.used_bytes.saturating_add(fixed(wish));
    let at = group.max_bytes.saturating_sub(taken) / member;
    let commands = wish.beyond(at).map(|wanted| {
        let bytes = taken.saturating_add(wanted * member);
        format!("echo {bytes} > '{}'  # in a service's unit: MemoryMax={bytes}", group.file.display())
    });
    let note = format!("{} of it in use", Size(group.used_bytes));
    Some(Row::new(NAME, Size(group.max_bytes), Bounds::Connections).at(at).note(note).commands(commands))
}

fn overcommit(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "vm.overcommit_memory";
    let Some(mode) = machine.overcommit else { return Row::unknown(NAME, Bounds::Nothing) };
    if mode != 2 {
        return Row::new(NAME, mode, Bounds::Nothing).note("memory is taken when it is used");
    }
    let row = Row::new(NAME, mode, Bounds::Connections).note("memory is counted when it is set aside");
    let Some(bytes) = machine.commit_bytes else { return row };
    // The kernel's own memory is not counted there.
    let at = bytes.saturating_sub(fixed(wish)) / MEMBER_BYTES;
    row.at(at).commands(wish.beyond(at).map(|_| sysctl(NAME, 0)))
}

fn huge_pages(machine: &Machine) -> Row {
    const NAME: &str = "transparent_hugepage";
    let Some(mode) = &machine.huge_pages else { return Row::unknown(NAME, Bounds::Nothing) };
    let row = Row::new(NAME, mode, Bounds::Nothing);
    if mode != "always" {
        return row;
    }
    row.note(format!("up to {HUGE_PAGE_BYTES} bytes a connection more"))
        .commands(["echo madvise > /sys/kernel/mm/transparent_hugepage/enabled".to_owned()])
}

/// Bytes, for people.
pub struct Size(pub u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 as f64 {
            bytes if bytes < f64::from(1 << 20) => write!(f, "{:.0} KiB", bytes / 1024.0),
            bytes if bytes < f64::from(1 << 30) => write!(f, "{:.0} MiB", bytes / f64::from(1 << 20)),
            bytes => write!(f, "{:.1} GiB", bytes / f64::from(1 << 30)),
        }
    }
}
