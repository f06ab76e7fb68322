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
//! A message to a key that is to be kept goes from its session to [`store`] as a job, and comes back as words.
//!
//! # Three trees, and what joins them
//!
//! `engine` is a WebSocket server that knows no Mida; each module imports only what stands above it:
//!
//! | module | what it is |
//! |---|---|
//! | [`engine::limits`], [`engine::error`] | every bound; the one table from what went wrong to a close code |
//! | [`engine::chunks`], [`engine::pool`] | storage by number that gives its memory back: for what stays, and for what comes and goes within a turn |
//! | [`engine::ages`] | when connections began, without a word in their slots |
//! | [`engine::proxies`], [`engine::clients`] | whose word on a client's address is taken; the addresses that were taken |
//! | [`engine::wire`] | frames, messages, the HTTP upgrade, PROXY headers: bytes in, events out, no sockets |
//! | [`engine::timer`] | the timer wheel, its links in the connections' slots |
//! | [`engine::outbox`] | what is to be sent; shared bytes are held once |
//! | [`engine::io`] | the seam to the kernel, shaped like completions; `epoll` and `uring`, with `handover` from one reactor to another, and for tests `memory` and `sim` |
//! | [`engine::slots`], [`engine::gate`], [`engine::inbox`] | connections; what an address may hold; letters from other threads |
//! | [`engine::balance`] | which reactor gets a new connection |
//! | [`engine::app`] | what an application is, and what it can do to a connection |
//! | [`engine::reactor`] | one core: receive, dispatch, timers, flush |
//!
//! `app` is Mida on the engine, in the same order:
//!
//! | module | what it is |
//! |---|---|
//! | [`app::crypto`], [`app::protocol`] | keys, proofs and sealing; events to and from JSON, batches |
//! | [`app::mail`] | messages between keys, and what the store is asked and says |
//! | [`app::config`], [`app::figures`] | what the operator says; what is counted |
//! | [`app::relay`], [`app::members`] | what spans cores; the connections of a key, on one core |
//! | [`app::session`] | what a client may ask and is answered: a state machine without sockets or clock; its `kept` is what every connection has in its slot |
//! | [`app::Mida`] | joins them; beside it `app::hosts`, the names of the server's own addresses, `app::deliver`, from the relay to the connections, `app::seal_out`, the last step before the kernel, and `app::page`, for browsers that ask for no upgrade |
//!
//! `store` keeps messages and accounts on disk, and knows neither sessions nor sockets:
//!
//! | module | what it is |
//! |---|---|
//! | [`store::caps`], [`store::ids`], [`store::rows`] | its bounds; the ids of messages; what stands on disk |
//! | [`store::book`], [`store::repeats`] | who has what in its mailbox, and which ids of senders are remembered: no disk, no clock |
//! | [`store::disk`], [`store::folder`] | the database; the directory, which one process has at a time |
//! | [`store::keeper`], [`store::desk`] | jobs done a group at a time, each one transaction; what becomes of them when the disk fails |
//! | [`store::thread`] | from the inboxes to the words |
//!
//! [`server`] runs an application:
//!
//! | module | what it is |
//! |---|---|
//! | [`server::backend`] | which way to the kernel the reactors take |
//! | [`server::cores`], [`server::listen`], [`server::files`], [`server::file_table`] | pinned threads, their listeners, the limit on open files, and a table of them for each thread |
//! | [`server::activation`], [`server::notify`] | listeners that another process passes, or gets; the word to a service manager |
//! | [`server::memory`] | what a storm needed goes back to the kernel |
//! | [`server::figures`], [`server::turns`] | how what reactors count leaves them, and how long their turns take |
//! | [`server::admin`] | what the operator sees, asks and sends over HTTP |
//!
//! The binary (`src/main.rs`, `src/cli`) is the command line.
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
pub mod store;
