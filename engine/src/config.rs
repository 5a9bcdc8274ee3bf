//! Changing a device: prepared as a whole, which may fail, then applied, which cannot.

mod removed;
#[cfg(test)]
mod tests;

use crate::deadlines::Cell;
use crate::device::{Device, Slot, Tables};
use crate::host::{Crypto, Entropy, Host, Lock, Rank, Table};
use crate::indices::Bucket;
use crate::memory::{Block, OutOfMemory, push, vec_of};
use crate::noise::Identity;
use crate::pages::Pages;
use crate::peer::{Endpoint, Peer, PeerRef};
use crate::reason::Reason;
use crate::routes::{AllowedIp, Ends, Node};
use crate::secret::{PublicKey, Secret};
use crate::time::{Instant, Tai64n};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use removed::Removed;

/// Peers a device can have: 2^20, the kernel's limit.
pub const MAX_PEERS: u32 = 1 << 20;
/// What one hold of a lock may work off.
const BATCH: u32 = 64;

/// What is to be changed, in the terms of the configuration protocols. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Change<'a> {
    /// The device's private key; all zeros takes it away.
    pub private_key: Option<Secret>,
    /// Remove all peers first.
    pub replace_peers: bool,
    /// Changes of peers, made in this order.
    pub peers: &'a [PeerChange<'a>],
}

/// What is to be changed of one peer. A peer that does not exist is made, unless the change says otherwise.
#[derive(Clone, Debug)]
pub struct PeerChange<'a> {
    /// Which peer.
    pub public_key: PublicKey,
    /// Remove it; nothing else here counts then.
    pub remove: bool,
    /// Do nothing if it does not exist.
    pub update_only: bool,
    /// Preshared key, all zeros for none. Holds from the next handshake on.
    pub preshared_key: Option<Secret>,
    /// Where it is reached until it is heard from elsewhere.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives, zero for none.
    pub persistent_keepalive: Option<u16>,
    /// Remove all its allowed IPs first.
    pub replace_allowed_ips: bool,
    /// Changes of allowed IPs, made in this order.
    pub allowed_ips: &'a [AllowedIpChange],
}

impl PeerChange<'_> {
    /// A change that makes the peer if need be, and changes nothing else.
    #[must_use]
    pub const fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: &[],
        }
    }
}

/// What is to be changed of a peer's allowed IPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIpChange {
    /// It is this peer's now, whoever had it before.
    Add(AllowedIp),
    /// It is not this peer's any more.
    Remove(AllowedIp),
}

/// Why a change cannot be made. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The host has not enough memory.
    OutOfMemory,
    /// There would be more than [`MAX_PEERS`] peers, be it between two steps of the change: what goes has to go first.
    TooManyPeers,
    /// The host's randomness is not seeded yet; try again when it is.
    NotSeeded,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => OutOfMemory.fmt(f),
            Self::TooManyPeers => f.write_str("a device can have 1,048,576 peers, not more: remove some first"),
            Self::NotSeeded => f.write_str("the system has no randomness yet: try again in a moment"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl From<OutOfMemory> for ConfigError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// A change for which everything is ready.
///
/// What was made ready holds for the device as it is. So a change belongs to one section of [`Device::configure`] and leaves
/// it only applied or dropped, and until then nothing else can be done there: not even prepare another one.
///
/// ```compile_fail,E0499
/// # use kerntun_engine::{config::{Change, ConfigError}, device::Device, time::Instant};
/// # let device = Device::new(kerntun_host::UserHost::new(kerntun_crypto::Portable)).unwrap();
/// device.configure(|configuration| {
///     let first = configuration.prepare(Change::default())?;
///     let second = configuration.prepare(Change::default())?;
///     Ok::<_, ConfigError>(first.apply(Instant::ZERO) | second.apply(Instant::ZERO))
/// });
/// ```
#[must_use]
pub struct Prepared<'a, H: Host> {
    configuration: Configuration<'a, H>,
    change: Change<'a>,
    /// The new identity, if it changes: `Some(None)` takes it away.
    identity: Option<Option<Identity>>,
    /// A peer to be for each change of `change.peers` that may make one.
    drafts: Vec<Option<Block<Peer<H>>>>,
}

