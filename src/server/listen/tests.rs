use super::*;
use std::{
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicU32, Ordering},
};

const LOCAL: &str = "127.0.0.1:0";

fn at(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A path that is not there.
fn path() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("mida-listen-{}-{number}.sock", std::process::id()))
}

/// What a successor is passed.
fn pass(listening: &Listening) -> Vec<Passed> {
    let copy = |(name, socket): (&str, BorrowedFd<'_>)| Passed {
        name: name.to_owned(),
        socket: socket.try_clone_to_owned().unwrap(),
    };
    listening.to_pass().map(copy).collect()
}

fn accepted(listeners: &[Listener]) -> usize {
    let all = |listener: &Listener| std::iter::from_fn(|| listener.accept().ok()).count();
    listeners.iter().map(all).sum()
}

#[test]
fn addresses_are_what_is_written() {
    for text in ["127.0.0.1:7700", "[::1]:7700", "unix:/run/mida.sock", "unix:mida.sock"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in ["", "unix:", "localhost:7700", "7700", "/run/mida.sock", "::1:7700"] {
        assert!(text.parse::<Address>().is_err_and(|says| says.contains("unix:/run")), "{text}");
    }
}

#[test]
fn every_socket_is_accepted_from_by_one_reactor_whatever_their_number() {
    let path = path();
    let unix = Address::Unix(path.clone());
    let first = Listening::open(&[at(&[LOCAL]), vec![unix]].concat(), Vec::new(), 3).unwrap();
    let Address::Tcp(tcp) = first.addresses()[0].clone() else { panic!("{first:?}") };
    let mut clients: Vec<_> = (0..30).map(|_| TcpStream::connect(tcp).unwrap()).collect();
    let _local: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
    assert_eq!(first.of(0, 1).len(), 4);
    // What was queued before is found by successors with fewer and with more reactors.
    for accepting in [1, 2, 3, 8] {
        let next = Listening::open(&at(&[LOCAL]), pass(&first), accepting).unwrap();
        assert_eq!(next.addresses(), first.addresses());
        let shares: Vec<_> = (0..accepting).map(|number| next.of(number, accepting)).collect();
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 4);
        let queued = if accepting == 1 { 33 } else { 5 };
        assert_eq!(shares.iter().map(|share| accepted(share)).sum::<usize>(), queued, "{accepting}");
        clients.extend((0..5).map(|_| TcpStream::connect(tcp).unwrap()));
    }
    first.remove_files();
    assert!(!path.exists());
}

#[test]
fn what_was_passed_is_not_opened_again_and_what_was_not_is() {
    let first = Listening::open(&at(&[LOCAL]), Vec::new(), 1).unwrap();
    let known = first.addresses()[0].clone();
    let next = Listening::open(std::slice::from_ref(&known), pass(&first), 4).unwrap();
    assert_eq!(next.of(0, 1).len(), 1);
    let next = Listening::open(&[at(&[LOCAL, "[::1]:0"]), vec![known.clone()]].concat(), pass(&first), 2);
    // Port 0 is the known port, which is asked for once more: then it is in use.
    assert!(next.unwrap_err().to_string().contains("in use"));
    let next = Listening::open(&at(&["[::1]:0"]), pass(&first), 2).unwrap();
    assert_eq!((next.addresses().len(), next.of(0, 1).len()), (2, 3));
    assert_eq!(next.addresses()[1], known);
}

#[test]
fn two_that_ask_for_one_address_are_told_apart() {
    let first = Listening::open(&at(&[LOCAL]), Vec::new(), 1).unwrap();
    let error = Listening::open(first.addresses(), Vec::new(), 1).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}: the port is in use", first.addresses()[0]));
}

#[test]
fn a_unix_socket_is_for_its_group_and_replaces_only_a_stale_one() {
    let path = path();
    let unix = [Address::Unix(path.clone())];
    let first = Listening::open(&unix, Vec::new(), 2).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let error = Listening::open(&unix, Vec::new(), 2).unwrap_err().to_string();
    assert_eq!(error, format!("cannot listen on unix:{}: the path is in use", path.display()));
    drop(first);
    let second = Listening::open(&unix, Vec::new(), 2).unwrap();
    let _peer = UnixStream::connect(&path).unwrap();
    let (_, peer, local) = second.of(0, 1)[0].accept().unwrap();
    assert!(peer.ip().is_loopback() && local.is_none());
    // Another has taken its place: that one stays.
    fs::remove_file(&path).unwrap();
    let third = Listening::open(&unix, Vec::new(), 1).unwrap();
    second.remove_files();
    assert!(path.exists());
    third.remove_files();
    // A file that is no socket is left alone.
    fs::write(&path, "x").unwrap();
    assert!(Listening::open(&unix, Vec::new(), 1).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"x");
    fs::remove_file(&path).unwrap();
}

#[test]
fn what_a_manager_passes_is_kept_open_and_its_file_is_its_own() {
    let path = path();
    let socket = Socket::unix(&path).unwrap();
    let socket = socket.listener.as_fd().try_clone_to_owned().unwrap();
    let passed = vec![Passed { name: "mida.socket".to_owned(), socket }];
    let listening = Listening::open(&[], passed, 1).unwrap();
    assert!(listening.of(0, 1)[0].is_shared());
    assert_eq!(listening.to_pass().next().unwrap().0, "mida.socket");
    listening.remove_files();
    assert!(path.exists());
    fs::remove_file(&path).unwrap();
    // Neither a file nor a socket that does not listen.
    let file = fs::File::open("/dev/null").unwrap().into();
    let idle = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    for socket in [file, idle] {
        let passed = vec![Passed { name: "x".to_owned(), socket }];
        let error = Listening::open(&[], passed, 1).unwrap_err().to_string();
        assert!(error.contains("LISTEN_FDS passed as 'x'"), "{error}");
    }
}

#[test]
fn a_port_that_is_picked_is_nobody_elses_while_others_are_picked_beside_it() {
    let open = || (0..64).map(|_| listeners(LOCAL.parse().unwrap(), 4).unwrap()).collect::<Vec<_>>();
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut ports: Vec<_> = all.iter().map(|(address, _)| address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 4 * 64);
    assert!(listeners(all[0].0, 1).is_err(), "a server that runs shares its port");
}
