//! A device as anybody can see it: what nothing unauthenticated may change.

use crate::node::Home;
use kerntun_engine::device::Device;
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::secret::PublicKey;
use kerntun_engine::time::{Instant, Tai64n};

/// Peers, sessions, endpoints and timers of a device at one moment; not its counts of drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    peers: Vec<PeerView>,
    stamp: Tai64n,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PeerView {
    peer: PeerRef,
    key: PublicKey,
    endpoint: Option<Endpoint>,
    last_handshake: Option<Instant>,
    rx_bytes: u64,
    tx_bytes: u64,
    retries: u8,
    pending: bool,
    staged: (u32, u32),
    session: (Option<Instant>, u64),
    deadlines: [Instant; 6],
}

impl View {
    /// What `device` looks like now.
    #[must_use]
    pub fn of(device: &Device<Home>) -> Self {
        let mut peers = Vec::new();
        let mut at = None;
        while let Some(peer) = device.next_peer(at) {
            at = Some(peer);
            let Some(info) = device.peer_info(peer) else { continue };
            peers.push(PeerView {
                peer,
                key: info.public_key,
                endpoint: info.endpoint,
                last_handshake: info.last_handshake,
                rx_bytes: info.rx_bytes,
                tx_bytes: info.tx_bytes,
                retries: info.handshake_retries,
                pending: info.handshake_pending,
                staged: info.staged,
                session: (info.session_since, info.session_packets),
                deadlines: info.deadlines,
            });
        }
        Self { peers, stamp: device.greatest_stamp_sent() }
    }

    /// The same without the peers whose key `is` takes.
    #[must_use]
    pub fn without(&self, is: impl Fn(&PublicKey) -> bool) -> Self {
        Self { peers: self.peers.iter().filter(|peer| !is(&peer.key)).cloned().collect(), stamp: self.stamp }
    }

    /// Whether every peer seals under the session it sealed under before.
    #[must_use]
    pub fn same_sessions(&self, other: &Self) -> bool {
        self.peers.iter().map(|peer| (peer.peer, peer.session)).eq(other.peers.iter().map(|p| (p.peer, p.session)))
    }

    /// Staged datagrams of all peers.
    #[must_use]
    pub fn staged(&self) -> u64 {
        self.peers.iter().map(|peer| u64::from(peer.staged.0)).sum()
    }

    /// How many peers there are.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Whether no peer has more staged than 128 packets or 1 MiB.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.peers.iter().all(|peer| peer.staged.0 <= 128 && peer.staged.1 <= 1 << 20)
    }

    /// The first peer that still has a session or a handshake.
    #[must_use]
    pub fn with_keys(&self) -> Option<String> {
        let with = self.peers.iter().find(|peer| peer.pending || peer.session.0.is_some());
        with.map(|peer| format!("{peer:?}"))
    }

    /// The first peer that differs.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        let pairs = self.peers.iter().zip(&other.peers);
        pairs.filter(|(before, after)| before != after).map(|pair| format!("{pair:?}")).next().unwrap_or_default()
    }
}
