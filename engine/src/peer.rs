//! One peer: who it is, where it is, the handshake and sessions with it, and what is counted.

use crate::cookie::CookieJar;
use crate::host::{Host, Staged, StagedPacket};
use crate::noise::{Initiating, Remote};
use crate::reason::Reason;
use crate::secret::{PublicKey, Secret};
use crate::session::{Keypairs, Retired};
use crate::time::{Instant, Tai64n};
use crate::timers::Timers;
use core::net::{IpAddr, SocketAddr};

/// Datagrams that may wait for a session, per peer.
pub(crate) const MAX_STAGED_DATAGRAMS: u32 = 128;
/// Memory of the host that they may occupy, per peer.
pub(crate) const MAX_STAGED_BYTES: u32 = 1 << 20;

/// Names a peer for a while: its place in the device, and how often that place has been used.
///
/// It dangles harmlessly: every call compares the generation and finds nothing once the peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerRef {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl PeerRef {
    /// The reference as one number, to be kept or passed where Rust's types do not reach. The low 32 bits are the peer's
    /// place, which is below the greatest number of peers the device ever had.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The reverse of [`PeerRef::to_bits`]; any other number is a reference that finds nothing, or another peer.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
        Self { slot: u32::from_le_bytes([a, b, c, d]), generation: u32::from_le_bytes([e, f, g, h]) }
    }
}

/// Where a peer is reached, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The peer's address and port, with the scope of a link-local one.
    pub remote: SocketAddr,
    /// The local address that its packets come in on, to be the source of what goes back.
    pub source: Option<Source>,
}

/// A local address and the interface it was seen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Local address.
    pub address: IpAddr,
    /// Interface index, as the operating system numbers them.
    pub interface: u32,
}

/// Everything about one peer. All of it is protected by the peer's lock; nothing here takes another.
pub(crate) struct Peer<H: Host> {
    pub(crate) static_key: PublicKey,
    /// X25519 of both static keys, computed when either is configured.
    pub(crate) static_static: Secret,
    pub(crate) preshared: Secret,
    pub(crate) endpoint: Option<Endpoint>,
    /// Our initiation under way. One at a time, and an accepted initiation of the other side ends it.
    pub(crate) handshake: Option<Initiating>,
    pub(crate) keypairs: Keypairs,
    pub(crate) cookies: CookieJar,
    pub(crate) timers: Timers,
    /// Greatest timestamp received in an authentic initiation; lives as long as the peer's entry.
    pub(crate) greatest_stamp: Tai64n,
    pub(crate) last_initiation_received: Option<Instant>,
    pub(crate) last_stamp_sent: Tai64n,
    pub(crate) last_handshake: Option<Instant>,
    staged: H::Staged,
    staged_datagrams: u32,
    staged_bytes: u32,
    /// The session under which staged packets are on their way out, zero for none; newer ones queue up behind them.
    pub(crate) flushing: u32,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    drops: [u32; Reason::COUNT],
}

impl<H: Host> Peer<H> {
    pub(crate) fn new(static_key: PublicKey, static_static: Secret, seed: u32) -> Self {
        Self {
            static_key,
            static_static,
            preshared: Secret::ZERO,
            endpoint: None,
            handshake: None,
            keypairs: Keypairs::default(),
            cookies: CookieJar::new(),
            timers: Timers::new(seed),
            greatest_stamp: Tai64n::ZERO,
            last_initiation_received: None,
            last_stamp_sent: Tai64n::ZERO,
            last_handshake: None,
            staged: H::Staged::default(),
            staged_datagrams: 0,
            staged_bytes: 0,
            flushing: 0,
            rx_bytes: 0,
            tx_bytes: 0,
            drops: [0; Reason::COUNT],
        }
    }

    /// What a handshake needs to know of the peer, to be used outside the lock.
    pub(crate) fn remote(&self) -> Remote {
        Remote {
            static_key: self.static_key.0,
            static_static: self.static_static.clone(),
            preshared: self.preshared.clone(),
        }
    }

    pub(crate) fn count_drop(&mut self, reason: Reason, packets: u32) {
        if let Some(count) = self.drops.get_mut(reason.index()) {
            *count = count.saturating_add(packets);
        }
    }

    pub(crate) const fn drops(&self) -> &[u32; Reason::COUNT] {
        &self.drops
    }

    /// Queues a packet behind the others, the oldest making room for it first. Gives what was pushed out.
    pub(crate) fn stage(&mut self, packet: <H::Staged as Staged>::Packet) -> (H::Staged, u32) {
        let mut evicted = H::Staged::default();
        let mut dropped = 0_u32;
        let (datagrams, bytes) = (packet.datagrams(), length(&packet));
        while self.staged_datagrams.saturating_add(datagrams) > MAX_STAGED_DATAGRAMS
            || self.staged_bytes.saturating_add(bytes) > MAX_STAGED_BYTES
        {
            let Some(oldest) = self.staged.pop() else { break };
            self.staged_datagrams = self.staged_datagrams.saturating_sub(oldest.datagrams());
            self.staged_bytes = self.staged_bytes.saturating_sub(length(&oldest));
            dropped = dropped.saturating_add(oldest.datagrams());
            evicted.push(oldest);
        }
        self.staged_datagrams = self.staged_datagrams.saturating_add(datagrams);
        self.staged_bytes = self.staged_bytes.saturating_add(bytes);
        self.staged.push(packet);
        (evicted, dropped)
    }

    /// Takes all staged packets and says how many datagrams they become.
    pub(crate) fn take_staged(&mut self) -> (H::Staged, u32) {
        self.staged_bytes = 0;
        (core::mem::take(&mut self.staged), core::mem::take(&mut self.staged_datagrams))
    }

    /// Whether staged packets are on their way out. Under a session that is gone they can only be dropped, and nothing
    /// waits for them: a host that forgets to say when it is done holds its packets up for no longer than that.
    pub(crate) fn is_flushing(&mut self) -> bool {
        self.flushing != 0 && self.keypairs.by_id(self.flushing).is_some()
    }

    pub(crate) const fn staged(&self) -> (u32, u32) {
        (self.staged_datagrams, self.staged_bytes)
    }

    /// Forgets keys and handshakes; gives the index of the handshake that ended, and the sessions.
    pub(crate) fn forget_keys(&mut self) -> (Option<u32>, Retired) {
        (self.end_handshake(), self.keypairs.clear())
    }

    /// Our initiation under way, if it has that `index`.
    pub(crate) fn initiating(&self, index: u32) -> Option<&Initiating> {
        self.handshake.as_ref().filter(|handshake| handshake.index == index)
    }

    /// Ends our initiation under way, if there is one, and gives its index. In place: a value moved out would leave its
    /// keys behind in the peer's memory.
    pub(crate) fn end_handshake(&mut self) -> Option<u32> {
        let index = self.handshake.as_ref().map(|handshake| handshake.index);
        self.handshake = None;
        index
    }

    /// Lets the operating system choose the local address anew.
    pub(crate) fn forget_source(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.source = None;
        }
    }
}

/// Bytes of a staged packet. Four of them for the sum are enough, and each peer has one.
fn length(packet: &impl StagedPacket) -> u32 {
    u32::try_from(packet.bytes()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_survives_as_a_number() {
        let peer = PeerRef { slot: 0x1234_5678, generation: 0x9abc_def0 };
        assert_eq!(peer.to_bits(), 0x9abc_def0_1234_5678);
        assert_eq!(PeerRef::from_bits(peer.to_bits()), peer);
    }
}
