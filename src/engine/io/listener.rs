//! A listening socket, of TCP or of Unix. Several file tables have it, and maybe several processes: it is never
//! closed by one of them as long as others accept from it.

use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, acceptfrom_with, getsockname, shutdown, sockopt,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::Arc,
};

/// What a peer on a Unix socket counts as: it is on this machine, so the limits of loopback hold for it.
pub const UNIX_PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

#[derive(Clone, Debug)]
pub struct Listener {
    socket: Arc<OwnedFd>,
    kind: Kind,
    is_shared: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Where all its connections end; none when it listens on every address.
    Tcp(Option<SocketAddr>),
    Unix,
}

impl Listener {
    /// Takes a socket that is bound and listens. It `is_shared` with somebody outside who keeps it, a service
    /// manager, so that it is not to be closed here.
    ///
    /// # Errors
    /// It is no listening stream socket of TCP or Unix.
    pub fn new(socket: OwnedFd, is_shared: bool) -> io::Result<Self> {
        let is_stream = sockopt::socket_type(&socket)? == SocketType::STREAM;
        if !is_stream || !sockopt::socket_acceptconn(&socket)? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let kind = match sockopt::socket_domain(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 => {
                let local = SocketAddr::try_from(getsockname(&socket)?)?;
                Kind::Tcp(Some(local).filter(|local| !local.ip().is_unspecified()))
            }
            AddressFamily::UNIX => Kind::Unix,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket: Arc::new(socket), kind, is_shared })
    }

    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub fn is_unix(&self) -> bool {
        matches!(self.kind, Kind::Unix)
    }

    /// Where all its connections end; none when it listens on every address, or on a path.
    pub fn local(&self) -> Option<SocketAddr> {
        match self.kind {
            Kind::Tcp(local) => local,
            Kind::Unix => None,
        }
    }

    /// The next connection, with the addresses of its peer and, where it has one, of its own end.
    ///
    /// # Errors
    /// `WouldBlock`: there is none.
    pub fn accept(&self) -> io::Result<(OwnedFd, SocketAddr, Option<SocketAddr>)> {
        let (socket, peer) = acceptfrom_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        let Kind::Tcp(local) = self.kind else { return Ok((socket, UNIX_PEER, None)) };
        let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
        let peer = SocketAddr::try_from(peer).map_err(|_| io::ErrorKind::ConnectionAborted)?;
        let local = local.or_else(|| SocketAddr::try_from(getsockname(&socket).ok()?).ok());
        Ok((socket, peer, local))
    }

    /// Nobody can connect any more, whoever else has the socket; what waits in its queue is reset.
    pub fn close(&self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
