//! Packets that go through the vectors together.
//!
//! As with [AVX-512](crate::avx512), but with eight lanes: lane `i` belongs to packet `i / LANES`, `LANES = 8 / PACKETS`,
//! and does in turn `t` block `LANES * t + i % LANES` of it. The hash does 64 bytes between one double round of the cipher and
//! the next. It needs none of the vector units and the cipher nothing else, so the processor works on both at once.

use crate::avx2::chacha::Stream;
use crate::avx2::hash::Hash;
use crate::packets::Packets;
use crate::wipe::wipe;
use core::arch::x86_64::{__m256i, _mm256_setzero_si256};
use core::array::from_fn;

/// `PACKETS` texts of one key, 4 or 8, with equally many blocks each.
pub(crate) struct Batch<'a, const PACKETS: usize> {
    packets: Packets<'a, PACKETS>,
    turns: usize,
}

impl<'a, const PACKETS: usize> Batch<'a, PACKETS> {
    /// Lanes per packet.
    const LANES: usize = 8 / PACKETS;

    pub(crate) fn new(packets: Packets<'a, PACKETS>) -> Self {
        let turns = packets.blocks().div_ceil(Self::LANES);
        Self { packets, turns }
    }

    /// Encrypts all texts in place and writes their tags. The hash follows a turn behind the cipher.
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    pub(crate) fn seal(&self, key: &[u8; 32]) {
        let mut stream = self.stream(key);
        let mut blocks = [[_mm256_setzero_si256(); 2]; 8];
        stream.next(&mut blocks, |_| ());
        let mut hash = self.hash(&blocks);
        self.xor(0, &blocks);
        for turn in 1..self.turns {
            let covered = Self::covered(turn - 1);
            stream.next(&mut blocks, |i| _ = hash.step(i / Self::LANES, covered));
            self.xor(turn, &blocks);
        }
        self.packets.set_tags(&hash.end());
        Self::wipe(&mut stream, &mut blocks, &mut hash);
    }

    /// Decrypts all texts in place. Says by bits, packet 0 in the lowest, whose tag was right; the text of the others is
    /// wiped. The hash goes ahead of the cipher, which overwrites what is hashed.
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    pub(crate) fn open(&self, key: &[u8; 32]) -> u16 {
        let mut stream = self.stream(key);
        let mut blocks = [[_mm256_setzero_si256(); 2]; 8];
        stream.next(&mut blocks, |_| ());
        let mut hash = self.hash(&blocks);
        for i in 0..8 {
            _ = hash.step(i / Self::LANES, Self::covered(0));
        }
        for turn in 1..self.turns {
            self.xor(turn - 1, &blocks);
            let covered = Self::covered(turn);
            stream.next(&mut blocks, |i| _ = hash.step(i / Self::LANES, covered));
        }
        let passed = self.packets.compare(&hash.end());
        self.xor(self.turns - 1, &blocks);
        self.packets.wipe_refused(passed);
        Self::wipe(&mut stream, &mut blocks, &mut hash);
        passed
    }

    /// Hashes under the one-time keys that are the first half of every packet's first block.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn hash(&self, blocks: &[[__m256i; 2]; 8]) -> Hash<'a, PACKETS> {
        let mut keys = from_fn(|i| numbers(blocks[i * Self::LANES][0]));
        let hash = Hash::new(&self.packets.texts, &keys);
        wipe(&mut keys, [0; 2]);
        hash
    }

    /// Bytes of every text that are through with the cipher after `turn`.
    #[inline]
    const fn covered(turn: usize) -> usize {
        64 * ((turn + 1) * Self::LANES - 1)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn stream(&self, key: &[u8; 32]) -> Stream {
        let counters = from_fn(|i| self.packets.counters[i / Self::LANES]);
        let blocks = from_fn(|i| (i % Self::LANES) as u32);
        Stream::new(key, self.packets.front, &counters, &blocks, Self::LANES as u32)
    }

    /// Adds the key stream of a turn to the texts.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(&self, turn: usize, blocks: &[[__m256i; 2]; 8]) {
        for (i, block) in blocks.iter().enumerate() {
            if let Some(place) = (Self::LANES * turn + i % Self::LANES).checked_sub(1) {
                self.packets.texts[i / Self::LANES].xor_halves(64 * place, block);
            }
        }
    }

    /// Forgets everything that could open a text.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn wipe(stream: &mut Stream, blocks: &mut [[__m256i; 2]; 8], hash: &mut Hash<'_, PACKETS>) {
        stream.wipe();
        wipe(blocks.as_flattened_mut(), _mm256_setzero_si256());
        hash.wipe();
    }
}

/// The two numbers that 32 bytes are.
#[inline]
fn numbers(half: __m256i) -> [u128; 2] {
    // SAFETY: a vector of 256 bits is two numbers of 128 bits.
    unsafe { core::mem::transmute(half) }
}
