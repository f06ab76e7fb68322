//! What a service manager is told (sd_notify(3)): a datagram on the socket that `NOTIFY_SOCKET` names.

use std::{
    env,
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Tells the manager, if there is one. One that is gone is not waited for.
pub fn notify(state: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return };
    let sent = address(&name).and_then(|to| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &to)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}

/// Like [`notify`], of something that takes time: it is over with `READY=1`.
pub fn notify_reloading(status: &str) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS={status}"));
}

/// A path, or with @ in front a name without a file.
fn address(name: &OsStr) -> std::io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_or_abstract() {
        let at = |name: &str| address(OsStr::new(name)).unwrap();
        assert_eq!(at("/run/systemd/notify").as_pathname(), Some("/run/systemd/notify".as_ref()));
        assert_eq!(at("@mida/notify").as_abstract_name(), Some(&b"mida/notify"[..]));
    }
}
