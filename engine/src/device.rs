//! The device: what all peers share, and how a packet-time call finds its peer.

use crate::cookie::CookieSecret;
use crate::deadlines::Deadlines;
use crate::host::{Entropy, Host, Lock, Rank, Table};
use crate::indices::Indices;
use crate::memory::{Block, OutOfMemory};
use crate::noise::Identity;
use crate::pages::Pages;
use crate::peer::{Peer, PeerRef};
use crate::ratelimiter::Buckets;
use crate::reason::{Drops, Reason};
use crate::routes::Routes;
use crate::secret::Secret;
use crate::session::Retired;
use crate::time::{Instant, Tai64n};
use crate::timers::{Expired, Timer};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Source addresses whose handshakes are metered at one time; more are refused while the device is under load.
const RATE_LIMITER_ENTRIES: u32 = 4096;

/// One WireGuard interface.
///
/// Every call takes the device by shared reference and may be made from any thread. Calls come in groups:
///
/// - **outgoing data**: [`route`](Self::route) names the peer of an inner packet; [`reserve`](Self::reserve) numbers a run
///   of packets for it; [`seal`](Self::seal) encrypts the run; [`commit_sealed`](Self::commit_sealed) accounts for it and says
///   where to send it. Where `reserve` finds no session, [`stage`](Self::stage) keeps the packet, and
///   [`reserve_staged`](Self::reserve_staged) gives all kept packets back with their numbers once there is one, and
///   [`flushed`](Self::flushed) must tell that they have been sent or dropped.
/// - **incoming data**: [`admit`](Self::admit) finds the session of a run of packets; [`open`](Self::open) decrypts the run;
///   [`commit_opened`](Self::commit_opened) gives each packet its verdict. All three take the same slice of entries.
/// - **handshakes**, on a thread of their own because they compute Diffie-Hellman:
///   [`receive_handshake`](Self::receive_handshake) and [`initiate`](Self::initiate).
/// - **time**: [`next_deadline`](Self::next_deadline) says when to call [`expire`](Self::expire), and why.
/// - **configuration**: [`configure`](Self::configure), and the reading calls of the same module.
///
/// What a call leaves to be done is in the [`Followup`] it returns.
///
/// Locks, in the order they may be taken: configuration, tables, one peer, and below them the small ones of the device
/// (deadlines, admission, stamps), of which no two are held at once.
pub struct Device<H: Host> {
    pub(crate) host: H,
    pub(crate) tables: H::Table<Tables<H>>,
    pub(crate) configuration: H::Lock<()>,
    pub(crate) deadlines: H::Lock<Deadlines>,
    pub(crate) admission: H::Lock<Admission>,
    pub(crate) stamps: H::Lock<Stamps>,
    pub(crate) drops: Drops,
    pub(crate) up: AtomicBool,
    /// Counts configuration changes, so that a listing in pieces can tell that it was interrupted.
    pub(crate) generation: AtomicU32,
}

/// What packets look into. Changed by configuration, and by handshakes for the indices.
pub(crate) struct Tables<H: Host> {
    pub(crate) identity: Option<Identity>,
    /// Keys the hash under which `routes` finds peers by public key; zero until the first change is prepared.
    pub(crate) key_hash_key: Secret,
    pub(crate) routes: Routes,
    pub(crate) indices: Indices,
    pub(crate) slots: Pages<Slot<H>>,
    pub(crate) peers: u32,
    /// Slots from here on were never used.
    pub(crate) unused: u32,
    /// First of the chain of slots that are free again, `u32::MAX` at its end.
    pub(crate) free: u32,
}

/// A place for a peer. The generation changes under the write section of the tables only.
pub(crate) struct Slot<H: Host> {
    pub(crate) generation: u32,
    pub(crate) next_free: u32,
    pub(crate) peer: H::Lock<Option<Block<Peer<H>>>>,
}

/// What stands between strangers and the cost of a handshake.
pub(crate) struct Admission {
    pub(crate) cookies: CookieSecret,
    pub(crate) buckets: Buckets,
    /// Keys the hash of the rate limiter's table, so that nobody can aim at one of its sets.
    pub(crate) bucket_key: Secret,
    pub(crate) loaded_until: Instant,
}

/// Timestamps of our own initiations.
pub(crate) struct Stamps {
    /// None is sent below this, which is above all that was sent in an earlier life of the device.
    pub(crate) floor: Tai64n,
    pub(crate) greatest: Tai64n,
}

/// What a call leaves for the host to do, outside of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Followup {
    /// The device's earliest deadline moved earlier: wake whoever waits for [`Device::next_deadline`].
    pub rearm: bool,
    /// Staged packets can go: call [`Device::reserve_staged`] for this peer.
    pub flush: Option<PeerRef>,
}

