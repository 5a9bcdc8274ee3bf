//! Packets that go through the vectors together, at any level.

use crate::memory::Text;

/// `N` texts of one key with their counters.
pub(crate) struct Packets<'a, const N: usize> {
    pub(crate) texts: [Text<'a>; N],
    pub(crate) counters: [u64; N],
    /// Texts behind these are empty ones to fill the lanes, without room for a tag.
    pub(crate) used: usize,
    /// First word of all nonces: zero, but for vectors of others.
    pub(crate) front: u32,
}

impl<const N: usize> Packets<'_, N> {
    /// Blocks of ChaCha20 for the longest text, the one for its one-time key included.
    #[inline]
    pub(crate) fn blocks(&self) -> usize {
        1 + self.texts.iter().map(Text::len).max().unwrap_or(0).div_ceil(64)
    }

    #[inline]
    pub(crate) fn set_tags(&self, tags: &[u128; N]) {
        for (text, tag) in self.texts.iter().zip(tags).take(self.used) {
            text.set_tag(*tag);
        }
    }

    /// Says by bits, packet 0 in the lowest, which packets have these tags behind them.
    #[inline]
    pub(crate) fn compare(&self, tags: &[u128; N]) -> u16 {
        let tags = self.texts.iter().zip(tags).take(self.used).enumerate();
        tags.fold(0, |passed, (i, (text, tag))| passed | u16::from(equal(text.tag(), *tag)) << i)
    }

    /// Wipes the texts whose bit in `passed` is not set.
    #[inline]
    pub(crate) fn wipe_refused(&self, passed: u16) {
        for (i, text) in self.texts.iter().enumerate().take(self.used) {
            if passed & 1 << i == 0 {
                text.wipe();
            }
        }
    }
}

/// Whether two tags are equal, in a time that says nothing of where they differ.
#[inline]
fn equal(a: u128, b: u128) -> bool {
    core::hint::black_box(a ^ b) == 0
}
