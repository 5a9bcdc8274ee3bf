//! Data messages on their way in: found, opened, checked.

use crate::device::{Device, Followup, Tables};
use crate::host::{Crypto, Host, Table};
use crate::inner::{self, Ecn};
use crate::packet::{Incoming, State, Verdict};
use crate::peer::{Endpoint, Peer, PeerRef};
use crate::reason::Reason;
use crate::session::{REJECT_AFTER_MESSAGES, Retired};
use crate::time::Instant;

/// A run of data packets of one session, to be opened. It holds no key, and must be committed.
///
/// It speaks of the entries that were given to [`Device::admit`]: the same slice goes with it to [`Device::open`] and
/// [`Device::commit_opened`].
#[derive(Debug)]
#[must_use]
pub struct OpenJob {
    peer: PeerRef,
    session: u32,
    /// Which entries are the job's.
    receiver: u32,
}

impl OpenJob {
    /// The peer the packets claim to come from.
    #[must_use]
    pub const fn peer(&self) -> PeerRef {
        self.peer
    }
}

impl<H: Host> Device<H> {
    /// Finds the session of a run of at most 64 packets that share their receiver index, and marks those that cannot
    /// pass as dropped. `None` if none is left. Changes nothing but counts.
    pub fn admit(&self, now: Instant, packets: &mut [Incoming]) -> Option<OpenJob> {
        let receiver = packets.first()?.receiver;
        let up = self.is_up();
        let job = self.tables.read(|tables| {
            let peer = tables.by_index(receiver).filter(|_| up)?;
            let job = tables.with_peer(peer, |state| {
                let session = state.keypairs.by_local_index(receiver)?;
                let expired = session.is_expired(now);
                for packet in &mut *packets {
                    if packet.receiver != receiver {
                        packet.drop_for(Reason::UnknownIndex);
                    } else if expired || packet.counter >= REJECT_AFTER_MESSAGES {
                        packet.drop_for(Reason::SessionExpired);
                    } else if !session.window.would_accept(packet.counter) {
                        packet.drop_for(Reason::Replayed);
                    }
                }
                Some(OpenJob { peer, session: session.id, receiver })
            });
            job?
        });
        let Some(job) = job else {
            let reason = if up { Reason::UnknownIndex } else { Reason::Down };
            packets.iter_mut().for_each(|packet| packet.drop_for(reason));
            self.drops.count(reason, packets.len());
            return None;
        };
        if packets.iter().any(Incoming::is_wanted) {
            return Some(job);
        }
        self.with_peer(job.peer, |peer| count_received(peer, packets));
        self.count_dropped(packets);
        None
    }

    /// Decrypts the wanted packets of the run in place.
    pub fn open(&self, job: &OpenJob, packets: &mut [Incoming], run: &mut <H::Crypto as Crypto>::Run<'_>) {
        let key = self.with_peer(job.peer, |peer| peer.keypairs.by_id(job.session).map(|s| s.receive_key.clone()));
        match key {
            Some(Some(key)) => self.host.crypto().open_run(&key, packets, run),
            _ => packets.iter_mut().filter(|packet| packet.is_wanted()).for_each(|p| p.drop_for(Reason::StaleIn)),
        }
    }

