//! Mida's messages: text to events, and events to text (PROTOCOL.md sections 2 to 4).
//!
//! No socket, clock or state of a connection is known here. `event` names what can be said, `decode` reads
//! what clients send (`raw` finds what is passed on as it came), `encode` writes what the server sends, `batch` joins
//! written messages without copying them.

pub mod batch;
pub mod decode;
pub mod encode;
pub mod event;
mod number;
mod raw;
