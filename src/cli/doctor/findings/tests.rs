use super::*;
use crate::cli::doctor::{kernel::OWN_TABLES, machine::Cgroup};

/// A machine on which each setting stops at another number.
fn machine() -> Machine {
    Machine {
        version: Some((6, 18)),
        cores: Some(vec![0, 1]),
        open_files: Some((1_024, 10_000)),
        nr_open: Some(15_000),
        file_max: Some(40_000),
        files_used: Some(1_000),
        epoll_watches: Some(50_000),
        somaxconn: Some(4_096),
        syn_backlog: Some(2_048),
        syncookies: Some(1),
        tcp_rmem: Some([4_096, 131_072, 33_554_432]),
        tcp_wmem: Some([4_096, 16_384, 4_194_304]),
        tcp_mem: Some([24_000, 32_000, 48_000]),
        tcp_established: Some(3),
        ports: Some(32_768..=60_999),
        reserved_ports: Some(Vec::new()),
        conntrack_max: Some(60_000),
        conntrack_used: Some(10),
        available_bytes: Some(1 << 30),
        commit_bytes: Some(1 << 25),
        overcommit: Some(0),
        cgroup: None,
        huge_pages: Some("madvise".to_owned()),
        io_uring_disabled: Some(0),
    }
}

fn wish(connections: Option<u64>) -> Wish {
    Wish { connections, cores: 2, reactors_per_core: 1 }
}

fn row(machine: &Machine, wish: Wish, setting: &str) -> Row {
    let findings = Findings::of(machine, wish);
    findings.rows.iter().find(|row| row.setting == setting).unwrap_or_else(|| panic!("{setting}")).clone()
}

/// Each setting by itself: where it stops, and what is to be set for 100,000.
#[test]
fn each_setting_stops_where_it_must_and_names_its_command() {
    for (setting, at, commands) in [
        ("RLIMIT_NOFILE", 19_716, &["sysctl -w fs.nr_open=50142", "ulimit -n 50142"][..]),
        ("fs.nr_open", 29_716, &["sysctl -w fs.nr_open=50142"]),
        ("fs.file-max", 38_794, &["sysctl -w fs.file-max=101206"]),
        ("fs.epoll.max_user_watches", 49_794, &["sysctl -w fs.epoll.max_user_watches=100206"]),
        ("net.netfilter.nf_conntrack_max", 59_990, &["sysctl -w net.netfilter.nf_conntrack_max=100010"]),
        ("net.core.somaxconn", 8_192, &["sysctl -w net.core.somaxconn=65535"]),
        ("net.ipv4.tcp_mem", 48_000, &["sysctl -w net.ipv4.tcp_mem=\"50000 66666 100000\""]),
        ("net.ipv4.tcp_rmem", 1_500, &["sysctl -w net.ipv4.tcp_rmem=\"4096 4096 33554432\""]),
        ("net.ipv4.tcp_wmem", 12_000, &["sysctl -w net.ipv4.tcp_wmem=\"4096 4096 4194304\""]),
        (
            "net.ipv4.ip_local_port_range",
            28_232,
            &[
                "sysctl -w net.ipv4.ip_local_reserved_ports=7700",
                "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
            ],
        ),
    ] {
        let found = row(&machine(), wish(Some(100_000)), setting);
        assert_eq!(found.at, Some(at), "{setting}");
        assert_eq!(found.commands.len(), commands.len(), "{setting}: {:?}", found.commands);
        for (found, command) in found.commands.iter().zip(commands) {
            assert!(found.starts_with(command), "{setting}: {found}");
        }
        for connections in [None, Some(at)] {
            assert_eq!(row(&machine(), wish(connections), setting).commands, [""; 0], "{setting}");
        }
        assert_ne!(row(&machine(), wish(Some(at + 1)), setting).commands, [""; 0], "{setting}");
    }
}

