//! The echo server of fastwebsockets' own examples, its settings untouched, on one thread of tokio.

use fastwebsockets::{
    FragmentCollector, OpCode, WebSocketError,
    upgrade::{UpgradeFut, upgrade},
};
use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::task;

async fn echo(socket: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(socket.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, socket) = upgrade(&mut request)?;
    task::spawn(async move {
        // A peer that goes without a close frame is no news.
        let _ = task::unconstrained(echo(socket)).await;
    });
    Ok(response)
}

fn main() -> io::Result<()> {
    peers::serve(|stream| async {
        let io = TokioIo::new(stream);
        let _ = http1::Builder::new().serve_connection(io, service_fn(answer)).with_upgrades().await;
    })
}
