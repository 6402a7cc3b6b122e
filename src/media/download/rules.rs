//! The rules for downloads: schemes, host names and public addresses. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Who wrote a URL, which decides the hosts that it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlOrigin {
    /// A client, or anyone: only `media.allow_hosts`.
    Client,
    /// A platform, in an answer to a call of ours: any public host.
    Platform,
}

/// The rules of `[media]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Host names in lower case. Each includes its subdomains.
    pub allow_hosts: Vec<String>,
    /// Whether `http` is allowed.
    pub allow_http: bool,
    /// Whether addresses that are not public are allowed.
    pub allow_private: bool,
}

/// The rule that forbids a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Forbidden {
    /// The text is not a URL.
    #[error("the address is not a URL")]
    InvalidUrl,
    /// The scheme is neither `https` nor, if allowed, `http`.
    #[error("the address is not https")]
    Scheme,
    /// The URL contains a user name or password, which must not be passed on.
    #[error("the address contains a user name or a password")]
    Credentials,
    /// The host is not one of the allowed hosts.
    #[error("the host is not one of media.allow_hosts")]
    Host,
    /// The host, or an address that its name resolves to, is in a private network.
    #[error("the host has no public address")]
    Address,
    /// There are more redirects than are followed.
    #[error("there are too many redirects")]
    TooManyRedirects,
}

impl Rules {
    /// Parses and checks a URL, as far as that is possible without resolving its host's name.
    pub fn check(&self, url: &str, origin: UrlOrigin) -> Result<Url, Forbidden> {
        let url = Url::parse(url).map_err(|_| Forbidden::InvalidUrl)?;
        self.check_url(&url, origin)?;
        Ok(url)
    }

    /// Checks a parsed URL in the same way.
    pub fn check_url(&self, url: &Url, origin: UrlOrigin) -> Result<(), Forbidden> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(Forbidden::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Credentials);
        }
        let host = url.host().ok_or(Forbidden::InvalidUrl)?;
        let name = host.to_string();
        if origin == UrlOrigin::Client && !self.allow_hosts.iter().any(|allowed| is_within(&name, allowed)) {
            return Err(Forbidden::Host);
        }
        // An IP address is never resolved, so this is the only place to check it.
        let address = match host {
            Host::Domain(_) => return Ok(()),
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        if self.allow_private || is_public(address) { Ok(()) } else { Err(Forbidden::Address) }
    }
}

