//! Listening sockets: for each address one a core, among which the kernel deals new connections.

use super::StartError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
pub const BACKLOG: i32 = 65_535;

/// The addresses with real ports. Their listeners are to follow at once.
///
/// # Errors
/// The first address that can't be had.
pub fn resolve(addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, StartError> {
    let real = |&address: &SocketAddr| {
        // SO_REUSEPORT would share a port with a server that runs already: without it that is an error.
        let probe = listener(address, false).and_then(|probe| probe.local_addr());
        probe.map_err(|error| StartError::Listen { address, error })
    };
    addresses.iter().map(real).collect()
}

/// Listens on every address, beside other reactors that do.
///
/// # Errors
/// The first address that can't be had.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    let bind = |&address: &SocketAddr| {
        listener(address, true).map_err(|error| StartError::Listen { address, error })
    };
    addresses.iter().map(bind).collect()
}

fn listener(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if address.is_ipv6() {
        // Each family is listened on by its own address, so that [::] and 0.0.0.0 can stand side by side.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
