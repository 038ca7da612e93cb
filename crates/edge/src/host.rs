//! The one canonical form of a host name, borrowed where it can be.
//!
//! Whatever compares hosts (the routing table, a request's `Host` against its target) compares this form, so
//! that a port, a trailing dot or a capital letter never leads past a rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest host name, in bytes.
const MAX_NAME: usize = 253;
/// The longest label of a host name, in bytes.
const MAX_LABEL: usize = 63;

/// A host as a request names it, in canonical form: lower case, no port, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: Name,
    port: Option<u16>,
    is_ip: bool,
}

/// A name on the stack: a request's host is looked up without an allocation.
#[derive(Clone)]
struct Name {
    bytes: [u8; MAX_NAME + 2],
    len: u8,
}

/// Why a text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// More than 253 bytes, or a label of more than 63.
    #[error("the host is too long")]
    TooLong,
    /// A character that no host name has (a name outside of ASCII is written in its `xn--` form), or an empty label.
    #[error("the host has a character that does not belong there")]
    Malformed,
    /// What follows the colon is not a port.
    #[error("the host's port is not a number up to 65535")]
    Port,
}

impl Host {
    /// Reads a `Host` header, an authority, or a name of the routing table.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, HostError> {
        let text = text.as_ref();
        if text.first() == Some(&b'[') {
            return Self::parse_ipv6(text);
        }
        let (name, port) = match memchr::memchr(b':', text) {
            Some(colon) => (&text[..colon], parse_port(&text[colon + 1..])?),
            None => (text, None),
        };
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > MAX_NAME {
            return Err(HostError::TooLong);
        }
        let mut canonical = Name { bytes: [0; MAX_NAME + 2], len: name.len() as u8 };
        let (mut label, mut only_ip) = (0, true);
        for (to, &byte) in canonical.bytes.iter_mut().zip(name) {
            match byte {
                b'.' if label == 0 => return Err(HostError::Malformed),
                b'.' => label = 0,
                b'0'..=b'9' => label += 1,
                b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => {
                    label += 1;
                    only_ip = false;
                }
                _ => return Err(HostError::Malformed),
            }
            if label > MAX_LABEL {
                return Err(HostError::TooLong);
            }
            *to = byte.to_ascii_lowercase();
        }
        if label == 0 {
            return Err(HostError::Malformed);
        }
        let is_ip = only_ip && canonical.as_str().parse::<Ipv4Addr>().is_ok();
        Ok(Self { name: canonical, port, is_ip })
    }

    fn parse_ipv6(text: &[u8]) -> Result<Self, HostError> {
        let close = memchr::memchr(b']', text).ok_or(HostError::Malformed)?;
        let port = match &text[close + 1..] {
            [] => None,
            [b':', port @ ..] => parse_port(port)?,
            _ => return Err(HostError::Malformed),
        };
        let address = std::str::from_utf8(&text[1..close])
            .ok()
            .and_then(|text| text.parse::<Ipv6Addr>().ok())
            .ok_or(HostError::Malformed)?;
        // One form for each address, however it was written.
        let written = match address.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => format!("[{address}]"),
        };
        let mut name = Name { bytes: [0; MAX_NAME + 2], len: written.len() as u8 };
        name.bytes[..written.len()].copy_from_slice(written.as_bytes());
        Ok(Self { name, port, is_ip: true })
    }

    /// The name, without port. An IPv6 address is in brackets.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The port, where one was named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is an address and not a name.
    pub fn is_ip(&self) -> bool {
        self.is_ip
    }

    /// Whether it stands for this machine whatever names it has: an address, or `localhost`.
    pub fn is_local(&self) -> bool {
        self.is_ip || self.name() == "localhost"
    }

    /// The address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.is_ip.then(|| self.name().trim_matches(['[', ']']).parse().ok()).flatten()
    }

    /// Whether both lead to the same place, given the port that an absent one stands for.
    pub(crate) fn is_same(&self, other: &Self, default_port: u16) -> bool {
        let port = |host: &Self| host.port.unwrap_or(default_port);
        self.name() == other.name() && port(self) == port(other)
    }
}

/// The port after the colon. None at all (`host:`) is allowed by the grammar.
fn parse_port(text: &[u8]) -> Result<Option<u16>, HostError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > 5 || !text.iter().all(u8::is_ascii_digit) {
        return Err(HostError::Port);
    }
    let number = text.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    u16::try_from(number).map(Some).map_err(|_| HostError::Port)
}

impl Name {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_place_has_one_name() {
        for text in
            ["example.com", "Example.COM", "example.com.", "EXAMPLE.com:80", "example.com.:80"]
        {
            assert_eq!(Host::parse(text).unwrap().name(), "example.com", "{text}");
        }
        for text in ["[::1]", "[0:0:0:0:0:0:0:1]:8000"] {
            assert_eq!(Host::parse(text).unwrap().name(), "[::1]", "{text}");
        }
        assert_eq!(Host::parse("[::ffff:127.0.0.1]").unwrap().name(), "127.0.0.1");
        assert_eq!(Host::parse("a_b.x--y").unwrap().name(), "a_b.x--y");
        assert_eq!(Host::parse("a:").unwrap().port(), None);
        assert_eq!(Host::parse("a:8080").unwrap().port(), Some(8080));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        use HostError::{Empty, Malformed, Port, TooLong};
        let cases: &[(&[u8], HostError)] = &[
            (b"", Empty),
            (b".", Empty),
            (b":80", Empty),
            (b"a..b", Malformed),
            (b".a", Malformed),
            (b"a..", Malformed),
            (b"a b", Malformed),
            (b"user@a", Malformed),
            (b"a/b", Malformed),
            (b"a%2eb", Malformed),
            (b"a,b", Malformed),
            ("bücher.example".as_bytes(), Malformed),
            (b"[::1", Malformed),
            (b"[::1]x", Malformed),
            (b"[fe80::1%eth0]", Malformed),
            (b"a:65536", Port),
            (b"a:0x50", Port),
            (b"a:+1", Port),
            (b"a:80:80", Port),
        ];
        for (text, error) in cases {
            assert_eq!(Host::parse(text), Err(*error), "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(Host::parse("a".repeat(64)), Err(TooLong));
        assert_eq!(Host::parse(vec!["aaaa"; 51].join(".")), Err(TooLong));
        assert!(Host::parse("a".repeat(63)).is_ok());
    }

    #[test]
    fn an_address_is_told_from_a_name() {
        assert!(Host::parse("127.0.0.1:3000").unwrap().is_ip());
        assert!(Host::parse("[::1]").unwrap().is_local());
        assert!(Host::parse("LOCALHOST:1").unwrap().is_local());
        assert_eq!(Host::parse("[::1]:2").unwrap().ip(), Some("::1".parse().unwrap()));
        for name in ["127.1", "0x7f.1", "1.2.3.4.5", "2130706433", "localhost.example"] {
            let host = Host::parse(name).unwrap();
            assert!(!host.is_local(), "{name}");
            assert_eq!(host.ip(), None);
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own_canonical_form(text in "[A-Za-z0-9._:\\[\\]-]{0,80}") {
            if let Ok(host) = Host::parse(&text) {
                let again = Host::parse(host.name()).unwrap();
                prop_assert_eq!(again.name(), host.name());
                prop_assert_eq!(again.is_ip(), host.is_ip());
                prop_assert!(!host.name().ends_with('.'));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Host::parse(&bytes);
        }
    }
}
