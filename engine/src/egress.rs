//! Inner packets on their way out: routed, numbered, sealed, accounted for.

use crate::device::{Device, Followup, Tables};
use crate::host::{Crypto, Host, Staged, StagedPacket, Table};
use crate::inner;
use crate::message::DataHeader;
use crate::peer::{Endpoint, Peer, PeerRef};
use crate::reason::Reason;
use crate::time::Instant;

/// Numbers for a run of packets under one key: what to write before each, and what to seal them with.
///
/// It holds no key. It can be sealed once: a counter that was given away is never used for two packets, and one whose
/// job is dropped is never used at all.
#[derive(Debug)]
#[must_use]
pub struct SealJob {
    peer: PeerRef,
    session: u32,
    remote_index: u32,
    first: u64,
    count: u32,
}

impl SealJob {
    /// The peer the packets go to.
    #[must_use]
    pub const fn peer(&self) -> PeerRef {
        self.peer
    }

    /// How many packets the job covers.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The sixteen bytes in front of packet `at` of the run. From [`SealJob::count`] on they are another job's: a packet
    /// with one of those is not to be sent.
    #[must_use]
    pub const fn header(&self, at: u32) -> [u8; DataHeader::LEN] {
        DataHeader { receiver: self.remote_index, counter: self.first.wrapping_add(at as u64) }.to_bytes()
    }

    /// Splits off a job for the first `count` packets, or all if there are fewer, leaving the rest here.
    pub fn take(&mut self, count: u32) -> Self {
        let count = count.min(self.count);
        let Self { peer, session, remote_index, first, .. } = *self;
        let front = Self { peer, session, remote_index, first, count };
        self.first = self.first.wrapping_add(u64::from(count));
        self.count = self.count.saturating_sub(count);
        front
    }
}

/// A run that was encrypted and may be sent once it is committed.
#[derive(Debug)]
#[must_use]
pub struct SealedJob(SealJob);

impl SealedJob {
    /// The peer the packets go to.
    #[must_use]
    pub const fn peer(&self) -> PeerRef {
        self.0.peer
    }
}

/// Why a run got no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReserved {
    /// There is no session, or older packets still wait for one: hand the packet to [`Device::stage`].
    Stage,
    /// The packets are dropped and counted.
    Drop(Reason),
}

/// A packet was staged.
#[must_use]
pub struct StagedOutcome<S> {
    /// Packets that were pushed out, already counted: to be freed, or told to their sender.
    pub evicted: S,
    /// What to do next.
    pub followup: Followup,
}

/// Where a sealed run goes.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Departure {
    /// Destination, and the local address to send from if one is known.
    pub endpoint: Endpoint,
    /// What to do next.
    pub followup: Followup,
}

impl<H: Host> Device<H> {
    /// The peer for an inner packet that begins with `head` (40 bytes, or all if it is shorter) and is `len` bytes long.
    ///
    /// # Errors
    /// The reason for which the packet was dropped, already counted: [`Reason::NotIp`] or [`Reason::NoRoute`].
    pub fn route(&self, head: &[u8], len: usize) -> Result<PeerRef, Reason> {
        let routed = inner::parse(head, len).ok_or(Reason::NotIp).and_then(|packet| {
            let find = |tables: &Tables<H>| tables.reference(tables.routes.lookup(packet.destination)?);
            self.tables.read(find).ok_or(Reason::NoRoute)
        });
        routed.inspect_err(|reason| self.count_drop(None, *reason, 1))
    }

    /// Numbers `count` packets for `peer`, which are then to be sealed, committed and sent in this order. Any count will do,
    /// but one that goes beyond the last number of a session ends it, and zero makes a job with nothing to seal.
    ///
    /// # Errors
    /// [`NotReserved::Stage`] if they have to wait, [`NotReserved::Drop`] if the peer cannot be reached at all.
    pub fn reserve(&self, now: Instant, peer: PeerRef, count: u32) -> Result<SealJob, NotReserved> {
        let job = self.with_peer(peer, |state| {
            if !self.is_up() {
                return Err(NotReserved::Drop(Reason::StagedPurged));
            }
            if state.endpoint.is_none() {
                return Err(NotReserved::Drop(Reason::NoEndpoint));
            }
            if state.staged().0 > 0 || state.is_flushing() {
                return Err(NotReserved::Stage);
            }
            number(state, peer, now, count).ok_or(NotReserved::Stage)
        });
        let result = job.unwrap_or(Err(NotReserved::Drop(Reason::NoRoute)));
        if let Err(NotReserved::Drop(reason)) = result {
            self.count_drop(Some(peer), reason, count);
        }
        result
    }

    /// Numbers for one keepalive. `None` if there is nothing to do: no session (an initiation is scheduled then, and
    /// what follows it is as good), no endpoint, or staged packets that go instead.
    pub fn reserve_keepalive(&self, now: Instant, peer: PeerRef) -> (Option<SealJob>, Followup) {
        let result = self.with_timers(peer, |state| {
            if !self.is_up() || state.endpoint.is_none() {
                return (None, false);
            }
            let waiting = state.staged().0 > 0;
            if !may_send(state, now) {
                state.timers.want_initiation(now, true);
                return (None, false);
            }
            if waiting {
                return (None, !state.is_flushing());
            }
            // Even while a flush is under way, whose packets may belong to the session before: it overtakes no content.
            (number(state, peer, now, 1), false)
        });
        let ((job, flush), rearm) = result.unwrap_or_default();
        (job, Followup { rearm, flush: flush.then_some(peer) })
    }

