use std::io;

use proptest::prelude::*;
use tungstenite::client::IntoClientRequest;

use super::*;
use crate::engine::wire::tests::config;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The fields of an ordinary request.
const FIELDS: [&str; 6] = [
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    "Origin: http://example.com",
];

fn head(line: &str, fields: &[&str]) -> Vec<u8> {
    let mut head = line.as_bytes().to_vec();
    for field in fields {
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(field.as_bytes());
    }
    head.extend_from_slice(b"\r\n\r\n");
    head
}

fn ordinary() -> Vec<u8> {
    head("GET /chat HTTP/1.1", &FIELDS)
}

/// The ordinary request with the fields that begin with `name` taken out and `others` added.
fn with(name: &str, others: &[&str]) -> Vec<u8> {
    let mut fields: Vec<&str> =
        FIELDS.into_iter().filter(|field| name.is_empty() || !field.starts_with(name)).collect();
    assert!(name.is_empty() || fields.len() < FIELDS.len(), "{name}");
    fields.extend_from_slice(others);
    head("GET /chat HTTP/1.1", &fields)
}

fn refusal(head: &[u8]) -> Option<Refusal> {
    parse(head, &Limits::default()).err()
}

#[test]
fn an_ordinary_request_is_read() {
    let head = ordinary();
    let request = parse(&head, &Limits::default()).unwrap();
    assert_eq!((request.path, request.query, request.host), ("/chat", None, "server.example.com"));
    assert_eq!((request.origin, request.key), (Some("http://example.com"), KEY));
    assert_eq!((request.forwarded_for().count(), request.protocols().count()), (0, 0));
}

#[test]
fn fields_are_exact() {
    use Refusal::{BadHost, BadKey, HasBody, Malformed, NoUpgrade, WrongVersion};
    let table: &[(&str, &[&str], Option<Refusal>)] = &[
        ("", &[], None),
        ("", &["X-Obs: \u{e9}\u{ff}", "X-Empty:", "X-Tab:\ta\tb\t"], None),
        ("", &["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"], None),
        ("Host", &[], Some(BadHost)),
        ("", &["Host: server.example.com"], Some(BadHost)),
        ("", &["hOST: other"], Some(BadHost)),
        ("Host", &["Host:"], Some(BadHost)),
        ("Host", &["Host: :80"], Some(BadHost)),
        ("Host", &["Host: a, b"], Some(BadHost)),
        ("Host", &["Host: a/b"], Some(BadHost)),
        ("Host", &["Host: user@a"], Some(BadHost)),
        ("Host", &["Host: a:b"], Some(BadHost)),
        ("Host", &["Host: h\u{f6}st"], Some(BadHost)),
        ("Host", &["Host: [::1"], Some(BadHost)),
        ("Host", &["Host: [localhost]"], Some(BadHost)),
        ("Host", &["Host: ::1"], Some(BadHost)),
        ("Host", &["host:localhost:7700"], None),
        ("Host", &["Host: [::1]"], None),
        ("Host", &["Host: [2001:db8::7]:7700"], None),
        ("Host", &["Host: 127.0.0.1:80"], None),
        ("Upgrade", &[], Some(NoUpgrade)),
        ("Upgrade", &["Upgrade: h2c"], Some(NoUpgrade)),
        ("Upgrade", &["Upgrade: websockets"], Some(NoUpgrade)),
        ("Upgrade", &["Upgrade: web socket"], Some(NoUpgrade)),
        ("Upgrade", &["Upgrade: h2c ,\tWebSocket"], None),
        ("Upgrade", &["Upgrade: h2c", "upgrade: WEBSOCKET"], None),
        ("Connection", &[], Some(NoUpgrade)),
        ("Connection", &["Connection: keep-alive"], Some(NoUpgrade)),
        ("Connection", &["Connection: upgraded"], Some(NoUpgrade)),
        ("Connection", &["connection: ,,UPGRADE,"], None),
        ("Connection", &["Connection: keep-alive", "Connection: upgrade"], None),
        ("Sec-WebSocket-Key", &[], Some(BadKey)),
        ("", &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="], Some(BadKey)),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key:"], Some(BadKey)),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="], None),
        ("Sec-WebSocket-Key", &["sec-websocket-key:+/AAAAAAAAAAAAAAAAAAAw==  "], None),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAB=="], Some(BadKey)),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA="], Some(BadKey)),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="], Some(BadKey)),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA"], Some(BadKey)),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA=="], Some(BadKey)),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAAAAAAAA-AAAAAAAAAAA=="], Some(BadKey)),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAAAAAAAA=AAAAAAAAAAA=="], Some(BadKey)),
        ("Sec-WebSocket-Version", &[], Some(WrongVersion)),
        ("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"], Some(WrongVersion)),
        ("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 013"], Some(WrongVersion)),
        ("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 13, 8"], Some(WrongVersion)),
        ("Sec-WebSocket-Version", &["Sec-WebSocket-Version: \u{e9}"], Some(WrongVersion)),
        ("", &["Sec-WebSocket-Version: 13"], Some(Malformed)),
        ("", &["Origin: http://example.com"], Some(Malformed)),
        ("Origin", &["Origin: http://ex\u{e4}mple.com"], Some(Malformed)),
        ("Origin", &["Origin: null"], None),
        ("Origin", &[], None),
        ("", &["Content-Length: 0"], Some(HasBody)),
        ("", &["content-length: 5"], Some(HasBody)),
        ("", &["Transfer-Encoding: chunked"], Some(HasBody)),
        ("", &["TRANSFER-ENCODING:"], Some(HasBody)),
    ];
    for (name, others, expected) in table {
        assert_eq!(refusal(&with(name, others)), *expected, "without {name}, with {others:?}");
    }
}

