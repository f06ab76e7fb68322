//! One request and one answer on a connection (RFC 9112), with bounds on everything: blocking, for a thread
//! that has time.

use super::answer::Answer;
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// From the accept to a whole request.
const REQUEST_MOST: Duration = Duration::from_secs(5);
/// For the answer, and for the end of TCP after it.
const ANSWER_MOST: Duration = Duration::from_secs(5);
pub const LINGER_MOST: Duration = Duration::from_secs(1);
/// Bytes of a request's head, request line to empty line; and its fields.
pub const HEAD_BYTES: usize = 8_192;
const FIELDS: usize = 64;
/// Bytes of a request's body.
pub const BODY_BYTES: usize = 1 << 20;

/// A request without its body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    pub path: String,
    pub query: String,
    pub host: String,
    pub has_origin: bool,
    /// The Authorization field; none if there are several.
    pub authorization: Option<Vec<u8>>,
    /// Its Content-Type; none if there are several.
    pub content_type: Option<String>,
    /// The client's name for what it asks.
    pub idempotency_key: Option<Vec<u8>>,
    /// Its Content-Length.
    pub length: Option<usize>,
    pub wants_continue: bool,
}

/// Reads a request, has it answered, and ends the connection. `decide` sees the head alone and can refuse the
/// request before its body is read; what it returns answers with the body.
///
/// # Errors
/// The peer has gone.
pub fn serve<A: FnOnce(&Head, &[u8]) -> Answer>(
    socket: &mut TcpStream,
    decide: impl FnOnce(&Head) -> Result<A, Answer>,
) -> io::Result<()> {
    let until = Instant::now() + REQUEST_MOST;
    let answer = match read(socket, until, decide) {
        Ok(answer) | Err(Refused::With(answer)) => answer,
        Err(Refused::Gone(error)) => return Err(error),
    };
    send(socket, &answer)
}

/// Sends an answer and ends the connection, so that the answer arrives although more was sent to us.
///
/// # Errors
/// The peer has gone.
pub fn send(socket: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    write(socket, answer.head().as_bytes(), answer.body.as_bytes())?;
    socket.shutdown(Shutdown::Write)?;
    let until = Instant::now() + LINGER_MOST;
    let mut scrap = [0; 4_096];
    while receive(socket, &mut scrap, until)? > 0 {}
    Ok(())
}

enum Refused {
    With(Answer),
    Gone(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => {
                Self::With(Answer::error((408, "timeout"), "The request was not completed in time."))
            }
            _ => Self::Gone(error),
        }
    }
}

fn read<A: FnOnce(&Head, &[u8]) -> Answer>(
    socket: &mut TcpStream,
    until: Instant,
    decide: impl FnOnce(&Head) -> Result<A, Answer>,
) -> Result<Answer, Refused> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    let (head, used) = loop {
        let got = receive(socket, &mut buffer, until)?;
        if got == 0 {
            return Err(Refused::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        bytes.extend_from_slice(&buffer[..got]);
        if let Some(parsed) = parse(&bytes).map_err(Refused::With)? {
            break parsed;
        }
    };
    let answer = decide(&head).map_err(Refused::With)?;
    let length = head.length.unwrap_or(0);
    if length > BODY_BYTES {
        return Err(Refused::With(Answer::error((413, "too_large"), "The body is larger than 1 MiB.")));
    }
    let mut body = bytes.split_off(used);
    if head.wants_continue && body.len() < length {
        write(socket, b"HTTP/1.1 100 Continue\r\n\r\n", b"")?;
    }
    while body.len() < length {
        let got = receive(socket, &mut buffer, until)?;
        if got == 0 {
            return Err(Refused::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        body.extend_from_slice(&buffer[..got]);
    }
    // What is behind it would be another request: this connection ends with the answer.
    body.truncate(length);
    Ok(answer(&head, &body))
}

/// The head that `bytes` begins with and its length; none when it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Answer> {
    let bad = |message| Answer::error((400, "bad_request"), message);
    let malformed = |_| bad("The request is not well-formed HTTP/1.1.");
    let too_large =
        || Answer::error((431, "too_large"), "The head is larger than 8 KiB, or has more than 64 fields.");
    let window = &bytes[..bytes.len().min(HEAD_BYTES)];
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let used = match request.parse(window) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if window.len() < HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(error) => return Err(malformed(error)),
    };
    let mut head = Head { method: request.method.unwrap_or_default().to_owned(), ..Head::default() };
    let target = request.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Err(bad("Name a path, like /metrics."));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (head.path, head.query) = (path.to_owned(), query.to_owned());
    let (mut hosts, mut authorizations, mut lengths, mut types) = (0, 0, 0, 0);
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
            head.host = String::from_utf8_lossy(field.value).trim().to_ascii_lowercase();
        } else if is("origin") {
            head.has_origin = true;
        } else if is("authorization") {
            authorizations += 1;
            head.authorization = (authorizations == 1).then(|| field.value.to_vec());
        } else if is("content-length") {
            lengths += 1;
            head.length = Some(length(field.value)?);
        } else if is("content-type") {
            types += 1;
            head.content_type = (types == 1).then(|| String::from_utf8_lossy(field.value).into_owned());
        } else if is("idempotency-key") {
            if head.idempotency_key.replace(field.value.to_vec()).is_some() {
                return Err(bad("Send one Idempotency-Key."));
            }
        } else if is("transfer-encoding") {
            return Err(Answer::error((411, "length_required"), "Send a body with its Content-Length."));
        } else if is("expect") {
            head.wants_continue = field.value.eq_ignore_ascii_case(b"100-continue");
        }
    }
    if hosts != 1 {
        return Err(bad("Send exactly one Host header field."));
    }
    if lengths > 1 {
        return Err(bad("Send one Content-Length."));
    }
    Ok(Some((head, used)))
}

