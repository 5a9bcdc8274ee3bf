//! Packets that go through the vectors together.
//!
//! The sixteen lanes are divided evenly: lane `i` belongs to packet `i / LANES`, `LANES = 16 / PACKETS`, and does every
//! `LANES`th block of it from `i % LANES` on. Block 0 of a packet makes its one-time key, the text begins with block 1.
//! In turn `t`, lane `i` therefore does block `LANES * t + i % LANES`, which covers the 64 bytes at 64 times one less.

use crate::avx512::chacha::Stream;
use crate::avx512::hash::Hash;
use crate::packets::Packets;
use crate::wipe::wipe;
use core::arch::x86_64::{__m512i, _mm512_setzero_si512};
use core::array::from_fn;
use core::ops::Range;

/// `PACKETS` texts of one key, a power of two up to 16, with equally many blocks each. `PAIRS` is half of `PACKETS`, or 1
/// for one packet.
pub(crate) struct Batch<'a, const PACKETS: usize, const PAIRS: usize> {
    pub(crate) packets: Packets<'a, PACKETS>,
    pub(crate) turns: usize,
}

impl<'a, const PACKETS: usize, const PAIRS: usize> Batch<'a, PACKETS, PAIRS> {
    /// Lanes per packet.
    const LANES: usize = 16 / PACKETS;

    pub(crate) fn new(packets: Packets<'a, PACKETS>) -> Self {
        let turns = packets.blocks().div_ceil(Self::LANES);
        Self { packets, turns }
    }

    /// Bytes of every text that are through with the cipher after `turn`.
    #[inline]
    pub(crate) const fn covered(turn: usize) -> usize {
        64 * ((turn + 1) * Self::LANES - 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn stream(&self, key: &[u8; 32]) -> Stream {
        let counters = from_fn(|i| self.packets.counters[i / Self::LANES]);
        let blocks = const { Self::first_blocks() };
        Stream::new(key, self.packets.front, &counters, &blocks, Self::LANES as u32)
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

    /// The key stream of `turn` and of the next one, if there is one. Says which turns these are.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn next(&self, stream: &mut Stream, turn: usize, blocks: &mut [[__m512i; 16]; 2]) -> Range<usize> {
        if self.turns - turn > 1 {
            stream.next_two(blocks);
            turn..turn + 2
        } else {
            stream.next(&mut blocks[0]);
            turn..turn + 1
        }
    }

    /// Adds the key stream of some turns to the texts.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn xor(&self, turns: Range<usize>, blocks: &[[__m512i; 16]; 2]) {
        for (turn, blocks) in turns.zip(blocks) {
            for (i, block) in blocks.iter().enumerate() {
                if let Some(place) = (Self::LANES * turn + i % Self::LANES).checked_sub(1) {
                    self.packets.texts[i / Self::LANES].xor(64 * place, *block);
                }
            }
        }
    }

    /// Forgets everything that could open a text.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn wipe(stream: &mut Stream, blocks: &mut [[__m512i; 16]; 2], hash: &mut Hash<'_, PACKETS, PAIRS>) {
        stream.wipe();
        wipe(blocks.as_flattened_mut(), _mm512_setzero_si512());
        hash.wipe();
    }
}
