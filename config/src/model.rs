//! What a configuration says, once it is known to be right.

use crate::address::{Address, AllowedIp};
use crate::endpoint::Endpoint;
use crate::key::{Key, PublicKey};
use crate::text::{Hook, ScopedIp, SearchDomain, TableName};

/// A whole configuration: one interface and its peers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The `[Interface]` section.
    pub interface: Interface,
    /// The `[Peer]` sections in the order of the file. When a prefix or a public key occurs twice, the later one counts.
    pub peers: Vec<Peer>,
}

/// The `[Interface]` section: the keys of wg(8) first, then those only wg-quick(8) knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// `PrivateKey`. Without one the interface exists but talks to nobody.
    pub private_key: Option<Key>,
    /// `ListenPort`: UDP port; none or 0 is a random one.
    pub listen_port: Option<u16>,
    /// `FwMark`: mark of outgoing packets; none or 0 (`off`) is no mark.
    pub fwmark: Option<u32>,
    /// `Address`: addresses to give to the interface.
    pub addresses: Vec<Address>,
    /// `DNS`: name servers while the interface is up.
    pub dns: Vec<ScopedIp>,
    /// `DNS`: search domains while the interface is up.
    pub dns_search: Vec<SearchDomain>,
    /// `MTU` in bytes; none is found out from the route to the endpoints.
    pub mtu: Option<u16>,
    /// `Table`: where routes to the peers' allowed IPs go.
    pub table: Table,
    /// `SaveConfig`: write the running state back to the file when the interface goes down.
    pub save_config: bool,
    /// `PreUp`: commands before the interface is up, in order.
    pub pre_up: Vec<Hook>,
    /// `PostUp`: commands after the interface is up, in order.
    pub post_up: Vec<Hook>,
    /// `PreDown`: commands before the interface is removed, in order.
    pub pre_down: Vec<Hook>,
    /// `PostDown`: commands after the interface is removed, in order.
    pub post_down: Vec<Hook>,
}

/// The routing tables that Linux itself looks in for every packet, by number and name (`<linux/rtnetlink.h>`, `rt_class_t`).
pub const SYSTEM_TABLES: [(u32, &str); 3] = [(253, "default"), (254, "main"), (255, "local")];

/// `Table`: the routing table for routes to the peers' allowed IPs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub enum Table {
    /// The main table, and a table of its own with policy rules for a default route.
    #[default]
    Auto,
    /// No routes at all.
    Off,
    /// The table of this number.
    Id(u32),
    /// The table of this name.
    Name(TableName),
}

/// One `[Peer]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `PublicKey`: who this is.
    pub public_key: PublicKey,
    /// `PresharedKey`: a symmetric secret mixed into the handshake.
    pub preshared_key: Option<Key>,
    /// `AllowedIPs`: what the peer may send from and is sent for.
    pub allowed_ips: Vec<AllowedIp>,
    /// `Endpoint`: where it is to be found at first. Without one we wait for it to call.
    pub endpoint: Option<Endpoint>,
    /// `PersistentKeepalive` in seconds; none or 0 (`off`) sends none.
    pub persistent_keepalive: Option<u16>,
}

impl Peer {
    /// A peer with a name and nothing else.
    pub const fn new(public_key: PublicKey) -> Self {
        Self { public_key, preshared_key: None, allowed_ips: Vec::new(), endpoint: None, persistent_keepalive: None }
    }
}
