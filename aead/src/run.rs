//! From runs of packets to batches: which go together, and how many at once.

use crate::batch::Batch;
use crate::memory::{LONGEST, Memory, Text};
use crate::{Packet, State};
use core::arch::x86_64::{_mm512_cmpeq_epi16_mask, _mm512_loadu_si512, _mm512_set1_epi16};

/// Packets that are looked at together.
const WINDOW: usize = 64;

/// See [`Vectors::seal`](crate::Vectors::seal).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(crate) fn seal(key: &[u8; 32], buffer: &mut [u8], packets: &mut [Packet]) {
    if gains_nothing(packets) {
        return;
    }
    let memory = Memory::new(buffer);
    for window in packets.chunks_mut(WINDOW) {
        let mut pending = Pending::new(&memory, window);
        while let Some(group) = pending.next() {
            match group.size {
                16 => group.batch::<16, 8>(&memory, window).seal(key),
                8 => group.batch::<8, 4>(&memory, window).seal(key),
                4 => group.batch::<4, 2>(&memory, window).seal(key),
                2 => group.batch::<2, 1>(&memory, window).seal(key),
                _ => group.batch::<1, 1>(&memory, window).seal(key),
            }
            group.conclude(window, u16::MAX);
        }
    }
}

/// See [`Vectors::open`](crate::Vectors::open).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(crate) fn open(key: &[u8; 32], buffer: &mut [u8], packets: &mut [Packet]) {
    if gains_nothing(packets) {
        return;
    }
    let memory = Memory::new(buffer);
    for window in packets.chunks_mut(WINDOW) {
        let mut pending = Pending::new(&memory, window);
        while let Some(group) = pending.next() {
            let passed = match group.size {
                16 => group.batch::<16, 8>(&memory, window).open(key),
                8 => group.batch::<8, 4>(&memory, window).open(key),
                4 => group.batch::<4, 2>(&memory, window).open(key),
                2 => group.batch::<2, 1>(&memory, window).open(key),
                _ => group.batch::<1, 1>(&memory, window).open(key),
            };
            group.conclude(window, passed);
        }
    }
}

/// Whether these are the one or two short packets that the library does faster, the runs of a quiet device.
#[inline]
fn gains_nothing(packets: &[Packet]) -> bool {
    packets.len() <= 2 && packets.iter().all(|packet| size(packets.len(), blocks(packet.len)) == 0)
}

/// Blocks of ChaCha20 for a text of that many bytes, the one for its one-time key included. At most 1,025.
#[inline]
fn blocks(len: usize) -> usize {
    1 + len.min(LONGEST).div_ceil(64)
}

/// The packets of a window that wait and can be done.
#[repr(align(64))]
struct Pending {
    /// Blocks of each packet.
    blocks: [u16; WINDOW],
    /// A bit for each packet that is to be looked at yet.
    waiting: u64,
}

/// Packets that go together.
struct Group {
    /// Places in the window, `used` of them.
    places: [u8; 16],
    used: usize,
    /// Packets of the batch they go into, nothings included.
    size: usize,
}

impl Pending {
    #[inline]
    fn new(memory: &Memory<'_>, window: &[Packet]) -> Self {
        let mut pending = Self { blocks: [0; WINDOW], waiting: 0 };
        for (i, (packet, number)) in window.iter().zip(&mut pending.blocks).enumerate() {
            if packet.state == State::Waiting && memory.text(packet.start, packet.len).is_some() {
                *number = blocks(packet.len) as u16;
                pending.waiting |= 1 << i;
            }
        }
        pending
    }

