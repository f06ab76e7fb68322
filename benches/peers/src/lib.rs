//! What the echo servers here have in common: a port of their own, room for connections, and a first line.

pub mod frames;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};
use tokio::{net::TcpStream, task};

/// Listens on any port of 127.0.0.1, and may hold as many connections as the hard limit on open files allows.
pub fn listen() -> io::Result<TcpListener> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Prints the line that says where a server is.
pub fn announce(address: SocketAddr) {
    println!("listening on ws://{address}");
}

/// Accepts on one thread of tokio, and has a task `answer` each connection.
pub fn serve<F>(mut answer: impl FnMut(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listen()?)?;
        announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            task::spawn(answer(stream));
        }
    })
}
