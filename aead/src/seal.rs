//! Sealing a batch: the cipher goes ahead, the hash follows one block behind.

use crate::batch::Batch;
use crate::hash::Hash;

impl<const PACKETS: usize, const PAIRS: usize> Batch<'_, PACKETS, PAIRS> {
    /// Encrypts all texts in place and writes their tags.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn seal(&self, key: &[u8; 32]) {
        let mut stream = self.stream(key);
        let mut blocks = stream.next();
        self.xor(0, &blocks);
        let mut hash = Hash::<PACKETS, PAIRS>::new(&self.texts);
        hash.set_keys(&blocks);
        for turn in 1..self.turns {
            blocks = stream.next();
            // What the turn before wrote, for what was just written cannot be read before the processor has put it away.
            hash.run_within(Self::covered(turn - 1));
            self.xor(turn, &blocks);
        }
        for (text, tag) in self.texts.iter().zip(hash.end()).take(self.used) {
            text.set_tag(tag);
        }
        Self::wipe(&mut stream, &mut blocks, &mut hash);
    }
}
