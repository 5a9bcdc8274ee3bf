//! ChaCha20 (RFC 8439, section 2.3), sixteen blocks at once.
//!
//! Vector `i` holds word `i` of sixteen blocks, one in each of its 32-bit lanes. Which block of which packet a lane holds
//! is the caller's choice: lanes differ only in block counter and nonce, the words 12, 14 and 15. Word 13, the first of the
//! nonce, is zero in this protocol.
//!
//! So in the first round, of the four columns
//! - column 1 (words 1, 5, 9, 13) is the same for a key,
//! - columns 2 and 3 (with the nonce's words 14 and 15) are the same for all blocks of a packet,
//! - column 0 (with the block counter) alone has to be computed for every block:
//!
//! 36 of the 960 operations of sixteen blocks are done once per batch instead.

use crate::chacha::{CONSTANTS, words};
use crate::wipe::wipe;
use core::arch::x86_64::*;

/// One of the four parts of quarter rounds that stand side by side, in each of some states, so that all independent
/// chains are at hand: x += y; z = (z ^ x) <<< bits.
///
/// Macros and not functions, because the compiler must inline them and `inline(always)` does not go with
/// `target_feature`.
macro_rules! quarters {
    ([$($v:ident)*], $bits:literal, $places:tt) => {
        $(quarters!($v, $bits, $places);)*
    };
    ($v:ident, $bits:literal, ($([$x:literal $y:literal $z:literal])*)) => {
        $($v[$x] = _mm512_add_epi32($v[$x], $v[$y]);)*
        $($v[$z] = _mm512_xor_si512($v[$z], $v[$x]);)*
        $($v[$z] = _mm512_rol_epi32::<$bits>($v[$z]);)*
    };
}

macro_rules! columns {
    ($v:tt) => {
        quarters!($v, 16, ([0 4 12] [1 5 13] [2 6 14] [3 7 15]));
        quarters!($v, 12, ([8 12 4] [9 13 5] [10 14 6] [11 15 7]));
        quarters!($v, 8, ([0 4 12] [1 5 13] [2 6 14] [3 7 15]));
        quarters!($v, 7, ([8 12 4] [9 13 5] [10 14 6] [11 15 7]));
    };
}

macro_rules! diagonals {
    ($v:tt) => {
        quarters!($v, 16, ([0 5 15] [1 6 12] [2 7 13] [3 4 14]));
        quarters!($v, 12, ([10 15 5] [11 12 6] [8 13 7] [9 14 4]));
        quarters!($v, 8, ([0 5 15] [1 6 12] [2 7 13] [3 4 14]));
        quarters!($v, 7, ([10 15 5] [11 12 6] [8 13 7] [9 14 4]));
    };
}

macro_rules! double_round {
    ($v:tt) => {
        columns!($v);
        diagonals!($v);
    };
}

/// Sixteen key streams, each in its lane.
pub(crate) struct Stream {
    key: [u32; 8],
    /// Columns 1, 2 and 3 after the first column round.
    columns: [[__m512i; 4]; 3],
    block: __m512i,
    front: __m512i,
    low: __m512i,
    high: __m512i,
    stride: u32,
}

