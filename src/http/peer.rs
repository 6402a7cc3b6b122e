//! Whose connection or request this is: the address by which the limits are counted, also behind
//! trusted proxies.
//!
//! Must never believe a header that an untrusted caller could have written.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The header in which a proxy appends the address that called it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The addresses that count as one caller: one IPv4 address, or one IPv6 network of 64 bits, which is
/// the smallest that a customer of a provider gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The caller to whom `ip` belongs. An IPv4 address that is written as IPv6 is the IPv4 address.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// The networks of `server.trusted_proxies`. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Trusts the proxies in these networks.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Whether `ip` is a trusted proxy.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// The client of a request that a trusted proxy forwarded: the last hop of `X-Forwarded-For` that is
    /// no trusted proxy itself. `None` if the proxies name no such address.
    pub fn client(&self, headers: &HeaderMap) -> Option<ClientAddress> {
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            for hop in line.to_str().ok()?.rsplit(',') {
                let ip = hop_ip(hop.trim())?;
                if !self.contains(ip) {
                    return Some(ClientAddress::of(ip));
                }
            }
        }
        None
    }
}

/// Some proxies write the port as well.
fn hop_ip(hop: &str) -> Option<IpAddr> {
    let ip = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip())).or_else(ip)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn address(text: &str) -> ClientAddress {
        ClientAddress::of(text.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_or_a_network_of_64_bits_is_one_caller() {
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("2001:db8:0:1::1"), address("2001:db8:0:1:ffff::2"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
        assert_eq!(address("2001:db8:0:1::1").to_string(), "2001:db8:0:1::/64");
        assert_eq!(address("192.0.2.1").to_string(), "192.0.2.1");
    }

    #[test]
    fn the_last_untrusted_hop_is_the_client() {
        let proxies = TrustedProxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let client = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            proxies.client(&headers)
        };
        for (lines, expected) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["198.51.100.1, 192.0.2.1, 10.0.0.9"], Some("192.0.2.1")),
            (&["198.51.100.1", "192.0.2.1 ,fd00::1"], Some("192.0.2.1")),
            (&["192.0.2.1:4711"], Some("192.0.2.1")),
            (&["[2001:db8::1]:4711"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["192.0.2.1, unknown"], None),
            (&["10.0.0.1, 10.0.0.2"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(client(lines), expected.map(address), "{lines:?}");
        }
        assert!(proxies.contains("::ffff:10.1.1.1".parse().unwrap()));
        assert!(!TrustedProxies::default().contains("10.1.1.1".parse().unwrap()));
    }
}
