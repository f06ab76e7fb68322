//! What the echo servers here have in common: a port of their own, room for connections, and a first line.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Listens on any port of 127.0.0.1, and may hold as many connections as the hard limit on open files allows.
pub fn listen() -> io::Result<TcpListener> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Prints the line that says where a server is.
pub fn announce(address: SocketAddr) {
    println!("listening on ws://{address}");
}

/// One thread, as each of the servers has.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()
}
