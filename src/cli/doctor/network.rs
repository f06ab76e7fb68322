//! TCP: connects at once, buffers, ports and connection tracking.

use super::{
    findings::{Bounds, Row, Wish, sysctl},
    machine::Machine,
    memory::Size,
};
use mida::server::listen::BACKLOG;
use std::ops::RangeInclusive;

/// Where the server listens unless told otherwise.
const PORT: u64 = 7_700;
/// The widest range that leaves the privileged ports alone.
const WIDEST: RangeInclusive<u64> = 1_024..=65_535;

pub fn rows(machine: &Machine, wish: &Wish) -> Vec<Row> {
    let mut rows = vec![
        somaxconn(machine, wish),
        syn_backlog(machine, wish),
        tcp_mem(machine, wish),
        buffers("net.ipv4.tcp_rmem", machine.tcp_rmem, machine, wish),
        buffers("net.ipv4.tcp_wmem", machine.tcp_wmem, machine, wish),
        ports(machine, wish),
        reserved_ports(machine),
    ];
    rows.extend(conntrack(machine, wish));
    rows
}

fn somaxconn(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "net.core.somaxconn";
    let Some(most) = machine.somaxconn else { return Row::unknown(NAME, Bounds::Moment) };
    let asked = BACKLOG as u64;
    let at = most.min(asked) * wish.reactors();
    let commands = wish.beyond(at).filter(|_| most < asked).map(|_| sysctl(NAME, asked));
    Row::new(NAME, most, Bounds::Moment)
        .at(at)
        .note("connects that wait at once to be accepted")
        .commands(commands)
}

fn syn_backlog(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "net.ipv4.tcp_max_syn_backlog";
    let Some(most) = machine.syn_backlog else { return Row::unknown(NAME, Bounds::Moment) };
    let row = Row::new(NAME, most, Bounds::Moment);
    match machine.syncookies {
        Some(0) => {}
        Some(_) => return row.note("bounds nothing while net.ipv4.tcp_syncookies is on"),
        None => return row.note("bounds connects at once if net.ipv4.tcp_syncookies is off"),
    }
    // The last quarter is kept for addresses that are known.
    let at = (most - most / 4).saturating_mul(wish.reactors());
    let commands = wish.beyond(at).map(|_| sysctl("net.ipv4.tcp_syncookies", 1));
    row.at(at).note("connects that wait at once for the client's answer").commands(commands)
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

fn tcp_mem(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "net.ipv4.tcp_mem";
    let Some([low, pressure, most]) = machine.tcp_mem else { return Row::unknown(NAME, Bounds::Moment) };
    let room = machine.available_bytes.unwrap_or(u64::MAX);
    // In the proportions of the kernel's own choice.
    let commands = wish
        .beyond(most)
        .filter(|wanted| wanted * page_bytes() <= room)
        .map(|wanted| sysctl(NAME, format!("{} {} {wanted}", wanted / 2, wanted * 2 / 3)));
    Row::new(NAME, format!("{low} {pressure} {most}"), Bounds::Moment)
        .at(most)
        .note("with bytes on the way at once, a page each; data waits beyond it")
        .commands(commands)
}

/// Connections whose buffers hold their default until all that TCP may have is gone.
fn buffers(name: &'static str, sizes: Option<[u64; 3]>, machine: &Machine, wish: &Wish) -> Row {
    let Some([least, default, most]) = sizes else { return Row::unknown(name, Bounds::Moment) };
    let row = Row::new(name, format!("{least} {default} {most}"), Bounds::Moment);
    let Some([.., pages]) = machine.tcp_mem else { return row };
    let at = |pages: u64| pages.saturating_mul(page_bytes()) / default.max(1);
    let commands = wish.beyond(at(pages)).and_then(|wanted| {
        let bytes = pages.max(wanted).saturating_mul(page_bytes()) / wanted;
        let fits = (bytes / 1_024 * 1_024).max(least).min(default);
        (fits < default).then(|| sysctl(name, format!("{least} {fits} {most}")))
    });
    row.at(at(pages))
        .note(format!("that are full at once, {}; data waits beyond it", Size(default)))
        .commands(commands)
}

/// The ports of a range that outgoing connections can have.
fn open_ports(range: &RangeInclusive<u64>, reserved: &[RangeInclusive<u64>]) -> u64 {
    // A list may name a port twice.
    range.clone().filter(|port| !reserved.iter().any(|kept| kept.contains(port))).count() as u64
}

fn ports(machine: &Machine, wish: &Wish) -> Row {
    const NAME: &str = "net.ipv4.ip_local_port_range";
    let Some(range) = &machine.ports else { return Row::unknown(NAME, Bounds::Moment) };
    let reserved = machine.reserved_ports.as_deref().unwrap_or_default();
    let at = open_ports(range, reserved);
    let mut commands = Vec::new();
    let mut note = "from each address of this machine: a proxy, a load".to_owned();
    if let Some(wanted) = wish.beyond(at) {
        if open_ports(&WIDEST, reserved) > at {
            commands.extend((!is_reserved(PORT, reserved)).then(|| reserve(reserved)));
            commands.push(sysctl(NAME, format!("{} {}", WIDEST.start(), WIDEST.end())));
        }
        note += &format!("; {wanted} need {} addresses", wanted.div_ceil(at.max(1)));
    }
    Row::new(NAME, format!("{} {}", range.start(), range.end()), Bounds::Moment)
        .at(at)
        .note(note)
        .commands(commands)
}

fn reserved_ports(machine: &Machine) -> Row {
    const NAME: &str = "net.ipv4.ip_local_reserved_ports";
    let Some(reserved) = &machine.reserved_ports else { return Row::unknown(NAME, Bounds::Nothing) };
    let value = if reserved.is_empty() { "none".to_owned() } else { list(reserved) };
    let row = Row::new(NAME, value, Bounds::Nothing);
    let taken = machine.ports.as_ref().is_some_and(|range| range.contains(&PORT));
    if !taken || is_reserved(PORT, reserved) {
        return row;
    }
    row.note(format!("outgoing connections may take port {PORT} before the server does"))
        .commands([reserve(reserved)])
}

fn is_reserved(port: u64, reserved: &[RangeInclusive<u64>]) -> bool {
    reserved.iter().any(|range| range.contains(&port))
}

fn list(ranges: &[RangeInclusive<u64>]) -> String {
    let range = |range: &RangeInclusive<u64>| match (range.start(), range.end()) {
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low}-{high}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

/// The command that keeps the server's port, too.
fn reserve(reserved: &[RangeInclusive<u64>]) -> String {
    let all = [reserved, &[PORT..=PORT]].concat();
    sysctl("net.ipv4.ip_local_reserved_ports", list(&all))
}

/// None: the kernel tracks no connections.
fn conntrack(machine: &Machine, wish: &Wish) -> Option<Row> {
    const NAME: &str = "net.netfilter.nf_conntrack_max";
    let most = machine.conntrack_max?;
    // It is there wherever the module is; without a rule that asks for it nothing is tracked.
    if machine.conntrack_used == Some(0) && machine.tcp_established.is_some_and(|open| open > 0) {
        return Some(
            Row::new(NAME, most, Bounds::Nothing).note("bounds nothing: no rule has connections tracked"),
        );
    }
    let used = machine.conntrack_used.unwrap_or(0);
    let note = match machine.conntrack_used {
        Some(0) => "if a firewall's rules track them: none is open to tell by".to_owned(),
        _ => format!("if a firewall's rules track them, {used} now"),
    };
    Some(Row::counted(NAME, most, used, wish).note(note))
}
