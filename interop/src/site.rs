//! Two places and the cable between them.

use crate::namespace::Namespace;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Address `host` of the network outside of the tunnel.
    #[must_use]
    pub fn outer(self, host: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 77, 0, host).into(),
            Self::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host.into()).into(),
        }
    }

    /// Address `host` of the network inside of the tunnel.
    #[must_use]
    pub fn inner(self, host: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 78, 0, host).into(),
            Self::V6 => Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, host.into()).into(),
        }
    }
}

/// Two network namespaces joined by a pair of Ethernet devices, both called `cable`, with [`Family::outer`] addresses 1 and
/// 2 in networks of 24 and 64 bits.
pub struct Site {
    /// Where address 1 is.
    pub left: Arc<Namespace>,
    /// Where address 2 is.
    pub right: Arc<Namespace>,
}

impl Site {
    /// Builds it, for packets of up to 9,200 bytes.
    ///
    /// # Panics
    /// If the system refuses.
    #[must_use]
    pub fn new() -> Self {
        Self::build(true)
    }

    /// As [`Site::new`], but where IPv6 is switched off.
    ///
    /// # Panics
    /// If the system refuses.
    #[must_use]
    pub fn without_ipv6() -> Self {
        Self::build(false)
    }

    fn build(ipv6: bool) -> Self {
        let [left, right] = ["left", "right"].map(|label| Arc::new(Namespace::new(label)));
        if !ipv6 {
            for namespace in [&left, &right] {
                namespace.sysctl("ipv6.conf.all.disable_ipv6", "1");
                namespace.sysctl("ipv6.conf.default.disable_ipv6", "1");
            }
        }
        left.ip(&format!("link add cable type veth peer name cable netns {}", right.name()));
        for (namespace, host) in [(&left, 1), (&right, 2)] {
            // An address that replaces another of its network stays when the other goes.
            namespace.sysctl("ipv4.conf.all.promote_secondaries", "1");
            namespace.ip(&format!("addr add {}/24 dev cable", Family::V4.outer(host)));
            if ipv6 {
                namespace.ip(&format!("addr add {}/64 dev cable nodad", Family::V6.outer(host)));
            }
            namespace.ip("link set cable mtu 9200 up");
        }
        Self { left, right }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}