    /// Keeps a packet until there is a session for it, and sees to it that one is asked for.
    ///
    /// If the peer is gone or the interface is down, the packet comes back as evicted.
    pub fn stage(
        &self,
        now: Instant,
        peer: PeerRef,
        packet: <H::Staged as Staged>::Packet,
    ) -> StagedOutcome<H::Staged> {
        let datagrams = packet.datagrams();
        let mut packet = Some(packet);
        let staged = self.with_timers(peer, |state| {
            if !self.is_up() {
                return None;
            }
            let (evicted, dropped) = packet.take().map(|packet| state.stage(packet)).unwrap_or_default();
            state.count_drop(Reason::StagedOverflow, dropped);
            let ready = may_send(state, now);
            if !ready {
                state.timers.want_initiation(now, true);
            }
            Some((evicted, dropped, ready && !state.is_flushing()))
        });
        if let Some((Some((evicted, dropped, flush)), rearm)) = staged {
            self.count_drop(None, Reason::StagedOverflow, dropped);
            return StagedOutcome { evicted, followup: Followup { rearm, flush: flush.then_some(peer) } };
        }
        self.count_drop(None, Reason::StagedPurged, datagrams);
        let mut evicted = H::Staged::default();
        if let Some(packet) = packet {
            evicted.push(packet);
        }
        StagedOutcome { evicted, followup: Followup::default() }
    }

    /// All staged packets of `peer`, with one job that numbers their datagrams in order.
    ///
    /// Newer packets to the peer are staged until [`Device::flushed`] is called, so that none overtakes these. Call it also
    /// if they could not be sent. Without it no packet goes to the peer, and what is staged is pushed out by what comes later
    /// ([`Reason::StagedOverflow`]), until the session of the job is forgotten: at most two handshakes later.
    ///
    /// # Errors
    /// What to do instead if there are none, there is no session any more (an initiation is scheduled then), or another
    /// thread is sending them.
    pub fn reserve_staged(&self, now: Instant, peer: PeerRef) -> Result<(H::Staged, SealJob), Followup> {
        let reserved = self.with_timers(peer, |state| {
            let waiting = state.staged().0;
            if waiting == 0 || state.is_flushing() || state.endpoint.is_none() {
                return None;
            }
            let Some(job) = number(state, peer, now, waiting) else {
                state.timers.want_initiation(now, true);
                return None;
            };
            state.flushing = job.session;
            Some((state.take_staged().0, job))
        });
        match reserved {
            Some((Some(reserved), _)) => Ok(reserved),
            Some((None, rearm)) => Err(Followup { rearm, flush: None }),
            None => Err(Followup::default()),
        }
    }

    /// The packets given by [`Device::reserve_staged`] have been sent or dropped.
    pub fn flushed(&self, now: Instant, peer: PeerRef) -> Followup {
        let result = self.with_timers(peer, |state| {
            state.flushing = 0;
            let waiting = state.staged().0 > 0;
            let ready = may_send(state, now);
            if waiting && !ready {
                state.timers.want_initiation(now, true);
            }
            waiting && ready
        });
        let (flush, rearm) = result.unwrap_or_default();
        Followup { rearm, flush: flush.then_some(peer) }
    }

    /// Encrypts in place the packets of `run`, as many as the job has numbers for, whose headers are the job's.
    ///
    /// `None`, counted as [`Reason::StaleOut`], if the session has ended meanwhile or the run has another length; nothing
    /// was encrypted then.
    pub fn seal(&self, job: SealJob, run: &mut <H::Crypto as Crypto>::Run<'_>) -> Option<SealedJob> {
        let crypto = self.host.crypto();
        let fits = u32::try_from(crypto.run_len(run)) == Ok(job.count);
        let key = self.with_peer(job.peer, |peer| peer.keypairs.by_id(job.session).map(|s| s.send_key.clone()));
        let Some(Some(key)) = key.filter(|_| fits) else {
            self.count_drop(Some(job.peer), Reason::StaleOut, job.count);
            return None;
        };
        crypto.seal_run(&key, job.first, run);
        Some(SealedJob(job))
    }

    /// Accounts for a sealed run of `bytes` bytes in all, those of every datagram with its header and tag but without headers of
    /// lower layers, that carries anything but keepalives if `data`. Then send it.
    ///
    /// # Errors
    /// [`Reason::StaleOut`], counted: the session or the peer is gone, the run must not be sent.
    pub fn commit_sealed(&self, now: Instant, job: SealedJob, bytes: usize, data: bool) -> Result<Departure, Reason> {
        let SealedJob(job) = job;
        let committed = self.with_timers(job.peer, |peer| {
            let endpoint = peer.endpoint?;
            peer.keypairs.by_id(job.session)?;
            // The job's own session may have been replaced since; then nothing is to be renewed.
            let rekey = peer.keypairs.current().is_some_and(|current| current.wants_rekey_on_send(now));
            peer.tx_bytes = peer.tx_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            peer.timers.any_authenticated_sent(now);
            if data {
                peer.timers.data_sent(now);
            }
            if rekey {
                peer.timers.want_initiation(now, false);
            }
            Some(endpoint)
        });
        if let Some((Some(endpoint), rearm)) = committed {
            return Ok(Departure { endpoint, followup: Followup { rearm, flush: None } });
        }
        self.count_drop(Some(job.peer), Reason::StaleOut, job.count);
        Err(Reason::StaleOut)
    }
}

/// Whether the peer has a session that seals.
fn may_send<H: Host>(peer: &mut Peer<H>, now: Instant) -> bool {
    peer.keypairs.current().is_some_and(|session| session.may_send(now))
}

/// Takes counters from the peer's current session.
fn number<H: Host>(peer: &mut Peer<H>, reference: PeerRef, now: Instant, count: u32) -> Option<SealJob> {
    let session = peer.keypairs.current()?;
    let first = session.reserve(now, count)?;
    Some(SealJob { peer: reference, session: session.id, remote_index: session.remote_index, first, count })
}
