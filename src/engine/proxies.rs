//! Whose word on a client's address is taken: the operator's own proxies, and through them as far back as each
//! hop is one of them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::{self, FromStr},
};

/// The proxies of one server; by default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Cidr>);

impl Proxies {
    pub fn new(networks: Vec<Cidr>) -> Self {
        Self(networks)
    }

    /// Whether this is the address of a proxy.
    #[inline]
    pub fn has(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }

    /// Whose request `nearest`, a proxy, forwards. `hops` are the elements of X-Forwarded-For, last first: the
    /// first that is no proxy counts, or the last that can be read. The port is 0 where none was given.
    pub fn client<'a>(&self, nearest: SocketAddr, hops: impl Iterator<Item = &'a [u8]>) -> SocketAddr {
        let mut client = nearest;
        for address in hops.map_while(address) {
            client = address;
            if !self.has(client.ip()) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() || bare.len() == text.len() => Some(SocketAddr::new(ip, 0)),
        Ok(_) => None,
        Err(_) => text.parse().ok(),
    }
}

/// A network, like `10.0.0.0/8`; an address alone is a network of one. IPv4 and IPv6 are apart, and an IPv4
/// address inside IPv6 (`::ffff:192.0.2.7`) is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    is_v4: bool,
    bits: u128,
    mask: u128,
}

impl Cidr {
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (is_v4, bits) = bits_of(ip.to_canonical());
        is_v4 == self.is_v4 && bits & self.mask == self.bits
    }
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidrError {
    Syntax,
    /// The address goes on behind its prefix.
    HostBits,
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "write it like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7",
            Self::HostBits => "the bits behind the prefix are not 0: write it like 10.0.0.0/8",
        })
    }
}

impl std::error::Error for CidrError {}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| CidrError::Syntax)?;
        let most = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse::<u32>().ok().filter(|prefix| *prefix <= most).ok_or(CidrError::Syntax)?
            }
            Some(_) => return Err(CidrError::Syntax),
        };
        let (ip, prefix) = match written.to_canonical() {
            ip if ip.is_ipv4() && written.is_ipv6() && prefix >= 96 => (ip, prefix - 96),
            _ => (written, prefix),
        };
        let (is_v4, bits) = bits_of(ip);
        let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
        if bits & !mask == 0 { Ok(Self { is_v4, bits, mask }) } else { Err(CidrError::HostBits) }
    }
}

