//! ChaCha20 (RFC 8439, section 2.3), eight blocks at once.
//!
//! Vector `i` holds word `i` of eight blocks, one in each of its 32-bit lanes. Lanes differ in block counter and nonce.

use crate::chacha::{CONSTANTS, words};
use crate::wipe::wipe;
use core::arch::x86_64::*;
use core::hint::black_box;

/// Where the bytes of words go that are rotated by 16 and by 8 bits.
const ORDERS: [[u32; 8]; 2] = {
    let quarters =
        [[0x0100_0302, 0x0504_0706, 0x0908_0b0a, 0x0d0c_0f0e], [0x0201_0003, 0x0605_0407, 0x0a09_080b, 0x0e0d_0c0f]];
    let [[a, b, c, d], [e, f, g, h]] = quarters;
    [[a, b, c, d, a, b, c, d], [e, f, g, h, e, f, g, h]]
};

/// x += y; z = (z ^ x) <<< bits, for each [x y z].
///
/// A macro, because functions of this size are not inlined and `inline(always)` does not go with `target_feature`.
macro_rules! steps {
    ($v:ident, $rotate:expr, $([$x:literal $y:literal $z:literal])*) => {
        $($v[$x] = _mm256_add_epi32($v[$x], $v[$y]);)*
        $($v[$z] = _mm256_xor_si256($v[$z], $v[$x]);)*
        $($v[$z] = $rotate($v[$z]);)*
    };
}

/// Quarter rounds side by side.
macro_rules! quarters {
    ($v:ident, $rotate_16:expr, $rotate_8:expr, $([$a:literal $b:literal $c:literal $d:literal])*) => {
        steps!($v, $rotate_16, $([$a $b $d])*);
        steps!($v, rotate::<12, 20>, $([$c $d $b])*);
        steps!($v, $rotate_8, $([$a $b $d])*);
        steps!($v, rotate::<7, 25>, $([$c $d $b])*);
    };
}

/// Half of a double round: two quarter rounds at a time, for which there are registers enough.
macro_rules! diagonals {
    ($v:ident, $rotate_16:expr, $rotate_8:expr) => {
        quarters!($v, $rotate_16, $rotate_8, [0 5 10 15] [1 6 11 12]);
        quarters!($v, $rotate_16, $rotate_8, [2 7 8 13] [3 4 9 14]);
    };
}

/// The other half.
macro_rules! columns {
    ($v:ident, $rotate_16:expr, $rotate_8:expr) => {
        quarters!($v, $rotate_16, $rotate_8, [0 4 8 12] [1 5 9 13]);
        quarters!($v, $rotate_16, $rotate_8, [2 6 10 14] [3 7 11 15]);
    };
}

/// Eight key streams, each in its lane.
pub(crate) struct Stream {
    /// The words before the first round.
    start: [__m256i; 16],
    /// The same with the first column round done but for the column of the block counter: it is the same for all blocks.
    begun: [__m256i; 16],
    stride: __m256i,
}

impl Stream {
    /// Streams under `key`: lane `i` begins with block `block[i]` of the packet with that counter, and goes on in steps of
    /// `stride` blocks. `front` is the first word of all nonces.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(key: &[u8; 32], front: u32, counters: &[u64; 8], block: &[u32; 8], stride: u32) -> Self {
        let low = counters.map(|counter| counter as u32);
        let high = counters.map(|counter| (counter >> 32) as u32);
        let [block, low, high] = [*block, low, high].map(|words| vector(words));
        let [a, b, c, d] = CONSTANTS.map(|word| splat(word));
        let [e, f, g, h, i, j, k, l] = words(key).map(|word| splat(word));
        let start = [a, b, c, d, e, f, g, h, i, j, k, l, block, splat(front), low, high];
        let mut begun = start;
        quarters!(begun, rotate::<16, 16>, rotate::<8, 24>, [1 5 9 13] [2 6 10 14] [3 7 11 15]);
        Self { start, begun, stride: splat(stride) }
    }

    /// The next block of each lane, in halves. `work` is called eight times between the rounds, with 0 to 7.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn next(&mut self, blocks: &mut [[__m256i; 2]; 8], mut work: impl FnMut(usize)) {
        // What the compiler knows it makes two operations of.
        let [order_16, order_8] = black_box(ORDERS);
        let rotate_16 = |v| _mm256_shuffle_epi8(v, vector(order_16));
        let rotate_8 = |v| _mm256_shuffle_epi8(v, vector(order_8));
        let mut v = self.begun;
        v[12] = self.start[12];
        quarters!(v, rotate_16, rotate_8, [0 4 8 12]);
        for i in 0..8 {
            diagonals!(v, rotate_16, rotate_8);
            columns!(v, rotate_16, rotate_8);
            work(i);
        }
        diagonals!(v, rotate_16, rotate_8);
        columns!(v, rotate_16, rotate_8);
        diagonals!(v, rotate_16, rotate_8);
        for (word, start) in v.iter_mut().zip(&self.start) {
            *word = _mm256_add_epi32(*word, *start);
        }
        let [a, b, c, d, e, f, g, h, rest @ ..] = v;
        let halves = transpose([a, b, c, d, e, f, g, h]).into_iter().zip(transpose(rest));
        for (block, (first, second)) in blocks.iter_mut().zip(halves) {
            *block = [first, second];
        }
        self.start[12] = _mm256_add_epi32(self.start[12], self.stride);
    }

    /// Forgets the key and what was made of it.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn wipe(&mut self) {
        wipe(&mut self.start, _mm256_setzero_si256());
        wipe(&mut self.begun, _mm256_setzero_si256());
    }
}

/// v <<< `LEFT`, which with `RIGHT` makes 32.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(v: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(v), _mm256_srli_epi32::<RIGHT>(v))
}

/// Word `j` of vector `i` becomes word `i` of vector `j`.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(v: [__m256i; 8]) -> [__m256i; 8] {
    // quads[q][j] has words 4q to 4q + 3 of the blocks j and 4 + j.
    let mut quads = [[_mm256_setzero_si256(); 4]; 2];
    for (quad, rows) in quads.iter_mut().zip(v.as_chunks::<4>().0) {
        let [a, b, c, d] = *rows;
        let [ab, cd] = [_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d)];
        let [ef, gh] = [_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d)];
        *quad = [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ef, gh),
            _mm256_unpackhi_epi64(ef, gh),
        ];
    }
    let [low, high] = quads;
    let mut blocks = [_mm256_setzero_si256(); 8];
    for j in 0..4 {
        blocks[j] = _mm256_permute2x128_si256::<0x20>(low[j], high[j]);
        blocks[j + 4] = _mm256_permute2x128_si256::<0x31>(low[j], high[j]);
    }
    blocks
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat(word: u32) -> __m256i {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn vector(words: [u32; 8]) -> __m256i {
    // SAFETY: eight words are 32 bytes.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}
