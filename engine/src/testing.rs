//! What several tests need: numbers that look random and are the same in every run, independent primitives, a
//! home that watches its locks, and hex.

pub(crate) mod crypto;
pub(crate) mod host;

/// SplitMix64: a counter through a mixing function.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// `N` bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        [(); N].map(|()| self.next() as u8)
    }
}

/// The `N` bytes that `text` spells in hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> [u8; N] {
    assert_eq!(text.len(), 2 * N);
    let digit = |at| char::from(text.as_bytes()[at]).to_digit(16).unwrap() as u8;
    core::array::from_fn(|at| digit(2 * at) << 4 | digit(2 * at + 1))
}
