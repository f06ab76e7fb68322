//! The upgrade request and its answer (RFC 6455 section 4.2, RFC 9110, RFC 9112), strictly.

use std::{io::Write, mem::MaybeUninit, net::Ipv6Addr, str};

use httparse::{Error, Header, Status};
use tungstenite::handshake::derive_accept_key;

use crate::engine::{error::Refusal, limits::Limits};

/// Header fields that are ever parsed, whatever `head_fields` says.
const FIELDS_MAX: usize = 64;

/// Subprotocols that one request may offer.
const SUBPROTOCOLS_MAX: usize = 64;

/// Scheme prefixes of a request target in absolute form (RFC 6455 section 4.1, item 2).
const SCHEMES: [&str; 2] = ["http://", "https://"];

const PROTOCOL_FIELD: &[u8] = b"sec-websocket-protocol:";
const FORWARDED_FIELD: &[u8] = b"x-forwarded-for:";

/// How far a connection's first bytes have come.
#[derive(Debug)]
pub enum Head<'a> {
    /// The head's end has not come; the caller keeps the bytes, and the deadline.
    Incomplete,
    /// `used`: bytes of the head. Frames may follow directly.
    Complete { request: Request<'a>, used: usize },
}

/// An upgrade request that this server can accept.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Absolute path, undecoded and without the query.
    pub path: &'a str,
    /// What follows the path's `?`.
    pub query: Option<&'a str>,
    /// Host and port as the client gave them.
    pub host: &'a str,
    pub origin: Option<&'a str>,
    /// Sec-WebSocket-Key: 24 characters.
    pub key: &'a str,
    /// The head, if it offers subprotocols; else nothing.
    protocol_lines: &'a [u8],
    /// The head, if it has an X-Forwarded-For field; else nothing.
    forwarded_lines: &'a [u8],
}

impl<'a> Request<'a> {
    /// The subprotocols offered, in the client's order: at most 64 tokens.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        protocol_elements(self.protocol_lines).filter_map(|element| str::from_utf8(element).ok())
    }

    /// The elements of all X-Forwarded-For fields, last first: what the nearest proxy wrote, and then what it
    /// was told. Nothing is known of them.
    pub fn forwarded_for(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let lines = self.forwarded_lines.rsplit(|&byte| byte == b'\n');
        let lists = lines.filter_map(|line| list_of(line, FORWARDED_FIELD));
        lists.flat_map(|list| list.rsplit(|&byte| byte == b',')).map(<[u8]>::trim_ascii).filter(is_something)
    }
}

/// A request that asks for no upgrade, from which an application may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Absolute path, undecoded and without the query.
    pub path: &'a str,
    /// HEAD: the answer has no body.
    pub is_head: bool,
    /// Whether the answer's body may be compressed by gzip.
    pub takes_gzip: bool,
}

/// Takes all that has been `received` on a new connection, of which the former call has `searched` the
/// first bytes (0 at first): only what is new is looked at, until the head is whole.
///
/// # Errors
/// As [`parse`]; bytes that no head may hold are refused before its end, and so is a head over
/// `head_bytes`.
pub fn feed<'a>(received: &'a [u8], searched: usize, limits: &Limits) -> Result<Head<'a>, Refusal> {
    if let Some(used) = find_end(received, searched) {
        let request = parse(received.get(..used).unwrap_or_default(), limits)?;
        return Ok(Head::Complete { request, used });
    }
    let before = searched.checked_sub(1).and_then(|at| received.get(at)).copied();
    if !is_clean(before.unwrap_or_default(), received.get(searched..).unwrap_or_default()) {
        return Err(Refusal::Malformed);
    }
    if received.len() >= limits.head_bytes as usize {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(Head::Incomplete)
}

/// Where the head ends: behind its empty line. `searched` bytes were already known not to hold the end.
pub fn find_end(head: &[u8], searched: usize) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let mut last = searched.max(END.len() - 1);
    while let Some(byte) = head.get(last) {
        match byte {
            b'\n' if head.get(..=last).is_some_and(|head| head.ends_with(END)) => return Some(last + 1),
            b'\r' | b'\n' => last += 1,
            // No end holds this byte: the nearest one begins behind it.
            _ => last += END.len(),
        }
    }
    None
}

