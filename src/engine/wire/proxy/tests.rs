use super::*;
use crate::engine::wire::tests::config;
use proptest::prelude::*;

const MOST: usize = 8_192;

/// A header of version 2; `len` is what it says of its own length.
fn v2(command: u8, family: u8, len: usize, behind: &[u8]) -> Vec<u8> {
    [V2, &[command, family], &(len as u16).to_be_bytes(), behind].concat()
}

fn whole(command: u8, family: u8, behind: &[u8]) -> Vec<u8> {
    v2(command, family, behind.len(), behind)
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 0x04, 1, 0xBB];
const TLV: [u8; 7] = [0x04, 0, 4, 1, 2, 3, 4];

fn v6() -> Vec<u8> {
    let [from, to] = ["2001:db8::1", "::1"].map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets());
    [&from[..], &to, &[0xDC, 0x04, 1, 0xBB]].concat()
}

/// Headers that are right, and whom they name.
fn headers() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let text = |line: &str, client| (format!("{line}\r\n").into_bytes(), client);
    vec![
        text("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443", Some("192.0.2.1:56324")),
        text("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", Some("255.255.255.255:65535")),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 0 0", Some("192.0.2.1:0")),
        text("PROXY TCP6 2001:db8::1 ::1 56324 443", Some("[2001:db8::1]:56324")),
        text("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2", Some("[::ffff:192.0.2.1]:1")),
        text("PROXY UNKNOWN", None),
        text("PROXY UNKNOWN anything \u{e9} TCP4 192.0.2.1", None),
        // 107 bytes: the longest there may be.
        text(&format!("PROXY UNKNOWN {}", "f".repeat(91)), None),
        (whole(0x21, 0x11, &V4), Some("192.0.2.1:56324")),
        (whole(0x21, 0x11, &[&V4[..], &TLV].concat()), Some("192.0.2.1:56324")),
        (whole(0x21, 0x21, &v6()), Some("[2001:db8::1]:56324")),
        (whole(0x21, 0x21, &[&v6()[..], &[0xEE; 700]].concat()), Some("[2001:db8::1]:56324")),
        (whole(0x21, 0x00, &[]), None),
        (whole(0x21, 0x00, &V4), None),
        (whole(0x21, 0x12, &V4), None),
        (whole(0x21, 0x22, &v6()), None),
        (whole(0x21, 0x31, &[b'/'; 216]), None),
        (whole(0x21, 0x32, &[b'/'; 216]), None),
        // A check of the proxy's own: its family is ignored.
        (whole(0x20, 0x00, &[]), None),
        (whole(0x20, 0x11, &V4), None),
        (whole(0x20, 0xFF, &TLV), None),
    ]
}

fn complete(client: Option<&str>, used: usize) -> Result<Header, Refusal> {
    Ok(Header::Complete { client: client.map(|client| client.parse().unwrap()), used })
}

#[test]
fn a_header_names_its_client_and_is_incomplete_wherever_it_is_cut() {
    for (header, client) in headers() {
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n", b"PROXY TCP4 6.6.6.6 6.6.6.6 6 6\r\n", &[0xFF; 400]] {
            let stream = [&header, behind].concat();
            let name = header.escape_ascii();
            assert_eq!(parse(&stream, MOST), complete(client, header.len()), "{name}");
            assert_eq!(parse(&stream, header.len().max(V1_MOST)), complete(client, header.len()), "{name}");
        }
        for cut in 0..header.len() {
            assert_eq!(
                parse(&header[..cut], MOST),
                Ok(Header::Incomplete),
                "{}",
                header[..cut].escape_ascii()
            );
        }
    }
}

