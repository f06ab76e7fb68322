//! The addresses of those behind proxies, by the numbers of their slots: 20 bytes each, and nothing for a
//! connection that has no proxy. Growing never moves an address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A chunk is 5 KiB.
const CHUNK: usize = 256;

#[derive(Clone, Copy)]
struct Address {
    ip: [u8; 16],
    port: u16,
}

struct Chunk {
    addresses: [Option<Address>; CHUNK],
    len: usize,
}

/// The addresses that one reactor knows better than the kernel does.
#[derive(Default)]
pub struct Clients {
    chunks: Vec<Option<Box<Chunk>>>,
}

impl Clients {
    /// The address of the one in this slot.
    pub fn get(&self, index: u32) -> Option<SocketAddr> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.as_ref()?;
        let address = (*chunk.addresses.get(index as usize % CHUNK)?)?;
        let ip = IpAddr::V6(Ipv6Addr::from(address.ip)).to_canonical();
        Some(SocketAddr::new(ip, address.port))
    }

    pub fn set(&mut self, index: u32, address: SocketAddr) {
        let at = index as usize / CHUNK;
        if self.chunks.len() <= at {
            self.chunks.resize_with(at + 1, || None);
        }
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let chunk = chunk.get_or_insert_with(|| Box::new(Chunk { addresses: [None; CHUNK], len: 0 }));
        let Some(place) = chunk.addresses.get_mut(index as usize % CHUNK) else { return };
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let before = place.replace(Address { ip: ip.octets(), port: address.port() });
        chunk.len += usize::from(before.is_none());
    }

    /// The slot is free, whether it had an address here or not.
    #[inline]
    pub fn remove(&mut self, index: u32) {
        let Some(Some(chunk)) = self.chunks.get_mut(index as usize / CHUNK) else { return };
        let Some(place) = chunk.addresses.get_mut(index as usize % CHUNK) else { return };
        chunk.len -= usize::from(place.take().is_some());
        if chunk.len == 0 {
            self.chunks[index as usize / CHUNK] = None;
            while self.chunks.pop_if(|chunk| chunk.is_none()).is_some() {}
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

const _: () = assert!(size_of::<Option<Address>>() == 20);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_a_map_and_keeps_nothing_when_all_have_gone() {
        let (mut clients, mut model) = (Clients::default(), BTreeMap::new());
        let mut state = 7_u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (index, octet) = (state >> 16 & 1_023, (state >> 8) as u8);
            let address = match octet % 2 {
                0 => SocketAddr::from(([192, 0, 2, octet], octet.into())),
                _ => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, octet.into()], octet.into())),
            };
            if octet < 100 {
                clients.remove(index);
                model.remove(&index);
            } else {
                clients.set(index, address);
                model.insert(index, address);
            }
            assert_eq!(clients.get(index), model.get(&index).copied());
        }
        assert!((0..1_100).all(|index| clients.get(index) == model.get(&index).copied()));
        (0..1_100).for_each(|index| clients.remove(index));
        assert!(clients.is_empty());
    }

    #[test]
    fn the_unspecified_address_is_one_too() {
        let mut clients = Clients::default();
        for address in ["[::]:0", "0.0.0.0:0"].map(|text| text.parse().unwrap()) {
            clients.set(3, address);
            assert_eq!(clients.get(3), Some(address));
        }
    }
}
