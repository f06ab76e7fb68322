//! The end of a server and its successor, with the real binary: nobody is refused, reset or left without an answer.

mod client;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/frames.rs"]
mod frames;
mod load;
#[path = "../common/metrics.rs"]
mod metrics;

use client::{At, Client, Said};
use common::{Process, io, path};
use mida::server::activation;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    ffi::{OsStr, OsString},
    fs,
    net::{SocketAddr, TcpListener},
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::net::{UnixDatagram, UnixListener},
    },
    process::Command,
    time::Duration,
};

const MIDA: &str = env!("CARGO_BIN_EXE_mida");

/// A server and those that succeed it, all with the streams of the first; killed when dropped.
pub struct Line {
    pub first: Process,
    /// The server that accepts now.
    pub pid: Pid,
    pub at: Vec<At>,
    successors: usize,
}

impl Line {
    pub fn start(command: &mut Command) -> Self {
        let mut first = Process::spawn(command.args(io()));
        let line = first.line();
        let at = line.strip_prefix("listening on ").unwrap().split(", ").map(At::parse).collect();
        let pid = first.pid();
        first.stderr_with("ready");
        Self { first, pid, at, successors: 0 }
    }

    pub fn with(flags: &[&str]) -> Self {
        Self::start(Command::new(MIDA).args(flags).args(common::ephemeral(flags)))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits until there is one more successor, which has been asked for.
    pub fn succeeded(&mut self) {
        self.successors += 1;
        let says = "a successor serves; closing all connections pid=";
        let log = self.first.stderr_with_several(says, self.successors);
        let (_, behind) = log.rsplit_once(says).unwrap();
        let pid = behind.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
        self.pid = Pid::from_raw(pid).unwrap();
        let line = self.first.line();
        let at: Vec<_> = line.strip_prefix("listening on ").unwrap().split(", ").map(At::parse).collect();
        assert_eq!(format!("{at:?}"), format!("{:?}", self.at), "a successor listens where it did");
    }

    fn admin(&self) -> SocketAddr {
        let log = self.first.stderr_with("admin on http://");
        let (_, rest) = log.split_once("admin on http://").unwrap();
        rest.lines().next().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It has ended, or it is still ours to end.
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

fn asked(client: &mut Client) {
    client.ask(1).unwrap();
    assert!(matches!(client.next().unwrap(), Said::Text(text) if text.starts_with(r#"{"t":1,"#)));
}

fn unix(name: &str) -> (String, String) {
    let file = path(name).to_str().unwrap().to_owned();
    (format!("unix:{file}"), file)
}

#[test]
fn each_kind_of_listener_is_served_and_gone_in_the_end() {
    let (address, file) = unix("kinds.sock");
    let listen = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", &address];
    let mut line = Line::with(&[&listen[..], &["--drain-seconds", "0"]].concat());
    assert_eq!(line.at.len(), 3);
    let mut clients: Vec<_> = line.at.iter().map(Client::open).collect();
    clients.iter_mut().for_each(asked);
    // A socket on which somebody answers is not taken away.
    let ended = Process::run(&["--listen", &address], "");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("the path is in use"), "{}", ended.stderr);
    line.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.answers_until_close().unwrap(), (0, 1001));
    }
    assert_eq!(line.first.wait_alone(), Some(0));
    assert!(!fs::exists(file).unwrap());
    let log = line.first.stderr_with("ended");
    assert!(log.contains("closing all connections connections=3") && log.contains("told=3 cut=0"), "{log}");
    assert!(line.at.iter().all(|at| Client::dial(at).is_err()));
}

#[test]
fn half_a_request_is_answered_although_the_server_goes() {
    let line = Line::with(&["--listen", "127.0.0.1:0", "--drain-seconds", "1", "--admin", "127.0.0.1:0"]);
    let mut late = Client::dial(&line.at[0]).unwrap();
    while metrics::scrape(line.admin()).sum("mida_connections", &[]) == 0.0 {}
    line.signal(Signal::TERM);
    line.first.stderr_with("closing all connections");
    assert!(matches!(late.upgrade().unwrap(), 101 | 503));
    while !matches!(late.next(), Ok(Said::End) | Err(_)) {}
    drop(late);
    assert_eq!(line.first.stderr_with("ended").matches("cut=0").count(), 1);
}

#[test]
fn sockets_of_a_service_manager_outlive_the_server() {
    let file = path("activated.sock");
    let (tcp, local) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&file).unwrap());
    let at = [At::Tcp(tcp.local_addr().unwrap()), At::Unix(file.clone())];
    let name = format!("mida-test-{}", std::process::id());
    let manager = UnixDatagram::bind_addr(
        &std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes()).unwrap(),
    );
    let manager = manager.unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = || {
        let mut bytes = [0; 200];
        let len = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };
    // The shell stays the process that the descriptors are for.
    let script = format!("NOTIFY_SOCKET=@{name} exec \"$0\" \"$@\" >/dev/null 2>&1");
    let arguments = ["-c", &script, MIDA, "--ephemeral", "--drain-seconds", "0"].map(OsString::from);
    let passed = [("mida.socket".to_owned(), tcp.as_fd()), ("mida.socket".to_owned(), local.as_fd())];
    let mut waiting = Vec::new();
    for round in 0..2 {
        let mut server = activation::spawn(OsStr::new("/bin/sh"), &arguments, &passed).unwrap();
        assert!(told().starts_with("READY=1\n"));
        // Who connected while there was no server is served by the next.
        for client in &mut waiting {
            assert_eq!(Client::upgrade(client).unwrap(), 101, "{round}");
        }
        let mut clients: Vec<_> = at.iter().map(Client::open).collect();
        clients.iter_mut().for_each(asked);
        kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
        assert!(told().starts_with("STOPPING=1\n"));
        for client in clients.iter_mut().chain(&mut waiting) {
            assert_eq!(client.answers_until_close().unwrap(), (0, 1001));
        }
        assert_eq!(server.wait().unwrap().code(), Some(0));
        waiting = at.iter().map(|at| Client::dial(at).unwrap()).collect();
    }
    assert!(file.exists(), "the file is the manager's");
    fs::remove_file(file).unwrap();
}