/// What a command of the findings sets.
fn obey(machine: &mut Machine, command: &str) {
    let number = |text: &str| text.trim_matches('"').parse::<u64>().ok();
    let three = |text: &str| {
        let numbers: Vec<u64> = text.trim_matches('"').split(' ').filter_map(|n| n.parse().ok()).collect();
        <[u64; 3]>::try_from(numbers).ok()
    };
    if let Some(limit) = command.strip_prefix("ulimit -n ").and_then(|rest| rest.split(' ').next()) {
        let limit = number(limit).unwrap();
        assert!(Some(limit) <= machine.nr_open, "the kernel refuses {limit}");
        machine.open_files = Some((limit, limit));
        return;
    }
    let (name, value) =
        command.strip_prefix("sysctl -w ").and_then(|rest| rest.split_once('=')).expect(command);
    match name {
        "fs.nr_open" => machine.nr_open = number(value),
        "fs.file-max" => machine.file_max = number(value),
        "fs.epoll.max_user_watches" => machine.epoll_watches = number(value),
        "net.netfilter.nf_conntrack_max" => machine.conntrack_max = number(value),
        "net.ipv4.tcp_mem" => machine.tcp_mem = three(value),
        "net.ipv4.tcp_rmem" => machine.tcp_rmem = three(value),
        "net.ipv4.tcp_wmem" => machine.tcp_wmem = three(value),
        "net.core.somaxconn" => machine.somaxconn = number(value),
        "net.ipv4.ip_local_reserved_ports" => machine.reserved_ports = Some(vec![7_700..=7_700]),
        "net.ipv4.ip_local_port_range" => machine.ports = Some(1_024..=65_535),
        name => panic!("{name} is not known here"),
    }
}

#[test]
fn a_machine_set_as_it_is_told_is_enough_and_by_one_no_more() {
    for connections in [1, 19_717, 60_000, 99_999, 200_000] {
        for reactors_per_core in [1, 7] {
            let wish = Wish { connections: Some(connections), reactors_per_core, ..wish(None) };
            let mut machine = machine();
            let before = Findings::of(&machine, wish);
            for row in &before.rows {
                row.commands.iter().for_each(|command| obey(&mut machine, command));
            }
            let findings = Findings::of(&machine, wish);
            assert!(findings.is_enough(), "{connections}: {:?}", findings.first());
            for row in findings.rows.iter().filter(|row| row.setting.starts_with("net.ipv4.tcp_")) {
                assert!(row.at.is_none_or(|at| at >= connections), "{connections}: {row:?}");
            }
            // Every table has the same limit: room for up to a connection more in each.
            let is_set = |row: &Row| row.setting == "RLIMIT_NOFILE" && !row.commands.is_empty();
            if before.rows.iter().any(is_set) {
                let at = connections.next_multiple_of(wish.reactors());
                assert_eq!(row(&machine, wish, "RLIMIT_NOFILE").at, Some(at));
            }
            if connections > 50_000 {
                assert_eq!(findings.first().map(|(at, _)| at), Some(connections));
            }
        }
    }
}

#[test]
fn tables_of_their_own_bound_reactors() {
    for (reactors_per_core, connections, at, says) in [
        (1, 19_716, 19_716, "for each of 2 reactors"),
        (1, 500_000, 19_716, "--reactors-per-core 26 is enough"),
        (26, 500_000, 504_816, "for each of 52 reactors"),
        (25, 500_000, 485_700, "--reactors-per-core 26 is enough"),
    ] {
        let wish = Wish { connections: Some(connections), cores: 2, reactors_per_core };
        let row = row(&machine(), wish, "RLIMIT_NOFILE");
        assert_eq!((row.at, row.commands.is_empty()), (Some(at), at >= connections));
        assert!(row.note.contains(says), "{}", row.note);
        assert_eq!(row.note.contains("is enough"), at < connections);
    }
}

/// Each reactor takes three files of every table: beyond some number more of them have room for less.
#[test]
fn more_reactors_are_named_only_where_they_are_enough() {
    for (reactors_per_core, limit, connections, at, enough) in [
        (1, 1_024, 65_712, 1_764, Some(74)),
        (1, 1_024, 65_713, 1_764, None),
        (100, 1_024, 65_712, 57_600, None),
        (1, 200, 340, 116, Some(5)),
        (1, 200, 1_000, 116, None),
        (11, 200, 1_000, 0, None),
    ] {
        let machine = Machine { open_files: Some((limit, limit)), ..machine() };
        let wish = Wish { connections: Some(connections), cores: 2, reactors_per_core };
        let row = row(&machine, wish, "RLIMIT_NOFILE");
        let note = format!("for each of {} reactors", 2 * reactors_per_core)
            + &enough.map_or(String::new(), |n| format!("; --reactors-per-core {n} is enough, too"));
        assert_eq!((row.at, row.note), (Some(at), note), "{connections} with {limit}");
    }
}

/// 8 files, 3 for each reactor, 64 for logs and the like; and 64 that each reactor keeps back, of one table or of
/// several.
#[test]
fn what_all_processes_share_counts_each_reactor_once() {
    for (reactors_per_core, own) in [(1, 8 + 6 + 64 + 128), (50, 8 + 300 + 64 + 6_400)] {
        let wish = Wish { reactors_per_core, ..wish(None) };
        assert_eq!(row(&machine(), wish, "fs.file-max").at, Some(40_000 - 1_000 - own));
        assert_eq!(row(&machine(), wish, "fs.epoll.max_user_watches").at, Some(50_000 - own));
    }
}

