//! Listening sockets: for each address one a reactor, among which the kernel deals new connections.

use super::StartError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// Binds every address `reactors` times: the real addresses, and each reactor's listeners.
///
/// # Errors
/// The first address that can't be had.
pub fn bind(
    addresses: &[SocketAddr],
    reactors: usize,
) -> Result<(Vec<SocketAddr>, Vec<Vec<TcpListener>>), StartError> {
    let mut real = Vec::new();
    let mut listeners: Vec<Vec<TcpListener>> = (0..reactors).map(|_| Vec::new()).collect();
    for &address in addresses {
        let fails = |error| StartError::Listen { address, error };
        // SO_REUSEPORT would share a port with a server that runs already: without it that is an error.
        let probe = listener(address, false).map_err(fails)?;
        let address = probe.local_addr().map_err(fails)?;
        drop(probe);
        for own in &mut listeners {
            own.push(listener(address, true).map_err(fails)?);
        }
        real.push(address);
    }
    Ok((real, listeners))
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
