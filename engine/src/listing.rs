//! Reading a device: one peer at a time, so that no lock is held for long.

use crate::device::Device;
use crate::host::{Host, Table};
use crate::peer::{Endpoint, PeerRef};
use crate::reason::Reason;
use crate::routes::AllowedIp;
use crate::secret::{PublicKey, Secret};
use crate::time::Instant;
use crate::timers::Timer;
use core::sync::atomic::Ordering;

/// What is known of a peer at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its public key.
    pub public_key: PublicKey,
    /// The preshared key, all zeros for none.
    pub preshared_key: Secret,
    /// Where it is reached.
    pub endpoint: Option<Endpoint>,
    /// Seconds between keepalives, zero for none.
    pub persistent_keepalive: u16,
    /// When the last handshake was completed; stays when its session is gone.
    pub last_handshake: Option<Instant>,
    /// Bytes of authentic datagrams received, WireGuard's headers and tags included.
    pub rx_bytes: u64,
    /// Bytes of datagrams sent, likewise.
    pub tx_bytes: u64,
    /// Initiations sent in a row without an answer, the first not counted.
    pub handshake_retries: u8,
    /// Whether an initiation waits for its response.
    pub handshake_pending: bool,
    /// Datagrams staged for a session, and the bytes they occupy.
    pub staged: (u32, u32),
    /// When the session that seals was made, if there is one.
    pub session_since: Option<Instant>,
    /// Numbers given away under that session: packets sealed, to be sealed, or dropped before they were.
    pub session_packets: u64,
    /// Packets dropped by reason, in the order of [`Reason::ALL`]; a count stays at 2^32 - 1.
    pub drops: [u32; Reason::COUNT],
    /// Deadlines in the order of [`Timer::ALL`], [`Instant::NEVER`] for none.
    pub deadlines: [Instant; 6],
}

impl<H: Host> Device<H> {
    /// The device's private key, if it has one.
    pub fn private_key(&self) -> Option<Secret> {
        self.tables.read(|tables| tables.identity.as_ref().map(|identity| identity.private.clone()))
    }

    /// The device's public key, if it has one.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.tables.read(|tables| tables.identity.as_ref().map(|identity| PublicKey(identity.public)))
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> u32 {
        self.tables.read(|tables| tables.peers)
    }

    /// Counts configuration changes: if it differs at the end of a listing, the listing mixes two states.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The first peer, or the one after `after`; `after` may be gone.
    pub fn next_peer(&self, after: Option<PeerRef>) -> Option<PeerRef> {
        let mut slot = after.map_or(0, |peer| peer.slot.saturating_add(1));
        loop {
            // At most 64 empty places are looked at under one hold of the lock.
            let found = self.tables.read(|tables| {
                for slot in slot..slot.saturating_add(64).min(tables.unused) {
                    let peer = tables.reference(slot)?;
                    if tables.with_peer(peer, |_| ()).is_some() {
                        return Some(Some(peer));
                    }
                }
                (slot.saturating_add(64) < tables.unused).then_some(None)
            });
            match found? {
                Some(peer) => return Some(peer),
                None => slot = slot.saturating_add(64),
            }
        }
    }

    /// Calls `act` for one peer after the other, under no lock.
    pub(crate) fn each_peer(&self, mut act: impl FnMut(PeerRef)) {
        let mut at = None;
        while let Some(peer) = self.next_peer(at) {
            act(peer);
            at = Some(peer);
        }
    }

    /// What is known of `peer`; `None` if it is gone.
    pub fn peer_info(&self, peer: PeerRef) -> Option<PeerInfo> {
        self.with_peer(peer, |peer| {
            let session = peer.keypairs.current();
            let (session_since, session_packets) =
                session.map_or((None, 0), |session| (Some(session.born), session.sent()));
            PeerInfo {
                public_key: peer.static_key,
                preshared_key: peer.preshared.clone(),
                endpoint: peer.endpoint,
                persistent_keepalive: peer.timers.persistent_keepalive(),
                last_handshake: peer.last_handshake,
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
                handshake_retries: peer.timers.retries(),
                handshake_pending: peer.handshake.is_some(),
                staged: peer.staged(),
                session_since,
                session_packets,
                drops: *peer.drops(),
                deadlines: Timer::ALL.map(|timer| peer.timers.get(timer)),
            }
        })
    }

    /// The first allowed IP of `peer`, or the one after the cursor `after`, with its own cursor. A cursor whose allowed
    /// IP is gone ends the listing.
    pub fn next_allowed_ip(&self, peer: PeerRef, after: Option<u32>) -> Option<(AllowedIp, u32)> {
        self.tables.read(|tables| {
            tables.reference(peer.slot).filter(|now| *now == peer)?;
            let cursor = match after {
                None => tables.routes.first(peer.slot)?,
                Some(cursor) => {
                    tables.routes.prefix_of(cursor, peer.slot)?;
                    tables.routes.next(cursor)?
                }
            };
            Some((tables.routes.prefix_of(cursor, peer.slot)?, cursor))
        })
    }
}
