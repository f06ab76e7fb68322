//! What a machine is set to, as /proc and /sys tell it below any root. What cannot be read is `None`.

use crate::cli::proc::{behind, field_bytes};
use mida::server::cores;
use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// More processors than any machine has.
const CORES_MAX: usize = 65_536;
const PORT_MAX: u64 = 65_535;

/// The settings that bound a server's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Of Linux: major and minor.
    pub version: Option<(u32, u32)>,
    /// Processors that this process may use.
    pub cores: Option<Vec<usize>>,
    /// Soft and hard limit on open files; `u64::MAX` is no limit.
    pub open_files: Option<(u64, u64)>,
    pub nr_open: Option<u64>,
    pub file_max: Option<u64>,
    /// Files that are open now, of all processes.
    pub files_used: Option<u64>,
    pub epoll_watches: Option<u64>,
    pub somaxconn: Option<u64>,
    pub syn_backlog: Option<u64>,
    pub syncookies: Option<u64>,
    /// Bytes: least, default, most.
    pub tcp_rmem: Option<[u64; 3]>,
    pub tcp_wmem: Option<[u64; 3]>,
    /// Pages: low, pressure, most.
    pub tcp_mem: Option<[u64; 3]>,
    /// TCP connections of this network namespace.
    pub tcp_established: Option<u64>,
    pub ports: Option<RangeInclusive<u64>>,
    /// Ports that are not given to outgoing connections.
    pub reserved_ports: Option<Vec<RangeInclusive<u64>>>,
    pub conntrack_max: Option<u64>,
    pub conntrack_used: Option<u64>,
    pub available_bytes: Option<u64>,
    /// What strict overcommit still gives.
    pub commit_bytes: Option<u64>,
    pub overcommit: Option<u64>,
    /// The tightest of the control groups (v2) around this process; none: no such file.
    pub cgroup: Option<Cgroup>,
    pub huge_pages: Option<String>,
    pub io_uring_disabled: Option<u64>,
}

/// A control group that may bound memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its `memory.max`, without the root that was read below.
    pub file: PathBuf,
    /// `u64::MAX` is no limit.
    pub max_bytes: u64,
    pub used_bytes: u64,
}

impl Machine {
    /// Reads what there is below `root`, which is `/` for this machine.
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let sys = |name: &str| text(&format!("proc/sys/{name}"));
        let number = |name: &str| sys(name)?.trim().parse().ok();
        let three = |name: &str| <[u64; 3]>::try_from(numbers(&sys(name)?)?).ok();
        let meminfo = text("proc/meminfo");
        let memory = |name| field_bytes(meminfo.as_deref()?, name);
        Self {
            version: sys("kernel/osrelease").and_then(|release| version(&release)),
            cores: text("proc/self/status").and_then(|status| allowed_cores(&status)),
            open_files: text("proc/self/limits").and_then(|limits| open_files(&limits)),
            nr_open: number("fs/nr_open"),
            file_max: number("fs/file-max"),
            files_used: three("fs/file-nr").map(|[used, ..]| used),
            epoll_watches: number("fs/epoll/max_user_watches"),
            somaxconn: number("net/core/somaxconn"),
            syn_backlog: number("net/ipv4/tcp_max_syn_backlog"),
            syncookies: number("net/ipv4/tcp_syncookies"),
            tcp_rmem: three("net/ipv4/tcp_rmem"),
            tcp_wmem: three("net/ipv4/tcp_wmem"),
            tcp_mem: three("net/ipv4/tcp_mem"),
            tcp_established: text("proc/net/snmp").and_then(|counters| tcp_established(&counters)),
            ports: sys("net/ipv4/ip_local_port_range").and_then(|range| match numbers(&range)?[..] {
                [low, high] if low <= high && high <= PORT_MAX => Some(low..=high),
                _ => None,
            }),
            reserved_ports: sys("net/ipv4/ip_local_reserved_ports").and_then(|list| ranges(&list)),
            conntrack_max: number("net/netfilter/nf_conntrack_max"),
            conntrack_used: number("net/netfilter/nf_conntrack_count"),
            available_bytes: memory("MemAvailable:"),
            commit_bytes: memory("CommitLimit:")
                .and_then(|limit| Some(limit.saturating_sub(memory("Committed_AS:")?))),
            overcommit: number("vm/overcommit_memory"),
            cgroup: text("proc/self/cgroup").and_then(|groups| cgroup(root, &groups)),
            huge_pages: text("sys/kernel/mm/transparent_hugepage/enabled").and_then(|modes| chosen(&modes)),
            io_uring_disabled: number("kernel/io_uring_disabled"),
        }
    }
}

/// The first two numbers of a release like `6.18.0-rc1`.
fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The line of /proc/self/limits: its columns are as wide as they are.
fn open_files(limits: &str) -> Option<(u64, u64)> {
    let mut values = behind(limits, "Max open files")?.split_whitespace().map(limit);
    Some((values.next()??, values.next()??))
}

/// A number, or that there is none.
fn limit(text: &str) -> Option<u64> {
    if text == "unlimited" || text == "max" { Some(u64::MAX) } else { text.parse().ok() }
}

fn allowed_cores(status: &str) -> Option<Vec<usize>> {
    let all: Vec<usize> = (0..CORES_MAX).collect();
    cores::parse(behind(status, "Cpus_allowed_list:")?.trim(), &all).ok()
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace().map(|number| number.parse().ok()).collect()
}

/// In /proc/net/snmp a line of names stands above one of values.
fn tcp_established(counters: &str) -> Option<u64> {
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = lines.next()?.split_whitespace().position(|name| name == "CurrEstab")?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

/// A list like `80,7700-7710`; the kernel writes an empty line for none.
fn ranges(list: &str) -> Option<Vec<RangeInclusive<u64>>> {
    let parts = list.trim().split(',').filter(|part| !part.is_empty());
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(low.parse().ok()?..=high.parse().ok()?)
    };
    parts.map(range).collect()
}

/// The word in brackets of `always [madvise] never`.
fn chosen(modes: &str) -> Option<String> {
    Some(modes.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The group of this process and those around it: the one that leaves least.
fn cgroup(root: &Path, groups: &str) -> Option<Cgroup> {
    let own = behind(groups, "0::")?;
    // Beside groups of version 1 the tree of version 2 has a folder of its own.
    let trees = ["sys/fs/cgroup", "sys/fs/cgroup/unified"].map(Path::new);
    // A path may lead out of what this process sees: that part is not there to be read.
    let names: Vec<&str> = own.split('/').filter(|name| !name.is_empty() && *name != "..").collect();
    let places = trees.iter().flat_map(|tree| {
        (0..=names.len()).rev().map(|depth| tree.join(names[..depth].iter().collect::<PathBuf>()))
    });
    let read = |place: PathBuf| {
        let value = |name| limit(fs::read_to_string(root.join(&place).join(name)).ok()?.trim());
        let (max_bytes, used_bytes) = (value("memory.max")?, value("memory.current")?);
        Some(Cgroup { file: Path::new("/").join(&place).join("memory.max"), max_bytes, used_bytes })
    };
    places.filter_map(read).min_by_key(|group| group.max_bytes.saturating_sub(group.used_bytes))
}

#[cfg(test)]
mod tests;