/// The device's earliest deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When [`Device::expire`] has something to do. It may find that the peer's deadline has moved since.
    pub at: Instant,
    /// The peer whose deadline it is.
    pub peer: PeerRef,
    /// What that peer's earliest deadline is for.
    pub timer: Timer,
}

/// A peer whose deadlines passed, and what the host is to do for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Due {
    /// The peer.
    pub peer: PeerRef,
    /// Call [`Device::initiate`] on the thread for handshakes.
    pub initiate: bool,
    /// Send a keepalive: [`Device::reserve_keepalive`], then an empty run.
    pub keepalive: bool,
}

impl<H: Host> Device<H> {
    /// A device without identity and peers, up.
    ///
    /// Takes about 150 KiB at once, most of it the table that meters handshakes by source.
    ///
    /// # Errors
    /// [`OutOfMemory`] if the host cannot give what a device needs.
    pub fn new(host: H) -> Result<Self, OutOfMemory> {
        let admission = Admission {
            cookies: CookieSecret::new(),
            buckets: Buckets::new(RATE_LIMITER_ENTRIES)?,
            bucket_key: Secret::ZERO,
            loaded_until: Instant::ZERO,
        };
        let tables = Tables {
            identity: None,
            key_hash_key: Secret::ZERO,
            routes: Routes::new()?,
            indices: Indices::new()?,
            slots: Pages::new()?,
            peers: 0,
            unused: 0,
            free: u32::MAX,
        };
        Ok(Self {
            host,
            tables: H::Table::new(tables)?,
            configuration: H::Lock::new(Rank::Configuration, ())?,
            deadlines: H::Lock::new(Rank::Device, Deadlines::new()?)?,
            admission: H::Lock::new(Rank::Device, admission)?,
            stamps: H::Lock::new(Rank::Device, Stamps { floor: Tai64n::ZERO, greatest: Tai64n::ZERO })?,
            drops: Drops::default(),
            up: AtomicBool::new(true),
            generation: AtomicU32::new(0),
        })
    }

    /// The host that was given to [`Device::new`].
    pub const fn host(&self) -> &H {
        &self.host
    }

