//! Listening sockets: for each TCP address one a core, among which the kernel deals new connections; one for
//! each Unix path; and those that the process was given. They are opened once, before reactors have tables of
//! their own, and stay open until the process ends, so that they can be passed to a successor.

use super::{
    StartError,
    activation::{BOUND, Passed},
};
use crate::engine::io::listener::Listener;
use rustix::{
    fs::{Mode, chmod},
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, getsockname, ipproto, socket_with, sockopt,
    },
};
use serde::Deserialize;
use std::{
    ffi::OsString,
    fmt, fs, io,
    net::SocketAddr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStringExt,
            fs::{FileTypeExt, MetadataExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
pub const BACKLOG: i32 = 65_535;
/// What the kernel keeps for a connection that sends faster than it is read, about twice over. Left alone it grows to 6 MB,
/// and to thousands of pieces that are put together at a price of milliseconds.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1_024;
/// Of a Unix socket's file: who is in its group may connect.
const MODE: Mode = Mode::from_bits_retain(0o660);

/// Where a server listens.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum Address {
    /// Port 0 picks one.
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it like 127.0.0.1:7700, [::1]:7700 or unix:/run/mida/mida.sock";
        match text.strip_prefix("unix:") {
            Some("") => Err(wrong),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| wrong),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a server listens on.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    sockets: Arc<[Socket]>,
    addresses: Vec<Address>,
}

#[derive(Debug)]
struct Socket {
    listener: Listener,
    address: Address,
    /// Under which it is passed on.
    name: String,
    /// Of a Unix socket that this server or its predecessor has made: device and number of its file.
    file: Option<(u64, u64)>,
}

impl Listening {
    /// Takes the sockets that were `passed`, and opens those of `addresses` that are not among them, for so many
    /// reactors that accept.
    ///
    /// # Errors
    /// The first address that can't be had, or socket that is none.
    pub fn open(addresses: &[Address], passed: Vec<Passed>, accepting: usize) -> Result<Self, StartError> {
        let passed = passed.into_iter().map(Socket::passed).collect::<Result<Vec<_>, _>>()?;
        let mut known: Vec<Address> = Vec::new();
        let mut sockets = Vec::new();
        for address in addresses {
            let is_it = |socket: &&Socket| socket.is_at(address) && !known.contains(&socket.address);
            if let Some(socket) = passed.iter().find(is_it) {
                known.push(socket.address.clone());
                continue;
            }
            let fail = |error| StartError::Listen { address: address.clone(), error };
            match address {
                Address::Tcp(tcp) => {
                    let (real, shared) = listeners(*tcp, accepting).map_err(fail)?;
                    for socket in shared {
                        sockets.push(Socket::tcp(socket, real).map_err(fail)?);
                    }
                    known.push(real.into());
                }
                Address::Unix(path) => {
                    sockets.push(Socket::unix(path).map_err(fail)?);
                    known.push(address.clone());
                }
            }
        }
        for socket in &passed {
            if !known.contains(&socket.address) {
                known.push(socket.address.clone());
            }
        }
        Ok(Self { sockets: passed.into_iter().chain(sockets).collect(), addresses: known })
    }

    /// Every address once, with real ports: first in the order in which they were asked for.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Those that number `number` of `accepting` reactors accepts from. Each is one reactor's.
    pub fn of(&self, number: usize, accepting: usize) -> Vec<Listener> {
        let mine = self.sockets.iter().skip(number).step_by(accepting.max(1));
        mine.map(|socket| socket.listener.clone()).collect()
    }

    /// All of them with their names, for a successor.
    pub fn to_pass(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.sockets.iter().map(|socket| (&*socket.name, socket.listener.as_fd()))
    }

    /// Removes the files of Unix sockets that were made here, unless others have taken their place.
    pub fn remove_files(&self) {
        for socket in &*self.sockets {
            if let (Address::Unix(path), Some(_)) = (&socket.address, socket.file)
                && file(path) == socket.file
            {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Socket {
    fn passed(Passed { name, socket }: Passed) -> Result<Self, StartError> {
        let is_ours = name == BOUND;
        let fail = |error| StartError::Passed { name: name.clone(), error };
        let address = address_of(&socket).map_err(fail)?;
        if let Address::Tcp(_) = address {
            set_up(&socket).map_err(fail)?;
        }
        let listener = Listener::new(socket, !is_ours).map_err(fail)?;
        let file = match &address {
            Address::Unix(path) if is_ours => file(path),
            _ => None,
        };
        Ok(Self { listener, address, name, file })
    }

    fn tcp(socket: OwnedFd, address: SocketAddr) -> io::Result<Self> {
        let listener = Listener::new(socket, false)?;
        Ok(Self { listener, address: address.into(), name: BOUND.to_owned(), file: None })
    }

    fn unix(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new(path)?;
        match rustix::net::bind(&socket, &address) {
            Err(rustix::io::Errno::ADDRINUSE) if is_stale(path) => {
                fs::remove_file(path)?;
                rustix::net::bind(&socket, &address)?;
            }
            bound => bound?,
        }
        // Nobody can connect before it listens.
        chmod(path, MODE)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let listener = Listener::new(socket, false)?;
        let address = Address::Unix(path.to_owned());
        Ok(Self { listener, address, name: BOUND.to_owned(), file: file(path) })
    }

    /// Whether it is what an operator asks for with this address.
    fn is_at(&self, asked: &Address) -> bool {
        match (&self.address, asked) {
            (Address::Tcp(own), Address::Tcp(asked)) if asked.port() == 0 => own.ip() == asked.ip(),
            (own, asked) => own == asked,
        }
    }
}

/// A socket's file that nobody answers on any more.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn file(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn address_of(socket: &OwnedFd) -> io::Result<Address> {
    let address = getsockname(socket)?;
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Ok(address.into());
    }
    let address = SocketAddrUnix::try_from(address)?;
    let path = match (address.path_bytes(), address.abstract_name()) {
        (Some(path), _) => path.to_vec(),
        (_, Some(name)) => [b"@", name].concat(),
        _ => Vec::new(),
    };
    Ok(Address::Unix(OsString::from_vec(path).into()))
}

/// So many TCP sockets, at least one, that listen on one address, and that address with its real port.
///
/// # Errors
/// The address can't be had.
pub fn listeners(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let first = socket(address)?;
    rustix::net::bind(&first, &address)?;
    // Only now: bound with SO_REUSEPORT it would share a port with a server that runs already, and that is an error.
    sockopt::set_socket_reuseport(&first, true)?;
    rustix::net::listen(&first, BACKLOG)?;
    let address = SocketAddr::try_from(getsockname(&first)?)?;
    let mut sockets = vec![first];
    while sockets.len() < count {
        let next = socket(address)?;
        sockopt::set_socket_reuseport(&next, true)?;
        rustix::net::bind(&next, &address)?;
        rustix::net::listen(&next, BACKLOG)?;
        sockets.push(next);
    }
    Ok((address, sockets))
}

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Each family is listened on by its own address, so that [::] and 0.0.0.0 can stand side by side.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    set_up(&socket)?;
    Ok(socket)
}

/// What accepted sockets inherit.
fn set_up(listener: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(listener, true)?;
    Ok(sockopt::set_socket_recv_buffer_size(listener, RECEIVE_BUFFER_BYTES)?)
}

#[cfg(test)]
mod tests;