impl Stream {
    /// Streams under `key`: lane `i` begins with block `block[i]` of the packet with that counter, and goes on in
    /// steps of `stride` blocks. `front` is the first word of all nonces.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn new(key: &[u8; 32], front: u32, counters: &[u64; 16], block: &[u32; 16], stride: u32) -> Self {
        let key = words(key);
        // SAFETY: eight counters are 64 bytes.
        let counters =
            counters.as_chunks::<8>().0.iter().map(|eight| unsafe { _mm512_loadu_si512(eight.as_ptr().cast()) });
        let mut low = _mm512_setzero_si512();
        let mut high = low;
        for (i, counters) in counters.enumerate() {
            let words = _mm512_cvtepi64_epi32(counters);
            low = if i == 0 { _mm512_castsi256_si512(words) } else { _mm512_inserti64x4::<1>(low, words) };
            let words = _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(counters));
            high = if i == 0 { _mm512_castsi256_si512(words) } else { _mm512_inserti64x4::<1>(high, words) };
        }
        let front = _mm512_set1_epi32(front.cast_signed());
        let columns = [(1, front), (2, low), (3, high)].map(|(i, last)| {
            let [a, b, c] = [CONSTANTS[i], key[i], key[i + 4]].map(|word| _mm512_set1_epi32(word.cast_signed()));
            quarter([a, b, c, last])
        });
        Self { key, columns, block: vector(block), front, low, high, stride }
    }

    /// The next block of each lane.
    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn next(&mut self, blocks: &mut [__m512i; 16]) {
        let mut v = self.start();
        for _ in 0..9 {
            double_round!([v]);
        }
        *blocks = self.end(v);
    }

    /// The next two blocks of each lane, which takes a processor little longer than one if it has more to do in parallel
    /// than the four chains of one state. Two states are as many vectors as there are registers.
    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn next_two(&mut self, blocks: &mut [[__m512i; 16]; 2]) {
        let mut v = self.start();
        let first = self.block;
        self.advance();
        let mut w = self.start();
        for _ in 0..9 {
            double_round!([v w]);
        }
        let second = core::mem::replace(&mut self.block, first);
        blocks[0] = self.end(v);
        self.block = second;
        blocks[1] = self.end(w);
    }

    /// The state after the first double round.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn start(&self) -> [__m512i; 16] {
        let [a, b, c] = [CONSTANTS[0], self.key[0], self.key[4]].map(|word| _mm512_set1_epi32(word.cast_signed()));
        let first = quarter([a, b, c, self.block]);
        let mut v = [_mm512_setzero_si512(); 16];
        for row in 0..4 {
            v[4 * row] = first[row];
            v[4 * row + 1] = self.columns[0][row];
            v[4 * row + 2] = self.columns[1][row];
            v[4 * row + 3] = self.columns[2][row];
        }
        diagonals!([v]);
        v
    }

    /// Adds the state the rounds began with, and gives the blocks lane by lane.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn end(&mut self, mut v: [__m512i; 16]) -> [__m512i; 16] {
        for i in 0..4 {
            v[i] = _mm512_add_epi32(v[i], _mm512_set1_epi32(CONSTANTS[i].cast_signed()));
        }
        for i in 0..8 {
            v[4 + i] = _mm512_add_epi32(v[4 + i], _mm512_set1_epi32(self.key[i].cast_signed()));
        }
        v[12] = _mm512_add_epi32(v[12], self.block);
        v[13] = _mm512_add_epi32(v[13], self.front);
        v[14] = _mm512_add_epi32(v[14], self.low);
        v[15] = _mm512_add_epi32(v[15], self.high);
        self.advance();
        transpose(v)
    }

    /// To the next block in each lane.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn advance(&mut self) {
        self.block = _mm512_add_epi32(self.block, _mm512_set1_epi32(self.stride.cast_signed()));
    }

    /// Forgets key and state.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn wipe(&mut self) {
        wipe(&mut self.key, 0);
        wipe(self.columns.as_flattened_mut(), _mm512_setzero_si512());
    }
}

/// One quarter round (RFC 8439, section 2.1).
#[inline]
#[target_feature(enable = "avx512f")]
fn quarter([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let a = _mm512_add_epi32(a, b);
    let d = _mm512_rol_epi32::<16>(_mm512_xor_si512(d, a));
    let c = _mm512_add_epi32(c, d);
    let b = _mm512_rol_epi32::<12>(_mm512_xor_si512(b, c));
    let a = _mm512_add_epi32(a, b);
    let d = _mm512_rol_epi32::<8>(_mm512_xor_si512(d, a));
    let c = _mm512_add_epi32(c, d);
    let b = _mm512_rol_epi32::<7>(_mm512_xor_si512(b, c));
    [a, b, c, d]
}

/// From word `i` of all blocks in vector `i` to all words of block `i` in vector `i`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(v: [__m512i; 16]) -> [__m512i; 16] {
    // quads[q][j] has words 4q to 4q + 3 of the blocks j, 4 + j, 8 + j and 12 + j.
    let mut quads = [[_mm512_setzero_si512(); 4]; 4];
    for q in 0..4 {
        let [a, b, c, d] = [v[4 * q], v[4 * q + 1], v[4 * q + 2], v[4 * q + 3]];
        let [ab, cd] = [_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d)];
        let [ef, gh] = [_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d)];
        quads[q] = [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ef, gh),
            _mm512_unpackhi_epi64(ef, gh),
        ];
    }
    let mut blocks = [_mm512_setzero_si512(); 16];
    for j in 0..4 {
        let column = transpose_quarters([quads[0][j], quads[1][j], quads[2][j], quads[3][j]]);
        for (k, block) in column.into_iter().enumerate() {
            blocks[4 * k + j] = block;
        }
    }
    blocks
}

/// Quarter `j` of vector `i` becomes quarter `i` of vector `j`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let [e, f] = [_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d)];
    let [g, h] = [_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d)];
    [
        _mm512_shuffle_i32x4::<0x88>(e, f),
        _mm512_shuffle_i32x4::<0xdd>(e, f),
        _mm512_shuffle_i32x4::<0x88>(g, h),
        _mm512_shuffle_i32x4::<0xdd>(g, h),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn vector(words: &[u32; 16]) -> __m512i {
    // SAFETY: sixteen words are 64 bytes.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}
