//! Our server as it comes, but for heartbeats.

use crate::{
    account,
    common::served::{HEARTBEAT_MS, mida, thread},
};
use mida::app::config::Config;

pub fn serve(sockets: u64) {
    let config = Config { heartbeat_ms: HEARTBEAT_MS, ..Config::default() };
    let (running, _) = mida(&config, sockets);
    println!("{}", running.addresses()[0]);
    account(&thread());
}
