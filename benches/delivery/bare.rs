//! What the kernel alone takes, to send as many frames as long as our sealed ones to the same number of sockets: by a
//! loop of send(), or by io_uring as our server asks it, so many sends by one system call.

use crate::{EVENT_BYTES, common::process::cpu_ns};
use io_uring::{IoUring, opcode, squeue::Flags, types::Fixed};
use mida::{
    app::crypto::seal::OVERHEAD,
    engine::wire::{
        Opcode,
        frame::{HEADER_MAX, write_header},
    },
};
use std::{
    io::{BufRead, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd, RawFd},
};

/// Sends by one system call: as many as a reactor makes ready together.
const TOGETHER: usize = 32;

pub fn send_loop(sockets: u64) {
    serve(sockets, |peers, frame| {
        for peer in peers {
            assert_eq!(peer.write(frame).expect("room for a frame"), frame.len());
        }
    });
}

pub fn uring(sockets: u64) {
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_submit_all()
        .build(2 * TOGETHER as u32)
        .expect("io_uring");
    let mut is_told = false;
    serve(sockets, |peers, frame| {
        if !std::mem::replace(&mut is_told, true) {
            let files: Vec<RawFd> = peers.iter().map(AsRawFd::as_raw_fd).collect();
            ring.submitter().register_files(&files).expect("a table of sockets");
        }
        for first in (0..peers.len()).step_by(TOGETHER) {
            let group = first..peers.len().min(first + TOGETHER);
            let count = group.len();
            for place in group {
                let send = opcode::Send::new(Fixed(place as u32), frame.as_ptr(), frame.len() as u32);
                let send = send.flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL).build();
                // SAFETY: with MSG_DONTWAIT the frame is read within the submission.
                unsafe { ring.submission().push(&send.flags(Flags::SKIP_SUCCESS)) }.expect("room");
            }
            assert_eq!(ring.submit().expect("a submission"), count);
            assert!(ring.completion().next().is_none(), "room for a frame");
        }
    });
}

fn serve(sockets: u64, mut broadcast: impl FnMut(&mut [TcpStream], &[u8])) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let mut peers: Vec<TcpStream> = (0..sockets)
        .map(|_| {
            let (mut peer, _) = listener.accept().expect("a connection");
            peer.set_nodelay(true).expect("nodelay");
            let mut request = [0; 1_024];
            let read = peer.read(&mut request).expect("a request");
            assert!(request[..read].ends_with(b"\r\n\r\n"));
            peer.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02{}").expect("an answer");
            peer.set_nonblocking(true).expect("nonblocking");
            peer
        })
        .collect();
    let mut header = [0; HEADER_MAX];
    let used = write_header(Opcode::Binary, EVENT_BYTES + OVERHEAD, &mut header);
    let frame = [&header[..used], &[7; EVENT_BYTES + OVERHEAD]].concat();
    let thread = std::process::id().to_string();
    let mut before_ns = 0;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("send", events)) => {
                let events: u64 = events.parse().expect("a number");
                println!("{events}");
                before_ns = cpu_ns(&thread);
                for _ in 0..events {
                    broadcast(&mut peers, &frame);
                }
            }
            _ => println!("{}", cpu_ns(&thread) - before_ns),
        }
    }
}
