//! Sockets that a process is started with: `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` (sd_listen_fds(3)),
//! from a service manager or from the server that this one succeeds. Both ends of it are here.

use std::{
    env,
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    process::{Child, Command},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

/// A listener that a server of ours has opened, and that it or its successor closes.
pub const BOUND: &str = "mida-bound";
/// The listener of the admin address.
pub const ADMIN: &str = "mida-admin";
/// The pipe on which a successor says that it serves.
pub const PREDECESSOR: &str = "mida-predecessor";

/// The first descriptor that is passed (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// Digits of a process id.
const PID_DIGITS: usize = 10;

/// A descriptor that this process was started with, and its name.
#[derive(Debug)]
pub struct Passed {
    pub name: String,
    pub socket: OwnedFd,
}

/// What this process was started with, the first time; nothing if it was meant for another process.
///
/// # Errors
/// One line on what is wrong with it.
#[allow(unsafe_code)]
pub fn take() -> Result<Vec<Passed>, String> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    let count = number("LISTEN_FDS").unwrap_or(0);
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    if count == 0 || !is_ours || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let end = FIRST.saturating_add_unsigned(count);
    if let Some(missing) = (FIRST..end).find(|fd| !is_open(*fd)) {
        return Err(format!("LISTEN_FDS is {count}, but descriptor {missing} is not open"));
    }
    let take = |fd| {
        // SAFETY: it is open, and whoever started this process says that it is for this process to take; it is
        // taken once, before anything else that is opened could have its number.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).map_err(|error| error.to_string())?;
        Ok(Passed { name: names.next().unwrap_or_default().to_owned(), socket })
    };
    (FIRST..end).map(take).collect()
}

fn is_open(fd: RawFd) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok()
}

/// Starts a program with these descriptors, for itself alone.
///
/// # Errors
/// It cannot be started.
#[allow(unsafe_code)]
pub fn spawn(
    program: &OsStr,
    arguments: &[OsString],
    passed: &[(String, BorrowedFd<'_>)],
) -> io::Result<Child> {
    let names: Vec<_> = passed.iter().map(|(name, _)| name.as_str()).collect();
    let mut image = Image::new(program, arguments, passed.len(), &names.join(":"))?;
    let end = FIRST + passed.len() as RawFd;
    // Each is above its place, so that none is overwritten before it is put there; and no number below is free
    // for what the standard library opens to learn of the child's fate.
    let above = |fd: &BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, end);
    let copies = passed.iter().map(|(_, fd)| above(fd)).collect::<Result<Vec<_>, _>>()?;
    let mut filled = Vec::new();
    if let Some(any) = copies.first() {
        while filled.last().is_none_or(|fd: &OwnedFd| fd.as_raw_fd() < end) {
            filled.push(rustix::io::fcntl_dupfd_cloexec(any, FIRST)?);
        }
    }
    let places: Vec<(RawFd, RawFd)> =
        (FIRST..).zip(&copies).map(|(to, copy)| (copy.as_raw_fd(), to)).collect();
    let mut command = Command::new(program);
    // SAFETY: between fork and exec it calls nothing but dup2, getpid and execve, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for (from, to) in &places {
                if libc::dup2(*from, *to) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Err(image.exec())
        });
    }
    command.spawn()
}

/// All that execve takes, made ready before the fork: only the child knows its process id.
struct Image {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    pid: Vec<u8>,
    pointers: Pointers,
}

/// They point into the strings of the image, which stay where they are.
#[derive(Default)]
struct Pointers {
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
}

// SAFETY: they are followed in the child alone, which has one thread.
#[allow(unsafe_code)]
unsafe impl Send for Pointers {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Pointers {}

impl Image {
    fn new(program: &OsStr, arguments: &[OsString], count: usize, names: &str) -> io::Result<Self> {
        let own = |name: &OsStr| name.as_bytes().starts_with(b"LISTEN_");
        let mut environment = Vec::new();
        for (name, value) in env::vars_os().filter(|(name, _)| !own(name)) {
            environment.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
        }
        environment.push(CString::new(format!("LISTEN_FDS={count}"))?);
        environment.push(CString::new(format!("LISTEN_FDNAMES={names}"))?);
        let program = CString::new(program.as_bytes())?;
        let mut all = vec![program.clone()];
        for argument in arguments {
            all.push(CString::new(argument.as_bytes())?);
        }
        let mut image = Self {
            program,
            arguments: all,
            environment,
            pid: [b"LISTEN_PID=", &[0; PID_DIGITS + 1][..]].concat(),
            pointers: Pointers::default(),
        };
        let pointers = |strings: &[CString]| strings.iter().map(|string| string.as_ptr()).collect::<Vec<_>>();
        image.pointers.arguments = pointers(&image.arguments);
        image.pointers.arguments.push(ptr::null());
        image.pointers.environment = pointers(&image.environment);
        // The first is for the process id.
        image.pointers.environment.extend([ptr::null(), ptr::null()]);
        Ok(image)
    }

    /// Becomes the program, in the child; returns only if that fails.
    #[allow(unsafe_code)]
    fn exec(&mut self) -> io::Error {
        let at = self.pid.len() - PID_DIGITS - 1;
        // SAFETY: it takes nothing and cannot fail.
        let mut pid = unsafe { libc::getpid() }.unsigned_abs();
        let digits = pid.checked_ilog10().unwrap_or(0) as usize + 1;
        for digit in self.pid[at..at + digits].iter_mut().rev() {
            *digit = b'0' + (pid % 10) as u8;
            pid /= 10;
        }
        let Pointers { arguments, environment } = &mut self.pointers;
        if let Some(place) = environment.iter_mut().rev().nth(1) {
            *place = self.pid.as_ptr().cast();
        }
        // SAFETY: both lists end with a null, and what they point to ends with one too and is still there.
        unsafe { libc::execve(self.program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write, pipe},
        os::fd::AsFd,
    };

    #[test]
    fn a_program_finds_its_descriptors_in_order_and_knows_that_they_are_for_it() {
        let (mut told, tell) = pipe().unwrap();
        let (from, mut to) = pipe().unwrap();
        to.write_all(b"from the first, ").unwrap();
        drop(to);
        let script = "{ cat <&3; echo $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$)) $0 $1; } >&4";
        let arguments = ["-c", script, "name", "a b"].map(OsString::from);
        let passed = [("one".to_owned(), from.as_fd()), ("two".to_owned(), tell.as_fd())];
        let mut child = spawn(OsStr::new("/bin/sh"), &arguments, &passed).unwrap();
        drop(tell);
        let mut text = String::new();
        told.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from the first, 2 one:two 0 name a b\n");
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let (from, _to) = pipe().unwrap();
        let passed = [("one".to_owned(), from.as_fd())];
        let error = spawn(OsStr::new("/nonexistent/mida"), &[], &passed).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