#[test]
fn a_successor_takes_every_listener_over_and_nobody_is_lost() {
    let notify = path("notify.sock");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = || {
        let mut bytes = [0; 200];
        let len = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };
    let (address, file) = unix("successor.sock");
    let config = path("successor.toml");
    fs::write(&config, "reactors-per-core = 1\n").unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--listen", &address, "--admin", "127.0.0.1:0"];
    let more = ["--drain-seconds", "1", "--config", config.to_str().unwrap()];
    let data = path("successor-data").to_str().unwrap().to_owned();
    let mut command = Command::new(MIDA);
    command.args(flags).args(more).args(["--data", &data]);
    let mut line = Line::start(command.env("NOTIFY_SOCKET", &notify));
    assert!(told().starts_with("READY=1\n"));
    let started = || metrics::scrape(line.admin()).sum("process_start_time_seconds", &[]);
    let before = started();

    // The next has other reactors than there are sockets.
    fs::write(&config, "reactors-per-core = 3\ncores = \"0\"\n").unwrap();
    let mut old: Vec<_> = (0..40).map(|nth| Client::open(&line.at[nth % 2])).collect();
    old.iter_mut().for_each(|client| client.ask(3).unwrap());
    line.signal(Signal::USR2);
    line.succeeded();
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(told().starts_with(&format!("MAINPID={}\nREADY=1\n", line.pid.as_raw_nonzero())));
    for client in &mut old {
        assert_eq!(client.answers_until_close().unwrap(), (3, 1001));
    }
    assert_eq!(line.first.wait_alone(), Some(0), "the first ends alone");
    let log = line.first.stderr_with("told=40 cut=0");
    assert!(log.contains("reactors=3"), "{log}");
    line.first.stderr_with("the store is open");
    // Not before: the first accepts until all its reactors know, and sends those away with the last.
    let mut new: Vec<_> = (0..40).map(|nth| Client::open(&line.at[nth % 2])).collect();
    new.iter_mut().for_each(asked);
    // The operator's address is the successor's too.
    let after = metrics::scrape(line.admin());
    assert!(after.sum("process_start_time_seconds", &[]) >= before);
    assert_eq!(after.sum("mida_connections", &[]), 40.0);
    new.iter_mut().for_each(asked);

    line.signal(Signal::TERM);
    for client in &mut new {
        assert_eq!(client.answers_until_close().unwrap(), (0, 1001));
    }
    assert!(told().starts_with("STOPPING=1\n"));
    line.first.stderr_with_several("ended", 2);
    assert!(!fs::exists(file).unwrap());
    fs::remove_dir_all(data).unwrap();
}

