//! Opening a batch: the hash goes ahead of the cipher, which overwrites what is hashed.

use crate::avx512::batch::Batch;
use crate::avx512::hash::Hash;
use core::arch::x86_64::_mm512_setzero_si512;

impl<const PACKETS: usize, const PAIRS: usize> Batch<'_, PACKETS, PAIRS> {
    /// Decrypts all texts in place. Says by bits, packet 0 in the lowest, whose tag was right; the text of the others is
    /// wiped.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn open(&self, key: &[u8; 32]) -> u16 {
        let mut stream = self.stream(key);
        let mut blocks = [[_mm512_setzero_si512(); 16]; 2];
        let mut turns = self.next(&mut stream, 0, &mut blocks);
        let mut hash = Hash::<PACKETS, PAIRS>::new(&self.packets.texts);
        hash.set_keys(&blocks[0]);
        let mut passed = None;
        loop {
            if passed.is_none() && !(turns.end < self.turns && hash.run_past(Self::covered(turns.end - 1))) {
                passed = Some(self.packets.compare(&hash.end()));
            }
            self.xor(turns.clone(), &blocks);
            if turns.end >= self.turns {
                break;
            }
            turns = self.next(&mut stream, turns.end, &mut blocks);
        }
        let passed = passed.unwrap_or(0);
        self.packets.wipe_refused(passed);
        Self::wipe(&mut stream, &mut blocks, &mut hash);
        passed
    }
}
