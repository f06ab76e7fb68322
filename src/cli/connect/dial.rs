//! From a URL to an open WebSocket, or one line on why not.

use super::{escape, url::Target};
use mida::app::SUBPROTOCOL;
use std::{
    io::{self, Read},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};
use tungstenite::{
    ClientRequestBuilder, Error, HandshakeError, WebSocket,
    client::IntoClientRequest,
    error::{ProtocolError, SubProtocolError},
    handshake::client::Response,
    protocol::WebSocketConfig,
};

/// For TCP to each address, and for each answer of the upgrade.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is shown of a refusal's body.
const BODY_BYTES: usize = 500;
/// Largest message taken; the server's are about as large as its `maxMessage`.
const MESSAGE_BYTES: usize = 16 << 20;

/// Connects and upgrades. The socket does not block from then on.
///
/// # Errors
/// One line: who could not be reached, or how the server refused.
pub fn dial(target: &Target) -> Result<WebSocket<TcpStream>, String> {
    let stream = reach(target)?;
    let fails = |error: io::Error| format!("cannot talk to {}: {error}", target.host);
    stream.set_nodelay(true).map_err(fails)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fails)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(fails)?;
    let behind = stream.try_clone().map_err(fails)?;
    let request = ClientRequestBuilder::new(target.uri.clone()).with_sub_protocol(SUBPROTOCOL);
    let request = request.into_client_request().map_err(|error| error.to_string())?;
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
    match tungstenite::client::client_with_config(request, stream, Some(config)) {
        Ok((socket, _)) => {
            socket.get_ref().set_nonblocking(true).map_err(fails)?;
            Ok(socket)
        }
        Err(HandshakeError::Interrupted(_)) => Err(format!(
            "{} did not answer within {} s: no WebSocket server?",
            target.host,
            PATIENCE.as_secs()
        )),
        Err(HandshakeError::Failure(error)) => Err(refused(&target.host, error, behind)),
    }
}

/// The first of the host's addresses that takes a connection.
fn reach(target: &Target) -> Result<TcpStream, String> {
    let addresses = (&*target.name, target.port).to_socket_addrs();
    let addresses = addresses.map_err(|error| format!("cannot find {}: {error}", target.name))?;
    let mut last: Option<(SocketAddr, io::Error)> = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some((address, error)),
        }
    }
    Err(match last {
        None => format!("cannot find {}: the name has no address", target.name),
        Some((address, error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("connection refused: nobody listens on {address}; is the server running?")
            }
            io::ErrorKind::TimedOut => {
                format!("{address} did not answer within {} s", PATIENCE.as_secs())
            }
            _ => format!("cannot connect to {address}: {error}"),
        },
    })
}

fn refused(host: &str, error: Error, behind: TcpStream) -> String {
    match error {
        Error::Http(response) => format!("{host} refused: {}", status_and_body(*response, behind)),
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol)) => {
            format!("{host} is a WebSocket server, but does not speak {SUBPROTOCOL}")
        }
        Error::Io(error) if error.kind() != io::ErrorKind::ConnectionReset => {
            format!("cannot talk to {host}: {error}")
        }
        Error::Io(_) | Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            format!("{host} hung up during the upgrade: no WebSocket server?")
        }
        error => format!("{host} is no WebSocket server: {}", escape::plain(&error.to_string())),
    }
}

/// Like `503 Service Unavailable: The server has no room; try again later.`
fn status_and_body(response: Response, mut behind: TcpStream) -> String {
    let (head, body) = response.into_parts();
    let mut body = body.unwrap_or_default();
    let length = head.headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
    let most = length.unwrap_or(body.len()).min(BODY_BYTES);
    let mut room = [0; BODY_BYTES];
    // The body may come behind the head; without it the status has to do.
    while body.len() < most {
        match behind.read(&mut room) {
            Ok(read) if read > 0 => body.extend_from_slice(&room[..read]),
            _ => break,
        }
    }
    body.truncate(most);
    let body = String::from_utf8_lossy(&body);
    let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
    // A page for browsers says no more than the status.
    if body.is_empty() || body.starts_with('<') {
        return head.status.to_string();
    }
    format!("{}: {}", head.status, escape::plain(&body))
}