#[test]
fn a_request_that_is_no_upgrade_is_told_so() {
    let head = head("GET / HTTP/1.1", &["Host: a", "User-Agent: curl", "Accept: */*"]);
    assert_eq!(refusal(&head), Some(Refusal::NoUpgrade));
}

#[test]
fn the_syntax_is_strict() {
    use Refusal::{Malformed, NotGet};
    let text = String::from_utf8(ordinary()).unwrap();
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    };
    let table: Vec<(Vec<u8>, Option<Refusal>)> = vec![
        (text.clone().into_bytes(), None),
        (format!("\r\n{text}").into_bytes(), None),
        (text.replace("\r\n", "\n").into_bytes(), Some(Malformed)),
        (edit("\r\nUpgrade", "\nUpgrade"), Some(Malformed)),
        (edit("HTTP/1.1\r\n", "HTTP/1.1\n"), Some(Malformed)),
        (edit("\r\n\r\n", "\n\r\n"), Some(Malformed)),
        (format!("\n{text}").into_bytes(), Some(Malformed)),
        (edit("\r\nUpgrade", "\rUpgrade"), Some(Malformed)),
        (edit("websocket", "web\rsocket"), Some(Malformed)),
        (edit("websocket", "websocket\r"), Some(Malformed)),
        (edit("websocket", "web\0socket"), Some(Malformed)),
        (edit("websocket", "web\u{7f}socket"), Some(Malformed)),
        (edit("websocket", "web\u{b}socket"), Some(Malformed)),
        (edit("Upgrade: websocket", "Upgrade:\r\n websocket"), Some(Malformed)),
        (edit("Upgrade: websocket", "Upgrade: h2c,\r\n\twebsocket"), Some(Malformed)),
        (edit("\r\nHost", "\r\n Host"), Some(Malformed)),
        (edit("Upgrade:", "Upgrade :"), Some(Malformed)),
        (edit("Upgrade:", "Upgrade\t:"), Some(Malformed)),
        (edit("Upgrade: websocket", "Upgrade"), Some(Malformed)),
        (edit("Upgrade: websocket", ": websocket"), Some(Malformed)),
        (edit("Upgrade:", "Up(grade):"), Some(Malformed)),
        (edit("Upgrade:", "\u{dc}pgrade:"), Some(Malformed)),
        (edit("HTTP/1.1", "HTTP/1.0"), Some(Malformed)),
        (edit("HTTP/1.1", "HTTP/2.0"), Some(Malformed)),
        (edit("HTTP/1.1", "HTTP/1.1 "), Some(Malformed)),
        (edit("HTTP/1.1", "http/1.1"), Some(Malformed)),
        (edit(" HTTP/1.1", ""), Some(Malformed)),
        (edit("GET /", "GET  /"), Some(Malformed)),
        (edit("GET /", "GET\t/"), Some(Malformed)),
        (edit("GET", " GET"), Some(Malformed)),
        (edit("GET", "G(T"), Some(Malformed)),
        (edit("GET", "POST"), Some(NotGet)),
        (edit("GET", "HEAD"), Some(NotGet)),
        (edit("GET", "get"), Some(NotGet)),
        (edit("GET", "GETT"), Some(NotGet)),
        (edit("/chat", "chat"), Some(Malformed)),
        (edit("/chat", "*"), Some(Malformed)),
        (edit("/chat", "/ch\u{e4}t"), Some(Malformed)),
        (edit("/chat", "/chat#top"), Some(Malformed)),
        (edit("/chat", "/ch at"), Some(Malformed)),
        (edit("/chat", "ftp://a/b"), Some(Malformed)),
        (edit("/chat", "http:///b"), Some(Refusal::BadHost)),
        (edit("/chat", "http://me@a/b"), Some(Refusal::BadHost)),
        (b"\r\n\r\n".to_vec(), Some(Malformed)),
        (b"hello\r\n\r\n".to_vec(), Some(Malformed)),
        (b"PRI * HTTP/2.0\r\n\r\n".to_vec(), Some(Malformed)),
        (b"".to_vec(), Some(Malformed)),
        ([&ordinary()[..], b"more"].concat(), Some(Malformed)),
        (ordinary()[..40].to_vec(), Some(Malformed)),
    ];
    for (head, expected) in table {
        assert_eq!(refusal(&head), expected, "{}", head.escape_ascii());
    }
}

