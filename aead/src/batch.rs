//! Packets that go through the vectors together.
//!
//! The sixteen lanes are divided evenly: lane `i` belongs to packet `i / LANES`, `LANES = 16 / PACKETS`, and does every
//! `LANES`th block of it from `i % LANES` on. Block 0 of a packet makes its one-time key, the text begins with block 1.
//! In turn `t`, lane `i` therefore does block `LANES * t + i % LANES`, which covers the 64 bytes at 64 times one less.

use crate::chacha::Stream;
use crate::hash::Hash;
use crate::memory::Text;
use crate::wipe::wipe_vectors;
use core::arch::x86_64::__m512i;
use core::array::from_fn;

/// `PACKETS` texts of one key, a power of two up to 16, with equally many blocks each. `PAIRS` is half of `PACKETS`, or 1
/// for one packet.
pub(crate) struct Batch<'a, const PACKETS: usize, const PAIRS: usize> {
    pub(crate) texts: [Text<'a>; PACKETS],
    pub(crate) turns: usize,
    /// Texts behind these are empty ones to fill the lanes, without room for a tag.
    pub(crate) used: usize,
    counters: [u64; PACKETS],
    /// First word of all nonces: zero, but for vectors of others.
    front: u32,
}

impl<'a, const PACKETS: usize, const PAIRS: usize> Batch<'a, PACKETS, PAIRS> {
    /// Lanes per packet.
    const LANES: usize = 16 / PACKETS;

    /// The texts with their counters, `used` of them.
    pub(crate) fn new(texts: [Text<'a>; PACKETS], counters: [u64; PACKETS], used: usize) -> Self {
        let longest = texts.iter().map(Text::len).max().unwrap_or(0);
        Self { texts, turns: (1 + longest.div_ceil(64)).div_ceil(Self::LANES), used, counters, front: 0 }
    }

    /// Bytes of every text that are through with the cipher after `turn`.
    #[inline]
    pub(crate) const fn covered(turn: usize) -> usize {
        64 * ((turn + 1) * Self::LANES - 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn stream(&self, key: &[u8; 32]) -> Stream {
        let counters = from_fn(|i| self.counters[i / Self::LANES]);
        let blocks = const { Self::first_blocks() };
        Stream::new(key, self.front, &counters, &blocks, Self::LANES as u32)
    }

    /// The block of turn 0 in each lane.
    const fn first_blocks() -> [u32; 16] {
        let mut blocks = [0; 16];
        let mut i = 0;
        while i < 16 {
            blocks[i] = (i % Self::LANES) as u32;
            i += 1;
        }
        blocks
    }

    /// Adds the key stream of a turn to the texts.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn xor(&self, turn: usize, blocks: &[__m512i; 16]) {
        for (i, block) in blocks.iter().enumerate() {
            if let Some(place) = (Self::LANES * turn + i % Self::LANES).checked_sub(1) {
                self.texts[i / Self::LANES].xor(64 * place, *block);
            }
        }
    }

    /// Forgets everything that could open a text.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn wipe(stream: &mut Stream, blocks: &mut [__m512i; 16], hash: &mut Hash<'_, PACKETS, PAIRS>) {
        stream.wipe();
        wipe_vectors(blocks);
        hash.wipe();
    }
}

#[cfg(test)]
mod tests;
