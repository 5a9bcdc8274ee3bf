//! What a device answers about itself.

use crate::key::{PublicKey, SecretKey};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A device with all its peers, as answered to `get=1`.
///
/// This is the client's view. A server with many peers streams them through [`GetWriter`](crate::GetWriter) instead of
/// building one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceState {
    /// The private key, if one is set.
    pub private_key: Option<SecretKey>,
    /// The UDP port; 0 when none is bound.
    pub listen_port: u16,
    /// The mark on outgoing packets (`SO_MARK`); 0 for none.
    pub fwmark: u32,
    /// The peers, in the order of the answer.
    pub peers: Vec<PeerState>,
}

/// One peer of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// Who it is.
    pub public_key: PublicKey,
    /// The preshared key, if one is set.
    pub preshared_key: Option<SecretKey>,
    /// Where it was last heard or configured to be.
    pub endpoint: Option<SocketAddr>,
    /// Time of the last completed handshake since the Unix epoch; `None` when there was none.
    pub last_handshake: Option<Duration>,
    /// Bytes sent to it, headers and padding included.
    pub tx_bytes: u64,
    /// Bytes received from it, headers and padding included.
    pub rx_bytes: u64,
    /// Seconds between keepalives; 0 for off.
    pub persistent_keepalive_interval: u16,
    /// The prefixes that are routed to it and accepted from it.
    pub allowed_ips: Vec<AllowedIp>,
}

impl PeerState {
    /// A peer of which nothing but the key is known.
    #[must_use]
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            endpoint: None,
            last_handshake: None,
            tx_bytes: 0,
            rx_bytes: 0,
            persistent_keepalive_interval: 0,
            allowed_ips: Vec::new(),
        }
    }
}

/// A prefix. Parsed ones have their host bits cleared and a length that fits the address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllowedIp {
    /// The network address.
    pub address: IpAddr,
    /// The length of the prefix in bits: at most 32 for IPv4 and 128 for IPv6.
    pub prefix: u8,
}

/// What a line of diagnostics is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// The whole device.
    Device,
    /// One peer.
    Peer(PublicKey),
}

/// One line of diagnostics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagnosticEntry {
    /// What it is about.
    pub section: Section,
    /// Which fact: lower case, digits, `_`, `-` and `.`, for example `drop.replay`.
    pub name: String,
    /// The fact, as text of one line.
    pub value: String,
}
