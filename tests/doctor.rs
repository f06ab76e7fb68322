//! `mida doctor` on machines that are folders: what it prints, and how it ends.

mod common;

use common::{Server, number_behind};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

/// A small machine with settings that a distribution might have.
const MACHINE: &[(&str, &str)] = &[
    ("proc/self/status", "Name:\tmida\nCpus_allowed_list:\t0-1,4\n"),
    ("proc/self/limits", "Max open files            1024                 20000                files     \n"),
    ("proc/meminfo", "MemTotal: 2000000 kB\nMemAvailable: 1048576 kB\n"),
    ("proc/sys/fs/nr_open", "1048576\n"),
    ("proc/sys/fs/file-max", "9223372036854775807\n"),
    ("proc/sys/fs/file-nr", "655\t0\t9223372036854775807\n"),
    ("proc/sys/fs/epoll/max_user_watches", "500000\n"),
    ("proc/sys/net/core/somaxconn", "128\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
];

/// A folder with the files of a machine, which goes when the test ends.
struct Machine(PathBuf);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Machine {
    fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let machine =
            Self(std::env::temp_dir().join(format!("mida-doctor-of-{test}-{}", std::process::id())));
        fs::create_dir(&machine.0).unwrap();
        for (name, text) in files {
            let path = machine.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        machine
    }

    fn doctor(&self, flags: &[&str]) -> Output {
        doctor(&[&["--root", self.0.to_str().unwrap()], flags].concat())
    }

    fn json(&self, flags: &[&str]) -> Value {
        let output = self.doctor(&[flags, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }
}

fn doctor(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mida")).arg("doctor").args(flags).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_lowest_stands_first_and_is_the_last_word() {
    let machine = Machine::new("lowest", MACHINE);
    let output = machine.doctor(&[]);
    let lines = lines(&output);
    assert_eq!(output.status.code(), Some(0));
    let open_files =
        "     59565  RLIMIT_NOFILE                    20000 (soft 1024)          for each of 3 reactors";
    assert_eq!(lines[1], open_files);
    let last = "this machine holds about 59565 connections; the first to stop it is RLIMIT_NOFILE";
    assert_eq!(lines.last().unwrap(), last);
    assert!(
        lines.iter().any(|line| line == "         -  net.ipv4.tcp_mem                 unknown"),
        "{lines:?}"
    );
    let set: Vec<_> = lines.iter().filter_map(|line| line.trim_start().strip_prefix("set:  ")).collect();
    let warnings = [
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        "sysctl -w net.ipv4.ip_local_reserved_ports=7700",
    ];
    assert_eq!(set, warnings);
}

#[test]
fn the_exit_code_says_whether_it_is_enough() {
    let machine = Machine::new("exit", MACHINE);
    for (flags, code) in [
        (&["--connections", "59565"][..], 0),
        (&["--connections", "59566"], 1),
        (&["--connections", "59566", "--json"], 1),
        (&["--connections", "39716", "--cores", "0-1"], 0),
        (&["--connections", "39717", "--cores", "0-1"], 1),
        (&["--connections", "19861", "--cores", "4", "--reactors-per-core", "1"], 0),
        (&["--connections", "19862", "--cores", "4", "--reactors-per-core", "1"], 1),
        (&["--connections", "79408", "--cores", "0-1", "--reactors-per-core", "2"], 0),
        (&["--connections", "79409", "--cores", "0-1", "--reactors-per-core", "2"], 1),
        (&["--connections", "300000", "--reactors-per-core", "100"], 1),
    ] {
        assert_eq!(machine.doctor(flags).status.code(), Some(code), "{flags:?}");
    }
}

#[test]
fn a_program_is_told_the_same() {
    let machine = Machine::new("json", MACHINE);
    let told = machine.json(&["--connections", "90000"]);
    assert_eq!(
        (&told["wanted"], &told["holds"], &told["enough"]),
        (&90_000.into(), &59_565.into(), &false.into())
    );
    assert_eq!(
        (&told["cores"], &told["reactors"], &told["first"]),
        (&3.into(), &3.into(), &"RLIMIT_NOFILE".into())
    );
    let settings = told["settings"].as_array().unwrap();
    let setting = |name: &str| settings.iter().find(|setting| setting["setting"] == name).unwrap();
    let open_files = setting("RLIMIT_NOFILE");
    assert_eq!((&open_files["connections"], &open_files["enough"]), (&59_565.into(), &false.into()));
    let command = open_files["commands"][0].as_str().unwrap();
    assert_eq!(command, "ulimit -n 30145  # as root; in a service's unit: LimitNOFILE=30145");
    assert_eq!(setting("fs.nr_open")["enough"], true);
    assert_eq!(setting("fs.file-max")["connections"], Value::Null);
    assert_eq!(setting("net.ipv4.tcp_mem")["value"], Value::Null);
    assert_eq!(setting("net.core.somaxconn")["bounds"], "moment");
    assert_eq!(machine.json(&[])["wanted"], Value::Null);
}

#[test]
fn a_wrong_flag_is_one_line_and_2() {
    let machine = Machine::new("flags", MACHINE);
    for (flags, says) in [
        (&["--connections", "0"][..], "--connections"),
        (&["--connections", "10000001"], "--connections"),
        (&["--cores", "2"], "no core 2"),
        (&["--cores", "x"], "like 0,2-3"),
        (&["--reactors-per-core", "0"], "--reactors-per-core"),
        (&["--nonsense"], "mida doctor --help"),
    ] {
        let output = machine.doctor(flags);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{flags:?}: {error}");
        assert!(error.contains(says) && output.stdout.is_empty(), "{flags:?}: {error}");
    }
}

#[test]
fn a_machine_that_tells_nothing_stops_nothing() {
    let machine = Machine::new("nothing", &[]);
    let output = machine.doctor(&["--connections", "1000000"]);
    let lines = lines(&output);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(lines.last().unwrap(), "nothing that could be read stops at any number of connections");
    assert!(lines.iter().filter(|line| line.contains("unknown")).count() > 14, "{lines:?}");
    assert_eq!(machine.doctor(&["--cores", "0"]).status.code(), Some(2));
}

/// The settings of the README, on a machine of 64 cores and with the memory it speaks of.
#[test]
fn what_the_readme_sets_holds_what_it_says() {
    let (_, sizing) = include_str!("../README.md").split_once("## Sizing").unwrap();
    let block = sizing.split_once("```ini\n").and_then(|(_, block)| block.split_once("```")).unwrap().0;
    let limit = sizing.split_once("`LimitNOFILE=").and_then(|(_, limit)| limit.split_once('`')).unwrap().0;
    let limits = format!("Max open files  1024  {limit}  files\n");
    let memory = format!("MemAvailable: {} kB\n", (1_000_000 * 4_110 + (80_u64 << 20)) / 1_024);
    let mut files = vec![
        ("proc/self/status".to_owned(), "Cpus_allowed_list: 0-63"),
        ("proc/self/limits".to_owned(), &limits),
        ("proc/meminfo".to_owned(), &memory),
        ("proc/sys/net/ipv4/tcp_max_syn_backlog".to_owned(), "2048"),
        ("proc/sys/net/netfilter/nf_conntrack_count".to_owned(), "1000"),
        ("proc/sys/fs/file-nr".to_owned(), "5000 0 1"),
    ];
    for line in block.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.trim_start_matches('-').split_once(" = ").expect(line);
        files.push((format!("proc/sys/{}", name.replace('.', "/")), value));
    }
    let files: Vec<_> = files.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let machine = Machine::new("readme", &files);
    let told = machine.json(&["--connections", "1000000"]);
    for setting in told["settings"].as_array().unwrap() {
        let is_from_one_address = setting["setting"] == "net.ipv4.ip_local_port_range";
        assert!(setting["enough"] == true || is_from_one_address, "{setting}");
        assert_eq!(setting["commands"].as_array().unwrap().len(), 0, "{setting}");
    }
    let known = told["settings"].as_array().unwrap().iter().filter(|setting| !setting["value"].is_null());
    assert!(known.count() >= 11 && told["holds"].as_u64() < Some(1_010_000), "{told}");
    let one = machine.json(&["--connections", "1000000", "--cores", "0"]);
    assert_eq!((&one["reactors"], &one["enough"]), (&1.into(), &true.into()), "{one}");
}

/// The server counts what is open, doctor what will be: they differ by what the server inherits.
#[test]
fn the_server_has_room_for_what_it_says() {
    let limits = "Max open files  1000  1000  files\n";
    let status = "Cpus_allowed_list: 0\n";
    let machine = Machine::new("server", &[("proc/self/limits", limits), ("proc/self/status", status)]);
    for reactors in [1, 3, 20] {
        let flags = ["--cores", "0", "--reactors-per-core", &reactors.to_string()];
        let server = Server::start_with_files(1_000, &flags);
        let room = number_behind(&server.stderr_with("ready"), "connections=");
        let told = machine.json(&flags)["holds"].as_u64().expect("a number");
        assert!(room.abs_diff(told) <= 16 * reactors, "{reactors} reactors: {room}, but doctor says {told}");
    }
}

#[test]
fn this_machine_holds_something() {
    let output = doctor(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(lines(&output).last().unwrap().starts_with("this machine holds about "));
}
