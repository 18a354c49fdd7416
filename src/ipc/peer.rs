//! The other end of a connection, as limits and logs name it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A user of this host, as the kernel reports it.
    User(u32),
    /// A host, by TCP.
    Host(IpAddr),
}

impl Peer {
    /// Returns whether it is on this host.
    #[must_use]
    pub fn is_local(self) -> bool {
        match self {
            Self::User(_) => true,
            Self::Host(address) => address.is_loopback(),
        }
    }

    /// Returns the peer as limits count it. A host of IPv6 has a network of 64 bits, and can take any address of it.
    #[must_use]
    pub fn party(self) -> Self {
        match self {
            Self::Host(IpAddr::V6(address)) => {
                Self::Host(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)))
            }
            other => other,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "user {uid}"),
            Self::Host(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_ipv6_is_its_network() {
        let host = |text: &str| Peer::Host(text.parse().unwrap());
        assert_eq!(host("2001:db8::1").party(), host("2001:db8::ffff:0:0:2").party());
        assert_ne!(host("2001:db8::1").party(), host("2001:db8:0:1::1").party());
        assert_ne!(host("192.0.2.1").party(), host("192.0.2.2").party());
        assert!(host("::1").is_local() && host("127.9.9.9").is_local() && !host("192.0.2.1").is_local());
    }
}