#[test]
fn targets_are_split_into_host_path_and_query() {
    let table = [
        ("/", "server.example.com", "/", None),
        ("/a/b%20c", "server.example.com", "/a/b%20c", None),
        ("/a?b=c?d/e", "server.example.com", "/a", Some("b=c?d/e")),
        ("/?", "server.example.com", "/", Some("")),
        ("//other/a", "server.example.com", "//other/a", None),
        ("http://other:8080/a?b", "other:8080", "/a", Some("b")),
        ("HTTPS://[::1]", "[::1]", "/", None),
        ("http://other?b=/c", "other", "/", Some("b=/c")),
    ];
    for (target, host, path, query) in table {
        let head = head(&format!("GET {target} HTTP/1.1"), &FIELDS);
        let request = parse(&head, &Limits::default()).unwrap();
        assert_eq!((request.host, request.path, request.query), (host, path, query), "{target}");
    }
}

#[test]
fn subprotocols_are_tokens_in_the_order_given() {
    let tokens = |n: usize| vec!["x"; n].join(",");
    let (most, more, huge) = (tokens(64), tokens(65), tokens(3_000));
    let table: Vec<(Vec<&str>, Option<Vec<&str>>)> = vec![
        (vec!["mida"], Some(vec!["mida"])),
        (vec!["a, mida ,\tb"], Some(vec!["a", "mida", "b"])),
        (vec!["a,,b,", "", "!#$%&'*+-.^_`|~09"], Some(vec!["a", "b", "!#$%&'*+-.^_`|~09"])),
        (vec!["a", "b, c"], Some(vec!["a", "b", "c"])),
        (vec![&most], Some(vec!["x"; 64])),
        (vec![&more], None),
        (vec![&most, "y"], None),
        (vec![&huge], None),
        (vec![""], None),
        (vec![","], None),
        (vec!["a b"], None),
        (vec!["a/b"], None),
        (vec!["\"a\""], None),
        (vec!["a", "caf\u{e9}"], None),
        (vec!["\u{1F600}"], None),
    ];
    for (values, expected) in table {
        let fields: Vec<String> =
            values.iter().map(|value| format!("sec-websocket-PROTOCOL:{value}")).collect();
        let head = with("", &fields.iter().map(String::as_str).collect::<Vec<_>>());
        match parse(&head, &Limits::default()) {
            Ok(request) => assert_eq!(Some(request.protocols().collect()), expected),
            Err(refusal) => assert_eq!((refusal, None), (Refusal::BadSubprotocol, expected)),
        }
    }
    let lookalikes = with("", &["X: Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocols: b"]);
    assert_eq!(parse(&lookalikes, &Limits::default()).unwrap().protocols().count(), 0);
}

