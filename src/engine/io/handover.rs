//! Sockets on their way from one reactor to another. Each has a file table of its own, so the kernel carries
//! them: many in one message, with SCM_RIGHTS (unix(7)).

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

/// Sockets of one message; the kernel takes 253.
pub const TOGETHER: usize = 128;
/// One address as bytes: family, IP, port.
const ADDRESS_BYTES: usize = 19;
const ENTRY_BYTES: usize = 2 * ADDRESS_BYTES;

/// A connection without the reactor that it will belong to: its socket, and both its addresses.
#[derive(Debug)]
pub struct Parcel<S> {
    pub socket: S,
    pub peer: SocketAddr,
    pub local: Option<SocketAddr>,
}

/// Where one reactor takes parcels in. Made before the reactors have tables of their own: the same
/// descriptors in each.
#[derive(Debug)]
pub struct Desk {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Desk {
    /// # Errors
    /// No descriptors are to be had.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Datagrams would be bounded by their number, by net.unix.max_dgram_qlen, to ten.
        let (outer, inner) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok(Self { outer, inner })
    }

    /// What becomes readable when a parcel is there.
    pub fn raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }

    /// Hands over the first of `parcels`, up to [`TOGETHER`], which are closed here; how many.
    ///
    /// # Errors
    /// `WouldBlock`: not now, for want of room on the way. They are all still there.
    pub fn send<S: AsFd>(&self, parcels: &mut Vec<Parcel<S>>) -> io::Result<usize> {
        let together = &parcels[..parcels.len().min(TOGETHER)];
        let mut bytes = [0; TOGETHER * ENTRY_BYTES];
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::with_capacity(TOGETHER);
        for (parcel, entry) in together.iter().zip(bytes.chunks_exact_mut(ENTRY_BYTES)) {
            let (peer, local) = entry.split_at_mut(ADDRESS_BYTES);
            write_address(peer, Some(parcel.peer));
            write_address(local, parcel.local);
            descriptors.push(parcel.socket.as_fd());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(fits);
        let count = together.len();
        let data = [IoSlice::new(&bytes[..count * ENTRY_BYTES])];
        match sendmsg(&self.outer, &data, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => {
                parcels.drain(..count);
                Ok(count)
            }
            // A user may have only so many descriptors on the way at once.
            Err(rustix::io::Errno::TOOMANYREFS) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes one message in; each socket goes to `parcel`. Returns how many were sent but are lost, for want of
    /// descriptors here.
    ///
    /// # Errors
    /// `WouldBlock`: there is none.
    pub fn receive(&self, mut parcel: impl FnMut(Parcel<OwnedFd>)) -> io::Result<usize> {
        let mut bytes = [0; TOGETHER * ENTRY_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.inner, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let mut entries = bytes[..received.bytes].chunks_exact(ENTRY_BYTES);
        for message in ancillary.drain() {
            let RecvAncillaryMessage::ScmRights(sockets) = message else { continue };
            for (socket, entry) in sockets.zip(&mut entries) {
                let (peer, local) = entry.split_at(ADDRESS_BYTES);
                if let Some(peer) = read_address(peer) {
                    parcel(Parcel { socket, peer, local: read_address(local) });
                }
            }
        }
        Ok(entries.count())
    }
}

fn write_address(to: &mut [u8], address: Option<SocketAddr>) {
    let Some(address) = address else { return to[0] = 0 };
    match address.ip() {
        IpAddr::V4(ip) => {
            to[0] = 4;
            to[1..5].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            to[0] = 6;
            to[1..17].copy_from_slice(&ip.octets());
        }
    }
    to[17..].copy_from_slice(&address.port().to_be_bytes());
}

fn read_address(from: &[u8]) -> Option<SocketAddr> {
    let ip: IpAddr = match from[0] {
        4 => <[u8; 4]>::try_from(&from[1..5]).ok()?.into(),
        6 => <[u8; 16]>::try_from(&from[1..17]).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([from[17], from[18]])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{Read, Seek, Write},
    };

    #[test]
    fn parcels_arrive_in_order_with_their_addresses() {
        let desk = Desk::new().unwrap();
        let addresses = ["127.0.0.1:5", "[::1]:6", "[2001:db8::7]:65535"].map(|text| text.parse().unwrap());
        let file = |number: usize| {
            let mut file = tempfile();
            write!(file, "{number}").unwrap();
            file
        };
        let mut parcels: Vec<_> = (0..TOGETHER + 3)
            .map(|number| Parcel {
                socket: file(number),
                peer: addresses[number % 3],
                local: (number % 2 == 0).then_some(addresses[(number + 1) % 3]),
            })
            .collect();
        assert_eq!(desk.send(&mut parcels).unwrap(), TOGETHER);
        assert_eq!(desk.send(&mut parcels).unwrap(), 3);
        assert!(parcels.is_empty());
        let mut number = 0;
        for count in [TOGETHER, 3] {
            let before = number;
            let lost = desk.receive(|parcel| {
                let (mut file, mut text) = (File::from(parcel.socket), String::new());
                file.rewind().unwrap();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, number.to_string());
                assert_eq!(parcel.peer, addresses[number % 3]);
                assert_eq!(parcel.local, (number % 2 == 0).then_some(addresses[(number + 1) % 3]));
                number += 1;
            });
            assert_eq!((lost.unwrap(), number - before), (0, count));
        }
        let nothing = desk.receive(|_| {}).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_finds_no_room_on_the_way_stays_where_it_was() {
        let desk = Desk::new().unwrap();
        let file = tempfile();
        let peer = "127.0.0.1:5".parse().unwrap();
        let mut parcels = Vec::new();
        let mut sent = 0;
        let full = loop {
            parcels.resize_with(TOGETHER, || Parcel { socket: file.as_fd(), peer, local: None });
            match desk.send(&mut parcels) {
                Ok(count) => sent += count,
                Err(error) => break error,
            }
            assert!(sent < 1_000_000);
        };
        assert_eq!((full.kind(), parcels.len()), (io::ErrorKind::WouldBlock, TOGETHER));
        let mut received = 0;
        while desk.receive(|_| received += 1).is_ok() {}
        assert_eq!(received, sent);
    }

    /// A file that nobody else has.
    fn tempfile() -> File {
        File::from(rustix::fs::memfd_create("parcel", rustix::fs::MemfdFlags::CLOEXEC).unwrap())
    }
}
