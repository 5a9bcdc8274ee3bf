//! One thread's way into the network: datagrams are written and sealed in the send buffer, and leave in runs.

use crate::device::{Shared, TunPacket, now, route_to};
use crate::loops::is_own_datagram;
use kerntun_crypto::{Slices, Span};
use kerntun_engine::egress::SealJob;
use kerntun_engine::handshake::Outgoing;
use kerntun_engine::host::{Staged, StagedPacket};
use kerntun_engine::inner::{encapsulated_tos, padded_len};
use kerntun_engine::peer::PeerRef;
use kerntun_engine::reason::Reason;
use kerntun_engine::time::Instant;
use kerntun_linux::{Bound, Route, Segments, SendEvent, SendQueue, SendStats, VnetHeader};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Header and tag of a data message.
const HEADER: usize = 16;
const OVERHEAD: usize = 32;

/// Datagrams sealed under one job.
const MAX_DATAGRAMS: usize = 256;
/// Bytes sealed under one job: with it a quarter of the send buffer is used at once, and everything stays in the cache.
const MAX_BYTES: usize = 256 << 10;

/// Rounds of staged packets that one thread sends before others have their turn.
const FLUSH_ROUNDS: usize = 4;

/// A packet on its way out whose peer is known.
pub(crate) struct Routed<'a> {
    pub(crate) header: VnetHeader,
    pub(crate) segments: Segments<'a>,
    pub(crate) peer: PeerRef,
    /// Traffic class of the datagrams around it.
    pub(crate) tos: u8,
}

/// One thread's way into the network.
pub(crate) struct Sender<'d> {
    shared: &'d Shared,
    /// Which of the socket pairs this thread uses.
    number: usize,
    sockets: Option<Arc<Bound>>,
    queue: SendQueue,
    spans: Vec<Span>,
    /// Who the datagrams in the queue are for, to account for those that are not sent.
    receivers: Vec<(SocketAddr, PeerRef)>,
    seen: SendStats,
    told_of_loop: bool,
}

impl<'d> Sender<'d> {
    pub(crate) fn new(shared: &'d Shared, number: usize) -> Self {
        Self {
            shared,
            number,
            sockets: shared.ports.current(),
            queue: SendQueue::new(),
            spans: Vec::with_capacity(MAX_DATAGRAMS),
            receivers: Vec::with_capacity(64),
            seen: SendStats::default(),
            told_of_loop: false,
        }
    }

    /// Uses these sockets from now on.
    pub(crate) fn use_sockets(&mut self, sockets: Option<Arc<Bound>>) {
        self.sockets = sockets;
    }

    /// The counters of the send queue.
    pub(crate) fn stats(&self) -> SendStats {
        self.queue.stats()
    }

