//! The echo server of tokio-tungstenite's own examples, with buffers that a thousand connections can afford:
//! it comes with 256 KiB for each.

use futures_util::{StreamExt, TryStreamExt, future};
use std::io;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    accept_async_with_config,
    tungstenite::{Error, protocol::WebSocketConfig},
};

/// Of each direction; more than eight messages of the comparison.
const BUFFER_BYTES: usize = 4_096;

async fn echo(stream: TcpStream) -> Result<(), Error> {
    let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    let (write, read) = accept_async_with_config(stream, Some(config)).await?.split();
    // Flushes when there is nothing more to read.
    read.try_filter(|message| future::ready(message.is_text() || message.is_binary())).forward(write).await
}

fn main() -> io::Result<()> {
    // A peer that goes without a close frame is no news.
    peers::serve(|stream| async { drop(echo(stream).await) })
}