#[test]
fn before_linux_5_9_reactors_have_one_table_together() {
    for (version, reactors_per_core, at, says) in [
        (Some((5, 9)), 1, 19_716, "for each of 2 reactors"),
        (None, 1, 19_716, "for each of 2 reactors"),
        (Some((5, 8)), 1, 9_794, "for all 2 reactors: Linux 5.8 gives them no tables of their own"),
        (Some((4, 19)), 2, 9_660, "for all 4 reactors: Linux 4.19 gives them no tables of their own"),
    ] {
        let machine = Machine { version, ..machine() };
        for (connections, commands) in [(at, &[][..]), (at + 1, &["ulimit -n 100"])] {
            let wish = Wish { connections: Some(connections), reactors_per_core, ..wish(None) };
            let row = row(&machine, wish, "RLIMIT_NOFILE");
            assert_eq!((row.at, row.commands.len()), (Some(at), commands.len()), "{version:?}");
            assert!(row.note.starts_with(says), "{}", row.note);
            for (found, command) in row.commands.iter().zip(commands) {
                assert!(found.starts_with(command), "{found}");
            }
            let more_help = connections > at && version.is_none_or(|version| version >= OWN_TABLES);
            assert_eq!(row.note.contains("is enough"), more_help, "{version:?}");
        }
    }
    let alone = Machine { version: Some((5, 8)), ..machine() };
    let wish = Wish { cores: 1, ..wish(None) };
    assert_eq!(row(&alone, wish, "RLIMIT_NOFILE"), row(&machine(), wish, "RLIMIT_NOFILE"));
}

#[test]
fn memory_holds_what_a_connection_and_the_kernel_take() {
    let fixed = 10 << 20;
    let with = |machine: Machine| row(&machine, wish(Some(300_000)), "memory (MemAvailable)");
    let idle = with(machine());
    assert_eq!(idle.at, Some(((1 << 30) - fixed) / 4_110));
    assert!(idle.commands.is_empty() && idle.note == "300000 need 1.2 GiB", "{}", idle.note);
    let huge = with(Machine { huge_pages: Some("always".to_owned()), ..machine() });
    assert_eq!(huge.at, Some(((1 << 30) - fixed) / 4_260));
    assert_eq!(with(Machine { available_bytes: Some(1), ..machine() }).at, Some(0));

    let group = |max_bytes| {
        Some(Cgroup { file: "/sys/fs/cgroup/a b/memory.max".into(), max_bytes, used_bytes: 1 << 20 })
    };
    let bounded = Machine { cgroup: group(1 << 28), ..machine() };
    let bounded = row(&bounded, wish(Some(300_000)), "cgroup memory.max");
    assert_eq!(bounded.at, Some(((1 << 28) - (1 << 20) - fixed) / 4_110));
    let bytes = (1 << 20) + fixed + 300_000 * 4_110;
    assert!(bounded.commands[0].starts_with(&format!("echo {bytes} > '/sys/fs/cgroup/a b/memory.max'")));
    let free =
        row(&Machine { cgroup: group(u64::MAX), ..machine() }, wish(Some(300_000)), "cgroup memory.max");
    assert_eq!((free.at, free.value.as_deref(), free.commands.len()), (None, Some("max"), 0));

    let strict = Machine { overcommit: Some(2), ..machine() };
    let strict = row(&strict, wish(Some(300_000)), "vm.overcommit_memory");
    assert_eq!((strict.at, strict.bounds), (Some(((1 << 25) - fixed) / 254), Bounds::Connections));
    assert_eq!(strict.commands, ["sysctl -w vm.overcommit_memory=0"]);
    assert_eq!(row(&machine(), wish(Some(300_000)), "vm.overcommit_memory").bounds, Bounds::Nothing);
}

#[test]
fn the_servers_port_is_kept_from_outgoing_connections() {
    let wide = Some(1_024..=65_535);
    for (ports, reserved, commands) in [
        (wide.clone(), vec![], &["sysctl -w net.ipv4.ip_local_reserved_ports=7700"][..]),
        (
            wide.clone(),
            vec![80..=80, 7_000..=7_699],
            &["sysctl -w net.ipv4.ip_local_reserved_ports=80,7000-7699,7700"],
        ),
        (wide, vec![7_000..=8_000], &[]),
        (Some(32_768..=60_999), vec![], &[]),
        (None, vec![], &[]),
    ] {
        let machine = Machine { ports, reserved_ports: Some(reserved), ..machine() };
        let row = row(&machine, wish(None), "net.ipv4.ip_local_reserved_ports");
        assert_eq!(row.commands, commands);
        assert_eq!(row.note.is_empty(), commands.is_empty());
    }
}

