//! What a browser gets that opens the server's address.

mod common;

use common::Server;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

const PAGE: &str = include_str!("../src/app/page/page.html");
const SCRIPT: &str = include_str!("../src/app/page/page.js");
const PAGE_GZIP: &[u8] = include_bytes!("../src/app/page/page.html.gz");

/// Asks, and reads until the server ends the connection: head and body.
fn ask(server: &Server, line: &str, fields: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", server.address());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}

#[test]
fn a_browser_gets_the_page_and_nothing_else() {
    let server = Server::start(&[]);
    // As Chromium asks, behind a proxy that sets Connection for every request.
    let browser = "Connection: Upgrade\r\nAccept: text/html\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n";
    let (head, body) = ask(&server, "GET /?utm=1", browser);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Encoding: gzip\r\n"), "{head}");
    assert!(head.contains("Content-Security-Policy: default-src 'none'; script-src 'self'; "), "{head}");
    assert!(body == PAGE_GZIP, "{} bytes", body.len());
    let (head, body) = ask(&server, "GET /", "");
    assert!(head.contains("Content-Type: text/html; charset=utf-8\r\n"), "{head}");
    assert!(!head.contains("Content-Encoding") && body == PAGE.as_bytes(), "{head}");
    let (of_head, nothing) = ask(&server, "HEAD /", "");
    assert_eq!((of_head, nothing.len()), (head, 0));
    let (head, body) = ask(&server, "GET /page.js", "");
    assert!(head.contains("Content-Type: text/javascript; charset=utf-8\r\n"), "{head}");
    assert!(body == SCRIPT.as_bytes(), "{} bytes", body.len());
    for line in ["GET /favicon.ico", "GET /index.html", "HEAD /x"] {
        let (head, body) = ask(&server, line, browser);
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{line}: {head}");
        assert_eq!(body.is_empty(), line.starts_with("HEAD"));
    }
}

#[test]
fn a_broken_upgrade_is_told_its_mistake_and_without_the_page_everybody_is() {
    let broken = [
        ("POST /", ""),
        ("GET /", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        ("GET /", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        ("GET /", "Content-Length: 0\r\n"),
    ];
    let with = Server::start(&[]);
    for (line, fields) in broken {
        let (head, _) = ask(&with, line, fields);
        assert!(head.starts_with("HTTP/1.1 400 "), "{line} {fields}: {head}");
    }
    let without = Server::start(&["--no-page"]);
    for line in ["GET /", "HEAD /", "GET /x"] {
        let (head, _) = ask(&without, line, "");
        assert!(head.starts_with("HTTP/1.1 400 "), "{line}: {head}");
    }
}

#[test]
fn the_page_may_connect_to_where_it_came_from_and_to_no_other_server() {
    let server = Server::start(&["--public-host", "chat.example"]);
    let host = server.address().to_string();
    for (origin, host, status) in [
        (format!("http://{host}"), &*host, 101),
        // A TLS proxy's page, of which the server sees no TLS.
        ("https://chat.example".to_owned(), "chat.example", 101),
        ("https://elsewhere.example".to_owned(), "chat.example", 403),
    ] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes(), "{origin} to {host}");
    }
}
