//! Packets from the TUN device: read in batches, routed, numbered in runs of one peer, or kept until there is a session.

use crate::device::{Shared, TunPacket};
use crate::sender::{Routed, Sender, outer_tos};
use crate::unreachable::Unreachables;
use kerntun_engine::egress::NotReserved;
use kerntun_engine::peer::PeerRef;
use kerntun_engine::reason::Reason;
use kerntun_engine::time::Instant;
use kerntun_host::Held;
use kerntun_linux::{MAX_PACKETS, Segments, TunBatch, TunError, TunQueue, emptied};

/// What one worker reads from its TUN queue.
pub(crate) struct Outgoing {
    batch: TunBatch,
    /// Memory for the packets of a batch whose peer is known. Empty between batches.
    routed: Vec<Routed<'static>>,
    unreachables: Unreachables,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        let routed = Vec::with_capacity(MAX_PACKETS);
        Self { batch: TunBatch::new(), routed, unreachables: Unreachables::new() }
    }

    /// Takes what the TUN device has, up to one batch, and gives it to `sender`, which is to be flushed afterwards.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        shared: &Shared,
        tun: &TunQueue,
        sender: &mut Sender<'_>,
    ) -> Result<(), TunError> {
        self.batch.recv(tun)?;
        let mut routed = emptied(std::mem::take(&mut self.routed));
        for (header, packet) in self.batch.packets() {
            // What contradicts itself is no packet.
            let Ok(segments) = Segments::parse(header, packet) else {
                shared.engine.count_drop(None, Reason::NotIp, 1);
                continue;
            };
            match shared.engine.route(packet, packet.len()) {
                Ok(peer) => routed.push(Routed { header: *header, segments, peer, tos: outer_tos(packet) }),
                Err(Reason::NoRoute) => self.unreachables.tell(now, tun, packet)?,
                Err(_) => {}
            }
        }
        for run in routed.chunk_by(|a, b| a.peer == b.peer && a.tos == b.tos) {
            let Some(Routed { peer, tos, .. }) = run.first() else { continue };
            let datagrams = run.iter().map(|packet| datagrams(&packet.segments)).sum();
            match shared.engine.reserve(now, *peer, datagrams) {
                Ok(job) => sender.send(now, job, run, *tos),
                Err(NotReserved::Stage) => stage(now, shared, *peer, run, sender),
                Err(NotReserved::Drop(Reason::NoEndpoint)) => {
                    for packet in run {
                        self.unreachables.tell(now, tun, packet.segments.packet())?;
                    }
                }
                Err(NotReserved::Drop(_)) => {}
            }
        }
        self.routed = emptied(routed);
        Ok(())
    }
}

/// Keeps packets until there is a session with their peer. If there is one by now, they go at once.
fn stage(now: Instant, shared: &Shared, peer: PeerRef, run: &[Routed<'_>], sender: &mut Sender<'_>) {
    for packet in run {
        let bytes = Box::<[u8]>::from(packet.segments.packet());
        let size = bytes.len();
        let held = Held::new(TunPacket { header: packet.header, bytes }, datagrams(&packet.segments), size);
        let outcome = shared.engine.stage(now, peer, held);
        if let Some(peer) = shared.follow(outcome.followup) {
            sender.flush_staged(now, peer);
        }
    }
}

fn datagrams(segments: &Segments<'_>) -> u32 {
    u32::try_from(segments.len()).unwrap_or(u32::MAX)
}
