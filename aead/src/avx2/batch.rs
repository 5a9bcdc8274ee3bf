//! Packets that go through the vectors together.
//!
//! As with [AVX-512](crate::avx512), but with eight lanes: lane `i` belongs to packet `i / LANES`, `LANES = 8 / PACKETS`,
//! and does in turn `t` block `LANES * t + i % LANES` of it. The steps of the hash stand between the double rounds of the
//! cipher, each of which leaves the processor room for the other.

use crate::avx2::chacha::Stream;
use crate::avx2::hash::Hash;
use crate::packets::Packets;
use crate::wipe::wipe;
use core::arch::x86_64::{__m256i, _mm256_setzero_si256};
use core::array::from_fn;

/// `PACKETS` texts of one key, 4 or 8, with equally many blocks each. `QUADS` is a quarter of `PACKETS`.
pub(crate) struct Batch<'a, const PACKETS: usize, const QUADS: usize> {
    packets: Packets<'a, PACKETS>,
    turns: usize,
}

impl<'a, const PACKETS: usize, const QUADS: usize> Batch<'a, PACKETS, QUADS> {
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
        stream.next(&mut blocks, || ());
        let mut hash = Hash::<PACKETS, QUADS>::new(&self.packets.texts);
        hash.set_keys(&blocks);
        self.xor(0, &blocks);
        for turn in 1..self.turns {
            let steps = hash.steps_within(Self::covered(turn - 1));
            stream.next(&mut blocks, || hash.step::<0>(steps));
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
        stream.next(&mut blocks, || ());
        let mut hash = Hash::<PACKETS, QUADS>::new(&self.packets.texts);
        hash.set_keys(&blocks);
        let mut turn = 0;
        while turn + 1 < self.turns {
            hash.run(hash.steps_past(Self::covered(turn)));
            self.xor(turn, &blocks);
            turn += 1;
            let steps = hash.steps_past(Self::covered(turn));
            stream.next(&mut blocks, || hash.step::<0>(steps));
        }
        let passed = self.packets.compare(&hash.end());
        self.xor(turn, &blocks);
        self.packets.wipe_refused(passed);
        Self::wipe(&mut stream, &mut blocks, &mut hash);
        passed
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
    fn wipe(stream: &mut Stream, blocks: &mut [[__m256i; 2]; 8], hash: &mut Hash<'_, PACKETS, QUADS>) {
        stream.wipe();
        wipe(blocks.as_flattened_mut(), _mm256_setzero_si256());
        hash.wipe();
    }
}