#[test]
fn what_was_forwarded_comes_last_first_over_all_fields() {
    let table: [(&[&str], &[&str]); 7] = [
        (&[], &[]),
        (&["X-Forwarded-For: 192.0.2.1"], &["192.0.2.1"]),
        (&["X-Forwarded-For: 10.9.8.7, 192.0.2.1"], &["192.0.2.1", "10.9.8.7"]),
        (
            &["X-Forwarded-For: forged, a", "x-FORWARDED-for: \u{e9},2001:db8::1 "],
            &["2001:db8::1", "\u{e9}", "a", "forged"],
        ),
        (&["X-Forwarded-For: 192.0.2.1,, ,"], &["192.0.2.1"]),
        (&["X-Forwarded-For:"], &[]),
        (&["X: X-Forwarded-For: 192.0.2.1", "X-Forwarded-Fore: 192.0.2.1"], &[]),
    ];
    for (fields, expected) in table {
        let head = with("", fields);
        let request = parse(&head, &Limits::default()).unwrap();
        let expected: Vec<_> = expected.iter().map(|element| element.as_bytes()).collect();
        assert_eq!(request.forwarded_for().collect::<Vec<_>>(), expected, "{fields:?}");
    }
}

#[test]
fn heads_have_so_many_fields_and_bytes_and_no_more() {
    let fields = |n: usize| vec!["X: y"; n - FIELDS.len()];
    assert_eq!(refusal(&with("", &fields(64))), None);
    assert_eq!(refusal(&with("", &fields(65))), Some(Refusal::HeadTooLarge));
    let many = with("", &fields(2_000));
    for (head_bytes, head_fields) in [(8_192, 64), (u32::MAX, 64), (u32::MAX, u32::MAX)] {
        let limits = Limits { head_bytes, head_fields, ..Limits::default() };
        assert_eq!(parse(&many, &limits).err(), Some(Refusal::HeadTooLarge));
    }
    let few = |head_fields| Limits { head_fields, ..Limits::default() };
    assert!(parse(&ordinary(), &few(6)).is_ok());
    assert_eq!(parse(&ordinary(), &few(5)).err(), Some(Refusal::HeadTooLarge));

    let head = ordinary();
    for (head_bytes, fits) in [(head.len(), true), (head.len() - 1, false), (10, false)] {
        let limits = Limits { head_bytes: head_bytes as u32, ..Limits::default() };
        let followed = [&head[..], b"frames"].concat();
        for received in [&head, &followed] {
            assert_eq!(feed(received, 0, &limits).is_ok(), fits);
        }
        // Byte by byte the refusal comes with the byte that fills the limit.
        let refused = (1..=head.len()).find(|&n| feed(&head[..n], n - 1, &limits).is_err());
        assert_eq!(refused, (!fits).then_some(head_bytes));
    }
}

#[test]
fn an_endless_line_is_refused_at_the_limit() {
    let line = [b"GET /".to_vec(), vec![b'a'; 9_000]].concat();
    assert!(matches!(feed(&line[..8_191], 0, &Limits::default()), Ok(Head::Incomplete)));
    assert_eq!(feed(&line[..8_192], 8_191, &Limits::default()).err(), Some(Refusal::HeadTooLarge));
}

#[test]
fn frames_may_follow_the_head_at_once() {
    let stream = [&ordinary()[..], b"\x81\x80\r\n\r\n\0\n"].concat();
    let Ok(Head::Complete { used, request }) = feed(&stream, 0, &Limits::default()) else { panic!() };
    assert_eq!((used, request.path), (ordinary().len(), "/chat"));
}