    /// Seals the datagrams of `packets`, which `job` numbers in this order, and queues them. All go to the job's peer
    /// with the same traffic class.
    pub(crate) fn send(&mut self, now: Instant, mut job: SealJob, packets: &[Routed<'_>], tos: u8) {
        let mut at = Position::default();
        while job.count() > 0 {
            let end = self.plan(packets, at);
            let count = u32::try_from(self.spans.len()).unwrap_or(u32::MAX);
            if count == 0 {
                return;
            }
            let part = job.take(count);
            self.seal_and_queue(now, part, packets, tos, |text| {
                let written = at.next(packets).and_then(|(packet, segment)| packet.segments.write(segment, text).ok());
                // The padding, and all of it should the segment not have fitted, which its plan rules out.
                text.get_mut(written.unwrap_or(0)..).unwrap_or_default().fill(0);
            });
            at = end;
        }
    }

    /// Sends a keepalive, if one can be sent now.
    pub(crate) fn keepalive(&mut self, now: Instant, peer: PeerRef) {
        let (job, followup) = self.shared.engine.reserve_keepalive(now, peer);
        if let Some(peer) = self.shared.follow(followup) {
            self.flush_staged(now, peer);
        }
        if let Some(job) = job {
            self.spans.clear();
            self.spans.push(Span { start: 0, len: OVERHEAD });
            self.seal_and_queue(now, job, &[], 0, |_| ());
        }
    }

    /// Queues a handshake message.
    pub(crate) fn message(&mut self, now: Instant, message: &Outgoing) {
        let bytes = message.bytes();
        if self.sockets.is_none() {
            self.shared.engine.count_drop(None, Reason::SendFailed, 1);
        } else if let Some(room) = self.room(bytes.len()) {
            room.copy_from_slice(bytes);
            self.queue.commit(bytes.len(), bytes.len(), route_to(&message.endpoint, message.tos));
        }
        if let Some(peer) = self.shared.follow(message.followup) {
            self.flush_staged(now, peer);
        }
    }

    /// Sends all packets that wait for a session with `peer`, before any newer ones.
    pub(crate) fn flush_staged(&mut self, now: Instant, peer: PeerRef) {
        let engine = &self.shared.engine;
        for _ in 0..FLUSH_ROUNDS {
            let (mut staged, mut job) = match engine.reserve_staged(now, peer) {
                Ok(reserved) => reserved,
                Err(followup) => {
                    let _ = self.shared.follow(followup);
                    return;
                }
            };
            while let Some(held) = staged.pop() {
                let part = job.take(held.datagrams());
                self.send_held(now, part, peer, &held.into_payload());
            }
            // Newer packets may pass only when these are gone.
            self.flush();
            if self.shared.follow(engine.flushed(now, peer)).is_none() {
                return;
            }
        }
        // Others stage as fast as this thread sends: its own work must not wait for that to end.
        self.shared.inbox.flush(peer);
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let Some(sockets) = self.sockets.as_ref().and_then(|set| set.workers.get(self.number)) else { return };
        self.queue.flush(sockets, now().as_nanos());
        let stats = self.queue.stats();
        if lost(&stats) != lost(&self.seen)
            || stats.source_lost != self.seen.source_lost
            || stats.gso_refused != self.seen.gso_refused
        {
            self.account(lost(&stats) - lost(&self.seen));
        }
        self.seen = stats;
        self.receivers.clear();
    }

    /// Counts what was not sent, per peer as far as the events go.
    fn account(&mut self, mut lost: u64) {
        let count = |peer, datagrams: u64| {
            let datagrams = u32::try_from(datagrams).unwrap_or(u32::MAX);
            self.shared.engine.count_drop(peer, Reason::SendFailed, datagrams);
        };
        let peer_at = |at| self.receivers.iter().find(|(address, _)| *address == at).map(|(_, peer)| *peer);
        for event in self.queue.events() {
            match event {
                SendEvent::Dropped { destination, datagrams, error } => {
                    let datagrams = datagrams as u64;
                    count(peer_at(destination), datagrams);
                    lost = lost.saturating_sub(datagrams);
                    self.shared.status.send_failed(destination, &error);
                }
                SendEvent::SourceLost { destination, .. } => match peer_at(destination) {
                    Some(peer) => self.shared.engine.forget_source(peer),
                    None => self.shared.ends.forget_sources(),
                },
                SendEvent::GsoRefused { destination, stride, error } => {
                    tracing::info!(
                        "no segmentation offload for datagrams of {stride} bytes towards {destination} for a minute ({error}): sending them one by one"
                    );
                }
                _ => {}
            }
        }
        if lost > 0 {
            count(None, lost);
        }
    }

    /// Lays out the next datagrams of `packets` from `at` on, as many as go under one job, in `spans`, and says where
    /// the rest begins.
    fn plan(&mut self, packets: &[Routed<'_>], mut at: Position) -> Position {
        let mtu = self.shared.mtu();
        let mut total = 0;
        self.spans.clear();
        while self.spans.len() < MAX_DATAGRAMS && total < MAX_BYTES {
            let Some((packet, segment)) = at.next(packets) else { break };
            let len = padded_len(packet.segments.segment_len(segment), mtu).saturating_add(OVERHEAD);
            self.spans.push(Span { start: total, len });
            total = total.saturating_add(len);
        }
        at
    }

    /// Writes, seals and queues the datagrams laid out in `spans`. `fill` writes the plaintext of one.
    fn seal_and_queue(
        &mut self,
        now: Instant,
        job: SealJob,
        packets: &[Routed<'_>],
        tos: u8,
        mut fill: impl FnMut(&mut [u8]),
    ) {
        let (data, datagrams, peer) = (!packets.is_empty(), job.count(), job.peer());
        let engine = &self.shared.engine;
        let total = self.spans.last().map_or(0, |last| last.start + last.len);
        if self.queue.reserve(total).is_none() {
            self.flush();
        }
        let (true, Some(room)) = (self.sockets.is_some(), self.queue.reserve(total)) else {
            // The counters are spent either way.
            engine.count_drop(Some(job.peer()), Reason::SendFailed, job.count());
            return;
        };
        let [head @ .., _, _, _, _, _, _, _, _] = job.header(0);
        for (index, span) in (0..).zip(&self.spans) {
            let Some((header, body)) =
                room.get_mut(span.start..span.start + span.len).and_then(<[u8]>::split_first_chunk_mut::<HEADER>)
            else {
                continue;
            };
            *header = job.header(index);
            let text = body.len().saturating_sub(OVERHEAD - HEADER);
            if let Some(text) = body.get_mut(..text) {
                fill(text);
            }
        }
        let sealed = engine.seal(job, &mut Slices { buffer: room, spans: &self.spans });
        let Some(Ok(departure)) = sealed.map(|sealed| engine.commit_sealed(now, sealed, total, data)) else { return };
        let route = route_to(&departure.endpoint, tos);
        let is_own = |packet: &Routed<'_>| is_own_datagram(packet.segments.packet(), &route.destination, &head);
        if packets.iter().any(is_own) {
            engine.count_drop(Some(peer), Reason::SendFailed, datagrams);
            self.tell_of_loop(route.destination);
            return;
        }
        self.queue_runs(route);
        if self.receivers.last().is_none_or(|last| last.1 != peer) && self.receivers.len() < self.receivers.capacity() {
            self.receivers.push((route.destination, peer));
        }
        if let Some(peer) = self.shared.follow(departure.followup) {
            self.shared.inbox.flush(peer);
        }
    }

    /// An endpoint is routed into the tunnel itself. What is said once is in the diagnostics for as long as it lasts.
    fn tell_of_loop(&mut self, endpoint: SocketAddr) {
        let error = io::Error::other("the endpoint is routed into the tunnel itself: give it a route outside");
        if !self.told_of_loop {
            self.told_of_loop = true;
            tracing::error!("{endpoint}: {error}");
        }
        self.shared.status.send_failed(endpoint, &error);
    }

    /// Queues what was sealed: neighbours of one length as one run.
    fn queue_runs(&mut self, route: Route) {
        for run in self.spans.chunk_by(|a, b| a.len == b.len) {
            if let Some(first) = run.first() {
                self.queue.commit(first.len * run.len(), first.len, route);
            }
        }
    }

    fn send_held(&mut self, now: Instant, job: SealJob, peer: PeerRef, packet: &TunPacket) {
        // It was parsed before it was staged.
        let Ok(segments) = Segments::parse(&packet.header, &packet.bytes) else { return };
        let tos = outer_tos(segments.packet());
        self.send(now, job, &[Routed { header: packet.header, segments, peer, tos }], tos);
    }

    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.queue.reserve(len).is_none() {
            self.flush();
        }
        self.queue.reserve(len)
    }
}

/// The traffic class of the datagram around an inner packet.
pub(crate) fn outer_tos(packet: &[u8]) -> u8 {
    let inner = match packet {
        [first, second, ..] if first >> 4 == 4 => *second,
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        _ => 0,
    };
    encapsulated_tos(inner)
}

/// Where in a list of packets the next segment is.
#[derive(Clone, Copy, Default)]
struct Position {
    packet: usize,
    segment: usize,
}

impl Position {
    fn next<'p, 'a>(&mut self, packets: &'p [Routed<'a>]) -> Option<(&'p Routed<'a>, usize)> {
        let packet = packets.get(self.packet)?;
        let segment = self.segment;
        self.segment += 1;
        if self.segment >= packet.segments.len() {
            *self = Self { packet: self.packet + 1, segment: 0 };
        }
        Some((packet, segment))
    }
}

fn lost(stats: &SendStats) -> u64 {
    stats.too_big + stats.no_room + stats.unreachable + stats.forbidden + stats.other
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerntun_engine::config::{Change, PeerChange};
    use kerntun_host::UserHost;

    #[test]
    fn congestion_shows_outside_and_nothing_else() {
        for tos in 0..=255_u8 {
            assert_eq!(outer_tos(&[0x45, tos, 0, 0]), tos % 4);
            assert_eq!(outer_tos(&[0x60 | tos >> 4, tos << 4 | 0xf, 0xff, 0xff]), tos % 4);
        }
        for other in [&[][..], &[0x45], &[0x05, 0xff], &[0xf0, 0xff]] {
            assert_eq!(outer_tos(other), 0);
        }
    }

    #[test]
    fn segments_are_taken_in_order() {
        // A UDP super-packet of 2,500 bytes in segments of 1,000, between two plain packets.
        let mut big = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        big.resize(28 + 2500, 0);
        big[2..4].copy_from_slice(&2528_u16.to_be_bytes());
        let header = VnetHeader {
            flags: 1,
            gso_type: 5,
            gso_size: 1000,
            csum_start: 20,
            csum_offset: 6,
            ..VnetHeader::default()
        };
        let small = [0x45; 60];
        let engine = crate::device::Engine::new(UserHost::new(kerntun_crypto::Fast::new()).holding()).unwrap();
        let peers = [PeerChange::new(kerntun_engine::secret::PublicKey([9; 32]))];
        let change = Change { peers: &peers, ..Change::default() };
        engine.configure(|configuration| {
            let prepared = configuration.prepare(change).unwrap();
            prepared.apply(now())
        });
        let peer = engine.next_peer(None).unwrap();
        let routed =
            |header, packet| Routed { header, segments: Segments::parse(&header, packet).unwrap(), peer, tos: 0 };
        let packets =
            [routed(VnetHeader::default(), &small), routed(header, &big), routed(VnetHeader::default(), &small)];
        let mut at = Position::default();
        let lengths: Vec<_> =
            std::iter::from_fn(|| at.next(&packets).map(|(packet, segment)| packet.segments.segment_len(segment)))
                .collect();
        assert_eq!(lengths, [60, 1028, 1028, 528, 60]);
    }
}
