//! Several reactors on a core, each with a file table of its own, among which connections are dealt.

mod common;
#[path = "common/frames.rs"]
mod frames;

use common::{Server, number_behind, ring_sockets};
use rustix::process::Signal;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// What comes at all comes sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// The number behind this word in the server's `ready` line.
fn told(server: &Server, word: &str) -> usize {
    number_behind(&server.stderr_with("ready"), word) as usize
}

/// Connects and reads until the server's first message, or its refusal, is whole.
fn connect(address: SocketAddr) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(frames::UPGRADE).unwrap();
    let text = read_until(&mut socket, |text| text.contains("}}") || text.starts_with("HTTP/1.1 5"));
    (socket, text)
}

fn read_until(socket: &mut TcpStream, is_whole: impl Fn(&str) -> bool) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 1_024]);
    while !is_whole(&text) {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "closed behind {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

/// Descriptors in the table of each reactor, and sockets in its ring, by the name of its thread.
fn tables(server: &Server) -> Vec<(String, usize)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let mut tables: Vec<_> = tasks
        .map(|task| {
            let path = task.unwrap().path();
            let name = fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
            (name, fs::read_dir(path.join("fd")).unwrap().count() + ring_sockets(&path))
        })
        // Others come and go.
        .filter(|(name, _)| name.starts_with("mida-") && name != "mida-memory")
        .collect();
    tables.sort();
    tables
}

/// By how much each table has grown, once it is so many in all: one that is dealt away may have been upgraded before
/// its first reactor has closed its own descriptor.
fn grown_by(clients: usize, server: &Server, before: &[(String, usize)]) -> Vec<usize> {
    let begun = Instant::now();
    loop {
        let now = tables(server);
        let grown: Vec<_> = now.iter().zip(before).map(|(now, before)| now.1 - before.1).collect();
        if grown.iter().sum::<usize>() == clients {
            return grown;
        }
        assert!(begun.elapsed() < PATIENCE, "{clients} clients: {before:?} to {now:?}");
    }
}

#[test]
fn the_open_file_limit_bounds_a_reactor_and_connections_are_dealt_to_all() {
    let flags = ["--cores", "0", "--reactors-per-core", "3"];
    let server = Server::start_with_files(200, &flags);
    let room = told(&server, "connections=");
    assert_eq!(told(&server, "reactors="), 3);
    assert!(room > 100 && room < 200, "each of three tables has room for a third of {room}");
    let before = tables(&server);

    let mut clients = Vec::new();
    for _ in 0..room {
        let (socket, text) = connect(server.address());
        assert!(text.starts_with("HTTP/1.1 101"), "{text}");
        clients.push(socket);
    }
    let grown = grown_by(room, &server, &before);
    assert_eq!(grown.len(), 3);
    assert!(grown.iter().all(|grown| *grown == room / 3), "{grown:?}");

    let (mut refused, text) = connect(server.address());
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    refused.read_to_end(&mut Vec::new()).unwrap();
    let news = "full; new connections get 503";
    assert_eq!(server.stderr_with(news).matches(news).count(), 1);

    // Each is served where it is.
    for client in &mut clients {
        client.write_all(&frames::text(r#"{"t":1}"#)).unwrap();
    }
    for client in &mut clients {
        read_until(client, |text| text.contains(r#""uptime""#));
    }

    // Room is given back, wherever it was, and given out again.
    clients.drain(..room / 2);
    for _ in 0..room / 3 {
        loop {
            let (socket, text) = connect(server.address());
            if text.starts_with("HTTP/1.1 101") {
                break clients.push(socket);
            }
        }
    }
    server.signal(Signal::TERM);
    for mut client in clients {
        let mut last = Vec::new();
        client.read_to_end(&mut last).unwrap();
        let close = [0x03, 0xe9];
        assert!(last.windows(2).any(|code| code == close), "{last:?}");
    }
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn one_core_that_the_kernel_prefers_deals_to_the_other() {
    let server = Server::start(&["--max-connections", "400"]);
    let before = tables(&server);
    let clients: Vec<_> = (0..400).map(|_| connect(server.address())).collect();
    assert!(clients.iter().all(|(_, text)| text.starts_with("HTTP/1.1 101")));
    let mut grown = grown_by(400, &server, &before);
    grown.retain(|grown| *grown > 0);
    let most = grown.iter().max().unwrap();
    // 5 % or 32 above the mean, whichever is more; on a machine of one core it has all.
    assert!(most * grown.len() <= 400 + 32 * grown.len(), "{grown:?}");
}