/// The right to change a device, held by one at a time.
pub struct Configuration<'d, H: Host> {
    device: &'d Device<H>,
}

impl<H: Host> Device<H> {
    /// Runs `section` while nobody else changes the device. Packets flow on. The section may sleep; it must not
    /// call `configure` again.
    pub fn configure<R>(&self, section: impl FnOnce(&mut Configuration<'_, H>) -> R) -> R {
        self.configuration.with(|()| section(&mut Configuration { device: self }))
    }
}

impl<H: Host> Prepared<'_, H> {
    /// Makes the change. True if the device's earliest deadline moved earlier: wake whoever waits for it.
    pub fn apply(self, now: Instant) -> bool {
        let Self { configuration, change, identity, drafts } = self;
        let mut rearm = false;
        // Before a new identity, which computes something for every peer there is.
        if change.replace_peers {
            configuration.device.each_peer(|peer| configuration.remove(peer));
        }
        if let Some(identity) = identity {
            rearm |= configuration.apply_identity(now, identity);
        }
        for (change, draft) in change.peers.iter().zip(drafts) {
            rearm |= configuration.apply_peer(now, change, draft);
        }
        configuration.device.generation.fetch_add(1, Ordering::Relaxed);
        rearm
    }
}

impl<H: Host> Configuration<'_, H> {
    /// Checks `change` and takes all memory it needs.
    ///
    /// # Errors
    /// Any [`ConfigError`]; the device is as it was.
    pub fn prepare<'a>(&'a mut self, change: Change<'a>) -> Result<Prepared<'a, H>, ConfigError> {
        let crypto = self.device.host.crypto();
        let current = self.device.tables.read(|tables| tables.identity.clone());
        let identity = match &change.private_key {
            Some(key) if key.is_zero() => current.is_some().then_some(None),
            Some(key) if current.as_ref().is_some_and(|identity| identity.private == *key) => None,
            Some(key) => Some(Some(Identity::new(crypto, key.clone()))),
            None => None,
        };
        self.prepare_key_hash()?;
        let new_identity = identity.as_ref().unwrap_or(&current);
        // Nodes of the routes, and how many peers there are after each step and at most. Where it is not certain that a step
        // removes a peer, because another one may have done so before, it counts as one that does not.
        let (mut new_nodes, mut peers) = (0_u32, if change.replace_peers { 0 } else { self.device.peer_count() });
        let mut most = peers;
        let mut drafts = vec_of(change.peers.len())?;
        let mut removed = Removed::with_room_for(change.peers.len())?;
        for peer in change.peers {
            let key = &peer.public_key;
            let gone = removed.has(key, peer.remove) || change.replace_peers;
            let exists = !gone && self.device.find(key).is_some();
            let may_be_made = !peer.remove && !peer.update_only && !exists;
            let draft = if may_be_made { Some(self.draft(peer, new_identity.as_ref())?) } else { None };
            new_nodes = new_nodes.saturating_add(may_be_made.into());
            peers = peers.saturating_add(may_be_made.into()).saturating_sub((exists && peer.remove).into());
            most = most.max(peers);
            push(&mut drafts, draft)?;
            let new = peer.allowed_ips.iter().filter(|allowed| change.replace_peers || self.takes_memory(allowed));
            new_nodes = new_nodes.saturating_add(u32::try_from(new.count()).unwrap_or(u32::MAX));
        }
        self.make_room(change.replace_peers, most, new_nodes)?;
        Ok(Prepared { configuration: Configuration { device: self.device }, change, identity, drafts })
    }

    /// Initiations will carry timestamps above `sent` only: what [`Device::greatest_stamp_sent`] was in an earlier life.
    pub fn set_stamp_floor(&self, sent: Tai64n) {
        self.device.stamps.with(|stamps| stamps.floor = sent.next());
    }

    /// The interface came up. True as for [`Prepared::apply`].
    pub fn up(&self, now: Instant) -> bool {
        self.device.up.store(true, Ordering::Relaxed);
        let mut rearm = false;
        self.device.each_peer(|peer| {
            rearm |= self.device.with_timers(peer, |peer| peer.timers.start(now)).is_some_and(|(_, rearm)| rearm);
        });
        rearm
    }

    /// The interface went down: sessions, handshakes, timers and staged packets end.
    pub fn down(&self) {
        self.device.up.store(false, Ordering::Relaxed);
        self.device.each_peer(|peer| {
            let ended = self.device.with_peer(peer, |peer| {
                peer.timers.stop();
                let (staged, count) = peer.take_staged();
                peer.count_drop(Reason::StagedPurged, count);
                (staged, count, peer.forget_keys())
            });
            let (staged, count, (index, retired)) = ended.unwrap_or_default();
            self.device.count_drop(None, Reason::StagedPurged, count);
            self.device.forget_indices(index, &retired);
            drop(staged);
        });
    }

    /// Forgets all sessions and handshakes: the machine slept, or may be a copy of one that goes on using the same
    /// keys elsewhere.
    pub fn forget_sessions(&self) {
        self.device.each_peer(|peer| {
            let (index, retired) = self.device.with_peer(peer, Peer::forget_keys).unwrap_or_default();
            self.device.forget_indices(index, &retired);
        });
    }

    /// Forgets from which local addresses peers were reached: addresses, routes or marks have changed.
    pub fn forget_sources(&self) {
        self.device.each_peer(|peer| self.device.forget_source(peer));
    }

    /// Public keys are found by a keyed hash, so that nobody can choose keys that are slow to find.
    fn prepare_key_hash(&self) -> Result<(), ConfigError> {
        if self.device.tables.read(|tables| tables.key_hash_key.is_zero()) {
            let key = self.device.random_secret().ok_or(ConfigError::NotSeeded)?;
            self.device.tables.write(|tables| tables.key_hash_key = key);
        }
        Ok(())
    }

    // A frame of its own: a peer is large for a kernel's stack, which configuration shares with its caller.
    #[inline(never)]
    fn draft(&self, change: &PeerChange<'_>, identity: Option<&Identity>) -> Result<Block<Peer<H>>, ConfigError> {
        let key = change.public_key;
        let shared = identity.map(|identity| identity.static_static(self.device.host.crypto(), &key.0));
        let mut seed = [0; 4];
        if !self.device.host.entropy().fill(&mut seed) {
            return Err(ConfigError::NotSeeded);
        }
        let mut draft = Block::new(Peer::new(key, shared.unwrap_or_default(), u32::from_le_bytes(seed)))?;
        // All that admits a handshake is there before the peer can be found.
        if let (Some(peer), Some(key)) = (draft.get_mut(), &change.preshared_key) {
            peer.preshared = key.clone();
        }
        Ok(draft)
    }

    /// Whether there may be no node for it yet. One that goes before its turn in the same change leaves its memory behind.
    fn takes_memory(&self, change: &AllowedIpChange) -> bool {
        matches!(change, AllowedIpChange::Add(prefix) if !self.device.tables.read(|tables| tables.routes.has_node(prefix)))
    }

    /// Takes memory for `peers` peers at once and `new_nodes` more keys and allowed IPs, in pages made outside every lock.
    fn make_room(&self, replace_peers: bool, peers: u32, new_nodes: u32) -> Result<(), ConfigError> {
        let tables = &self.device.tables;
        if peers > MAX_PEERS {
            return Err(ConfigError::TooManyPeers);
        }
        let slot = || Ok(Slot { generation: 0, next_free: u32::MAX, peer: H::Lock::new(Rank::Peer, None)? });
        self.fill(peers, |tables| &mut tables.slots, slot)?;
        let slots = tables.read(|tables| tables.slots.capacity());
        self.fill(slots, |tables| &mut tables.routes.slots, || Ok(Ends::new()))?;
        let nodes = tables.read(|tables| tables.routes.nodes_needed(replace_peers, new_nodes));
        self.fill(nodes, |tables| &mut tables.routes.nodes, || Ok(Node::EMPTY))?;
        self.fill(peers.max(1), |tables| &mut tables.indices.buckets, || Ok(Bucket::EMPTY))?;
        while tables.write(|tables| tables.indices.grow()) {}
        let deadlines = &self.device.deadlines;
        while let Some(len) = deadlines.with(|deadlines| deadlines.cells.short_of(slots)) {
            let page = Pages::make(len, || Ok(Cell::EMPTY))?;
            drop(deadlines.with(|deadlines| deadlines.cells.install(page)));
        }
        Ok(())
    }

    /// Adds pages, made outside every lock, until there are `needed` items.
    fn fill<T>(
        &self,
        needed: u32,
        pages: impl Fn(&mut Tables<H>) -> &mut Pages<T>,
        item: impl Fn() -> Result<T, OutOfMemory>,
    ) -> Result<(), OutOfMemory> {
        let tables = &self.device.tables;
        while let Some(len) = tables.write(|tables| pages(tables).short_of(needed)) {
            let page = Pages::make(len, &item)?;
            drop(tables.write(|tables| pages(tables).install(page)));
        }
        Ok(())
    }

    /// Sessions made as somebody else end; a peer that is now ourselves goes (kernel `netlink.c`, `wg_set_device`).
    /// Handshakes that were wanted or under way begin again, as who we are now. True if the earliest deadline moved.
    fn apply_identity(&self, now: Instant, identity: Option<Identity>) -> bool {
        let own = identity.as_ref().and_then(|identity| self.device.find(&PublicKey(identity.public)));
        if let Some(peer) = own {
            self.remove(peer);
        }
        let previous = self.device.tables.write(|tables| core::mem::replace(&mut tables.identity, identity.clone()));
        drop(previous);
        let crypto = self.device.host.crypto();
        let mut rearm = false;
        self.device.each_peer(|reference| {
            let Some(key) = self.device.with_peer(reference, |peer| peer.static_key) else { return };
            let shared = identity.as_ref().map(|identity| identity.static_static(crypto, &key.0));
            let ended = self.device.with_timers(reference, |peer| {
                let wanted = peer.timers.wants_handshake()
                    || peer.staged().0 > 0
                    || (peer.timers.persistent_keepalive() > 0 && self.device.is_up());
                peer.static_static = shared.unwrap_or_default();
                peer.keypairs.expire_sending();
                peer.timers.forget_last_handshake();
                if wanted {
                    peer.timers.want_initiation(now, true);
                }
                peer.end_handshake()
            });
            let (ended, earlier) = ended.unwrap_or_default();
            rearm |= earlier;
            self.device.forget_indices(ended, &Default::default());
        });
        rearm
    }

    fn apply_peer(&self, now: Instant, change: &PeerChange<'_>, draft: Option<Block<Peer<H>>>) -> bool {
        let existing = self.device.find(&change.public_key);
        let peer = match (existing, draft) {
            (Some(peer), _) if change.remove => {
                self.remove(peer);
                return false;
            }
            (Some(peer), _) => Some(peer),
            // Ourselves as a peer is ignored without a word, as everywhere.
            (None, Some(_)) if self.is_own(&change.public_key) => return false,
            (None, Some(draft)) => self.insert(draft, &change.public_key),
            (None, None) => None,
        };
        let Some(peer) = peer else { return false };
        self.change_allowed_ips(peer, change);
        let up = self.device.is_up();
        let changed = self.device.with_timers(peer, |peer| {
            if let Some(key) = &change.preshared_key {
                peer.preshared = key.clone();
            }
            if let Some(remote) = change.endpoint {
                peer.endpoint = Some(Endpoint { remote, source: None });
            }
            if let Some(seconds) = change.persistent_keepalive {
                peer.timers.set_persistent_keepalive(now, seconds, up);
            }
        });
        changed.is_some_and(|((), rearm)| rearm)
    }

    fn change_allowed_ips(&self, peer: PeerRef, change: &PeerChange<'_>) {
        let tables = &self.device.tables;
        if change.replace_allowed_ips {
            while tables.write(|tables| tables.routes.remove_some(peer.slot, BATCH)) {}
        }
        for change in change.allowed_ips {
            tables.write(|tables| match change {
                // The nodes were made ready: this cannot fail.
                AllowedIpChange::Add(prefix) => drop(tables.routes.insert(*prefix, peer.slot)),
                AllowedIpChange::Remove(prefix) => drop(tables.routes.remove(prefix, peer.slot)),
            });
        }
    }

    fn insert(&self, draft: Block<Peer<H>>, key: &PublicKey) -> Option<PeerRef> {
        let hash = self.device.key_hash(key);
        self.device.tables.write(|tables| {
            let index = if tables.free == u32::MAX { tables.unused } else { tables.free };
            let slot = tables.slots.get(index)?;
            let (next_free, generation) = (slot.next_free, slot.generation);
            tables.routes.insert_key(hash, index).ok()?;
            slot.peer.with(|place| *place = Some(draft));
            if tables.free == u32::MAX {
                tables.unused = tables.unused.saturating_add(1);
            } else {
                tables.free = next_free;
            }
            tables.peers = tables.peers.saturating_add(1);
            Some(PeerRef { slot: index, generation })
        })
    }

    /// Removes a peer: first nothing finds it any more, then it goes, then its memory.
    fn remove(&self, peer: PeerRef) {
        let tables = &self.device.tables;
        let Some(key) = self.device.with_peer(peer, |peer| peer.static_key) else { return };
        let hash = self.device.key_hash(&key);
        while tables.write(|tables| tables.routes.remove_some(peer.slot, BATCH)) {}
        let removed = tables.write(|tables| {
            tables.routes.remove_key(hash);
            let free = tables.free;
            let slot = tables.slots.get_mut(peer.slot)?;
            let mut removed = slot.peer.with(Option::take)?;
            slot.generation = slot.generation.wrapping_add(1);
            slot.next_free = free;
            tables.free = peer.slot;
            tables.peers = tables.peers.saturating_sub(1);
            let (index, retired) = removed.get_mut().map(Peer::forget_keys).unwrap_or_default();
            for index in index.into_iter().chain(retired.indices()) {
                tables.indices.remove(index);
            }
            self.device.deadlines.with(|deadlines| deadlines.remove(peer.slot));
            Some((removed, retired))
        });
        if let Some((mut removed, retired)) = removed {
            // The other side remembers the greatest timestamp, whatever happens to the clock until we meet again.
            let next = removed.get().map_or(Tai64n::ZERO, |peer| peer.last_stamp_sent.next());
            self.device.stamps.with(|stamps| stamps.floor = stamps.floor.max(next));
            let (staged, count) = removed.get_mut().map(Peer::take_staged).unwrap_or_default();
            self.device.count_drop(None, Reason::StagedPurged, count);
            drop((staged, retired, removed));
        }
    }

    fn is_own(&self, key: &PublicKey) -> bool {
        self.device.tables.read(|tables| tables.identity.as_ref().is_some_and(|own| own.public == key.0))
    }
}

impl<H: Host> Device<H> {
    /// The peer with that public key.
    pub fn find(&self, key: &PublicKey) -> Option<PeerRef> {
        let hash = self.key_hash(key);
        let peer = self.tables.read(|tables| tables.routes.by_key(hash).and_then(|slot| tables.reference(slot)))?;
        // The hash has 128 bits; that two keys share one is not to be expected, but costs nothing to be sure of.
        self.with_peer(peer, |state| state.static_key == *key)?.then_some(peer)
    }

    fn key_hash(&self, key: &PublicKey) -> u128 {
        let hash_key = self.tables.read(|tables| tables.key_hash_key.clone());
        self.keyed_hash(&hash_key, &key.0)
    }

    pub(crate) fn keyed_hash(&self, key: &Secret, data: &[u8]) -> u128 {
        let mut out = [0; 16];
        self.host.crypto().mac(&mut out, key.expose(), &[data]);
        u128::from_le_bytes(out)
    }
}
