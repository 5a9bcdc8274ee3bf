//! Sealing a batch: the cipher goes ahead, the hash follows behind what was written before.

use crate::avx512::batch::Batch;
use crate::avx512::hash::Hash;
use core::arch::x86_64::_mm512_setzero_si512;

impl<const PACKETS: usize, const PAIRS: usize> Batch<'_, PACKETS, PAIRS> {
    /// Encrypts all texts in place and writes their tags.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn seal(&self, key: &[u8; 32]) {
        let mut stream = self.stream(key);
        let mut blocks = [[_mm512_setzero_si512(); 16]; 2];
        let mut turns = self.next(&mut stream, 0, &mut blocks);
        let mut hash = Hash::<PACKETS, PAIRS>::new(&self.packets.texts);
        hash.set_keys(&blocks[0]);
        self.xor(turns.clone(), &blocks);
        while turns.end < self.turns {
            turns = self.next(&mut stream, turns.end, &mut blocks);
            // What the turns before wrote, for what was just written cannot be read before the processor has put it away.
            hash.run_within(Self::covered(turns.start - 1));
            self.xor(turns.clone(), &blocks);
        }
        self.packets.set_tags(&hash.end());
        Self::wipe(&mut stream, &mut blocks, &mut hash);
    }
}