#[test]
fn reserved_ports_are_no_ports_for_a_load() {
    let ports = |reserved| {
        let machine = Machine { reserved_ports: Some(reserved), ..machine() };
        row(&machine, wish(Some(100_000)), "net.ipv4.ip_local_port_range")
    };
    assert_eq!(ports(vec![32_768..=32_769, 32_769..=32_777, 1..=9]).at, Some(28_222));
    assert!(ports(vec![]).note.ends_with("100000 need 4 addresses"));
    assert_eq!(ports(vec![1..=u64::MAX]).at, Some(0));
}

#[test]
fn the_queue_of_connects_counts_only_where_it_does() {
    let with = |syncookies| {
        let machine = Machine { syncookies, ..machine() };
        row(&machine, wish(Some(100_000)), "net.ipv4.tcp_max_syn_backlog")
    };
    assert_eq!((with(Some(0)).at, with(Some(0)).commands.len()), (Some(3_072), 1));
    for syncookies in [None, Some(1), Some(2)] {
        assert_eq!((with(syncookies).at, with(syncookies).commands.len()), (None, 0));
    }
}

#[test]
fn tracking_counts_unless_nothing_is_tracked() {
    for (max, used, established, bounds) in [
        (Some(60_000), Some(10), Some(3), Some(Bounds::Connections)),
        (Some(60_000), Some(0), Some(3), Some(Bounds::Nothing)),
        (Some(60_000), Some(0), Some(0), Some(Bounds::Connections)),
        (Some(60_000), None, None, Some(Bounds::Connections)),
        (None, None, Some(3), None),
    ] {
        let machine =
            Machine { conntrack_max: max, conntrack_used: used, tcp_established: established, ..machine() };
        let findings = Findings::of(&machine, wish(None));
        let row = findings.rows.iter().find(|row| row.setting.contains("conntrack"));
        assert_eq!(row.map(|row| row.bounds), bounds);
        let is_open = row.is_some_and(|row| row.note.contains("none is open to tell by"));
        assert_eq!(is_open, bounds.is_some() && (used, established) == (Some(0), Some(0)));
    }
}

#[test]
fn a_moment_decides_nothing_and_the_lowest_stands_first() {
    let findings = Findings::of(&machine(), wish(Some(19_716)));
    assert_eq!(findings.first(), Some((19_716, "RLIMIT_NOFILE")));
    assert!(findings.is_enough(), "somaxconn is below");
    assert!(!Findings::of(&machine(), wish(Some(19_717))).is_enough());
    for bounds in [Bounds::Connections, Bounds::Moment] {
        let numbers: Vec<_> = findings.that_bound(bounds).map(|row| row.at.unwrap_or(u64::MAX)).collect();
        assert!(numbers.len() > 4 && numbers.is_sorted(), "{numbers:?}");
    }
}

#[test]
fn what_is_unknown_stops_nothing() {
    let findings = Findings::of(&Machine::default(), wish(Some(1_000_000)));
    assert!(findings.is_enough() && findings.first().is_none() && findings.rows.len() > 14);
    for row in &findings.rows {
        assert!(row.value.is_none() && row.at.is_none() && row.commands.is_empty(), "{row:?}");
    }
}

#[test]
fn the_largest_values_there_are_overflow_nothing() {
    let most = Some(u64::MAX);
    let machine = Machine {
        open_files: Some((u64::MAX, u64::MAX)),
        nr_open: most,
        file_max: most,
        files_used: most,
        epoll_watches: most,
        somaxconn: most,
        syn_backlog: most,
        syncookies: Some(0),
        tcp_rmem: Some([u64::MAX; 3]),
        tcp_wmem: Some([0; 3]),
        tcp_mem: Some([u64::MAX; 3]),
        conntrack_max: most,
        conntrack_used: most,
        available_bytes: most,
        commit_bytes: most,
        overcommit: Some(2),
        cgroup: Some(Cgroup { file: "/x".into(), max_bytes: u64::MAX - 1, used_bytes: u64::MAX }),
        huge_pages: Some("always".to_owned()),
        ..machine()
    };
    let wish = Wish { connections: Some(10_000_000), cores: 65_536, reactors_per_core: 1_024 };
    let findings = Findings::of(&machine, wish);
    assert_eq!(findings.first().map(|(at, _)| at), Some(0));
    assert!(findings.to_string().contains("unlimited (soft unlimited)"));
}
