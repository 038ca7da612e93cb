//! Which addresses are of the public Internet.
//!
//! After the registries of special-purpose addresses (IANA, RFC 6890). An address that carries another one in it
//! is judged by both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is of the public Internet: not private, loopback, link-local, shared, documentation,
/// benchmarking, multicast, reserved or otherwise special.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // "This network", private, loopback, link-local.
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..] => false,
        // Shared by carriers, benchmarking.
        [100, 64..=127, ..] | [198, 18 | 19, ..] => false,
        // Protocol assignments, documentation, 6to4 relays (retired), AS112.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => false,
        [192, 88, 99, _] | [192, 31, 196, _] | [192, 52, 193, _] | [192, 175, 48, _] => false,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let v4 = |high: u16, low: u16| {
        is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match s {
        // Unspecified, loopback, and the addresses of IPv4 written as such of IPv6 (compatible, mapped, translated).
        [0, 0, 0, 0, 0, 0, high, low] => (high, low) > (0, 0xffff) && v4(high, low),
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        // NAT64: the well-known prefix by what it leads to, the local one never.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 1, ..] => false,
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo (the client's address is inverted), benchmarking, ORCHID, other protocol assignments.
        [0x2001, 0, ..] => v4(s[2], s[3]) && v4(!s[6], !s[7]),
        [0x2001, 1..=0x1ff, ..] => false,
        // Documentation.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // AS112, segment routing.
        [0x2620, 0x4f, 0x8000, ..] => false,
        // All that is assigned to the public Internet is within 2000::/3: unique local (fc00::/7), link-local
        // (fe80::/10), site-local (fec0::/10), multicast (ff00::/8) and discard-only (100::/64) are not.
        // ISATAP carries IPv4 in its interface identifier.
        [0x2000..=0x3fff, ..] => match s {
            [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
            _ => true,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        let special = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "2600::200:5efe:7f00:1",
            "2600::5efe:a00:1",
        ];
        for address in special {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn ordinary_addresses_are_public() {
        let ordinary = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2600::beef",
            "2606:4700:4700::1111",
            "2a00:1450::1",
        ];
        for address in ordinary {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
