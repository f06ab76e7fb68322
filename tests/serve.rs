//! `mida serve` as its operator meets it: flags, files, addresses, signals, and what it says when it cannot.

mod common;
#[path = "common/frames.rs"]
mod frames;

use common::{Process, Server, path};
use rustix::process::Signal;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

/// One line on standard error, exit 2, nothing on standard output.
fn refused(arguments: &[&str], says: &str) {
    let ended = Process::run(arguments, "");
    assert_eq!((ended.code, ended.lines.len()), (Some(2), 0), "{arguments:?}: {}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("mida: ") && ended.stderr.contains(says), "{}", ended.stderr);
}

/// An open connection, and what has come on it.
struct Client {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(frames::UPGRADE).unwrap();
        let mut client = Self { socket, bytes: Vec::new() };
        client.until(br#""ext":["msg"]}}"#);
        client
    }

    /// Reads until this has come, and forgets what came up to there.
    fn until(&mut self, part: &[u8]) {
        loop {
            if let Some(at) = self.bytes.windows(part.len()).position(|window| window == part) {
                self.bytes.drain(..at + part.len());
                return;
            }
            let mut buffer = [0; 1_024];
            let read = self.socket.read(&mut buffer).unwrap();
            assert!(read > 0, "closed before {:?}", String::from_utf8_lossy(part));
            self.bytes.extend_from_slice(&buffer[..read]);
        }
    }

    fn ask(&mut self) {
        self.socket.write_all(&frames::text(r#"{"t":1}"#)).unwrap();
    }
}

#[test]
fn it_says_in_one_line_what_it_runs_on_and_why_and_serves_on_whatever_there_is() {
    let mut process = Process::start(&["--listen", "127.0.0.1:0", "--io", "auto", "--cores", "0"]);
    let line = process.line();
    let told = process.stderr_with("ready");
    let lines = told.lines().filter(|line| line.contains(" on epoll: ") || line.contains(" on io_uring: "));
    assert_eq!(lines.count(), 1, "{told}");
    Client::connect(line.strip_prefix("listening on ws://").unwrap()).ask();
}

#[test]
fn what_cannot_be_is_one_line_and_exit_2() {
    let server = Server::start(&[]);
    let busy = server.address().to_string();
    refused(&["--listen", &busy], "in use");
    refused(&["serve", "--listen", &busy], "in use");
    refused(&["--listen", "192.0.2.1:7700"], "192.0.2.1:7700");
    refused(&["--listen", "localhost:7700"], "127.0.0.1:7700");
    refused(&["--cores", "4096"], "no core 4096");
    refused(&["--cores", "first"], "0,2-3");
    refused(&["--config", "/nonexistent/mida.toml"], "/nonexistent/mida.toml");
    refused(&["--heartbeat", "99"], "100");
    refused(&["--heartbeat", "often"], "often");
    refused(&["--limit", "fragments"], "message_bytes=65536");
    refused(&["--limit", "queue_hard_bytes=1"], "queue_soft_bytes");
    refused(&["--auth", "password"], "signature");
    refused(&["--io", "select"], "epoll, uring or auto");
    refused(&["--trusted-proxy", "10.0.0.1/8"], "10.0.0.0/8");
    refused(&["--trusted-proxy", "localhost"], "192.0.2.7");
    refused(&["--no-such-flag"], "--no-such-flag");
    refused(&["no-such-command"], "no-such-command");
    let file = path("wrong.toml");
    fs::write(&file, "name = 'x'\nheartbeat = 'often'\n").unwrap();
    refused(&["--config", file.to_str().unwrap()], "line 2");
}

#[test]
fn it_listens_on_several_addresses_of_both_families() {
    let mut process = Process::start(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--cores", "0"]);
    let line = process.line();
    let addresses: Vec<_> = line.strip_prefix("listening on ").unwrap().split(", ").collect();
    assert_eq!(addresses.len(), 2);
    for address in &addresses {
        let address = address.strip_prefix("ws://").unwrap();
        let mut client = Client::connect(address);
        client.ask();
        client.until(br#""t":1"#);
    }
    assert!(addresses[1].contains("[::1]"));
}

#[test]
fn a_reload_tells_everybody_what_changed_and_a_wrong_file_changes_nothing() {
    let file = path("reload.toml");
    fs::write(&file, "note = 'first'\n").unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap(), "--name", "flag"]);
    let address = server.address().to_string();
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(&address)).collect();

    fs::write(&file, "note = 'second'\nname = 'file'\nheartbeat = 20000\n").unwrap();
    server.signal(Signal::HUP);
    for client in &mut clients {
        client.until(br#""name":"flag""#);
        client.until(br#""note":"second"}}"#);
        client.until(br#"{"t":0,"data":{"hb":20000,"#);
    }

    fs::write(&file, "note = 7\n").unwrap();
    server.signal(Signal::HUP);
    server.stderr_with("not reloaded");
    for client in &mut clients {
        client.ask();
        client.until(br#""note":"second""#);
    }
}

#[test]
fn the_first_sigterm_says_goodbye_and_the_second_ends_at_once() {
    let server = Server::start(&[]);
    let mut client = Client::connect(&server.address().to_string());
    server.signal(Signal::TERM);
    client.until(b"\x88\x16\x03\xE9server is going away");
    // It waits for this client's end; a second signal does not.
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code, Some(1));

    let server = Server::start(&[]);
    let mut client = Client::connect(&server.address().to_string());
    server.signal(Signal::INT);
    client.until(b"\x88\x16\x03\xE9server is going away");
    drop(client);
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn a_full_disk_behind_its_log_and_a_closed_standard_output_do_not_end_it() {
    // The shell's only part is where standard error goes.
    let command = format!("exec {} --ephemeral --listen 127.0.0.1:0 2>/dev/full", env!("CARGO_BIN_EXE_mida"));
    let mut child = std::process::Command::new("sh")
        .args(["-c", &command])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    let mut client = Client::connect(line.trim_end().rsplit("ws://").next().unwrap());
    client.ask();
    client.until(br#""t":1"#);
    drop(client);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_says_what_it_has_room_for_and_refuses_beyond_it() {
    let server = Server::start(&["--max-connections", "2", "--cores", "0"]);
    assert!(server.stderr_with("ready").contains("open_files="));
    let address = server.address().to_string();
    let (mut first, _second) = (Client::connect(&address), Client::connect(&address));
    let mut third = TcpStream::connect(&address).unwrap();
    third.write_all(frames::UPGRADE).unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    first.ask();
    first.until(br#""t":1"#);
}

#[test]
fn one_server_has_a_data_directory_and_the_second_says_who() {
    let data = common::path("data").to_str().unwrap().to_owned();
    let first = Server::start(&["--data", &data]);
    let second = Process::run(&["--listen", "127.0.0.1:0", "--data", &data], "");
    assert_eq!((second.code, second.lines.len()), (Some(2), 0));
    assert_eq!(second.stderr.lines().count(), 1, "{}", second.stderr);
    assert!(second.stderr.contains(&format!("is in use by process {}", first.id())), "{}", second.stderr);
    first.signal(Signal::KILL);
    drop(first);
    let third = Server::start(&["--data", &data]);
    third.signal(Signal::TERM);
    assert_eq!(third.wait().code, Some(0));
    fs::remove_dir_all(data).unwrap();
}
