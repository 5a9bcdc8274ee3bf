//! From runs of packets to batches: which go together, and how many at once.

use crate::costs::Costs;
use crate::memory::{LONGEST, Memory, Text};
use crate::packets::Packets;
use crate::{Level, Packet, State};
use crate::{avx2, avx512};
use core::arch::x86_64::*;

/// Packets that are looked at together.
const WINDOW: usize = 64;

/// See [`Vectors::seal`](crate::Vectors::seal).
///
/// # Safety
///
/// The processor must have what `level` needs.
pub(crate) unsafe fn seal(level: Level, costs: &Costs, key: &[u8; 32], buffer: &mut [u8], packets: &mut [Packet]) {
    if gains_nothing(costs, packets) {
        return;
    }
    let memory = Memory::new(buffer);
    for window in packets.chunks_mut(WINDOW) {
        let mut pending = Pending::new(&memory, window);
        while let Some(group) = pending.next(costs) {
            // SAFETY: the caller knows the processor.
            unsafe { group.seal(level, key, &memory, window) };
            group.conclude(window, u16::MAX);
        }
    }
}

/// See [`Vectors::open`](crate::Vectors::open).
///
/// # Safety
///
/// The processor must have what `level` needs.
pub(crate) unsafe fn open(level: Level, costs: &Costs, key: &[u8; 32], buffer: &mut [u8], packets: &mut [Packet]) {
    if gains_nothing(costs, packets) {
        return;
    }
    let memory = Memory::new(buffer);
    for window in packets.chunks_mut(WINDOW) {
        let mut pending = Pending::new(&memory, window);
        while let Some(group) = pending.next(costs) {
            // SAFETY: the caller knows the processor.
            let passed = unsafe { group.open(level, key, &memory, window) };
            group.conclude(window, passed);
        }
    }
}

/// Whether the library does all of these faster, however they are put together: then nothing need be looked up for them.
#[inline]
fn gains_nothing(costs: &Costs, packets: &[Packet]) -> bool {
    let mut known = None;
    packets.iter().all(|packet| {
        let is_known = known.replace(packet.len) == Some(packet.len);
        is_known || costs.size(packets.len(), blocks(packet.len)) == 0
    })
}

/// Blocks of ChaCha20 for a text of that many bytes, the one for its one-time key included. At most 1,025.
#[inline]
pub(crate) fn blocks(len: usize) -> usize {
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
    #[target_feature(enable = "sse2")]
    fn places_with(&self, blocks: u16) -> u64 {
        let wanted = _mm_set1_epi16(blocks.cast_signed());
        let (sixteens, _) = self.blocks.as_chunks::<16>();
        sixteens.iter().rev().fold(0, |places, sixteen| {
            let (eights, _) = sixteen.as_chunks::<8>();
            let [low, high] = [0, 1].map(|i| {
                // SAFETY: eight numbers of 16 bits are 16 bytes.
                _mm_cmpeq_epi16(unsafe { _mm_loadu_si128(eights[i].as_ptr().cast()) }, wanted)
            });
            places << 16 | u64::from(_mm_movemask_epi8(_mm_packs_epi16(low, high)).cast_unsigned())
        })
    }

    /// The next packets that gain by going together.
    #[inline]
    fn next(&mut self, costs: &Costs) -> Option<Group> {
        while self.waiting != 0 {
            let blocks = self.blocks[self.waiting.trailing_zeros() as usize % WINDOW];
            // SAFETY: every x86-64 has SSE2.
            let mut same = self.waiting & unsafe { self.places_with(blocks) };
            let size = costs.size(same.count_ones() as usize, blocks.into());
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
    /// # Safety
    ///
    /// The processor must have what `level` needs.
    #[inline]
    unsafe fn seal(&self, level: Level, key: &[u8; 32], memory: &Memory<'_>, window: &[Packet]) {
        // SAFETY: the caller knows the processor.
        unsafe {
            match (level, self.size) {
                (Level::Avx512Ifma, 16) => avx512::Batch::<16, 8>::new(self.packets(memory, window)).seal(key),
                (Level::Avx512Ifma, 8) => avx512::Batch::<8, 4>::new(self.packets(memory, window)).seal(key),
                (Level::Avx512Ifma, 4) => avx512::Batch::<4, 2>::new(self.packets(memory, window)).seal(key),
                (Level::Avx512Ifma, 2) => avx512::Batch::<2, 1>::new(self.packets(memory, window)).seal(key),
                (Level::Avx512Ifma, _) => avx512::Batch::<1, 1>::new(self.packets(memory, window)).seal(key),
                (Level::Avx2, 8) => avx2::Batch::<8>::new(self.packets(memory, window)).seal(key),
                (Level::Avx2, _) => avx2::Batch::<4>::new(self.packets(memory, window)).seal(key),
            }
        }
    }

    /// Says by bits whose tag was right.
    ///
    /// # Safety
    ///
    /// The processor must have what `level` needs.
    #[inline]
    unsafe fn open(&self, level: Level, key: &[u8; 32], memory: &Memory<'_>, window: &[Packet]) -> u16 {
        // SAFETY: the caller knows the processor.
        unsafe {
            match (level, self.size) {
                (Level::Avx512Ifma, 16) => avx512::Batch::<16, 8>::new(self.packets(memory, window)).open(key),
                (Level::Avx512Ifma, 8) => avx512::Batch::<8, 4>::new(self.packets(memory, window)).open(key),
                (Level::Avx512Ifma, 4) => avx512::Batch::<4, 2>::new(self.packets(memory, window)).open(key),
                (Level::Avx512Ifma, 2) => avx512::Batch::<2, 1>::new(self.packets(memory, window)).open(key),
                (Level::Avx512Ifma, _) => avx512::Batch::<1, 1>::new(self.packets(memory, window)).open(key),
                (Level::Avx2, 8) => avx2::Batch::<8>::new(self.packets(memory, window)).open(key),
                (Level::Avx2, _) => avx2::Batch::<4>::new(self.packets(memory, window)).open(key),
            }
        }
    }

    #[inline]
    fn packets<'a, const N: usize>(&self, memory: &Memory<'a>, window: &[Packet]) -> Packets<'a, N> {
        let mut packets = Packets { texts: [Text::NOTHING; N], counters: [0; N], used: self.used, front: 0 };
        let places = self.places.iter().take(self.used);
        for ((text, counter), place) in packets.texts.iter_mut().zip(&mut packets.counters).zip(places) {
            let packet = &window[usize::from(*place)];
            *text = memory.text(packet.start, packet.len).unwrap_or(Text::NOTHING);
            *counter = packet.counter;
        }
        packets
    }

    #[inline]
    fn conclude(&self, window: &mut [Packet], passed: u16) {
        for (i, place) in self.places.iter().enumerate().take(self.used) {
            let passed = passed & 1 << i != 0;
            window[usize::from(*place)].state = if passed { State::Done } else { State::Forged };
        }
    }
}