#[test]
fn a_head_in_any_two_pieces_or_byte_by_byte_is_the_same() {
    let limits = Limits::default();
    let stream = [&ordinary()[..], b"\x81\x80mask\r\n\r\n"].concat();
    let end = ordinary().len();
    for first in 0..=stream.len() {
        match feed(&stream[..first], 0, &limits) {
            Ok(Head::Incomplete) => assert!(first < end),
            Ok(Head::Complete { used, .. }) => assert!(first >= end && used == end),
            Err(refusal) => panic!("{refusal} after {first}"),
        }
        for upto in first..=stream.len() {
            let found = find_end(&stream[..upto], first.min(end - 1));
            assert_eq!(found, (upto >= end).then_some(end), "{first} then {upto}");
        }
        assert_eq!(
            matches!(feed(&stream[..first], first.min(1), &limits), Ok(Head::Incomplete)),
            first < end
        );
    }
}

#[test]
fn bytes_that_no_head_may_hold_are_refused_before_its_end() {
    let table: [(&[u8], Option<usize>); 9] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", Some(1)),
        (b"\x81\x85", None),
        (b"\n", Some(1)),
        (b"\r\nGET", None),
        (b"\rGET", Some(2)),
        (b"GET / HTTP/1.1\nHost: a\n\n", Some(15)),
        (b"GET / HTTP/1.1\rHost: a", Some(16)),
        (b"GET / HTTP/1.1\r\nHost: a\0", Some(24)),
        (b"GET / HTTP/1.1\r\nX:\t\xE9~ \r", None),
    ];
    for (bytes, seen) in table {
        let limits = Limits::default();
        let found = (1..=bytes.len()).find(|&n| feed(&bytes[..n], n - 1, &limits).is_err());
        assert_eq!(found, seen, "{}", bytes.escape_ascii());
        let whole = feed(bytes, 0, &limits).err();
        assert_eq!(whole, seen.map(|_| Refusal::Malformed), "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_answer_is_the_one_in_the_rfc() {
    let mut response = b"before".to_vec();
    accept(&mut response, KEY, None);
    let plain = "beforeHTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(String::from_utf8(response).unwrap(), plain);
    let mut response = b"before".to_vec();
    accept(&mut response, KEY, Some("mida"));
    let chosen = plain.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: mida\r\n\r\n");
    assert_eq!(String::from_utf8(response).unwrap(), chosen);
}

#[test]
fn every_refusal_is_a_whole_response_that_ends_the_connection() {
    for &refusal in Refusal::ALL {
        let mut bytes = Vec::new();
        refuse(&mut bytes, refusal);
        let mut fields = [httparse::EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut fields);
        let Status::Complete(end) = response.parse(&bytes).unwrap() else { panic!("{refusal}") };
        assert_eq!((response.version, response.code), (Some(1), Some(refusal.status())));
        assert_eq!(response.reason, Some(refusal.reason()));
        let field = |name: &str| {
            let mut all = response.headers.iter().filter(|field| field.name == name);
            let value = all.next().map(|field| str::from_utf8(field.value).unwrap());
            assert!(all.next().is_none());
            value
        };
        assert_eq!(bytes[end..], *format!("{}\n", refusal.text()).as_bytes());
        assert_eq!(field("Content-Length").unwrap().parse(), Ok(bytes.len() - end));
        assert_eq!(field("Content-Type"), Some("text/plain; charset=utf-8"));
        assert!(field("Connection").unwrap().starts_with("close"));
        let upgrade = refusal.status() == 426;
        assert_eq!(field("Sec-WebSocket-Version"), upgrade.then_some("13"));
        assert_eq!(field("Upgrade"), upgrade.then_some("websocket"));
    }
}

/// The server's half of a handshake, behind what a client takes for a socket.
#[derive(Default)]
struct Server {
    received: Vec<u8>,
    answer: Vec<u8>,
}

impl io::Write for Server {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let searched = self.received.len();
        let some = bytes.len().min(7);
        self.received.extend_from_slice(&bytes[..some]);
        match feed(&self.received, searched, &Limits::default()) {
            Ok(Head::Incomplete) => {}
            Ok(Head::Complete { request, .. }) => {
                assert_eq!((request.host, request.path), ("localhost:7700", "/x"));
                let chosen = request.protocols().find(|&protocol| protocol == "mida");
                accept(&mut self.answer, request.key, chosen);
            }
            Err(refusal) => refuse(&mut self.answer, refusal),
        }
        Ok(some)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for Server {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let some = to.len().min(self.answer.len());
        to[..some].copy_from_slice(&self.answer[..some]);
        self.answer.drain(..some);
        Ok(some)
    }
}

#[test]
fn a_reference_client_shakes_hands() {
    let mut request = "ws://localhost:7700/x?y".into_client_request().unwrap();
    let offered = "other, mida".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", offered);
    let (_, response) = tungstenite::client(request, Server::default()).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mida");
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn a_damaged_head_never_panics_and_ends_the_same_in_small_reads(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        size in 1..50_usize,
    ) {
        let mut bytes = with("", &["Sec-WebSocket-Protocol: a, b", "X-Forwarded-For: c, d"]);
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        let limits = Limits::default();
        let verdict = |head| match head {
            Ok(Head::Incomplete) => None,
            Ok(Head::Complete { used, request }) => {
                Some(Ok((used, request.protocols().map(str::to_owned).collect::<Vec<_>>())))
            }
            Err(refusal) => Some(Err(refusal)),
        };
        let whole = verdict(feed(&bytes, 0, &limits));
        let mut searched = 0;
        let pieces = bytes.chunks(size).find_map(|chunk| {
            let received = &bytes[..searched + chunk.len()];
            verdict(feed(received, std::mem::replace(&mut searched, received.len()), &limits))
        });
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        searched in 0..400_usize,
    ) {
        let _ = feed(&bytes, searched, &Limits::default());
        let _ = parse(&bytes, &Limits::default());
        let _ = parse(&[&bytes[..], b"\r\n\r\n"].concat(), &Limits::default());
    }

    #[test]
    fn the_end_is_found_where_a_plain_search_finds_it(
        bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 0..40),
        searched in 0..40_usize,
    ) {
        let plain = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let searched = searched.min(plain.map_or(bytes.len(), |end| end - 1));
        prop_assert_eq!(find_end(&bytes, searched), plain);
    }
}

