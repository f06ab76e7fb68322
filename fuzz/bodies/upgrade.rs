//! The head of an upgrade request, as it comes in pieces, against a second, plainer reading of it; and the PROXY
//! header that may stand in front of it.

use super::{input::Input, proxy};
use mida::engine::{
    error::Refusal,
    limits::Limits,
    wire::upgrade::{self, Head, Request},
};
use std::net::Ipv6Addr;

/// Limits, sizes of the pieces, and what a connection sends first.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = Limits {
        head_bytes: input.pick(&[8_192, 1, 160, 300, 1_000, u32::MAX]),
        head_fields: input.pick(&[64, 0, 5, 6, 8, u32::MAX]),
        ..Limits::default()
    };
    let sizes = [0; 3].map(|_| usize::from(input.byte()) + 1);
    let stream = proxy::run(input.rest(), limits.head_bytes as usize);

    let whole = outcome(upgrade::feed(stream, 0, &limits));
    let pieces = in_pieces(stream, &sizes, &limits);
    match (&whole, &pieces) {
        // What is wrong first depends on what has come; that it is wrong does not.
        (Outcome::Refused(_), Outcome::Refused(_)) => {}
        _ => assert_eq!(whole, pieces, "whole and in pieces of {sizes:?}"),
    }
    let end = stream.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
    assert_eq!(upgrade::find_end(stream, 0), end);
    match whole {
        Outcome::Incomplete => {
            assert!(end.is_none() && stream.len() < limits.head_bytes as usize);
        }
        Outcome::Accepted(seen, used) => {
            assert_eq!(Some(used), end);
            let head = &stream[..used];
            assert_eq!(Some(&seen), plain(head, &limits).as_ref(), "{}", head.escape_ascii());
            answer(&seen);
        }
        Outcome::Refused(refusal) => {
            if let Some(end) = end
                && end <= stream.len()
            {
                let head = &stream[..end];
                assert_eq!(None, plain(head, &limits), "refused: {refusal}: {}", head.escape_ascii());
            }
            refuse(refusal);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Incomplete,
    Refused(Refusal),
    Accepted(Seen, usize),
}

/// What a request said.
#[derive(Debug, PartialEq)]
struct Seen {
    path: String,
    query: Option<String>,
    host: String,
    origin: Option<String>,
    key: String,
    forwarded_for: Vec<Vec<u8>>,
    protocols: Vec<String>,
}

impl Seen {
    fn of(request: &Request<'_>) -> Self {
        Self {
            path: request.path.to_owned(),
            query: request.query.map(str::to_owned),
            host: request.host.to_owned(),
            origin: request.origin.map(str::to_owned),
            key: request.key.to_owned(),
            forwarded_for: request.forwarded_for().map(<[u8]>::to_vec).collect(),
            protocols: request.protocols().map(str::to_owned).collect(),
        }
    }
}

fn outcome(fed: Result<Head<'_>, Refusal>) -> Outcome {
    match fed {
        Ok(Head::Incomplete) => Outcome::Incomplete,
        Ok(Head::Complete { request, used }) => Outcome::Accepted(Seen::of(&request), used),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

fn in_pieces(stream: &[u8], sizes: &[usize], limits: &Limits) -> Outcome {
    let (mut searched, mut sizes) = (0, sizes.iter().cycle());
    loop {
        let received = stream.len().min(searched + sizes.next().unwrap_or(&1));
        let fed = outcome(upgrade::feed(&stream[..received], searched, limits));
        if fed != Outcome::Incomplete || received == stream.len() {
            return fed;
        }
        assert!(received < limits.head_bytes as usize, "more is kept than a head may have");
        searched = received;
    }
}

/// The head by the letter of RFC 9112 and RFC 6455, line by line; `None`: not one to accept.
fn plain(head: &[u8], limits: &Limits) -> Option<Seen> {
    let text = head.strip_suffix(b"\r\n\r\n")?;
    if head.len() > limits.head_bytes as usize {
        return None;
    }
    // One empty line may stand before the request (RFC 9112 section 2.2).
    let mut lines = split_lines(text)?;
    while lines.first().is_some_and(|line| line.is_empty()) {
        lines.remove(0);
    }
    let (request_line, fields) = lines.split_first()?;
    if fields.len() > 64.min(limits.head_fields as usize) {
        return None;
    }
    let target = ascii(request_line)?.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?;
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let fields: Vec<(String, &[u8])> = fields.iter().map(|line| field(line)).collect::<Option<_>>()?;
    let all = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect()
    };
    let one = |name: &str| if let [value] = all(name)[..] { ascii(value) } else { None };
    if !all("content-length").is_empty() || !all("transfer-encoding").is_empty() {
        return None;
    }
    let lists = |name: &str, token: &str| {
        all(name).iter().any(|list| elements(list).iter().any(|e| e.eq_ignore_ascii_case(token.as_bytes())))
    };
    if !lists("upgrade", "websocket") || !lists("connection", "upgrade") {
        return None;
    }
    if one("sec-websocket-version")? != "13" {
        return None;
    }
    let key = one("sec-websocket-key").filter(|key| is_base64_of_16(key))?;
    let host = one("host").filter(|host| is_host(host))?;
    let origin = match all("origin")[..] {
        [] => None,
        _ => Some(one("origin")?.to_owned()),
    };
    let lists = all("sec-websocket-protocol");
    let protocols: Vec<&[u8]> = lists.iter().flat_map(|list| elements(list)).collect();
    if protocols.len() > 64
        || protocols.is_empty() != lists.is_empty()
        || !protocols.iter().all(|token| is_token(token))
    {
        return None;
    }
    let (authority, resource) = match target.starts_with('/') {
        true => (None, target),
        false => {
            let (scheme, rest) = target.split_once("://")?;
            if !["http", "https"].contains(&&*scheme.to_ascii_lowercase()) {
                return None;
            }
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]).filter(|authority| is_host(authority)).map(Some)?, &rest[end..])
        }
    };
    if resource.contains('#') {
        return None;
    }
    let (path, query) = match resource.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (resource, None),
    };
    let forwarded_for = all("x-forwarded-for");
    let forwarded_for: Vec<Vec<u8>> =
        forwarded_for.iter().flat_map(|list| elements(list)).map(<[u8]>::to_vec).rev().collect();
    Some(Seen {
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        query,
        host: authority.unwrap_or(host).to_owned(),
        origin,
        key: key.to_owned(),
        forwarded_for,
        protocols: protocols.iter().map(|token| String::from_utf8_lossy(token).into_owned()).collect(),
    })
}