/// Parses a whole head: from the request line to the empty line, and nothing behind it.
///
/// # Errors
/// The first rule that the request breaks.
pub fn parse<'a>(head: &'a [u8], limits: &Limits) -> Result<Request<'a>, Refusal> {
    if head.len() > limits.head_bytes as usize {
        return Err(Refusal::HeadTooLarge);
    }
    // httparse takes a bare LF for a line's end.
    if !is_clean(0, head) {
        return Err(Refusal::Malformed);
    }
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let slots = &mut slots[..FIELDS_MAX.min(limits.head_fields as usize)];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, slots) {
        Ok(Status::Complete(used)) if used == head.len() => {}
        Err(Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        _ => return Err(Refusal::Malformed),
    }
    if parsed.version != Some(1) {
        return Err(Refusal::Malformed);
    }
    if parsed.method != Some("GET") {
        return Err(Refusal::NotGet);
    }
    let (authority, path, query) = split_target(parsed.path.unwrap_or_default())?;

    let (mut host, mut origin, mut key, mut version) = (None, None, None, None);
    let (mut upgrade, mut connection, mut protocols, mut forwarded) = (false, false, false, false);
    for &Header { name, value } in parsed.headers.iter() {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            once(&mut host, value, Refusal::BadHost)?;
        } else if is("upgrade") {
            upgrade |= lists(value, b"websocket");
        } else if is("connection") {
            connection |= lists(value, b"upgrade");
        } else if is("origin") {
            once(&mut origin, value, Refusal::Malformed)?;
        } else if is("sec-websocket-key") {
            once(&mut key, value, Refusal::BadKey)?;
        } else if is("sec-websocket-version") {
            once(&mut version, value, Refusal::Malformed)?;
        } else if is("sec-websocket-protocol") {
            protocols = true;
        } else if is("x-forwarded-for") {
            forwarded = true;
        } else if is("content-length") || is("transfer-encoding") {
            return Err(Refusal::HasBody);
        }
    }

    let host = host.and_then(ascii).filter(|host| is_host(host)).ok_or(Refusal::BadHost)?;
    let origin = match origin {
        Some(origin) => Some(ascii(origin).ok_or(Refusal::Malformed)?),
        None => None,
    };
    if !(upgrade && connection) {
        return Err(Refusal::NoUpgrade);
    }
    if version != Some(b"13") {
        return Err(Refusal::WrongVersion);
    }
    let key = key.filter(|key| is_key(key)).and_then(ascii).ok_or(Refusal::BadKey)?;
    let protocol_lines = if protocols { head } else { &[] };
    if protocols {
        check_protocols(protocol_lines)?;
    }
    Ok(Request {
        path,
        query,
        // RFC 9112 section 3.2.2: the target's authority counts, not the field.
        host: authority.unwrap_or(host),
        origin,
        key,
        protocol_lines,
        forwarded_lines: if forwarded { head } else { &[] },
    })
}

/// Reads a whole head that [`parse`] has refused as a plain GET or HEAD; none if it is anything else. What names
/// Upgrade or a Sec-WebSocket field is a client's broken upgrade, and its mistake is to be named. Connection alone is
/// not: proxies that are told to set it do so for every request.
pub fn plain<'a>(head: &'a [u8], limits: &Limits) -> Option<Plain<'a>> {
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let slots = &mut slots[..FIELDS_MAX.min(limits.head_fields as usize)];
    let mut parsed = httparse::Request::new(&mut []);
    let whole = is_clean(0, head) && parsed.parse_with_uninit_headers(head, slots).ok()?.is_complete();
    let is_head = match parsed.method? {
        "GET" => false,
        "HEAD" => true,
        _ => return None,
    };
    if !whole || parsed.version != Some(1) {
        return None;
    }
    let (_, path, _) = split_target(parsed.path?).ok()?;
    let (mut host, mut takes_gzip) = (None, false);
    for &Header { name, value } in parsed.headers.iter() {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let begins =
            |known: &str| name.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
        if is("host") {
            once(&mut host, value, Refusal::BadHost).ok()?;
        } else if is("accept-encoding") {
            takes_gzip |= elements(value).any(takes_gzip_by);
        } else if is("upgrade") || begins("sec-websocket-") || is("content-length") || is("transfer-encoding")
        {
            return None;
        }
    }
    host.and_then(ascii).filter(|host| is_host(host))?;
    Some(Plain { path, is_head, takes_gzip })
}

/// Whether this element of Accept-Encoding names gzip, and not to exclude it (RFC 9110 section 12.5.3).
fn takes_gzip_by(element: &[u8]) -> bool {
    let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let is_gzip = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip"));
    let weight = parts.next().and_then(|weight| weight.strip_prefix(b"q=").or(weight.strip_prefix(b"Q=")));
    // A weight of 0, 0.0, 0.00 or 0.000.
    let is_excluded = weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')));
    is_gzip && !is_excluded
}

