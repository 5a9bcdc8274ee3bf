//! Datagrams from the network: opened in place, handed to the TUN device in the order they came.

use crate::device::{Shared, endpoint_of};
use crate::sender::Sender;
use kerntun_crypto::{Slices, Span};
use kerntun_engine::message::{DataHeader, Kind};
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::reason::Reason;
use kerntun_engine::time::Instant;
use kerntun_linux::{
    ChecksumPolicy, Coalescer, DeliveryReport, Placed, RecvBatch, RecvStats, TunError, TunQueue, UdpSocket, emptied,
};
use std::io;
use std::ops::Range;

/// Messages received at once at most. A batch of runs of 64 KiB, as offloads give them, is shorter.
const MESSAGES: usize = 64;

/// Most packets of one run; the engine takes no more at once.
const MAX_RUN: usize = 64;

/// One worker's way from the network to the TUN device.
pub(crate) struct Receiver {
    batch: RecvBatch,
    runs: Runs,
    /// Memory for the inner packets of a batch. Empty between batches.
    inner: Vec<&'static [u8]>,
    coalescer: Coalescer,
    report: DeliveryReport,
    seen: RecvStats,
}

/// Working memory for the runs of one batch.
struct Runs {
    /// The run that is being gathered, over the borders of messages, and where its datagrams are.
    packets: Vec<Incoming>,
    spans: Vec<Span>,
    /// Where it comes from, if it is not empty.
    from: Option<Endpoint>,
    /// Where in the batch the inner packets to deliver are.
    deliveries: Vec<Range<usize>>,
    /// Peers whose staged packets can go.
    flushes: Vec<PeerRef>,
    /// The thread for handshakes has to be told of messages.
    handshakes: bool,
}

/// Why a worker cannot go on.
pub(crate) enum Broken {
    /// The TUN device.
    Tun(TunError),
    /// A UDP socket, in a way that no network event can explain.
    Socket(io::Error),
}

impl Receiver {
    /// For deliveries to a device like that of `queue`.
    pub(crate) fn new(queue: &TunQueue) -> Self {
        Self {
            batch: RecvBatch::new(MESSAGES),
            runs: Runs::new(),
            inner: Vec::with_capacity(MAX_RUN),
            coalescer: Coalescer::new(queue.offload(), ChecksumPolicy::Verify),
            report: DeliveryReport::default(),
            seen: RecvStats::default(),
        }
    }

    /// Takes what is there, up to one batch, all the way to the TUN device.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        shared: &Shared,
        socket: &UdpSocket,
        tun: &TunQueue,
        sender: &mut Sender<'_>,
    ) -> Result<(), Broken> {
        let received = self.batch.recv(socket).map_err(Broken::Socket)?;
        let stats = self.batch.stats();
        count(shared, Reason::Truncated, stats.truncated - self.seen.truncated);
        count(shared, Reason::Malformed, stats.empty - self.seen.empty);
        self.seen = stats;
        if received == 0 {
            return Ok(());
        }
        let (data, messages) = self.batch.placed();
        self.runs.deliveries.clear();
        for message in messages {
            self.runs.gather(now, shared, &message, data);
        }
        self.runs.finish(now, shared, data);
        let data = &*data;
        let mut inner = emptied(std::mem::take(&mut self.inner));
        inner.extend(self.runs.deliveries.iter().filter_map(|range| data.get(range.clone())));
        if std::mem::take(&mut self.runs.handshakes) {
            shared.inbox.wake();
        }
        let before = self.report;
        let delivered = tun.deliver(&mut self.coalescer, &inner, &mut self.report);
        self.inner = emptied(inner);
        count(shared, Reason::DeliveryFailed, lost(&self.report) - lost(&before));
        if self.report.step_downs > before.step_downs {
            tracing::info!("the TUN device refused a merged packet: nothing was lost, and that kind is merged no more");
        }
        for peer in self.runs.flushes.drain(..) {
            sender.flush_staged(now, peer);
        }
        delivered.map_err(Broken::Tun)
    }

    pub(crate) fn received(&self) -> RecvStats {
        self.seen
    }

    pub(crate) fn delivered(&self) -> DeliveryReport {
        self.report
    }
}

impl Runs {
    fn new() -> Self {
        Self {
            packets: Vec::with_capacity(MAX_RUN),
            spans: Vec::with_capacity(MAX_RUN),
            from: None,
            deliveries: Vec::with_capacity(MAX_RUN),
            flushes: Vec::new(),
            handshakes: false,
        }
    }