/// Makes `link` a program of this text. The shell writes it: a file that this process had open for writing could
/// not be run while another thread forks.
fn program(link: &str, text: &str) {
    let script = "printf '%s' \"$1\" >\"$0.new\" && chmod 755 \"$0.new\" && mv \"$0.new\" \"$0\"";
    assert!(Command::new("sh").args(["-c", script, link, text]).status().unwrap().success());
}

#[test]
fn a_successor_that_fails_changes_nothing() {
    let link = path("mida-link").to_str().unwrap().to_owned();
    let is_mida = format!("#!/bin/sh\nexec {MIDA} \"$@\"\n");
    program(&link, &format!("#!/bin/sh\nexec -a {link} {MIDA} \"$@\"\n").replace("#!/bin/sh", "#!/bin/bash"));
    let (address, file) = unix("fails.sock");
    let flags = ["--ephemeral", "--listen", "127.0.0.1:0", "--listen", &address, "--drain-seconds", "0"];
    let mut line = Line::start(Command::new(&link).args(flags));
    let mut stays: Vec<_> = line.at.iter().map(Client::open).collect();
    for (text, says) in [
        ("#!/bin/sh\nexit 3\n", "no successor: it ended before it served (exit status: 3)"),
        ("#!/nonexistent/interpreter\n", "no successor: cannot start"),
        ("#!/bin/sh\necho 'no READY' >&$((2 + LISTEN_FDS))\n", "it ended before it served (exit status: 0)"),
        ("#!/bin/sh\nexec sleep 1000\n", "no successor: it did not serve within 10 s"),
    ] {
        program(&link, text);
        line.signal(Signal::USR2);
        line.first.stderr_with(says);
        stays.iter_mut().for_each(asked);
        line.at.iter().map(Client::open).for_each(|mut client| client.leave().unwrap());
    }
    assert!(fs::exists(&file).unwrap());
    // One is asked for while another is being started.
    let pid_file = path("sleeper.pid").to_str().unwrap().to_owned();
    program(&link, &format!("#!/bin/sh\necho $$ >{pid_file}\nexec sleep 1000\n"));
    line.signal(Signal::USR2);
    line.first.stderr_with_several("starting a successor", 5);
    line.signal(Signal::USR2);
    line.first.stderr_with("no successor is started");
    let sleeper = loop {
        if let Ok(text) = fs::read_to_string(&pid_file)
            && text.ends_with('\n')
        {
            break Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        }
    };
    // Told to end meanwhile, it ends that one first.
    line.signal(Signal::TERM);
    for client in &mut stays {
        assert_eq!(client.answers_until_close().unwrap(), (0, 1001));
    }
    assert_eq!(line.first.wait_alone(), Some(0));
    assert!(test_kill_process(sleeper).is_err(), "it has been ended, and waited for");
    assert!(line.first.stderr().contains("no successor: this server is told to end"));

    // The same with one that serves.
    program(&link, &is_mida);
    let mut line = Line::start(Command::new(&link).args(flags));
    line.signal(Signal::USR2);
    line.succeeded();
    assert_eq!(line.first.wait_alone(), Some(0));
    line.at.iter().map(Client::open).for_each(|mut client| asked(&mut client));
    line.signal(Signal::TERM);
    line.first.stderr_with_several("ended", 2);
}