/// Whether `name` is `allowed` or one of its subdomains, label by label.
fn is_within(name: &str, allowed: &str) -> bool {
    name.strip_suffix(allowed).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether `address` can belong to a public server: it is in none of the special-purpose ranges of
/// RFC 6890 and its registries, even if it is an IPv6 address that embeds an IPv4 address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback, multicast and everything above.
        [0 | 10 | 127 | 224..=255, ..]
        // Carrier-grade NAT.
        | [100, 64..=127, ..]
        // Link-local, with the clouds' metadata services.
        | [169, 254, ..]
        // Private.
        | [172, 16..=31, ..]
        | [192, 168, ..]
        // Protocol assignments, documentation, the old 6to4 relays.
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        // Benchmarks.
        | [198, 18 | 19, ..]
        // Documentation.
        | [198, 51, 100, _]
        | [203, 0, 113, _] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = embedded_ipv4(address) {
        return is_public_v4(inner);
    }
    match address.segments() {
        // Protocol assignments with Teredo and ORCHID, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast; everything else is special or unassigned.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

/// Returns the IPv4 address to which packets for `address` finally go, if it embeds one.
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        // Mapped; the well-known prefix of NAT64; ISATAP.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2000..=0x3fff, _, _, _, 0 | 0x200, 0x5efe, high, low]
        // 6to4.
        | [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(hosts: &[&str]) -> Rules {
        Rules {
            allow_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            allow_http: false,
            allow_private: false,
        }
    }

    #[test]
    fn special_addresses_are_not_public() {
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::10.0.0.1",
            "::8.8.8.8",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:0a00:0001::1",
            "2002:7f00:1::",
            "2400:1::5efe:10.0.0.1",
            "2400:1::200:5efe:192.168.0.1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "203.205.1.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2002:0808:0808::1",
            "2400:3200::1",
            "2606:4700::1111",
            "3ffe::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    proptest! {
        #[test]
        fn embedded_ipv4_addresses_are_checked(bits in any::<u32>(), rest in any::<[u16; 5]>()) {
            let inner = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = inner.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let mapped = inner.to_ipv6_mapped();
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            let six_to_four = Ipv6Addr::new(0x2002, high, low, rest[0], rest[1], rest[2], rest[3], rest[4]);
            for wrapped in [mapped, nat64] {
                prop_assert_eq!(is_public(wrapped.into()), is_public(inner.into()), "{}", wrapped);
            }
            prop_assert!(!is_public(six_to_four.into()) || is_public(inner.into()) || rest[2..4] == [0, 0x5efe], "{}", six_to_four);
        }

        #[test]
        fn nothing_public_is_special_to_the_standard_library(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let is_special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_multicast() || address.is_broadcast() || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!(is_special && is_public(address.into())), "{}", address);
        }

        #[test]
        fn a_host_is_allowed_by_whole_labels_only(before in "[a-z0-9]{1,8}", after in "[a-z]{2,5}") {
            let rules = rules(&["myqcloud.com"]);
            let check = |host: String| rules.check(&format!("https://{host}/a"), UrlOrigin::Client).is_ok();
            let (within, joined, extended) = (
                format!("x{before}x.myqcloud.com"),
                format!("x{before}myqcloud.com"),
                format!("myqcloud.com.{after}"),
            );
            prop_assert!(check(within));
            prop_assert!(!check(joined));
            prop_assert!(!check(extended));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = rules(&["myqcloud.com"]).check(&text, UrlOrigin::Client);
        }
    }

    #[test]
    fn urls_are_checked_before_resolution() {
        let mut rules = rules(&["myqcloud.com", "8.8.8.8", "127.0.0.1", "[::1]", "[2606:4700::1111]"]);
        let check = |rules: &Rules, url: &str| rules.check(url, UrlOrigin::Client).map(drop);
        for (url, expected) in [
            ("https://myqcloud.com/a", Ok(())),
            ("https://COS.ap-shanghai.MyQCloud.com:8443/a?sign=1", Ok(())),
            ("https://8.8.8.8/a", Ok(())),
            ("https://[2606:4700::1111]/a", Ok(())),
            ("http://myqcloud.com/a", Err(Forbidden::Scheme)),
            ("ftp://myqcloud.com/a", Err(Forbidden::Scheme)),
            ("file:///etc/passwd", Err(Forbidden::Scheme)),
            ("https://user@myqcloud.com/", Err(Forbidden::Credentials)),
            ("https://:secret@myqcloud.com/", Err(Forbidden::Credentials)),
            ("https://evil.example/myqcloud.com", Err(Forbidden::Host)),
            ("https://myqcloud.com.evil.example/", Err(Forbidden::Host)),
            ("https://evilmyqcloud.com/", Err(Forbidden::Host)),
            ("https://myqcloud.com./", Err(Forbidden::Host)),
            ("https://127.0.0.1/", Err(Forbidden::Address)),
            // Other spellings of 127.0.0.1.
            ("https://2130706433/", Err(Forbidden::Address)),
            ("https://0x7f.1/", Err(Forbidden::Address)),
            ("https://[::1]/", Err(Forbidden::Address)),
            ("https://[::ffff:127.0.0.1]/", Err(Forbidden::Host)),
            ("myqcloud.com/a", Err(Forbidden::InvalidUrl)),
            ("", Err(Forbidden::InvalidUrl)),
        ] {
            assert_eq!(check(&rules, url), expected, "{url}");
        }
        rules.allow_http = true;
        rules.allow_private = true;
        assert_eq!(check(&rules, "http://127.0.0.1:8080/a"), Ok(()));
    }
}
