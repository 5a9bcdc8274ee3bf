//! A forwarder that does everything the daemon does but cryptography and protocol: the limit to be compared with.
//!
//! The same crate for packets (`kerntun-linux`), the same batches, the same bytes on the wire (16 of header, padding to 16,
//! 16 for a tag, none of them meaning anything), run to completion by the same number of workers. What is measured above it is
//! the price of protection; what is measured above the bare wire is the price of going through a process at all. Whoever
//! makes the daemon's way of packets better makes this one better, too: never the other way round.

use kerntun_lab::Trouble;
use kerntun_linux::{
    ChecksumPolicy, Coalescer, DeliveryReport, IfExists, Poller, RecvBatch, Route, Segments, SendQueue, Sockets, Tun,
    TunBatch, TunConfig, TunError, TunOffload, TunQueue, UdpConfig, UdpOffload, bind, boottime,
};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::thread;

/// As in the daemon.
const MESSAGES: usize = 64;
const MAX_WORKERS: usize = 8;

/// Header and tag of a data message.
const HEADER: usize = 16;
const OVERHEAD: usize = 32;

const TUN: u64 = 0;
const V4: u64 = 1;

/// What `kerntun-bench forward` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The interface to make
    name: String,
    /// The UDP port to use
    #[arg(long)]
    port: u16,
    /// Where to send everything
    #[arg(long)]
    to: SocketAddr,
}

/// Forwards until it is ended.
pub(crate) fn run(args: &Args) -> Result<(), Trouble> {
    let fail = |doing: &'static str| move |error: &dyn std::fmt::Display| Trouble::new(format!("{doing}: {error}"));
    kerntun_linux::run_in_batches().map_err(|error| fail("cannot be scheduled like the daemon")(&error))?;
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let config = TunConfig { name: &args.name, queues: workers, offload: TunOffload::ALL, exists: IfExists::Refuse };
    let tun = Tun::create(&config).map_err(|error| fail("cannot make a TUN device")(&error))?;
    let udp = UdpConfig { port: args.port, mark: 0, workers, offload: UdpOffload::ALL, ipv6: false };
    let bound = bind(&udp).map_err(|error| fail("cannot bind")(&error))?;
    let route = Route { destination: args.to, source: None, tos: 0 };
    let threads: Vec<_> = tun
        .queues
        .into_iter()
        .zip(bound.workers)
        .map(|(tun, sockets)| thread::spawn(move || Worker::new(&tun, sockets, route).carry()))
        .collect();
    for thread in threads {
        match thread.join() {
            Ok(result) => result.map_err(|error| fail("a worker ended")(&error))?,
            Err(_) => return Err(Trouble::new("a worker ended unexpectedly")),
        }
    }
    Ok(())
}

struct Worker<'t> {
    tun: &'t TunQueue,
    sockets: Sockets,
    route: Route,
    out: SendQueue,
    packets: TunBatch,
    batch: RecvBatch,
    coalescer: Coalescer,
    report: DeliveryReport,
}

impl<'t> Worker<'t> {
    fn new(tun: &'t TunQueue, sockets: Sockets, route: Route) -> Self {
        Self {
            tun,
            sockets,
            route,
            out: SendQueue::new(),
            packets: TunBatch::new(),
            batch: RecvBatch::new(MESSAGES),
            coalescer: Coalescer::new(tun.offload(), ChecksumPolicy::Verify),
            report: DeliveryReport::default(),
        }
    }

    fn carry(&mut self) -> Result<(), TunError> {
        let mut poller = Poller::new().map_err(TunError::Io)?;
        poller.add(self.tun.as_fd(), TUN).map_err(TunError::Io)?;
        poller.add(self.sockets.v4.as_fd(), V4).map_err(TunError::Io)?;
        loop {
            let ready = poller.wait(None).map_err(TunError::Io)?;
            if ready.has(TUN) {
                self.outgoing()?;
            }
            if ready.has(V4) {
                self.incoming()?;
            }
        }
    }

    fn outgoing(&mut self) -> Result<(), TunError> {
        self.packets.recv(self.tun)?;
        for (header, packet) in self.packets.packets() {
            let Ok(segments) = Segments::parse(header, packet) else { continue };
            queue(&mut self.out, &self.sockets, self.route, &segments);
        }
        self.out.flush(&self.sockets, boottime());
        Ok(())
    }

    fn incoming(&mut self) -> Result<(), TunError> {
        if self.batch.recv(&self.sockets.v4).map_err(TunError::Io)? == 0 {
            return Ok(());
        }
        let mut inner: Vec<&[u8]> = Vec::with_capacity(512);
        for message in self.batch.messages() {
            inner.extend(message.data.chunks(message.stride.max(1)).filter_map(strip));
        }
        self.tun.deliver(&mut self.coalescer, &inner, &mut self.report)
    }
}

/// Writes the segments one behind the other, each where it would be sealed, and queues them.
fn queue(out: &mut SendQueue, sockets: &Sockets, route: Route, segments: &Segments<'_>) {
    let sealed = |index| segments.segment_len(index).next_multiple_of(16) + OVERHEAD;
    let (stride, last) = (sealed(0), sealed(segments.len() - 1));
    let total = stride * (segments.len() - 1) + last;
    if out.reserve(total).is_none() {
        out.flush(sockets, boottime());
    }
    let Some(room) = out.reserve(total) else { return };
    for (index, datagram) in room.chunks_mut(stride).enumerate() {
        let (header, body) = datagram.split_at_mut(HEADER);
        header.fill(0);
        let text = body.len() - (OVERHEAD - HEADER);
        let written = segments.write(index, &mut body[..text]).unwrap_or(0);
        body[written..].fill(0);
    }
    // The queue makes one run of what is equal, and takes a shorter datagram at its end.
    out.commit(total, stride, route);
}

/// The inner packet of a datagram: as long as its IP header says.
fn strip(datagram: &[u8]) -> Option<&[u8]> {
    let packet = datagram.get(HEADER..datagram.len().checked_sub(OVERHEAD - HEADER)?)?;
    let length = |at: usize| Some(usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?])));
    match packet.first()? >> 4 {
        4 => packet.get(..length(2)?),
        6 => packet.get(..length(4)? + 40),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_taken_off() {
        let mut datagram = vec![0; 16 + 48 + 16];
        datagram[16] = 0x45;
        datagram[18..20].copy_from_slice(&41_u16.to_be_bytes());
        assert_eq!(strip(&datagram).unwrap().len(), 41);
        datagram[16] = 0x60;
        datagram[20..22].copy_from_slice(&3_u16.to_be_bytes());
        assert_eq!(strip(&datagram).unwrap().len(), 43);
        datagram[16] = 0;
        assert_eq!(strip(&datagram), None);
        assert_eq!(strip(&datagram[..20]), None);
    }
}
