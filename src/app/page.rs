//! The page for browsers that open the server's address: answers to plain GET and HEAD. `clients/page` is its source.

use crate::engine::{app::Answer, wire::upgrade::Plain};
use bytes::Bytes;
use std::io::Write;

const PAGE: &[u8] = include_bytes!("page/page.html");
const PAGE_GZIP: &[u8] = include_bytes!("page/page.html.gz");
const SCRIPT: &[u8] = include_bytes!("page/page.js");
const SCRIPT_GZIP: &[u8] = include_bytes!("page/page.js.gz");
/// Its script is this server's and stands in no page; it names the hash of the style; the page may connect to this server
/// alone.
const POLICY: &str = include_str!("page/policy");
const ABSENT: &[u8] =
    b"There is nothing here: the page is at /, and WebSocket clients send Upgrade: websocket.\n";

/// The page at `/` and its script at `/page.js`; elsewhere 404.
pub fn answer(request: &Plain<'_>) -> Answer {
    const GZIP: &str = "Content-Encoding: gzip\r\n";
    let (status, kind, fields, body) = match (request.path, request.takes_gzip) {
        ("/", true) => ("200 OK", "html", GZIP, PAGE_GZIP),
        ("/", false) => ("200 OK", "html", "", PAGE),
        ("/page.js", true) => ("200 OK", "javascript", GZIP, SCRIPT_GZIP),
        ("/page.js", false) => ("200 OK", "javascript", "", SCRIPT),
        _ => ("404 Not Found", "plain", "", ABSENT),
    };
    let mut head = Vec::with_capacity(1_024);
    // Writing to a Vec does not fail.
    let _ = write!(
        head,
        "HTTP/1.1 {status}\r\n\
         Content-Type: text/{kind}; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         {fields}\
         Vary: Accept-Encoding\r\n\
         Cache-Control: no-cache\r\n\
         Content-Security-Policy: {POLICY}\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n",
        body.len(),
    );
    Answer { head, body: if request.is_head { Bytes::new() } else { Bytes::from_static(body) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_at_the_root_alone_and_head_is_the_same_without_it() {
        for (path, takes_gzip, status, body) in [
            ("/", false, "200 OK", PAGE),
            ("/", true, "200 OK", PAGE_GZIP),
            ("/page.js", false, "200 OK", SCRIPT),
            ("/page.js", true, "200 OK", SCRIPT_GZIP),
            ("/favicon.ico", false, "404 Not Found", ABSENT),
            ("//", true, "404 Not Found", ABSENT),
        ] {
            let get = answer(&Plain { path, is_head: false, takes_gzip });
            let head = answer(&Plain { path, is_head: true, takes_gzip });
            let text = String::from_utf8(get.head.clone()).unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status}\r\n")) && text.ends_with("\r\n\r\n"));
            assert!(text.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{text}");
            assert_eq!(text.contains("Content-Encoding: gzip"), body.starts_with(&[0x1F, 0x8B]), "{path}");
            assert_eq!((get.body.as_ref(), head.body.len(), get.head), (body, 0, head.head));
        }
    }

    #[test]
    fn the_page_runs_its_own_script_and_nothing_else() {
        assert!(POLICY.starts_with("default-src 'none'; script-src 'self'; ") && !POLICY.contains("unsafe"));
        assert!(!POLICY.contains(['\r', '\n']) && POLICY.is_ascii());
        let page = std::str::from_utf8(PAGE).unwrap();
        assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1));
        assert!(page.contains(r#"<script src="page.js"></script>"#));
        let is_handler =
            |rest: &str| rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).starts_with('=');
        assert!(!page.split(" on").skip(1).any(is_handler), "a script in an attribute");
        assert!(!page.contains("src=\"http") && !page.contains("<link rel=\"stylesheet"));
    }
}