    /// The earliest deadline of all peers; `None` while nothing is to be waited for.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let (at, slot) = self.deadlines.with(|deadlines| deadlines.earliest())?;
        let (peer, timer) = self.tables.read(|tables| {
            let peer = tables.reference(slot).unwrap_or(PeerRef { slot, generation: 0 });
            (peer, tables.with_peer(peer, |peer| peer.timers.earliest().1))
        });
        // A peer that is removed at this moment has no timer any more. The deadline counts all the same: whoever waits
        // for it finds nothing due and asks again, and no other peer's is missed.
        Some(Deadline { at, peer, timer: timer.unwrap_or(Timer::WipeKeys) })
    }

    /// Handles one peer whose deadline has passed; `None` when there is no other. Call it again until then, or up to
    /// as many times as the host wants to spend at once.
    pub fn expire(&self, now: Instant) -> Option<Due> {
        // A peer whose deadline moved later since it was queued has nothing due; one call looks at 64 of those.
        for _ in 0..64 {
            let slot = self.deadlines.with(|deadlines| deadlines.pop_due(now))?;
            if let Some(due) = self.expire_slot(now, slot) {
                return Some(due);
            }
        }
        // Their true deadlines are in the queue again; the host finds out when it asks for the next one.
        None
    }

    /// Counts packets that the host dropped: a full queue of its own, a failed system call.
    pub fn count_drop(&self, peer: Option<PeerRef>, reason: Reason, packets: u32) {
        self.drops.count(reason, usize::try_from(packets).unwrap_or(usize::MAX));
        if let Some(peer) = peer {
            self.with_peer(peer, |peer| peer.count_drop(reason, packets));
        }
    }

    /// Lets the operating system choose anew from which local address `peer` is reached: the one its packets came in on
    /// has gone.
    pub fn forget_source(&self, peer: PeerRef) {
        self.with_peer(peer, Peer::forget_source);
    }

    /// How many packets the device dropped for `reason`, those of known peers included.
    pub fn drops(&self, reason: Reason) -> usize {
        self.drops.get(reason)
    }

    /// The greatest timestamp taken for an initiation so far, also if that could not be made then (a peer's key of low order).
    ///
    /// A host that remembers it across restarts and sets it as floor
    /// ([`Configuration::set_stamp_floor`](crate::config::Configuration::set_stamp_floor)) is not locked out by a clock that was set back.
    pub fn greatest_stamp_sent(&self) -> Tai64n {
        self.stamps.with(|stamps| stamps.greatest)
    }

    /// Whether the interface is up.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    fn expire_slot(&self, now: Instant, slot: u32) -> Option<Due> {
        let peer = self.tables.read(|tables| tables.reference(slot))?;
        let (expired, _) = self.with_timers(peer, |peer| {
            peer.timers.queued = Instant::NEVER;
            let expired = peer.timers.expire(now);
            if expired.clear_source {
                peer.forget_source();
            }
            let purged = if expired.give_up { peer.take_staged() } else { Default::default() };
            peer.count_drop(Reason::HandshakeTimeout, purged.1);
            let forgotten = if expired.wipe_keys { peer.forget_keys() } else { Default::default() };
            (expired, forgotten, purged)
        })?;
        let (Expired { initiate, keepalive, .. }, (index, retired), (purged, count)) = expired;
        self.forget_indices(index, &retired);
        self.count_drop(None, Reason::HandshakeTimeout, count);
        drop(purged);
        (initiate || keepalive).then_some(Due { peer, initiate, keepalive })
    }

    /// Runs `section` with the peer locked; `None` if it is gone.
    pub(crate) fn with_peer<R>(&self, peer: PeerRef, section: impl FnOnce(&mut Peer<H>) -> R) -> Option<R> {
        self.tables.read(|tables| tables.with_peer(peer, section))
    }

    /// As [`Device::with_peer`], for sections that may write deadlines: tells the device's queue, and gives whether
    /// its earliest moved.
    pub(crate) fn with_timers<R>(
        &self,
        reference: PeerRef,
        section: impl FnOnce(&mut Peer<H>) -> R,
    ) -> Option<(R, bool)> {
        self.with_peer(reference, |peer| {
            let result = section(peer);
            let rearm = self.queue_deadline(reference.slot, peer);
            (result, rearm)
        })
    }

    /// Tells the device's queue if the peer's earliest deadline is earlier than the queue believes. Called with the
    /// peer locked.
    pub(crate) fn queue_deadline(&self, slot: u32, peer: &mut Peer<H>) -> bool {
        let (earliest, _) = peer.timers.earliest();
        if earliest >= peer.timers.queued {
            return false;
        }
        peer.timers.queued = earliest;
        self.deadlines.with(|deadlines| deadlines.lower(slot, earliest))
    }

    /// Frees the receiver indices of sessions and of a handshake that ended.
    pub(crate) fn forget_indices(&self, handshake: Option<u32>, retired: &Retired) {
        if handshake.is_some() || !retired.is_empty() {
            self.tables.write(|tables| {
                for index in handshake.into_iter().chain(retired.indices()) {
                    tables.indices.remove(index);
                }
            });
        }
    }

    /// A receiver index for `peer` that nobody else has; `None` if randomness is not seeded or the table is full.
    pub(crate) fn new_index(&self, peer: PeerRef) -> Option<u32> {
        // The table is at most half full: sixteen draws all fail once in about 2^16 · 2^16 handshakes at worst.
        for _ in 0..16 {
            let mut bytes = [0; 4];
            if !self.host.entropy().fill(&mut bytes) {
                return None;
            }
            let index = u32::from_le_bytes(bytes);
            let inserted = self.tables.write(|tables| {
                let alive = tables.slots.get(peer.slot).is_some_and(|slot| slot.generation == peer.generation);
                alive && tables.indices.insert(index, peer.slot)
            });
            if inserted {
                return Some(index);
            }
        }
        None
    }

    /// 32 random bytes.
    pub(crate) fn random_secret(&self) -> Option<Secret> {
        let mut secret = Secret::ZERO;
        self.host.entropy().fill(secret.expose_mut()).then_some(secret)
    }
}

impl<H: Host> Tables<H> {
    /// Runs `section` with the peer locked; `None` if it is gone.
    pub(crate) fn with_peer<R>(&self, peer: PeerRef, section: impl FnOnce(&mut Peer<H>) -> R) -> Option<R> {
        let slot = self.slots.get(peer.slot).filter(|slot| slot.generation == peer.generation)?;
        slot.peer.with(|place| place.as_mut()?.get_mut().map(section))
    }

    /// The peer for which `index` was drawn.
    pub(crate) fn by_index(&self, index: u32) -> Option<PeerRef> {
        self.indices.get(index).and_then(|slot| self.reference(slot))
    }

    /// The peer in `slot` as of now.
    pub(crate) fn reference(&self, slot: u32) -> Option<PeerRef> {
        self.slots.get(slot).map(|place| PeerRef { slot, generation: place.generation })
    }
}
