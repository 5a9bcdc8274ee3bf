//! Packets out of a TUN queue: as many as are there, up to a bound.

use std::ops::Range;

use crate::error::TunError;
use crate::queue::{TUN_BUFFER, TunQueue};
use crate::vnet::{VNET_HEADER_LEN, VnetHeader};

/// Packets read at once. Never waited for: what is there goes.
pub const MAX_PACKETS: usize = 64;

/// Bytes read at once: four of the largest super-packets.
const BUFFER: usize = 4 * TUN_BUFFER;

/// A buffer of 256 KiB for one worker, allocated once, and the packets in it.
pub struct TunBatch {
    buffer: Box<[u8]>,
    packets: Vec<(VnetHeader, Range<usize>)>,
}

impl TunBatch {
    /// A batch without packets.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), packets: Vec::with_capacity(MAX_PACKETS) }
    }

    /// Reads the packets that are there, without waiting, in place of what was in the batch.
    ///
    /// # Errors
    /// [`TunError::Gone`] only. One packet that could not be read is not the end of the device.
    pub fn recv(&mut self, queue: &TunQueue) -> Result<(), TunError> {
        self.packets.clear();
        let mut used = 0;
        while self.packets.len() < MAX_PACKETS
            && let Some(room) = self.buffer.get_mut(used..).filter(|room| room.len() >= TUN_BUFFER)
        {
            match queue.recv(room) {
                Ok(Some((header, packet))) => {
                    let start = used + VNET_HEADER_LEN;
                    used = start + packet.len();
                    self.packets.push((header, start..used));
                }
                Ok(None) | Err(TunError::Io(_)) => break,
                Err(gone) => return Err(gone),
            }
        }
        Ok(())
    }

    /// The packets of the last [`TunBatch::recv`], in the order they came.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = (&VnetHeader, &[u8])> {
        self.packets.iter().map(|(header, range)| (header, self.buffer.get(range.clone()).unwrap_or_default()))
    }
}

impl Default for TunBatch {
    fn default() -> Self {
        Self::new()
    }
}
