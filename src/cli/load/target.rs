//! Which server, by its URL.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// What is dialled.
#[derive(Debug)]
pub struct Target {
    /// What `mida-v1` signs (PROTOCOL.md section 5.2).
    pub host: String,
    pub path: String,
    pub address: SocketAddr,
}

impl Target {
    /// Reads a URL like `ws://127.0.0.1:7700/path` and looks its host up.
    ///
    /// # Errors
    /// One line on what to write instead, or that there is no such host.
    pub fn of(url: &str) -> Result<Self, String> {
        let (host, path) = parse(url).map_err(|problem| format!("'{}': {problem}", url.escape_debug()))?;
        let port = if has_port(&host) { "" } else { ":80" };
        let found = format!("{host}{port}").to_socket_addrs();
        let mut found: Vec<_> = found.map_err(|error| format!("cannot look up '{host}': {error}"))?.collect();
        // 127.0.0.0/8 has many addresses to dial from, ::1 is alone.
        found.sort_by_key(SocketAddr::is_ipv6);
        let address = found.first().copied().ok_or_else(|| format!("'{host}' has no address"))?;
        Ok(Self { host, path, address })
    }

    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// Host, as `URL.host` gives it, and path with query.
fn parse(url: &str) -> Result<(String, String), &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("a URL is written like ws://127.0.0.1:7700")?;
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => {}
        "wss" => return Err("TLS is not spoken here, only ws://"),
        _ => return Err("the scheme is ws://"),
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err("what is no letter, digit or sign of a URL has to be written as %XX");
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if has_port(authority) => (name, port),
        _ => (authority, "80"),
    };
    let name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(name) => {
            let address: Ipv6Addr = name.parse().map_err(|_| "there is no IPv6 address in the brackets")?;
            format!("[{address}]")
        }
        None => domain(name)?,
    };
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or("a port is 1 to 65535")?;
    let host = if port == 80 { name } else { format!("{name}:{port}") };
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((host, format!("{slash}{path}")))
}

fn domain(name: &str) -> Result<String, &'static str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err("a host is letters, digits, '-' and '.', or an IPv6 address in brackets");
    }
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if last.starts_with(|first: char| first.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return Err("an IPv4 address is four numbers");
    }
    Ok(name.to_ascii_lowercase())
}

/// A colon behind the bracket of an IPv6 address, if there is one.
fn has_port(authority: &str) -> bool {
    authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_they_are_signed() {
        for (url, host, path) in [
            ("ws://LOCALHOST:7700/a?b", "localhost:7700", "/a?b"),
            ("WS://chat.example", "chat.example", "/"),
            ("ws://chat.example:80?q", "chat.example", "/?q"),
            ("ws://127.0.0.1:07700", "127.0.0.1:7700", "/"),
            ("ws://[0:0:0:0:0:0:0:1]:7700/", "[::1]:7700", "/"),
            ("ws://[::1]", "[::1]", "/"),
        ] {
            assert_eq!(parse(url), Ok((host.to_owned(), path.to_owned())), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_said() {
        for (url, says) in [
            ("localhost:7700", "like ws://"),
            ("wss://chat.example", "TLS"),
            ("http://a", "scheme"),
            ("ws://", "a host is"),
            ("ws://:1", "a host is"),
            ("ws://a:0", "a port is"),
            ("ws://a:65536", "a port is"),
            ("ws://a:b", "a port is"),
            ("ws://::1", "a host is"),
            ("ws://[::1", "a host is"),
            ("ws://[1.2.3.4]", "no IPv6"),
            ("ws://127.1", "four numbers"),
            ("ws://1.2.3.256", "four numbers"),
            ("ws://me:pw@a", "a port is"),
            ("ws://a/b c", "%XX"),
            ("ws://a/\u{1b}[2J", "%XX"),
        ] {
            assert!(parse(url).is_err_and(|error| error.contains(says)), "{url}: {:?}", parse(url));
        }
    }

    #[test]
    fn loopback_is_known_in_all_its_forms() {
        for (url, is_loopback) in [
            ("ws://127.0.0.1:7700", true),
            ("ws://127.9.9.9", true),
            ("ws://[::1]:7700", true),
            ("ws://[::ffff:127.0.0.1]:7700", true),
            ("ws://192.0.2.7:7700", false),
            ("ws://[2001:db8::1]", false),
        ] {
            assert_eq!(Target::of(url).unwrap().is_loopback(), is_loopback, "{url}");
        }
    }
}