/// Whether it is IPv4, and its bits, highest first.
fn bits_of(ip: IpAddr) -> (bool, u128) {
    match ip {
        IpAddr::V4(ip) => (true, u128::from(ip.to_bits()) << 96),
        IpAddr::V6(ip) => (false, ip.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxies(networks: &str) -> Proxies {
        Proxies::new(networks.split_whitespace().map(|network| network.parse().unwrap()).collect())
    }

    #[test]
    fn a_network_holds_what_its_prefix_says() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "a00::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
            ("::ffff:192.0.2.0/120", "192.0.2.200", true),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
        ];
        for (network, ip, holds) in table {
            assert_eq!(proxies(network).has(ip.parse().unwrap()), holds, "{network} {ip}");
        }
        assert!(!Proxies::default().has("127.0.0.1".parse().unwrap()));
        assert!(proxies("10.0.0.0/8 ::1").has("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        use CidrError::{HostBits, Syntax};
        let table = [
            ("", Syntax),
            ("localhost", Syntax),
            ("10.0.0.0/", Syntax),
            ("10.0.0.0/33", Syntax),
            ("10.0.0.0/+8", Syntax),
            ("10.0.0.0/8/8", Syntax),
            ("10.0.0/8", Syntax),
            ("10.0.0.0:80", Syntax),
            ("[::1]", Syntax),
            ("::/129", Syntax),
            ("::/99999999999", Syntax),
            ("10.0.0.1/8", HostBits),
            ("2001:db8::1/64", HostBits),
            ("128.0.0.0/0", HostBits),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Cidr>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_no_proxy() {
        let known = proxies("10.0.0.0/8 2001:db8:f::/48");
        let table = [
            ("", "10.0.0.1:5"),
            ("192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.1:443", "192.0.2.1:443"),
            ("[2001:db8::7]:443", "[2001:db8::7]:443"),
            ("[2001:db8::7]", "[2001:db8::7]:0"),
            // What the client itself said does not count.
            ("198.51.100.7, 192.0.2.1", "192.0.2.1:0"),
            ("forged, 192.0.2.1, 10.0.0.3, 2001:db8:f::2", "192.0.2.1:0"),
            ("198.51.100.7, 192.0.2.1, ::ffff:10.0.0.3", "192.0.2.1:0"),
            // All are proxies: the farthest.
            ("10.0.0.9, 10.0.0.3", "10.0.0.9:0"),
            // Up to the last that can be read.
            ("192.0.2.1, unknown", "10.0.0.1:5"),
            ("192.0.2.1, unknown, 10.0.0.3", "10.0.0.3:0"),
            ("192.0.2.1, \"192.0.2.2\"", "10.0.0.1:5"),
            ("192.0.2.1, [192.0.2.2]", "10.0.0.1:5"),
            ("192.0.2.1, 192.0.2.2 192.0.2.3", "10.0.0.1:5"),
            ("192.0.2.1, 192.0.2.256", "10.0.0.1:5"),
            ("192.0.2.1, 192.0.2.02", "10.0.0.1:5"),
            ("192.0.2.1, 192.0.2.1:65536", "10.0.0.1:5"),
            ("192.0.2.1, \u{e9}", "10.0.0.1:5"),
        ];
        for (list, client) in table {
            let hops = list.rsplit(',').map(|hop| hop.trim().as_bytes()).filter(|hop| !hop.is_empty());
            let nearest = "10.0.0.1:5".parse().unwrap();
            assert_eq!(known.client(nearest, hops), client.parse().unwrap(), "{list}");
        }
        let hops = [&b"\xFF\xFE"[..], b"192.0.2.1"];
        let nearest = "10.0.0.1:5".parse().unwrap();
        assert_eq!(known.client(nearest, hops.into_iter()), nearest);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        /// Against a comparison of bit strings.
        #[test]
        fn two_addresses_share_a_network_if_their_first_bits_are_the_same(
            one in any::<IpAddr>(), flips in any::<u128>(), zeros in 0..128_u32, prefix in 0..=128_u32,
        ) {
            let one = one.to_canonical();
            let (other, prefix) = match one {
                IpAddr::V4(ip) => {
                    (IpAddr::V4((ip.to_bits() ^ (flips as u32) >> (zeros % 32)).into()), prefix % 33)
                }
                IpAddr::V6(ip) => (IpAddr::V6((ip.to_bits() ^ flips >> zeros).into()), prefix),
            };
            prop_assume!(other == other.to_canonical());
            let network: Cidr = format!("{}/{prefix}", base(one, prefix)).parse().unwrap();
            let shared = prefix as usize;
            let are_alike = binary(one)[..shared] == binary(other)[..shared];
            prop_assert_eq!(network.contains(other), are_alike);
        }

        #[test]
        fn a_forged_beginning_of_the_list_changes_nothing(forged in "[ -~]{0,40}") {
            let known = proxies("10.0.0.0/8");
            let list = format!("{forged}, 192.0.2.1, 10.0.0.3");
            let hops = list.rsplit(',').map(|hop| hop.trim().as_bytes());
            let nearest = "10.0.0.1:5".parse().unwrap();
            prop_assert_eq!(known.client(nearest, hops), "192.0.2.1:0".parse().unwrap());
        }
    }

    fn binary(ip: IpAddr) -> String {
        match ip {
            IpAddr::V4(ip) => format!("{:032b}", ip.to_bits()),
            IpAddr::V6(ip) => format!("{:0128b}", ip.to_bits()),
        }
    }

    /// The first address of a network.
    fn base(ip: IpAddr, prefix: u32) -> IpAddr {
        match ip {
            IpAddr::V4(ip) => {
                let kept = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                IpAddr::V4((ip.to_bits() & kept).into())
            }
            IpAddr::V6(ip) => {
                let kept = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                IpAddr::V6((ip.to_bits() & kept).into())
            }
        }
    }
}