    /// Takes the datagrams of one message into the run, which is opened whenever the next one belongs to another.
    /// Handshake messages go to their thread.
    fn gather(&mut self, now: Instant, shared: &Shared, message: &Placed, data: &mut [u8]) {
        let from = endpoint_of(message);
        let mut start = message.range.start;
        while start < message.range.end {
            let len = message.stride.max(1).min(message.range.end - start);
            let datagram = data.get(start..start + len).unwrap_or_default();
            match datagram.first_chunk().and_then(|prefix| Kind::of(*prefix, len)) {
                Some(Kind::Data) => {
                    let header = datagram.first_chunk::<{ DataHeader::LEN }>();
                    if let Some(packet) = header.and_then(|header| Incoming::new(header, len, message.tos)) {
                        // Only data ends a run: a stranger's rubbish between its packets does not. The peer is where its
                        // run comes from, so a datagram with its index from elsewhere must not be part of it.
                        let other = self.packets.first().is_some_and(|first| first.receiver() != packet.receiver());
                        if other || self.from != Some(from) || self.packets.len() == MAX_RUN {
                            self.finish(now, shared, data);
                        }
                        self.from = Some(from);
                        self.packets.push(packet);
                        self.spans.push(Span { start, len });
                    }
                }
                Some(Kind::Initiation | Kind::Response | Kind::CookieReply) => {
                    // Rubbish ends here: for each of them to wake a thread would cost more than to look at it.
                    if shared.engine.screen_handshake(datagram) {
                        match shared.inbox.push(datagram, &from) {
                            Some(unknown) => self.handshakes |= unknown,
                            None => count(shared, Reason::HandshakeQueueFull, 1),
                        }
                    }
                }
                None => count(shared, Reason::Malformed, 1),
            }
            start += len;
        }
    }

    /// Opens the run gathered so far in place, and notes what of it to deliver.
    fn finish(&mut self, now: Instant, shared: &Shared, data: &mut [u8]) {
        let Some(from) = self.from.take() else { return };
        let engine = &shared.engine;
        if let Some(job) = engine.admit(now, &mut self.packets) {
            engine.open(&job, &mut self.packets, &mut Slices { buffer: &mut *data, spans: &self.spans });
            let followup = engine.commit_opened(now, job, &mut self.packets, &from);
            self.flushes.extend(shared.follow(followup));
            for (packet, span) in self.packets.iter().zip(&self.spans) {
                let Verdict::Deliver { len, rewritten } = packet.verdict() else { continue };
                let start = span.start + DataHeader::LEN;
                let head = packet.head().iter().take(len);
                if rewritten {
                    data.iter_mut().skip(start).zip(head).for_each(|(to, from)| *to = *from);
                }
                self.deliveries.push(start..start + len);
            }
        }
        self.packets.clear();
        self.spans.clear();
    }
}

fn count(shared: &Shared, reason: Reason, packets: u64) {
    if packets > 0 {
        shared.engine.count_drop(None, reason, u32::try_from(packets).unwrap_or(u32::MAX));
    }
}

fn lost(report: &DeliveryReport) -> u64 {
    report.interface_down + report.no_room + report.refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Ends;
    use crate::device::{Engine, now};
    use crate::handshakes::Inbox;
    use crate::sandbox::Sandbox;
    use crate::sockets::Ports;
    use crate::status::Status;
    use kerntun_host::UserHost;
    use kerntun_linux::{Poller, TunOffload, UdpOffload};

    /// The device of a peerless engine.
    fn shared(poller: &Poller) -> Shared {
        let engine = Engine::new(UserHost::new(kerntun_crypto::Fast::new()).holding()).unwrap();
        let (inbox, ends) = (Inbox::new(poller.waker()), Ends::new(poller.waker()));
        let status = Status::new(TunOffload::NONE, 1, 1, Sandbox::default());
        Shared::new(engine, Ports::new(1, UdpOffload::NONE, false), inbox, ends, status, 1420, Vec::new())
    }

    #[test]
    fn a_run_has_one_receiver_and_one_source() {
        let shared = shared(&Poller::new().unwrap());
        let mut runs = Runs::new();
        // Of each datagram its receiver and its source, and how long the run is that it becomes part of.
        let datagrams =
            [(7, 1, 1), (7, 1, 2), (7, 2, 1), (7, 1, 1), (8, 1, 1), (8, 1, 2), (8, 1, 3), (8, 3, 1), (7, 2, 1)];
        for (at, (receiver, host, length)) in datagrams.into_iter().enumerate() {
            let mut data = vec![0; 32];
            (data[0], data[4]) = (4, receiver);
            let source = ([192, 0, 2, host], 51820).into();
            let message = Placed { source, local: None, tos: 0, stride: 32, range: 0..32 };
            runs.gather(now(), &shared, &message, &mut data);
            assert_eq!(runs.packets.len(), length, "datagram {at}");
            assert_eq!(runs.from, Some(endpoint_of(&message)), "datagram {at}");
        }
    }
}
