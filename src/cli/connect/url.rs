//! A ws URL, taken apart as the WHATWG URL Standard does it: what `mida-v1` signs is its `URL.host`.

use std::net::{Ipv4Addr, Ipv6Addr};
use tungstenite::http::Uri;

const DEFAULT_PORT: u16 = 80;

/// What is dialled.
#[derive(Debug)]
pub struct Target {
    /// `URL.host`: lowercase, IPv6 in brackets, the port unless it is 80.
    pub host: String,
    /// What to look up: a name, or an IP address without brackets.
    pub name: String,
    pub port: u16,
    /// For the upgrade request; its authority is `host`.
    pub uri: Uri,
}

impl Target {
    /// Reads a URL like `ws://localhost:7700/path?query`.
    ///
    /// # Errors
    /// One line on what to write instead.
    pub fn parse(url: &str) -> Result<Target, String> {
        let url = url.trim();
        let says = |problem: &str| format!("'{}': {problem}", url.escape_debug());
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(says("a URL is written like ws://localhost:7700"));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "ws" => {}
            "wss" => {
                return Err(says(
                    "TLS is not spoken here, only ws://: put a TLS proxy in between, or dial the server behind its own",
                ));
            }
            _ => return Err(says("the scheme is ws://")),
        }
        if let Some(other) = rest.chars().find(|c| !c.is_ascii_graphic()) {
            let instead = if other.is_ascii() { "%XX" } else { "%XX, and in the host as xn--" };
            return Err(says(&format!("write {:?} as {instead}", other)));
        }
        if rest.contains('#') {
            return Err(says("a ws URL has no fragment (#)"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(says("a user name in the URL means nothing here: log in with --key"));
        }
        let (name, port) = split_port(authority).map_err(|problem| says(&problem))?;
        let name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(inside) => ipv6(inside).ok_or_else(|| says("no IPv6 address in the brackets"))?,
            None => domain(name).map_err(says)?,
        };
        let host = if port == DEFAULT_PORT { name.clone() } else { format!("{name}:{port}") };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let uri = format!("ws://{host}{slash}{path}").parse();
        let uri = uri.map_err(|_| says("a character in the path has to be written as %XX"))?;
        let name = name.trim_matches(['[', ']']).to_owned();
        Ok(Target { host, name, port, uri })
    }
}

fn split_port(authority: &str) -> Result<(&str, u16), String> {
    let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let Some(at) = colon else { return Ok((authority, DEFAULT_PORT)) };
    let (name, digits) = (&authority[..at], &authority[at + 1..]);
    if name.contains(':') && !name.starts_with('[') {
        return Err("an IPv6 address stands in brackets, like ws://[::1]:7700".to_owned());
    }
    if digits.is_empty() {
        return Ok((name, DEFAULT_PORT));
    }
    let port = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.and_then(|digits| digits.parse().ok());
    port.map(|port| (name, port)).ok_or_else(|| format!("'{digits}' is no port: 1 to 65535"))
}

/// In brackets and in its shortest form; never with a dotted tail, unlike [`Ipv6Addr`]'s own.
fn ipv6(text: &str) -> Option<String> {
    let address: Ipv6Addr = text.parse().ok()?;
    Some(match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("[::ffff:{high:x}:{low:x}]"),
        (None, _) => format!("[{address}]"),
    })
}

fn domain(name: &str) -> Result<String, &'static str> {
    if name.is_empty() {
        return Err("there is no host in it");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err("a host is letters, digits, '-' and '.'");
    }
    let name = name.to_ascii_lowercase();
    let last = name.strip_suffix('.').unwrap_or(&name).rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && !last.is_empty() || number(last).is_some() {
        return ipv4(&name).map(|address| address.to_string()).ok_or("no IPv4 address");
    }
    Ok(name)
}

/// The IPv4 parser of the standard: 1 to 4 numbers, of which the last fills what is left.
fn ipv4(name: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u64> =
        name.strip_suffix('.').unwrap_or(name).split('.').map(number).collect::<Option<_>>()?;
    let (&last, front) = numbers.split_last()?;
    if front.len() > 3 || front.iter().any(|&part| part > 255) || last >> (8 * (4 - front.len())) != 0 {
        return None;
    }
    let front = front.iter().zip([24, 16, 8]).fold(0, |all, (part, shift)| all | part << shift);
    u32::try_from(front | last).ok().map(Ipv4Addr::from)
}

