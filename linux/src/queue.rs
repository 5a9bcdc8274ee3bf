//! One queue of a TUN device: packets in and out, by one worker.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::coalesce::{Coalescer, MAX_RUN, Run};
use crate::error::TunError;
use crate::segment::MAX_PACKET;
use crate::sys;
use crate::tun::TunOffload;
use crate::vnet::{VNET_HEADER_LEN, VnetHeader};

/// Bytes a buffer for [`TunQueue::recv`] must have: the virtio header and the longest super-packet.
pub const TUN_BUFFER: usize = VNET_HEADER_LEN + MAX_PACKET;

/// A queue. All calls are non-blocking and take a shared reference, but packets keep their order only while one worker
/// reads and one writes.
#[derive(Debug)]
pub struct TunQueue {
    fd: OwnedFd,
    vnet: bool,
    offload: TunOffload,
}

/// What became of packets given to [`TunQueue::deliver`]. Counters only grow; the caller keeps one per worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Packets the kernel took.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// System calls it took.
    pub writes: u64,
    /// Dropped because the interface is down (`EIO`).
    pub interface_down: u64,
    /// Dropped because the kernel had no memory or no room (`ENOMEM`, `ENOBUFS`, `EAGAIN`).
    pub no_room: u64,
    /// Dropped because the kernel does not take them as IP packets (`EINVAL` and others).
    pub refused: u64,
    /// Super-packets refused and then delivered packet by packet; that kind is not merged any more.
    pub step_downs: u64,
}

impl TunQueue {
    pub(crate) fn new(fd: OwnedFd, vnet: bool, offload: TunOffload) -> Self {
        Self { fd, vnet, offload }
    }

    /// What this device gives and takes.
    #[must_use]
    pub fn offload(&self) -> TunOffload {
        self.offload
    }

    /// Reads one packet or super-packet. `buffer` should have [`TUN_BUFFER`] bytes. `None` when there is none now.
    ///
    /// # Errors
    /// [`TunError::Gone`] when the interface was deleted; [`TunError::Io`] for anything else, which is not expected.
    pub fn recv<'b>(&self, buffer: &'b mut [u8]) -> Result<Option<(VnetHeader, &'b [u8])>, TunError> {
        let skip = if self.vnet { 0 } else { VNET_HEADER_LEN };
        let target = buffer.get_mut(skip..).unwrap_or_default();
        let length = loop {
            match sys::read(self.fd.as_fd(), target) {
                Ok(length) => break length,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(None),
                    Some(libc::EINTR) => {}
                    _ => return Err(TunError::from_io(error)),
                },
            }
        };
        let filled = buffer.get(..skip + length).unwrap_or_default();
        let Some((header, packet)) = filled.split_first_chunk() else { return Ok(None) };
        let header = if self.vnet { VnetHeader::from_bytes(header) } else { VnetHeader::default() };
        Ok(Some((header, packet)))
    }

    /// Writes one finished packet.
    ///
    /// # Errors
    /// [`TunError::Gone`] when the interface was deleted. [`TunError::Io`] otherwise: `EIO` while the interface is
    /// down, `EINVAL` for what is no IP packet, `ENOMEM` under memory pressure; the packet is lost.
    pub fn send(&self, packet: &[u8]) -> Result<(), TunError> {
        let header = VnetHeader::default().to_bytes();
        self.write(&[IoSlice::new(&header), IoSlice::new(packet)]).map_err(TunError::from_io)
    }

    /// Writes packets in their order, neighbours of one flow merged as `coalescer` finds right.
    ///
    /// A super-packet that the kernel refuses is delivered packet by packet at once, and `coalescer` told to make no more
    /// of that kind. Other packets that cannot be delivered are counted in `report`.
    ///
    /// # Errors
    /// [`TunError::Gone`] only.
    pub fn deliver<P: AsRef<[u8]>>(
        &self,
        coalescer: &mut Coalescer,
        mut packets: &[P],
        report: &mut DeliveryReport,
    ) -> Result<(), TunError> {
        while !packets.is_empty() {
            // Without a virtio header a super-packet could not be told from a packet.
            let most = if self.vnet { packets.len() } else { 1 };
            let run = coalescer.next_run(packets.get(..most).unwrap_or(packets));
            let (now, later) = packets.split_at_checked(run.count().max(1)).unwrap_or((packets, &[]));
            packets = later;
            report.writes += 1;
            match self.write_run(&run, now) {
                Ok(()) => report.delivered(now),
                Err(error) if now.len() > 1 && error.raw_os_error() == Some(libc::EINVAL) => {
                    coalescer.refuse(run.header().gso_type);
                    report.step_downs += 1;
                    for packet in now {
                        report.writes += 1;
                        match self.send(packet.as_ref()) {
                            Ok(()) => report.delivered(&[packet]),
                            Err(TunError::Io(error)) => report.lost(&error, 1),
                            Err(gone) => return Err(gone),
                        }
                    }
                }
                Err(error) => match TunError::from_io(error) {
                    TunError::Io(error) => report.lost(&error, now.len()),
                    gone => return Err(gone),
                },
            }
        }
        Ok(())
    }

    fn write_run<P: AsRef<[u8]>>(&self, run: &Run, packets: &[P]) -> io::Result<()> {
        let header = run.header().to_bytes();
        let mut slices = [IoSlice::new(&[]); MAX_RUN + 2];
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(std::iter::once(&header[..]).chain(run.slices(packets))) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        self.write(slices.get(..filled).unwrap_or_default())
    }

    /// Writes a virtio header, which comes first, and a packet; without the header where the device has none.
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let slices = if self.vnet { slices } else { slices.get(1..).unwrap_or_default() };
        loop {
            match sys::writev(self.fd.as_fd(), slices) {
                Ok(_) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl DeliveryReport {
    fn delivered<P: AsRef<[u8]>>(&mut self, packets: &[P]) {
        self.packets += packets.len() as u64;
        self.bytes += packets.iter().map(|packet| packet.as_ref().len() as u64).sum::<u64>();
    }

    fn lost(&mut self, error: &io::Error, packets: usize) {
        let counter = match error.raw_os_error() {
            Some(libc::EIO) => &mut self.interface_down,
            Some(libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN) => &mut self.no_room,
            _ => &mut self.refused,
        };
        *counter += packets as u64;
    }
}
