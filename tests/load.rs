//! `mida load` against `mida`: each mode for a moment, what it counts, and how it ends.

mod common;

use common::{Process, Server, path};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    process::{Command, Output},
};

const MIDA: &str = env!("CARGO_BIN_EXE_mida");
/// Event 1 as often as it is asked for.
const UNLIMITED: [&str; 4] =
    ["--limit", "member_messages_per_minute=0", "--limit", "anonymous_messages_per_minute=0"];

/// A server that is loaded.
struct Target(Server);

impl Target {
    fn start(flags: &[&str]) -> Self {
        Self(Server::start(flags))
    }

    /// The flag that has it measured.
    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn output(&self, flags: &[&str]) -> Output {
        let short = if flags.contains(&"--for") { &[][..] } else { &["--for", "0.5"] };
        load(&[&[&self.0.url(), "--connections", "50"], short, flags].concat())
    }

    /// A load of 50 connections on it that is a success.
    fn load(&self, flags: &[&str]) -> Value {
        let output = self.output(flags);
        assert!(output.status.success(), "{flags:?}: {}", text(&output.stderr));
        let report = report(&output);
        assert_eq!(report["connections"]["failed"], 0, "{report}");
        assert_eq!(report["interrupted"], false);
        report
    }

    /// A load of 50 connections on it that is none.
    fn fails(&self, flags: &[&str]) -> Value {
        let output = self.output(flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {}", text(&output.stderr));
        report(&output)
    }
}

fn load(flags: &[&str]) -> Output {
    Command::new(MIDA).arg("load").args(flags).arg("--json").output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// One JSON object and nothing else.
fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

fn number(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {report}"))
}

fn fraction(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {report}"))
}

fn assert_times(report: &Value, path: &str, count: u64) {
    let [p50, p99, p999, max] =
        ["p50", "p99", "p99.9", "max"].map(|name| fraction(report, &format!("{path}/{name}")));
    assert!(0.0 < p50 && p50 <= p99 && p99 <= p999 && p999 <= max && max < 10e6, "{path} in {report}");
    assert_eq!(number(report, &format!("{path}/count")), count);
}

/// The counts of an echo run belong together.
fn assert_echo(report: &Value) {
    let asked = number(report, "/echo/asked");
    assert_eq!((number(report, "/echo/answered"), number(report, "/echo/unsent")), (asked, 0), "{report}");
    assert_eq!((number(report, "/echo/unanswered"), number(report, "/echo/lost")), (0, 0));
    assert_times(report, "/echo/latency_us", asked);
    let received = number(report, "/messages/received");
    assert!(0 < received && received <= asked, "{report}");
    let rate = fraction(report, "/messages/received_per_second");
    assert!((rate - received as f64 / fraction(report, "/seconds")).abs() < 1.0);
    assert_eq!(
        (&report["messages"]["errors"], &report["echo"]["pushed"]),
        (&serde_json::json!({}), &0.into())
    );
    let checked = number(report, "/messages/checked");
    assert!(asked / 64 <= checked && checked <= asked, "{report}");
}

#[test]
fn idle_connections_are_held_and_the_server_is_measured() {
    let server = Target::start(&["--heartbeat", "250"]);
    let report = server.load(&["--for", "1", "--server-pid", &server.pid()]);
    assert_eq!((number(&report, "/connections/asked"), number(&report, "/connections/connected")), (50, 50));
    assert_eq!((&report["mode"], number(&report, "/threads")), (&"idle".into(), 1));
    assert_times(&report, "/connections/ready_us", 50);
    assert!(number(&report, "/connections/pings") >= 50, "{report}");
    assert!(number(&report, "/server/resident_bytes") >= number(&report, "/server/anonymous_bytes"));
    assert!(number(&report, "/server/anonymous_bytes") > 0);
    assert!(fraction(&report, "/server/anonymous_bytes_per_connection") >= 0.0);
    assert!(fraction(&report, "/server/cpu_seconds") > 0.0);
}

#[test]
fn some_of_the_connections_log_in_and_pings_are_counted_by_the_tenth_of_a_second() {
    // On a machine that is busy with other tests a client may be late by some of these.
    let server = Target::start(&["--heartbeat", "400"]);
    let report = server.load(&["--idle", "--members", "20", "--rest", "0.1", "--for", "1.6"]);
    assert_eq!(
        (number(&report, "/connections/connected"), number(&report, "/connections/members")),
        (50, 20)
    );
    let beats = &report["connections"]["pings_per_100_ms"];
    // Whoever was silent for a heartbeat is asked: about every other of its looks.
    assert!(beats["windows"].as_u64().is_some_and(|windows| windows >= 10), "{report}");
    assert!(beats["mean"].as_f64().is_some_and(|mean| mean > 1.0 && mean < 15.0), "{report}");
    assert!(beats["peak"].as_f64() >= beats["mean"].as_f64(), "{report}");
}

#[test]
fn closed_loops_get_an_answer_for_each_question() {
    let server = Target::start(&UNLIMITED);
    for flags in [
        &["--echo"][..],
        &["--echo", "--in-flight", "8", "--threads", "3"],
        &["--echo", "--auth"],
        &["--echo", "--auth", "--in-flight", "8", "--server-pid", &server.pid()],
    ] {
        assert_echo(&server.load(flags));
    }
}

#[test]
fn batches_go_and_come() {
    let server = Target::start(&[&["--batching"], &UNLIMITED[..]].concat());
    for flags in [
        &["--echo", "--batching", "--in-flight", "8"][..],
        &["--echo", "--batching", "--in-flight", "64", "--auth"],
        &["--echo", "--in-flight", "3", "--auth"],
        &["--echo", "--batching", "--in-flight", "4", "--rate", "2000"],
    ] {
        assert_echo(&server.load(flags));
    }
    let report = server.fails(&["--echo", "--batching", "--in-flight", "65"]);
    assert_eq!(report["connections"]["failures"]["no_batching"], 50);
}

#[test]
fn an_open_loop_never_asks_more_often_than_it_was_told() {
    let server = Target::start(&UNLIMITED);
    for (rate, threads) in [("2000", "1"), ("777", "4")] {
        let report = server.load(&["--echo", "--rate", rate, "--threads", threads]);
        assert_echo(&report);
        let due = rate.parse::<f64>().unwrap() / 2.0;
        let asked = number(&report, "/echo/asked") as f64;
        assert!(0.0 < asked && asked <= due + 1.0, "{report}");
        assert_eq!(number(&report, "/echo/late_us/count"), number(&report, "/echo/asked"));
    }
}

#[test]
fn storms_come_and_go() {
    let server = Target::start(&[]);
    for flags in [&["--storm"][..], &["--storm", "--auth", "--threads", "2"]] {
        let report = server.load(flags);
        let (cycles, connected) =
            (number(&report, "/storm/connections"), number(&report, "/connections/connected"));
        assert!(0 < cycles && cycles <= connected && connected <= cycles + 50, "{report}");
        assert_times(&report, "/connections/ready_us", connected);
    }
}

#[test]
fn each_connection_gets_what_is_pushed_once() {
    let file = path("load-push.toml");
    fs::write(&file, "note = 'first'").unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    for (flags, note) in [(&["--auth"][..], "second"), (&[], "third")] {
        let more = ["--connections", "50", "--broadcast", "--for", "60", "--progress", "--json"];
        let load = Process::start(&[&["load", &*server.url()], &more[..], flags].concat());
        load.stderr_with("measuring");
        fs::write(&file, format!("note = '{note}'")).unwrap();
        server.signal(Signal::HUP);
        load.stderr_with("50 messages,");
        load.signal(Signal::INT);
        let ended = load.wait();
        let report: Value = serde_json::from_str(&ended.lines.concat()).expect("one JSON object");
        assert_eq!((ended.code, number(&report, "/messages/received")), (Some(0), 50));
        assert_eq!((&report["interrupted"], &report["connections"]["failed"]), (&true.into(), &0.into()));
    }
}

#[test]
fn small_file_tables_mean_more_threads() {
    let server = Target::start(&UNLIMITED);
    let flags = "--connections 50 --for 0.2 --echo --json";
    let script = format!("ulimit -n 48; exec {MIDA} load {} {flags}", server.0.url());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = report(&output);
    assert!(number(&report, "/threads") >= 2, "{report}");
    assert_eq!(number(&report, "/connections/connected"), 50);
    assert_echo(&report);
}

#[test]
fn failures_are_told_by_kind() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = load(&[&format!("ws://127.0.0.1:{port}"), "--connections", "50", "--for", "0.1"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report(&output)["connections"]["failures"], serde_json::json!({"refused": 50}));

    for (server, flags, failures) in [
        (&["--max-connections", "10", "--cores", "0"][..], &[][..], serde_json::json!({"http_503": 40})),
        (&["--public-host", "chat.example"], &["--auth"], serde_json::json!({"login_wrong_host": 50})),
        (&["--auth-within", "1"], &["--for", "3"], serde_json::json!({"close_4004": 50})),
        (&[], &["--batching"], serde_json::json!({"no_batching": 50})),
    ] {
        assert_eq!(Target::start(server).fails(flags)["connections"]["failures"], failures);
    }
}

#[test]
fn a_server_that_limits_rates_shows_as_errors() {
    let server = Target::start(&["--limit", "anonymous_messages_per_minute=10"]);
    let report = server.fails(&["--echo"]);
    assert!(number(&report, "/messages/errors/rate_limited") >= 50, "{report}");
    assert_eq!(number(&report, "/connections/failures/close_4010"), 50);
}

#[test]
fn a_server_without_mida_can_be_held_and_stormed() {
    // To `--plain` the rules are just a message.
    let server = Target::start(&[]);
    assert_eq!(number(&server.load(&["--plain"]), "/connections/connected"), 50);
    assert!(number(&server.load(&["--plain", "--storm"]), "/storm/connections") > 50);
}

#[test]
fn the_report_is_also_for_people() {
    let server = Target::start(&UNLIMITED);
    let pid = server.pid();
    let flags = ["--connections", "50", "--for", "0.2", "--echo", "--server-pid", &pid];
    let output = Command::new(MIDA).args(["load", &server.0.url()]).args(flags).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    for says in ["50 of 50", "answers in", "latency", "p99.9", "CPU seconds", "resident"] {
        assert!(report.contains(says), "no {says} in {report}");
    }
}

#[test]
fn wrong_arguments_are_one_line_and_two() {
    let url = "ws://127.0.0.1:1";
    for (flags, says) in [
        (&[url][..], "--connections"),
        (&["--connections", "1"], "URL"),
        (&[url, "--connections", "0"], "--connections"),
        (&[url, "--connections", "x"], "--connections"),
        (&["http://127.0.0.1:1", "--connections", "1"], "ws://"),
        (&["ws://192.0.2.1", "--connections", "1"], "--yes-i-own-it"),
        (&[url, "--connections", "1", "--echo", "--idle"], "--idle"),
        (&[url, "--connections", "1", "--rate", "5"], "--echo"),
        (&[url, "--connections", "1", "--echo", "--rate", "0"], "--rate"),
        (&[url, "--connections", "1", "--echo", "--rate", "5", "--in-flight", "2"], "--in-flight"),
        (&[url, "--connections", "1", "--plain", "--auth"], "--auth"),
        (&[url, "--connections", "1", "--for", "0"], "--for"),
        (&[url, "--connections", "1", "--bytes", "5"], "--plain"),
        (&[url, "--connections", "1", "--server-pid", "2147483647"], "no process"),
        (&["ws://[::1]:1", "--connections", "1", "--sources", "2"], "--sources"),
    ] {
        let output = load(flags);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {error}");
        assert!(output.stdout.is_empty() && error.contains(says), "{flags:?}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
}
