//! # mida
//!
//! A server for Mida, messaging without passwords: a user is a secp256k1 public key, and from the moment it
//! names one, everything the server sends is sealed to it. Built for connection density. What is on the
//! wire is in `PROTOCOL.md`; how to run it is in `README.md`.
//!
//! # The way of a message
//!
//! socket → [`engine::io`] lends the received bytes → [`engine::wire`] makes messages of them (RFC 6455) →
//! [`engine::reactor`] calls the application → [`app::protocol`] decodes events → [`app::session`] decides
//! what they mean → its answers, and what [`app::relay`] brings from elsewhere, are queued in
//! [`engine::outbox`] → at the flush of the turn a batch is closed, sealed ([`app::crypto`]) and framed →
//! [`engine::io`] sends a connection's bytes with one write.
//!
//! # Two trees, and what joins them
//!
//! `engine` is a WebSocket server that knows no Mida; each module imports only what stands above it:
//!
//! | module | what it is |
//! |---|---|
//! | [`engine::limits`], [`engine::error`] | every bound; the one table from what went wrong to a close code |
//! | [`engine::chunks`] | storage by number that gives its memory back |
//! | [`engine::wire`] | frames, messages, the HTTP upgrade: bytes in, events out, no sockets |
//! | [`engine::timer`] | the timer wheel, its links in the connections' slots |
//! | [`engine::outbox`] | what is to be sent; shared bytes are held once |
//! | [`engine::io`] | the seam to the kernel, shaped like completions; `epoll`, and for tests `memory` and `sim` |
//! | [`engine::slots`], [`engine::gate`], [`engine::inbox`] | connections; what an address may hold; letters from other threads |
//! | [`engine::balance`] | which reactor gets a new connection |
//! | [`engine::ages`] | when connections began, without a word in their slots |
//! | [`engine::app`] | what an application is, and what it can do to a connection |
//! | [`engine::reactor`] | one core: receive, dispatch, timers, flush |
//!
//! `app` is Mida on the engine: [`app::crypto`] and [`app::protocol`], then [`app::session`] (a state machine
//! without sockets or clock), [`app::relay`] (what spans cores), and [`app::Mida`], which joins them.
//!
//! [`server`] runs an application on pinned threads; the binary (`src/main.rs`, `src/cli`) is the command line.
//!
//! # An idle connection
//!
//! costs its slot (one cache line) and, once it has a key, a member record with its sealing epoch. It owns
//! no buffer: bytes are received into one buffer a core, an incomplete message is kept only while it is
//! incomplete, and a drained queue is gone.

#![deny(unsafe_code)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod engine;
pub mod server;
