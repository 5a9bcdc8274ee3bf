//! Opening a batch: the hash goes ahead of the cipher, which overwrites what is hashed.

use crate::batch::Batch;
use crate::hash::Hash;

impl<const PACKETS: usize, const PAIRS: usize> Batch<'_, PACKETS, PAIRS> {
    /// Decrypts all texts in place. Says by bits, packet 0 in the lowest, whose tag was right; the text of the others is
    /// wiped.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn open(&self, key: &[u8; 32]) -> u16 {
        let mut stream = self.stream(key);
        let mut blocks = stream.next();
        let mut hash = Hash::<PACKETS, PAIRS>::new(&self.texts);
        hash.set_keys(&blocks);
        let mut passed = None;
        for turn in 0..self.turns {
            if turn > 0 {
                blocks = stream.next();
            }
            if passed.is_none() && !(turn + 1 < self.turns && hash.run_past(Self::covered(turn))) {
                passed = Some(self.compare(hash.end()));
            }
            self.xor(turn, &blocks);
        }
        let passed = passed.unwrap_or(0);
        for (i, text) in self.texts.iter().enumerate().take(self.used) {
            if passed & 1 << i == 0 {
                text.wipe();
            }
        }
        Self::wipe(&mut stream, &mut blocks, &mut hash);
        passed
    }

    fn compare(&self, tags: [u128; PACKETS]) -> u16 {
        let tags = self.texts.iter().zip(tags).take(self.used).enumerate();
        tags.fold(0, |passed, (i, (text, tag))| passed | u16::from(equal(text.tag(), tag)) << i)
    }
}

/// Whether two tags are equal, in a time that says nothing of where they differ.
#[inline]
fn equal(a: u128, b: u128) -> bool {
    core::hint::black_box(a ^ b) == 0
}
