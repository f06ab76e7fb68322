use super::*;

/// A root folder that goes when the test ends.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Root {
    fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let root = Self(std::env::temp_dir().join(format!("mida-doctor-{test}-{}", std::process::id())));
        for (name, text) in files {
            let path = root.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }
}

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max processes             96365                96365                processes 
Max open files            1024                 524288               files     
Max address space         unlimited            unlimited            bytes     
";
const SNMP: &str = "\
Ip: Forwarding DefaultTTL\nIp: 2 64\n\
Tcp: RtoAlgorithm RtoMin CurrEstab InSegs\nTcp: 1 200 7 99\n";

#[test]
fn every_file_is_read_to_its_field() {
    let root = Root::new(
        "all",
        &[
            ("proc/self/status", "Name:\tmida\nCpus_allowed:\td\nCpus_allowed_list:\t0,2-3\n"),
            ("proc/self/limits", LIMITS),
            ("proc/self/cgroup", "0::/system.slice/mida.service\n"),
            ("proc/net/snmp", SNMP),
            ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:  4 kB\nCommitLimit: 10 kB\nCommitted_AS: 3 kB\n"),
            ("proc/sys/fs/nr_open", "1048576\n"),
            ("proc/sys/fs/file-max", "9223372036854775807\n"),
            ("proc/sys/fs/file-nr", "655\t0\t9223372036854775807\n"),
            ("proc/sys/fs/epoll/max_user_watches", "5491511\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
            ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
            ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n"),
            ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
            ("proc/sys/net/ipv4/tcp_mem", "287898\t383867\t575796\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/sys/net/ipv4/ip_local_reserved_ports", "80,7700-7710\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "12\n"),
            ("proc/sys/vm/overcommit_memory", "2\n"),
            ("proc/sys/kernel/io_uring_disabled", "1\n"),
            ("proc/sys/kernel/osrelease", "6.18.3-rc1+\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
            ("sys/fs/cgroup/system.slice/mida.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/mida.service/memory.current", "100\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "1000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "300\n"),
        ],
    );
    let expected = Machine {
        version: Some((6, 18)),
        cores: Some(vec![0, 2, 3]),
        open_files: Some((1_024, 524_288)),
        nr_open: Some(1_048_576),
        file_max: Some(i64::MAX as u64),
        files_used: Some(655),
        epoll_watches: Some(5_491_511),
        somaxconn: Some(4_096),
        syn_backlog: Some(2_048),
        syncookies: Some(1),
        tcp_rmem: Some([4_096, 131_072, 33_554_432]),
        tcp_wmem: Some([4_096, 16_384, 4_194_304]),
        tcp_mem: Some([287_898, 383_867, 575_796]),
        tcp_established: Some(7),
        ports: Some(32_768..=60_999),
        reserved_ports: Some(vec![80..=80, 7_700..=7_710]),
        conntrack_max: Some(262_144),
        conntrack_used: Some(12),
        available_bytes: Some(4_096),
        commit_bytes: Some(7_168),
        overcommit: Some(2),
        cgroup: Some(Cgroup {
            file: "/sys/fs/cgroup/system.slice/memory.max".into(),
            max_bytes: 1_000,
            used_bytes: 300,
        }),
        huge_pages: Some("always".to_owned()),
        io_uring_disabled: Some(1),
    };
    assert_eq!(Machine::read(&root.0), expected);
}

#[test]
fn what_is_not_there_or_makes_no_sense_is_unknown() {
    assert_eq!(Machine::read(Path::new("/nonexistent")), Machine::default());
    let names = [
        "proc/self/status",
        "proc/self/limits",
        "proc/self/cgroup",
        "proc/net/snmp",
        "proc/meminfo",
        "proc/sys/fs/nr_open",
        "proc/sys/fs/file-nr",
        "proc/sys/kernel/osrelease",
        "proc/sys/net/ipv4/tcp_mem",
        "proc/sys/net/ipv4/ip_local_port_range",
        "proc/sys/net/ipv4/ip_local_reserved_ports",
        "sys/kernel/mm/transparent_hugepage/enabled",
    ];
    for text in [
        "x",
        "-1",
        "18446744073709551616",
        "2 1",
        "5-",
        "Max open files",
        "Max open files  x  1",
        "Cpus_allowed_list:\t3-",
        "MemAvailable: 18446744073709551615 kB",
        "Tcp: CurrEstab",
        "Tcp: CurrEstab\nTcp: x",
        "0::/../..",
        "always never",
        "1024 65536",
        "6.",
        ".6",
        "4294967296.1",
    ] {
        let root = Root::new("none", &names.map(|name| (name, text)));
        assert_eq!(Machine::read(&root.0), Machine::default(), "{text}");
    }
}

#[test]
fn the_tightest_group_counts_and_has_its_place_in_either_tree() {
    let [max, current] = ["memory.max", "memory.current"];
    for (own, groups, expected) in [
        ("9:memory:/v1\n0::/a/b\n", vec![("a/b", "900", "100"), ("a", "1000", "900")], Some(("a", 1_000))),
        ("0::/a/b\n", vec![("a/b", "50", "0"), ("a", "max", "900")], Some(("a/b", 50))),
        ("0::/\n", vec![("", "50", "0")], Some(("", 50))),
        ("0::/../a\n", vec![("a", "50", "0")], Some(("a", 50))),
        ("0::/a\n", vec![("a", "max", "3")], Some(("a", u64::MAX))),
        ("0::/a\n", vec![("b", "50", "3")], None),
        ("9:memory:/a\n", vec![("a", "50", "3")], None),
    ] {
        for tree in ["sys/fs/cgroup", "sys/fs/cgroup/unified"] {
            let mut files = vec![("proc/self/cgroup".to_owned(), own)];
            for (group, most, used) in &groups {
                files.push((format!("{tree}/{group}/{max}"), most));
                files.push((format!("{tree}/{group}/{current}"), used));
            }
            let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
            let root = Root::new("groups", &files);
            let found = Machine::read(&root.0).cgroup.map(|group| (group.file, group.max_bytes));
            let expected =
                expected.map(|(group, most)| (Path::new("/").join(tree).join(group).join(max), most));
            assert_eq!(found, expected, "{own}{groups:?}");
        }
    }
}

#[test]
fn no_limit_and_an_empty_list_are_values() {
    let limits = LIMITS.replace("524288  ", "unlimited");
    assert_eq!(open_files(&limits), Some((1_024, u64::MAX)));
    assert_eq!(ranges("\n"), Some(vec![]));
}

#[test]
fn this_machine_can_be_read() {
    let machine = Machine::read(Path::new("/"));
    assert!(machine.version >= Some((3, 0)));
    assert!(machine.cores.is_some_and(|cores| !cores.is_empty()));
    assert!(machine.open_files.is_some_and(|(soft, hard)| 0 < soft && soft <= hard));
    assert!(machine.available_bytes.is_some_and(|bytes| bytes > 1 << 20));
}