/// At CR LF; `None` where one of the two stands alone.
fn split_lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7F;
    (!lines.iter().any(|line| line.iter().any(is_control))).then_some(lines)
}

/// Name in lowercase and value without the space around it (RFC 9112 section 5).
fn field(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    is_token(name).then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii()))
}

fn elements(list: &[u8]) -> Vec<&[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).collect()
}

fn ascii(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok().filter(|text| text.is_ascii())
}

/// RFC 9110 section 5.6.2: what is visible, without the delimiters.
fn is_token(bytes: &[u8]) -> bool {
    let is_delimiter = |byte: &u8| br#"(),/:;<=>?@[\]{}""#.contains(byte);
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic() && !is_delimiter(byte))
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2).
fn is_host(host: &str) -> bool {
    let (is_name, behind) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, behind)) = rest.split_once(']') else { return false };
            (address.parse::<Ipv6Addr>().is_ok(), behind)
        }
        None => {
            let (name, behind) = host.split_at(host.find(':').unwrap_or(host.len()));
            let is_wrong = |byte: u8| !byte.is_ascii_graphic() || br##""#/<>?@[\]^`{|}"##.contains(&byte);
            (!name.is_empty() && !name.bytes().any(is_wrong), behind)
        }
    };
    let port = behind.strip_prefix(':').unwrap_or(behind);
    is_name
        && (behind.is_empty() || port.len() < behind.len())
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 4648 section 4, with pad bits of zero.
fn is_base64_of_16(text: &str) -> bool {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let Some(digits) = text.strip_suffix("==") else { return false };
    let values: Option<Vec<usize>> = digits.chars().map(|digit| DIGITS.find(digit)).collect();
    values.is_some_and(|values| values.len() == 22 && values[21] % 16 == 0)
}

/// The 101 names what was asked for and ends where it should.
fn answer(seen: &Seen) {
    for subprotocol in [None, seen.protocols.first()] {
        let mut response = Vec::new();
        upgrade::accept(&mut response, &seen.key, subprotocol.map(String::as_str));
        let text = String::from_utf8(response).expect("ASCII");
        assert!(text.starts_with("HTTP/1.1 101 ") && text.find("\r\n\r\n") == Some(text.len() - 4));
        assert_eq!(text.contains("\r\nSec-WebSocket-Protocol: "), subprotocol.is_some());
    }
}

/// A refusal is a whole HTTP response, and its length is right.
fn refuse(refusal: Refusal) {
    let mut response = Vec::new();
    upgrade::refuse(&mut response, refusal);
    let text = String::from_utf8(response).expect("ASCII");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status())));
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
}