/// Appends the 101 that accepts the request with `request_key` (RFC 6455 section 4.2.2, item 5).
/// `subprotocol` is one of those offered, or none; no extension is ever accepted.
pub fn accept(response: &mut Vec<u8>, request_key: &str, subprotocol: Option<&str>) {
    response.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    response.extend_from_slice(derive_accept_key(request_key.as_bytes()).as_bytes());
    if let Some(subprotocol) = subprotocol {
        debug_assert!(is_token(subprotocol.as_bytes()), "not a subprotocol: {subprotocol}");
        response.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        response.extend_from_slice(subprotocol.as_bytes());
    }
    response.extend_from_slice(b"\r\n\r\n");
}

/// Appends the answer that refuses a request; the connection ends behind it.
pub fn refuse(response: &mut Vec<u8>, refusal: Refusal) {
    // RFC 9110 section 15.5.22 and RFC 6455 section 4.4.
    let connection = match refusal {
        Refusal::WrongVersion => "close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
        _ => "close",
    };
    let (status, reason, text) = (refusal.status(), refusal.reason(), refusal.text());
    // Writing to a Vec does not fail.
    let _ = write!(
        response,
        "HTTP/1.1 {status} {reason}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Connection: {connection}\r\n\r\n\
         {text}\n",
        text.len() + 1,
    );
}

/// Lines end in CR LF, CR and LF stand nowhere else, and there are no other control characters but the
/// tab. `before` is the byte in front of `bytes`.
fn is_clean(mut before: u8, bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| {
        let ends_line = before == b'\r';
        before = byte;
        match byte {
            b'\n' => ends_line,
            b'\r' | b'\t' | b' '..=b'~' | 0x80.. => !ends_line,
            _ => false,
        }
    })
}

/// Authority, path and query of a request target in origin or absolute form (RFC 9112 section 3.2).
fn split_target(target: &str) -> Result<(Option<&str>, &str, Option<&str>), Refusal> {
    if !target.is_ascii() || target.contains('#') {
        return Err(Refusal::Malformed);
    }
    let mut authority = None;
    let mut resource = target;
    if !target.starts_with('/') {
        let behind = |scheme: &str| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let rest = SCHEMES.into_iter().find_map(behind).ok_or(Refusal::Malformed)?;
        let (host, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !is_host(host) {
            return Err(Refusal::BadHost);
        }
        authority = Some(host);
        resource = rest;
    }
    let (path, query) = match resource.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (resource, None),
    };
    Ok((authority, if path.is_empty() { "/" } else { path }, query))
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2), not empty.
fn is_host(value: &str) -> bool {
    let (name, port) = match value.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (value, ""),
    };
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
            !name.is_empty() && name.bytes().all(allowed)
        }
    };
    is_name && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Base64 of 16 bytes in its one canonical form: the last digit carries two bits.
fn is_key(value: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match value {
        [digits @ .., b'A' | b'Q' | b'g' | b'w', b'=', b'='] => {
            digits.len() == 21 && digits.iter().all(digit)
        }
        _ => false,
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !value.is_empty() && value.iter().all(allowed)
}

fn check_protocols(lines: &[u8]) -> Result<(), Refusal> {
    let mut count = 0;
    for element in protocol_elements(lines) {
        count += 1;
        if count > SUBPROTOCOLS_MAX || !is_token(element) {
            return Err(Refusal::BadSubprotocol);
        }
    }
    if count == 0 { Err(Refusal::BadSubprotocol) } else { Ok(()) }
}

/// The elements of all Sec-WebSocket-Protocol fields among `lines`, which have been parsed before.
fn protocol_elements(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|&byte| byte == b'\n').filter_map(|line| list_of(line, PROTOCOL_FIELD)).flat_map(elements)
}

/// The value of this line if its field is called so.
fn list_of<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let (name, list) = line.split_at_checked(field.len())?;
    name.eq_ignore_ascii_case(field).then_some(list)
}

/// The elements of a list (RFC 9110 section 5.6.1): empty ones do not count.
fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(is_something)
}

fn is_something(element: &&[u8]) -> bool {
    !element.is_empty()
}

fn lists(list: &[u8], token: &[u8]) -> bool {
    elements(list).any(|element| element.eq_ignore_ascii_case(token))
}

fn once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8], again: Refusal) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(again),
    }
}

fn ascii(value: &[u8]) -> Option<&str> {
    str::from_utf8(value).ok().filter(|value| value.is_ascii())
}

#[cfg(test)]
mod tests;
