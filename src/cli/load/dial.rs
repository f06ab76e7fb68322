//! Connecting without waiting, from many addresses of this machine.

use super::failure::Failure;
use mio::net::TcpStream;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Connections from one address: a port range holds 28,000 by default, but finding one gets slow before.
pub const FROM_ONE_ADDRESS: u64 = 4_000;
/// Storms reuse ports quickly: spread over at least so many addresses.
pub const STORM_SOURCES: u64 = 64;
/// 127.0.0.2 to 127.255.255.254.
pub const SOURCES_MAX: u64 = (1 << 24) - 3;

/// Where connections go, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Dialler {
    pub target: SocketAddr,
    /// Addresses from 127.0.0.2 on; none: what the kernel takes.
    pub sources: Option<u64>,
}

impl Dialler {
    /// Starts to connect; true: it is connected already.
    ///
    /// # Errors
    /// No descriptor, no port, or the target refuses at once.
    pub fn dial(&self, number: u64) -> Result<(TcpStream, bool), Failure> {
        let family = if self.target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fails = |errno: rustix::io::Errno| Failure::from(std::io::Error::from(errno));
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)).map_err(fails)?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(fails)?;
        if let Some(source) = self.source(number) {
            rustix::net::bind(&socket, &source).map_err(fails)?;
        }
        let connected = match rustix::net::connect(&socket, &self.target) {
            Ok(()) => true,
            Err(rustix::io::Errno::INPROGRESS) => false,
            Err(errno) => return Err(fails(errno)),
        };
        Ok((TcpStream::from_std(std::net::TcpStream::from(socket)), connected))
    }

    fn source(&self, number: u64) -> Option<SocketAddr> {
        let nth = (number % self.sources?) as u32;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x7F00_0002 + nth)), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_go_round_from_the_second_loopback_address() {
        let target = ([127, 0, 0, 1], 1).into();
        let dialler = Dialler { target, sources: Some(300) };
        let source = |number| dialler.source(number).unwrap().ip().to_string();
        assert_eq!(
            (source(0), source(299), source(300)),
            ("127.0.0.2".into(), "127.0.1.45".into(), source(0))
        );
        let last = Dialler { target, sources: Some(SOURCES_MAX) }.source(SOURCES_MAX - 1).unwrap();
        assert_eq!(last.ip().to_string(), "127.255.255.254");
        assert_eq!(Dialler { target, sources: None }.source(7), None);
    }
}
