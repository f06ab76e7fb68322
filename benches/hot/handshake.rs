//! What the upgrade of a browser's request costs: reading the head and writing the 101 (RFC 6455 section 4.2).

use super::clock::Criterion;
use super::inputs::{MANY, Rotation};
use criterion::Throughput;
use mida::{
    app::SUBPROTOCOL,
    engine::{
        limits::Limits,
        wire::upgrade::{self, Head},
    },
};
use std::hint::black_box;

/// Keys and the accept values that belong to them; the first are those of RFC 6455 section 1.3.
const KEYS: [(&str, &str); 4] = [
    ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
    ("4eYc1VnQ5Zt0mJk7wq2K8A==", "5lmviPOlNP1mLQXtf5FC/nlnkeM="),
    ("Xk9sJ2RrV0pQbHh3TmNvZQ==", "zJmsEciSoyq5LFGCK1uEIkquFcc="),
];

const HOSTS: [(&str, &str); 4] = [
    ("chat.example", "/"),
    ("localhost:7700", "/ws"),
    ("mida.chat.example:8443", "/"),
    ("a.example", "/v1/ws"),
];

pub fn all(criterion: &mut Criterion) {
    let limits = Limits::default();
    let mut requests = Rotation::new((0..MANY).map(|n| (request(n), KEYS[n % 4].1)));
    let mut response = Vec::new();
    for (request, accept) in requests.all() {
        response.clear();
        answer(request, &limits, &mut response);
        let wanted = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mida\r\n\r\n"
        );
        assert_eq!(str::from_utf8(&response), Ok(&*wanted));
    }
    let bytes: usize = requests.all().iter().map(|(request, _)| request.len()).sum();
    let mut group = criterion.benchmark_group("handshake");
    group.throughput(Throughput::Bytes((bytes / MANY) as u64));
    group.bench_function("upgrade", |bencher| {
        bencher.iter(|| {
            response.clear();
            answer(&requests.turn().0, &limits, &mut response);
            black_box(&response);
        });
    });
    group.finish();
}

pub fn answer(request: &str, limits: &Limits, response: &mut Vec<u8>) {
    let Ok(Head::Complete { request, .. }) = upgrade::feed(request.as_bytes(), 0, limits) else {
        panic!("{request} was not accepted")
    };
    let offered = request.protocols().any(|protocol| protocol == SUBPROTOCOL);
    upgrade::accept(response, request.key, offered.then_some(SUBPROTOCOL));
}

/// What Chrome, Firefox, Safari and Chrome on Android send.
pub fn request(n: usize) -> String {
    let (key, _) = KEYS[n % 4];
    let (host, path) = HOSTS[n / 4 % 4];
    let head = match n / 16 % 4 {
        0 => {
            "Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
             User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/139.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://chat.example\r\n\
             Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
             Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             Sec-WebSocket-Protocol: mida\r\n"
        }
        1 => {
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0\r\n\
             Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
             Sec-WebSocket-Version: 13\r\nOrigin: https://chat.example\r\nSec-WebSocket-Protocol: mida\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\nSec-Fetch-Dest: empty\r\n\
             Sec-Fetch-Mode: websocket\r\nSec-Fetch-Site: same-origin\r\nConnection: keep-alive, Upgrade\r\n\
             Pragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\n"
        }
        2 => {
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
             Sec-WebSocket-Protocol: mida\r\nSec-Fetch-Mode: websocket\r\nSec-Fetch-Site: same-origin\r\n\
             Sec-Fetch-Dest: websocket\r\nOrigin: https://chat.example\r\nPragma: no-cache\r\n\
             Cache-Control: no-cache\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Accept-Language: en-GB,en;q=0.9\r\nAccept-Encoding: gzip, deflate\r\n\
             User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 \
             (KHTML, like Gecko) Version/18.5 Safari/605.1.15\r\n"
        }
        _ => {
            "Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
             User-Agent: Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/139.0.0.0 Mobile Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://chat.example\r\n\
             Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
             Accept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n\
             Cookie: theme=dark; session=6b1f0c7e2d9a4458b3a1c5d0e7f82946\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             Sec-WebSocket-Protocol: chat, mida\r\n"
        }
    };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{head}Sec-WebSocket-Key: {key}\r\n\r\n")
}
