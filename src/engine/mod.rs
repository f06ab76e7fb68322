//! A WebSocket server that knows no application: limits and errors, the wire format, timers, queues, the
//! way to the kernel, and a reactor that joins them.

pub mod ages;
pub mod app;
pub mod balance;
pub mod chunks;
pub mod clients;
pub mod error;
pub mod gate;
pub mod inbox;
pub mod io;
pub mod limits;
pub mod outbox;
pub mod pool;
pub mod proxies;
pub mod reactor;
pub mod slots;
pub mod timer;
pub mod wire;
