//! The PROXY protocol, versions 1 and 2: what a proxy writes in front of all that its client sends
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>; sections are of that).

use crate::engine::error::Refusal;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    str::{self, FromStr},
};

/// How far a connection's first bytes have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// No header begins like this.
    Absent,
    /// The header's end has not come; the caller keeps the bytes.
    Incomplete,
    /// `used`: bytes of the header. `client`: whose connection it is; none: that of the proxy itself, or of
    /// somebody whom it cannot name.
    Complete { client: Option<SocketAddr>, used: usize },
}

const V1: &[u8] = b"PROXY ";
/// Bytes of a header of version 1, CR LF included (section 2.1).
const V1_MOST: usize = 107;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length (section 2.2).
const V2_FIXED: usize = 16;

/// Takes all that has been `received` on a connection of a proxy; of version 2 at most `most` bytes.
///
/// # Errors
/// [`Refusal::Malformed`]: it begins like a header, and is none or is too long. What is wrong is said as soon
/// as it is there.
pub fn parse(received: &[u8], most: usize) -> Result<Header, Refusal> {
    let begins = |signature: &[u8]| received.iter().zip(signature).all(|(byte, known)| byte == known);
    if begins(V2) {
        version_2(received, most).ok_or(Refusal::Malformed)
    } else if begins(V1) {
        version_1(received).ok_or(Refusal::Malformed)
    } else {
        Ok(Header::Absent)
    }
}

/// One line of text; `None`: a wrong one.
fn version_1(received: &[u8]) -> Option<Header> {
    let searched = received.get(..V1_MOST - 1).unwrap_or(received);
    let Some(end) = searched.iter().position(|byte| *byte == b'\r') else {
        return (searched.len() < V1_MOST - 1).then_some(Header::Incomplete);
    };
    match received.get(end + 1) {
        None => return Some(Header::Incomplete),
        Some(b'\n') => {}
        Some(_) => return None,
    }
    let line = received.get(V1.len()..end)?;
    let client = match line.strip_prefix(b"UNKNOWN") {
        // What follows is ignored.
        Some([] | [b' ', ..]) => None,
        _ => Some(source(str::from_utf8(line).ok()?)?),
    };
    Some(Header::Complete { client, used: end + 2 })
}

/// `TCP4 192.0.2.1 198.51.100.1 56324 443`: from whom to whom.
fn source(line: &str) -> Option<SocketAddr> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    let (family, from, to) = (next()?, next()?, next()?);
    let (from_port, _to_port) = (port(next()?)?, port(next()?)?);
    let both = |is_one: fn(&str) -> bool| is_one(from) && is_one(to);
    let is_right = match family {
        "TCP4" => both(|ip| Ipv4Addr::from_str(ip).is_ok()),
        "TCP6" => both(|ip| Ipv6Addr::from_str(ip).is_ok()),
        _ => false,
    };
    let ip = from.parse().ok()?;
    (is_right && next().is_none()).then(|| SocketAddr::new(ip, from_port))
}

/// Decimal, without zeros in front.
fn port(digits: &str) -> Option<u16> {
    let is_plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

/// Binary; `None`: a wrong one.
fn version_2(received: &[u8], most: usize) -> Option<Header> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    let Some(&command) = received.get(V2.len()) else { return Some(Header::Incomplete) };
    if !matches!(command, LOCAL | PROXY) {
        return None;
    }
    let Some(&family) = received.get(V2.len() + 1) else { return Some(Header::Incomplete) };
    // AF_UNSPEC, and AF_INET, AF_INET6 and AF_UNIX with streams and datagrams: bytes of their addresses.
    let address_bytes = match family {
        _ if command == LOCAL => 0,
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return None,
    };
    let Some(bytes) = received.get(V2_FIXED - 2..V2_FIXED) else { return Some(Header::Incomplete) };
    let bytes = usize::from(u16::from_be_bytes(bytes.try_into().ok()?));
    let used = V2_FIXED + bytes;
    if bytes < address_bytes || used > most {
        return None;
    }
    // Behind the addresses come type-length-values, which are skipped.
    let Some(addresses) = received.get(V2_FIXED..used) else { return Some(Header::Incomplete) };
    let client = match (command, family) {
        (PROXY, 0x11) => Some(first::<4, 8>(addresses)?),
        (PROXY, 0x21) => Some(first::<16, 32>(addresses)?),
        _ => None,
    };
    Some(Header::Complete { client, used })
}

/// The first of two addresses of `N` bytes, and its port, which is behind both, at `PORT`.
fn first<const N: usize, const PORT: usize>(addresses: &[u8]) -> Option<SocketAddr>
where
    std::net::IpAddr: From<[u8; N]>,
{
    let ip = *addresses.first_chunk::<N>()?;
    let port = addresses.get(PORT..)?.first_chunk()?;
    Some(SocketAddr::new(ip.into(), u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests;
