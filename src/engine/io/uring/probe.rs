//! Whether this kernel has all that the backend uses: each thing is tried.

use super::{buffers::Buffers, request::Request, ring::Ring, socket::Place};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::{
    fmt, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Why the backend cannot be used here.
#[derive(Debug)]
pub enum Lack {
    /// The kernel does not have io_uring, or does not let this process use it.
    Refused(io::Error),
    /// It is older than what the backend needs.
    Missing(&'static str),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "this process may not use io_uring (containers and kernel.io_uring_disabled forbid it)"
                )
            }
            Self::Refused(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                write!(f, "this kernel has no io_uring")
            }
            Self::Refused(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                write!(f, "this kernel's io_uring is too old")
            }
            Self::Refused(error) => write!(f, "io_uring cannot be set up: {error}"),
            Self::Missing(what) => write!(f, "this kernel's io_uring is too old: it lacks {what}"),
        }
    }
}

impl From<io::Error> for Lack {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

/// Tries everything that the backend needs and that some kernels with io_uring lack.
///
/// # Errors
/// What is in the way.
pub fn probe() -> Result<(), Lack> {
    let mut ring = Ring::new(4)?;
    let buffers = Buffers::new(&ring)?;
    let has = |is: bool, what| if is { Ok(()) } else { Err(Lack::Missing(what)) };
    let parameters = ring.inner().params();
    has(parameters.is_feature_ext_arg(), "waiting with a timeout")?;
    has(parameters.is_feature_skip_cqe_on_success(), "requests without an answer")?;
    has(parameters.is_feature_min_timeout(), "waiting for several answers (Linux 6.12)")?;

    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(io::Error::from)?;
    let mut places = [ours.as_raw_fd()];
    // SAFETY: the list lives here, and is not touched before the answer.
    #[allow(unsafe_code)]
    let adopt = unsafe { Request::adopt(&mut places) };
    has(ask(&mut ring, adopt)? == 1, "places that it finds by itself")?;
    let place = Place(places[0] as u32);
    let descriptor = ask(&mut ring, Request::install(place, 0))?;
    has(descriptor >= 0, "descriptors for its sockets (Linux 6.8)")?;
    // SAFETY: the kernel has just made it for us.
    #[allow(unsafe_code)]
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    has(ask(&mut ring, Request::reset(place).told())? == 0, "socket options (Linux 6.7)")?;

    rustix::io::write(&theirs, b"mida").map_err(io::Error::from)?;
    let token = crate::engine::io::Token { index: 0, generation: std::num::NonZeroU32::MIN };
    // A kernel that knows no bound refuses it.
    let received = ask(&mut ring, Request::receive_on(token, place, 2, 8))?;
    has(received == 2, "receives that go on up to a bound (Linux 6.17)")?;
    drop(ring);
    drop(buffers);
    Ok(())
}

/// The first answer to one request.
fn ask(ring: &mut Ring, request: Request) -> io::Result<i32> {
    ring.push(request);
    ring.wait(1, 0, Some(std::time::Duration::from_secs(1)))?;
    let mut first = None;
    ring.reap(|answer| first = first.or(Some(answer.result())));
    Ok(first.unwrap_or(-libc::ETIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::io::uring::request::Tag;

    #[test]
    fn what_is_in_the_way_is_said_in_one_line() {
        let of = |error| Lack::Refused(io::Error::from_raw_os_error(error)).to_string();
        assert!(of(libc::EPERM).contains("containers"));
        assert!(of(libc::ENOSYS).contains("no io_uring"));
        assert!(of(libc::EINVAL).contains("too old"));
        assert!(of(libc::ENOMEM).contains("cannot be set up"));
        assert!(Lack::Missing("x").to_string().ends_with("it lacks x"));
    }

    #[test]
    fn a_request_that_nobody_cares_for_can_be_told_of_all_the_same() {
        let Ok(mut ring) = Ring::new(1) else { return };
        assert_eq!(Tag::of(0), Tag::None);
        let answer = ask(&mut ring, Request::reset(Place(0)).told()).unwrap();
        assert_eq!(answer, -libc::EBADF);
    }
}
