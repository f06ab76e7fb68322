//! A PROXY header in front of what a connection sends, against a second, plainer reading of it.

use mida::engine::{
    proxies::Proxies,
    wire::proxy::{self, Header},
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes at which the stream is cut, one after the other.
const CUTS: usize = 300;

/// What is behind the header, if there is a right one; else the stream.
pub fn run(stream: &[u8], most: usize) -> &[u8] {
    let whole = proxy::parse(stream, most);
    let plain = plain(stream, most);
    let mut decided = None;
    for cut in 0..=stream.len().min(CUTS) {
        let parsed = proxy::parse(&stream[..cut], most);
        match decided {
            Some(before) => assert_eq!(parsed, before, "at {cut}"),
            None if parsed != Ok(Header::Incomplete) => decided = Some(parsed),
            None => {}
        }
    }
    if let Some(decided) = decided {
        assert_eq!(whole, decided);
    }
    match whole {
        Ok(Header::Complete { client, used }) => {
            assert_eq!(plain, Some((client, used)), "{}", stream[..used].escape_ascii());
            if let Some(client) = client {
                let hops = stream.rsplit(|byte| *byte == b',');
                Proxies::new(vec!["10.0.0.0/8".parse().expect("a network")]).client(client, hops);
            }
            &stream[used..]
        }
        Ok(Header::Absent) | Err(_) => {
            assert_eq!(plain, None);
            stream
        }
        Ok(Header::Incomplete) => {
            assert!(plain.is_none() && stream.len() < most.max(107).max(16));
            stream
        }
    }
}

/// A whole and right header by the letter of the document: whom it names, and its length.
fn plain(stream: &[u8], most: usize) -> Option<(Option<SocketAddr>, usize)> {
    if let Some(rest) = stream.strip_prefix(b"\r\n\r\n\x00\r\nQUIT\n") {
        return binary(rest).filter(|(_, used)| *used <= most);
    }
    let end = stream.windows(2).position(|end| end == b"\r\n")?;
    let line = stream[..end].strip_prefix(b"PROXY ")?;
    if end + 2 > 107 || line.contains(&b'\r') {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split(' ').collect();
    let is_port = |word: &str| word.parse::<u16>().is_ok_and(|port| port.to_string() == word);
    let client = match words[..] {
        ["UNKNOWN", ..] => None,
        [family, from, to, from_port, to_port] if is_port(from_port) && is_port(to_port) => {
            let port = from_port.parse().ok()?;
            Some(match family {
                "TCP4" => (to.parse::<Ipv4Addr>().ok().and(from.parse::<Ipv4Addr>().ok())?, port).into(),
                "TCP6" => (to.parse::<Ipv6Addr>().ok().and(from.parse::<Ipv6Addr>().ok())?, port).into(),
                _ => return None,
            })
        }
        _ => return None,
    };
    Some((client, end + 2))
}

/// What follows the signature of version 2.
fn binary(rest: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    let [command, family, high, low, behind @ ..] = rest else { return None };
    let len = usize::from(*high) * 256 + usize::from(*low);
    let block = behind.get(..len)?;
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let client = match (command, family) {
        (0x20, _) | (0x21, 0) => None,
        (0x21, 0x11 | 0x12) if len < 12 => return None,
        (0x21, 0x21 | 0x22) if len < 36 => return None,
        (0x21, 0x31 | 0x32) if len < 216 => return None,
        (0x21, 0x11) => {
            let ip: [u8; 4] = block[..4].try_into().ok()?;
            Some((ip, port(8)).into())
        }
        (0x21, 0x21) => {
            let ip: [u8; 16] = block[..16].try_into().ok()?;
            Some((ip, port(32)).into())
        }
        (0x21, 0x12 | 0x22 | 0x31 | 0x32) => None,
        _ => return None,
    };
    Some((client, 16 + len))
}
