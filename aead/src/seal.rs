//! Sealing a batch: the cipher goes ahead, the hash follows one block behind.

use crate::batch::Batch;
use crate::poly::Hash;

impl<const PACKETS: usize, const PAIRS: usize> Batch<'_, PACKETS, PAIRS> {
    /// Encrypts all texts in place and writes their tags.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn seal(&self, key: &[u8; 32]) {
        let mut stream = self.stream(key);
        let mut blocks = stream.next();
        self.xor(0, &blocks);
        let mut hash = Hash::<PACKETS, PAIRS>::new(&blocks, &self.texts);
        for turn in 1..self.turns {
            hash.allow(Self::covered(turn - 1));
            blocks = stream.next_while(&mut hash);
            self.xor(turn, &blocks);
        }
        for (text, tag) in self.texts.iter().zip(hash.end()).take(self.used) {
            text.set_tag(tag);
        }
        Self::wipe(&mut stream, &mut blocks, &mut hash);
    }
}
