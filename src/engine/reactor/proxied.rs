//! Connections of trusted proxies: whose they are, which their first bytes tell. The client is counted as soon as
//! it is known, and until then nobody: only the connection's deadline bounds it, and the server's room.

use super::{
    PATIENT,
    core::{Core, Tail},
};
use crate::engine::{
    app::App,
    error::Refusal,
    io::Token,
    slots::{FORWARDS, NO_TAIL, PROXY, REFUSE_ADDRESS, SEATED},
    wire::{
        proxy::{self, Header},
        upgrade::Request,
    },
};
use std::net::SocketAddr;

impl<S, C: Default> Core<S, C> {
    /// Bytes that come before it is known whether there is a PROXY header, or inside of one.
    pub fn proxied<A: App<Conn = C>>(&mut self, app: &mut A, token: Token, bytes: &mut [u8]) {
        let Some(slot) = self.slots.get(token) else { return };
        let tail = self.tails.try_remove(std::mem::replace(&mut slot.tail, NO_TAIL));
        let mut kept = tail.map(|mut tail| {
            self.tail_bytes -= tail.bytes() as u64;
            tail.raw.extend_from_slice(bytes);
            tail.raw
        });
        let most = self.settings.limits.head_bytes as usize;
        let used = match proxy::parse(kept.as_deref().unwrap_or(bytes), most) {
            Ok(Header::Incomplete) => {
                let tail = Tail { partial: None, raw: kept.unwrap_or_else(|| bytes.to_vec()) };
                self.tail_bytes += tail.bytes() as u64;
                slot.tail = self.tails.insert(tail);
                return;
            }
            Ok(Header::Absent) => {
                slot.flags &= !PROXY;
                0
            }
            Ok(Header::Complete { client, used }) => {
                slot.flags &= !PROXY;
                self.named(token, client);
                used
            }
            Err(refusal) => return self.refuse(token.index, refusal),
        };
        let bytes = kept.as_deref_mut().unwrap_or(bytes);
        if let Some(rest) = bytes.get_mut(used..).filter(|rest| !rest.is_empty()) {
            self.received(app, token, rest);
        }
    }

    /// A PROXY header was whole. One that names nobody came from the proxy itself, or in front of somebody whom
    /// it does not know: what is forwarded behind it may be anybody's word.
    fn named(&mut self, token: Token, client: Option<SocketAddr>) {
        let Some(slot) = self.slots.get(token) else { return };
        if client.is_none_or(|client| !self.settings.proxies.has(client.ip())) {
            slot.flags &= !FORWARDS;
        }
        let counts = slot.flags & FORWARDS == 0;
        if let Some(client) = client {
            self.clients.set(token.index, client);
        }
        if counts && !self.count(token) && self.unseated > PATIENT {
            // As at accept: its request is not waited for.
            self.refuse_address(token.index);
        }
    }

    /// The request of a proxy is whole; false when the client has its share of connections.
    pub fn forwarded(&mut self, token: Token, request: &Request<'_>) -> bool {
        if let Some(nearest) = self.clients.get(token.index) {
            let client = self.settings.proxies.client(nearest, request.forwarded_for());
            self.clients.set(token.index, client);
        }
        if let Some(slot) = self.slots.get(token) {
            slot.flags &= !FORWARDS;
        }
        self.count(token)
    }

    /// Counts the connection for its client; one over its share gives its seat back.
    fn count(&mut self, token: Token) -> bool {
        let Some(client) = self.clients.get(token.index) else { return true };
        let Some(slot) = self.slots.get(token) else { return true };
        match self.gate.enter(client, self.now_ms, &self.settings.limits) {
            Some(address) => {
                slot.address = address;
                true
            }
            None => {
                slot.flags |= REFUSE_ADDRESS;
                if slot.flags & SEATED != 0 {
                    slot.flags &= !SEATED;
                    self.balance.leave(self.number);
                    self.unseated += 1;
                }
                false
            }
        }
    }

    /// The end of one whose client has its share; the room for those is short.
    pub fn refuse_address(&mut self, index: u32) {
        self.refuse(index, Refusal::AddressFull);
        if self.unseated > PATIENT {
            self.condemn(index, false);
        }
    }
}
