//! What a zero-copy send on io_uring costs its thread, over a send that copies: nine alternating pairs for each size, one
//! send at a time, each until the kernel is done with its memory. The reader is a thread on another core.

use io_uring::{IoUring, cqueue, opcode, types::Fd};
use rustix::{
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use std::{
    io::{self, Read},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
};

const PAIRS: usize = 9;
/// Bytes of one run, and sends of one at most.
const RUN_BYTES: usize = 300 << 20;
const SENDS: usize = 20_000;

fn main() -> io::Result<()> {
    pin(0);
    for size in [4, 16, 64, 256, 1_024].map(|kib| kib << 10) {
        let mut pairs = Vec::new();
        for pair in 0..PAIRS {
            let (zero_copy, copied);
            if pair % 2 == 0 {
                zero_copy = send_us(size, true)?;
                copied = send_us(size, false)?;
            } else {
                copied = send_us(size, false)?;
                zero_copy = send_us(size, true)?;
            }
            pairs.push((zero_copy / copied, zero_copy, copied));
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let [low, middle, high] = [PAIRS / 4, PAIRS / 2, PAIRS - 1 - PAIRS / 4].map(|at| pairs[at]);
        println!(
            "{:>5} KiB: zero-copy / copied: median {:.3}, quartiles {:.3} to {:.3}; {:.1} / {:.1} µs",
            size >> 10,
            middle.0,
            low.0,
            high.0,
            middle.1,
            middle.2
        );
    }
    Ok(())
}

/// Microseconds of this thread for each send of so many bytes.
fn send_us(size: usize, zero_copy: bool) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let reader = thread::spawn(move || -> io::Result<()> {
        pin(1);
        let (mut socket, _) = listener.accept()?;
        let mut buffer = vec![0; 1 << 20];
        while socket.read(&mut buffer)? > 0 {}
        Ok(())
    });
    let socket = TcpStream::connect(address)?;
    let mut ring: IoUring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8)?;
    let bytes = vec![7; size];
    let (fd, length) = (Fd(socket.as_raw_fd()), size as u32);
    let request = match zero_copy {
        true => opcode::SendZc::new(fd, bytes.as_ptr(), length).flags(libc::MSG_WAITALL).build(),
        false => opcode::Send::new(fd, bytes.as_ptr(), length).flags(libc::MSG_WAITALL).build(),
    };
    let sends = (RUN_BYTES / size).min(SENDS);
    let begun = processor_us();
    for _ in 0..sends {
        // SAFETY: the bytes live until the last answer to it has come, below.
        unsafe { ring.submission().push(&request) }.map_err(io::Error::other)?;
        let mut is_done = false;
        while !is_done {
            ring.submit_and_wait(1)?;
            for answer in ring.completion() {
                if !cqueue::notif(answer.flags()) && answer.result() != size as i32 {
                    return Err(io::Error::from_raw_os_error(-answer.result()));
                }
                // A zero-copy send is answered twice: when it is sent, and when its memory is free.
                is_done = !cqueue::more(answer.flags());
            }
        }
    }
    let spent = processor_us() - begun;
    drop(socket);
    reader.join().map_err(|_| io::Error::other("the reader"))??;
    Ok(spent / sends as f64)
}

fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    // Where there is one core only, both share it.
    let _ = sched_setaffinity(None, &cores);
}

fn processor_us() -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
}