    /// The places of packets with that many blocks, a bit for each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn places_with(&self, blocks: u16) -> u64 {
        let wanted = _mm512_set1_epi16(blocks.cast_signed());
        let (halves, _) = self.blocks.as_chunks::<32>();
        halves.iter().rev().fold(0, |places, half| {
            // SAFETY: 32 numbers of 16 bits are 64 bytes.
            let half = unsafe { _mm512_loadu_si512(half.as_ptr().cast()) };
            places << 32 | u64::from(_mm512_cmpeq_epi16_mask(half, wanted))
        })
    }

    /// The next packets that gain by going together.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn next(&mut self) -> Option<Group> {
        while self.waiting != 0 {
            let blocks = self.blocks[self.waiting.trailing_zeros() as usize % WINDOW];
            let mut same = self.waiting & self.places_with(blocks);
            let size = size(same.count_ones() as usize, blocks.into());
            let mut group = Group { places: [0; 16], used: 0, size };
            for place in group.places.iter_mut().take(size.max(1)) {
                if same != 0 {
                    *place = same.trailing_zeros() as u8;
                    same &= same - 1;
                    self.waiting &= !(1 << *place);
                    group.used += 1;
                }
            }
            if size > 0 {
                return Some(group);
            }
        }
        None
    }
}

impl Group {
    #[inline]
    fn batch<'a, const PACKETS: usize, const PAIRS: usize>(
        &self,
        memory: &Memory<'a>,
        window: &[Packet],
    ) -> Batch<'a, PACKETS, PAIRS> {
        let mut texts = [Text::NOTHING; PACKETS];
        let mut counters = [0; PACKETS];
        let places = self.places.iter().take(self.used);
        for ((text, counter), place) in texts.iter_mut().zip(&mut counters).zip(places) {
            let packet = &window[usize::from(*place)];
            *text = memory.text(packet.start, packet.len).unwrap_or(Text::NOTHING);
            *counter = packet.counter;
        }
        Batch::new(texts, counters, self.used)
    }

    #[inline]
    fn conclude(&self, window: &mut [Packet], passed: u16) {
        for (i, place) in self.places.iter().enumerate().take(self.used) {
            let passed = passed & 1 << i != 0;
            window[usize::from(*place)].state = if passed { State::Done } else { State::Forged };
        }
    }
}

/// How many packets the next batch is to have when there are `count` with that many blocks: a few lanes may stay empty
/// if that saves a batch. None if a packet is left that the library does faster.
fn size(count: usize, blocks: usize) -> usize {
    if count >= 16 {
        return 16;
    }
    let [down, up] = [1 << count.ilog2(), count.next_power_of_two()];
    if cost(up, blocks) <= cheapest(count, blocks) {
        up
    } else if cost(down, blocks) <= down * library(blocks) {
        down
    } else {
        0
    }
}

/// What the best way takes without empty lanes: the bits of `count` are the batches.
fn cheapest(count: usize, blocks: usize) -> usize {
    let batches = [8, 4, 2, 1].into_iter().filter(|size| count & size != 0);
    batches.map(|size| cost(size, blocks).min(size * library(blocks))).sum()
}

/// What a batch takes, in tenths of a packet's share of its keys and tags: eight of these shares for each turn of the
/// cipher and hash with it, one for the batch, and one more for the long way to the powers of a single packet. Measured;
/// see the README.
fn cost(size: usize, blocks: usize) -> usize {
    10 * (8 * (size * blocks).div_ceil(16) + size + 1 + usize::from(size == 1))
}

/// What one packet takes the library in the same unit, at its best, for nothing is to become slower.
fn library(blocks: usize) -> usize {
    47 + 6 * (blocks - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All packets of a run with one length come to their turn, and only single ones are left to the library.
    #[test]
    fn sizes_cover_every_count() {
        for blocks in 1..=1_025 {
            for count in 1..=64 {
                let (mut rest, mut left) = (count, 0);
                while rest > 0 {
                    let size = size(rest, blocks);
                    assert!([0, 1, 2, 4, 8, 16].contains(&size), "{size}");
                    left += usize::from(size == 0);
                    rest -= size.clamp(1, rest);
                }
                assert!(left <= 3, "{left} of {count} left with {blocks} blocks");
            }
        }
        assert_eq!(size(1, 2), 0, "short and alone");
        assert_eq!(size(3, 2), 4, "an empty lane is cheaper than another batch");
        assert_eq!(size(12, 24), 8, "but not a quarter of the work");
    }
}