/// RFC 9110 section 8.6: digits. What does not fit is larger than any body that is taken.
fn length(value: &[u8]) -> Result<usize, Answer> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Answer::error((400, "bad_request"), "Content-Length is a number of bytes."));
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    Ok(text.parse().unwrap_or(usize::MAX))
}

/// Reads what there is, before `until`; 0 at the end.
fn receive(socket: &mut TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            done => return done,
        }
    }
}

fn write(socket: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let until = Instant::now() + ANSWER_MOST;
    for mut bytes in [head, body] {
        while !bytes.is_empty() {
            socket.set_write_timeout(Some(left(until)?))?;
            match socket.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Not the time of the request: nobody is there to be told.
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(request: &str) -> Result<Option<Head>, u16> {
        parse(request.as_bytes()).map(|found| found.map(|(head, _)| head)).map_err(|answer| answer.status)
    }

    #[test]
    fn a_head_is_taken_apart() {
        let request = "POST /v1/send?x=1?y HTTP/1.1\r\nHost: LocalHost:9090 \r\nauthorization: Bearer x\r\n\
            Content-Type: application/json\r\nIdempotency-Key: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\nOrigin: null\r\n\r\nabc";
        let expected = Head {
            method: "POST".to_owned(),
            path: "/v1/send".to_owned(),
            query: "x=1?y".to_owned(),
            host: "localhost:9090".to_owned(),
            has_origin: true,
            authorization: Some(b"Bearer x".to_vec()),
            content_type: Some("application/json".to_owned()),
            idempotency_key: Some(b"a".to_vec()),
            length: Some(3),
            wants_continue: true,
        };
        assert_eq!(parsed(request), Ok(Some(expected)));
        // Not whole until its last byte is there.
        let head = &request[..request.len() - 3];
        assert!((0..head.len()).all(|end| parsed(&head[..end]) == Ok(None)));
    }

    #[test]
    fn what_is_wrong_with_a_head_has_its_status() {
        let with = |fields: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
            (with("Host: x\r\n"), 400),
            (with("Content-Length: -1\r\n"), 400),
            (with("Content-Length: 1\r\nContent-Length: 1\r\n"), 400),
            (with("Content-Length:\r\n"), 400),
            (with("Idempotency-Key: a\r\nIdempotency-Key: a\r\n"), 400),
            (with("Transfer-Encoding: chunked\r\n"), 411),
            (with(&"x: y\r\n".repeat(64)), 431),
            (with(&format!("x: {}\r\n", "y".repeat(HEAD_BYTES))), 431),
            ("G".repeat(HEAD_BYTES), 431),
            ("GET metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
            ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
            ("nonsense\r\n\r\n".to_owned(), 400),
            ("\u{0}".to_owned(), 400),
        ] {
            assert_eq!(parsed(&request), Err(status), "{request:.100}");
        }
        let two = parsed(&with("Authorization: a\r\nAuthorization: b\r\n")).unwrap().unwrap();
        assert_eq!(two.authorization, None);
        let huge = parsed(&with("Content-Length: 99999999999999999999999\r\n")).unwrap().unwrap();
        assert_eq!(huge.length, Some(usize::MAX));
        let types = parsed(&with("Content-Type: a\r\nContent-Type: a\r\n")).unwrap().unwrap();
        assert_eq!(types.content_type, None);
    }

    #[test]
    fn a_head_just_within_the_bound_is_taken() {
        let frame = "GET / HTTP/1.1\r\nHost: x\r\nx: \r\n\r\n".len();
        let head =
            |bytes: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nx: {}\r\n\r\n", "y".repeat(bytes - frame));
        assert!(parsed(&head(HEAD_BYTES)).is_ok_and(|head| head.is_some()));
        assert_eq!(parsed(&head(HEAD_BYTES + 1)), Err(431));
    }
}