    /// Gives every packet of the run its verdict, and lets the peer learn from those that are authentic and new: it
    /// is alive, and it is where they came `from`. Entries that were opened under another job, and so may be another peer's,
    /// are dropped as [`Reason::StaleIn`].
    pub fn commit_opened(&self, now: Instant, job: OpenJob, packets: &mut [Incoming], from: &Endpoint) -> Followup {
        self.tables.read(|tables| {
            for packet in authenticated(packets) {
                packet.verdict = inspect(tables, job.peer, packet);
            }
        });
        let committed = self.with_timers(job.peer, |peer| {
            let session = peer.keypairs.by_id(job.session)?;
            let (mut fresh, mut content) = (false, false);
            for packet in authenticated(packets) {
                let own = packet.receiver == job.receiver;
                if own && session.window.accept(packet.counter) {
                    fresh = true;
                    content |= packet.plaintext_len() > 0;
                } else {
                    packet.drop_for(if own { Reason::Replayed } else { Reason::StaleIn });
                }
            }
            count_received(peer, packets);
            Some(if fresh { heard(peer, now, job.session, content, from) } else { Default::default() })
        });
        if let Some((Some((retired, flush)), rearm)) = committed {
            self.forget_indices(None, &retired);
            self.count_dropped(packets);
            return Followup { rearm, flush: flush.then_some(job.peer) };
        }
        authenticated(packets).for_each(|packet| packet.drop_for(Reason::StaleIn));
        self.with_peer(job.peer, |peer| count_received(peer, packets));
        self.count_dropped(packets);
        Followup::default()
    }

    fn count_dropped(&self, packets: &[Incoming]) {
        for packet in packets {
            if let Verdict::Drop(reason) = packet.verdict() {
                self.drops.count(reason, 1);
            }
        }
    }
}

fn authenticated(packets: &mut [Incoming]) -> impl Iterator<Item = &mut Incoming> {
    packets.iter_mut().filter(|packet| packet.state == State::Authenticated)
}

/// An authentic packet that is new came from the peer. Gives the sessions that ended by it, and whether staged packets can go.
fn heard<H: Host>(peer: &mut Peer<H>, now: Instant, session: u32, content: bool, from: &Endpoint) -> (Retired, bool) {
    let confirmed = peer.keypairs.confirm(session);
    if confirmed.is_some() {
        peer.last_handshake = Some(now);
        peer.timers.handshake_complete();
    }
    peer.endpoint = Some(*from);
    peer.timers.any_authenticated_received(now);
    if content {
        peer.timers.data_received(now);
    }
    if let Some(current) = peer.keypairs.current().filter(|current| current.wants_rekey_on_receive(now)) {
        current.rekeyed_late = true;
        peer.timers.want_initiation(now, false);
    }
    let flush = confirmed.is_some() && peer.staged().0 > 0 && !peer.is_flushing();
    (confirmed.unwrap_or_default(), flush)
}

/// Counts what was received from the peer, and what was dropped of it.
fn count_received<H: Host>(peer: &mut Peer<H>, packets: &[Incoming]) {
    for packet in packets {
        match packet.verdict() {
            Verdict::Drop(reason) => peer.count_drop(reason, 1),
            Verdict::Deliver { .. } | Verdict::Keepalive => {
                let bytes = u64::try_from(packet.datagram_len).unwrap_or(u64::MAX);
                peer.rx_bytes = peer.rx_bytes.saturating_add(bytes);
            }
        }
    }
}

/// What becomes of an authentic packet, by its inner header.
fn inspect<H: Host>(tables: &Tables<H>, peer: PeerRef, packet: &mut Incoming) -> Verdict {
    let available = packet.plaintext_len();
    if available == 0 {
        return Verdict::Keepalive;
    }
    let head = packet.head.get(..available.min(packet.head.len())).unwrap_or_default();
    let Some(inner) = inner::parse(head, available) else {
        return Verdict::Drop(Reason::InnerMalformed);
    };
    // Whoever owns the source address in the whole device must be this very peer; whether the peer is still that is asked
    // when the packet is committed.
    if !tables.routes.owns(peer.slot, inner.source) {
        return Verdict::Drop(Reason::WrongSource);
    }
    match inner::decapsulate(packet.ecn, inner.tos) {
        Ecn::Keep => Verdict::Deliver { len: inner.len, rewritten: false },
        Ecn::Mark(ecn) => {
            inner::set_ecn(&mut packet.head, ecn);
            Verdict::Deliver { len: inner.len, rewritten: true }
        }
        Ecn::Drop => Verdict::Drop(Reason::EcnIllegal),
    }
}