#[test]
fn what_begins_like_no_header_is_none() {
    let table: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"POST",
        b"PROPFIND",
        b"PROXYTCP4",
        b"PROXY\r\n",
        b"PROXY\tTCP4",
        b"proxy TCP4",
        b" PROXY TCP4",
        b"\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\nGET",
        b"\r\n\r\n\0\r\nQUIT\r\n",
        b"\n",
        b"\0",
    ];
    for bytes in table {
        assert_eq!(parse(bytes, MOST), Ok(Header::Absent), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_wrong_header_is_malformed() {
    let text = |line: &str| format!("{line}\r\n").into_bytes();
    let table = [
        text("PROXY "),
        text("PROXY TCP4"),
        text("PROXY TCP5 192.0.2.1 198.51.100.1 1 2"),
        text("PROXY tcp4 192.0.2.1 198.51.100.1 1 2"),
        text("PROXY UNKNOWNS"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 1"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 "),
        text("PROXY TCP4  192.0.2.1 198.51.100.1 1 2"),
        text("PROXY TCP4\t192.0.2.1 198.51.100.1 1 2"),
        text("PROXY TCP4 192.0.2.1 198.51.100.256 1 2"),
        text("PROXY TCP4 192.0.2.01 198.51.100.1 1 2"),
        text("PROXY TCP4 192.0.2.1 ::1 1 2"),
        text("PROXY TCP4 ::1 198.51.100.1 1 2"),
        text("PROXY TCP4 ::1 ::1 1 2"),
        text("PROXY TCP6 192.0.2.1 198.51.100.1 1 2"),
        text("PROXY TCP6 [::1] ::1 1 2"),
        text("PROXY TCP6 ::1%eth0 ::1 1 2"),
        text("PROXY TCP4 localhost localhost 1 2"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 65536 2"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 01 2"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 +1 2"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 1 -2"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1  2"),
        text("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\0"),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\rGET".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\nGET / HTTP/1.1\r\n".to_vec(),
        b"PROXY TCP4 \xFF\xFE 198.51.100.1 1 2\r\n".to_vec(),
        // 108 bytes, and one without an end.
        text(&format!("PROXY UNKNOWN {}", "f".repeat(92))),
        [V1, &[b'x'; V1_MOST - 1 - V1.len()]].concat(),
        // No version 2, and no command of it.
        whole(0x11, 0x11, &V4),
        whole(0x31, 0x11, &V4),
        whole(0x22, 0x11, &V4),
        [V2, &[0x0A]].concat(),
        // Families that there are not.
        whole(0x21, 0x41, &v6()),
        whole(0x21, 0x10, &V4),
        whole(0x21, 0x13, &V4),
        whole(0x21, 0x01, &V4),
        // Shorter than the addresses that they name.
        v2(0x21, 0x11, 11, &V4),
        v2(0x21, 0x21, 35, &v6()),
        v2(0x21, 0x31, 215, &[b'/'; 216]),
        // Longer than it may be: known before it has come.
        v2(0x21, 0x11, MOST - V2_FIXED + 1, &[]),
        v2(0x20, 0x00, 0xFFFF, &[]),
    ];
    for bytes in table {
        assert_eq!(parse(&bytes, MOST), Err(Refusal::Malformed), "{}", bytes.escape_ascii());
    }
    assert_eq!(parse(&v2(0x20, 0x00, MOST - V2_FIXED, &[]), MOST), Ok(Header::Incomplete));
    assert_eq!(parse(&v2(0x20, 0x00, 0xFFFF, &[]), usize::MAX), Ok(Header::Incomplete));
}

proptest! {
    #![proptest_config(config(2_000))]

    /// What has been decided stays so, whatever follows; and as long as nothing is, there is little to keep.
    #[test]
    fn more_bytes_change_no_decision(
        (header, _) in prop::sample::select(headers()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        behind in prop::collection::vec(any::<u8>(), 0..200),
        most in prop::sample::select(vec![1_usize, 16, 28, 120, 8_192]),
    ) {
        let mut stream = [header, behind].concat();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let mut decided = None;
        for cut in 0..=stream.len() {
            let parsed = parse(&stream[..cut], most);
            match decided {
                Some(before) => prop_assert_eq!(parsed, before, "at {}", cut),
                None if parsed == Ok(Header::Incomplete) => {
                    prop_assert!(cut < most.max(V1_MOST).max(V2_FIXED));
                }
                None => {
                    if let Ok(Header::Complete { used, .. }) = parsed {
                        prop_assert_eq!(used, cut);
                    }
                    decided = Some(parsed);
                }
            }
        }
    }

    #[test]
    fn what_a_proxy_writes_is_read(
        from in any::<SocketAddr>(), to in any::<SocketAddr>(), tlvs in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let (text, family, addresses) = match (from, to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                let addresses = [from.ip().octets(), to.ip().octets()].concat();
                (format!("TCP4 {} {}", from.ip(), to.ip()), 0x11, addresses)
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                let addresses = [from.ip().octets(), to.ip().octets()].concat();
                (format!("TCP6 {} {}", from.ip(), to.ip()), 0x21, addresses)
            }
            _ => return Ok(()),
        };
        let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        let binary = whole(0x21, family, &[addresses, ports, tlvs].concat());
        let text = format!("PROXY {text} {} {}\r\n", from.port(), to.port());
        for header in [text.as_bytes(), &binary] {
            let client = Some(SocketAddr::new(from.ip(), from.port()));
            let parsed = parse(header, MOST);
            prop_assert_eq!(parsed, Ok(Header::Complete { client, used: header.len() }));
        }
    }
}