/// Decimal, octal after 0, hexadecimal after 0x.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if digits.is_empty() {
        return (radix == 16).then_some(0);
    }
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_whatwg_writes() {
        for (url, host, name, port, path) in [
            // PROTOCOL.md section 5.2, with ws for wss.
            ("ws://LOCALHOST:7700/a?b", "localhost:7700", "localhost", 7700, "/a?b"),
            ("ws://Chat.Example:80/x", "chat.example", "chat.example", 80, "/x"),
            ("ws://chat.example:443", "chat.example:443", "chat.example", 443, "/"),
            ("ws://127.1:7700", "127.0.0.1:7700", "127.0.0.1", 7700, "/"),
            ("ws://[0:0:0:0:0:0:0:1]:7700/", "[::1]:7700", "::1", 7700, "/"),
            ("ws://chat.example.:8443", "chat.example.:8443", "chat.example.", 8443, "/"),
            ("WS://a", "a", "a", 80, "/"),
            (" ws://a:?q ", "a", "a", 80, "/?q"),
            ("ws://a:0080", "a", "a", 80, "/"),
            ("ws://xn--bcher-kva.example", "xn--bcher-kva.example", "xn--bcher-kva.example", 80, "/"),
            ("ws://0x7f.1", "127.0.0.1", "127.0.0.1", 80, "/"),
            ("ws://017700000001", "127.0.0.1", "127.0.0.1", 80, "/"),
            ("ws://2130706433:1", "127.0.0.1:1", "127.0.0.1", 1, "/"),
            ("ws://1.2.3.4.", "1.2.3.4", "1.2.3.4", 80, "/"),
            ("ws://1.0x", "1.0.0.0", "1.0.0.0", 80, "/"),
            ("ws://4.example", "4.example", "4.example", 80, "/"),
            ("ws://[::FFFF:1.2.3.4]", "[::ffff:102:304]", "::ffff:102:304", 80, "/"),
            ("ws://[2001:db8::0:0:1]:8/", "[2001:db8::1]:8", "2001:db8::1", 8, "/"),
        ] {
            let target = Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((&*target.host, &*target.name, target.port), (host, name, port), "{url}");
            assert_eq!(target.uri.path_and_query().unwrap(), path, "{url}");
            assert_eq!(target.uri.authority().unwrap(), host, "{url}");
        }
    }

    #[test]
    fn what_is_no_ws_url_is_said() {
        for (url, says) in [
            ("", "like ws://"),
            ("localhost:7700", "like ws://"),
            ("wss://chat.example", "TLS proxy"),
            ("http://a", "scheme is ws://"),
            ("ws://", "no host"),
            ("ws://:1", "no host"),
            ("ws:///a", "no host"),
            ("ws://a:b", "no port"),
            ("ws://a:65536", "no port"),
            ("ws://a:+1", "no port"),
            ("ws://::1", "in brackets"),
            ("ws://[::1", "letters"),
            ("ws://[::1%25eth0]", "no IPv6"),
            ("ws://[1.2.3.4]", "no IPv6"),
            ("ws://[::1]x", "letters"),
            ("ws://1.2.3.4.5", "no IPv4"),
            ("ws://256.1.1.1", "no IPv4"),
            ("ws://1.2.3.256", "no IPv4"),
            ("ws://4294967296", "no IPv4"),
            ("ws://a.09", "no IPv4"),
            ("ws://a..1", "no IPv4"),
            ("ws://99999999999999999999", "no IPv4"),
            ("ws://bücher.example", "xn--"),
            ("ws://a/b c", "%XX"),
            ("ws://a/\u{1b}[2J", "%XX"),
            ("ws://a%2eb", "letters"),
            ("ws://a/#b", "fragment"),
            ("ws://me:pw@a", "--key"),
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(error.contains(says) && !error.contains(['\n', '\u{1b}']), "{url}: {error}");
        }
    }
}