#[test]
fn a_plain_request_is_told_from_a_broken_upgrade() {
    let read = |head: &[u8]| {
        plain(head, &Limits::default()).map(|it| (it.path.to_owned(), it.is_head, it.takes_gzip))
    };
    let get = |fields: &[&str]| read(&head("GET /a?b HTTP/1.1", &[&["Host: x:1"], fields].concat()));
    let is = |is_head: bool, takes_gzip: bool| Some(("/a".to_owned(), is_head, takes_gzip));
    for (fields, expected) in [
        (&[][..], is(false, false)),
        (&["Connection: keep-alive, Upgrade", "Origin: http://x", "X-Forwarded-For: ?"], is(false, false)),
        (&["Accept-Encoding: br, GZip;q=0.5"], is(false, true)),
        (&["Accept-Encoding: br", "accept-encoding: gzip"], is(false, true)),
        (&["Accept-Encoding: gzip; q=0.000, gzippy, x-gzip"], is(false, false)),
        (&["Accept-Encoding: gzip;q=0.001"], is(false, true)),
        (&["Upgrade: websocket"], None),
        (&["Upgrade:"], None),
        (&["sec-websocket-version: 13"], None),
        (&["Sec-WebSocket-Anything: 1"], None),
        (&["Content-Length: 0"], None),
        (&["Transfer-Encoding: chunked"], None),
        (&["Host: x:1"], None),
        (&["Host : x:1"], None),
        (&["Sec-WebSocket-\u{e9}: 13"], None),
    ] {
        assert_eq!(get(fields), expected, "{fields:?}");
    }
    assert_eq!(read(&head("HEAD http://x:1/a HTTP/1.1", &["Host: x:1"])), is(true, false));
    for line in [
        "POST /a HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET /a HTTP/1.0",
        "GET a HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
    ] {
        assert_eq!(read(&head(line, &["Host: x:1"])), None, "{line}");
    }
    assert_eq!(read(b"GET /a HTTP/1.1\r\nHost: x:1\r\n"), None);
    assert_eq!(read(b"GET /a HTTP/1.1\nHost: x:1\n\n"), None);
    let many = vec!["X: y"; FIELDS_MAX];
    assert_eq!(get(&many), None);
}
