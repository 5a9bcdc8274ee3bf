//! Poly1305 (RFC 8439, section 2.5) of four packets per vector.
//!
//! Each 64-bit lane is one packet from its first block to its last, so no powers of r are needed and nothing has to be added up
//! at the end: what short packets want. Modulo p = 2^130 - 5, in five limbs of 26 bits, because the multiplier takes 32 bits.
//! Limbs that overflow 2^130 come back multiplied by 5, so r is kept with 5 r1 to 5 r4 beside it; those stay below
//! 2^26 * 5 < 2^29. What is multiplied is a sum with limbs below 2^27 and a block with limbs of 26 bits: less than 2^28.
//! Five products below 2^57 add up to less than 2^60: nothing overflows.
//!
//! A message has ceil(text / 16) + 1 blocks, the last with the lengths. Those with fewer than the longest have blocks of zero in
//! *front*, which change nothing (0 * r = 0) and need no treatment at the end.

use crate::memory::Text;
use crate::wipe::wipe;
use core::arch::x86_64::*;
use core::array::from_fn;

/// Five limbs of four numbers.
type Limbs = [__m256i; 5];

const LIMB: u32 = 26;
const LOW: i64 = (1 << LIMB) - 1;

/// The bit behind a block's 128, seen from the fifth limb, which begins at bit 104.
const MARK: i64 = 1 << 24;

/// A sum of five products.
macro_rules! products {
    ($a:ident $b:ident, $c:ident $d:ident, $e:ident $f:ident, $g:ident $h:ident, $i:ident $j:ident) => {
        _mm256_add_epi64(
            _mm256_add_epi64(
                _mm256_add_epi64(_mm256_mul_epu32(*$a, *$b), _mm256_mul_epu32(*$c, *$d)),
                _mm256_add_epi64(_mm256_mul_epu32(*$e, *$f), _mm256_mul_epu32(*$g, *$h)),
            ),
            _mm256_mul_epu32(*$i, *$j),
        )
    };
}

/// The hashes of a batch at work. `QUADS` is a quarter of `PACKETS`.
pub(crate) struct Hash<'a, const PACKETS: usize, const QUADS: usize> {
    texts: [Text<'a>; PACKETS],
    /// Where each message begins in its text: before it, if others have more blocks.
    starts: [isize; PACKETS],
    factors: [Factor; QUADS],
    sums: [Limbs; QUADS],
    /// What is added to each hash at the end.
    masks: [u128; PACKETS],
    /// Steps of all quads together, in order of place and then of quad, up to the last of each quad exclusively.
    steps: usize,
    /// Steps that begin before a text.
    fronts: usize,
    /// Steps that are done.
    done: usize,
}

/// r and five times the upper four limbs of it.
#[derive(Clone, Copy)]
struct Factor {
    r: Limbs,
    s: [__m256i; 4],
}

impl<'a, const PACKETS: usize, const QUADS: usize> Hash<'a, PACKETS, QUADS> {
    /// Hashes over `texts`, which need their keys yet.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(texts: &[Text<'a>; PACKETS]) -> Self {
        let zero = _mm256_setzero_si256();
        let longest = texts.iter().map(blocks).max().unwrap_or(1);
        // Lanes without a packet have no mark to be right.
        let shortest = texts.iter().filter(|text| !text.is_nothing()).map(blocks).min().unwrap_or(1);
        Self {
            texts: *texts,
            starts: texts.each_ref().map(|text| 16 * (blocks(text).cast_signed() - longest.cast_signed())),
            factors: [Factor { r: [zero; 5], s: [zero; 4] }; QUADS],
            sums: [[zero; 5]; QUADS],
            masks: [0; PACKETS],
            steps: (longest - 1) * QUADS,
            fronts: (longest - shortest) * QUADS,
            done: 0,
        }
    }

    /// Takes the one-time keys from the first half of every `8 / PACKETS`th block.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn set_keys(&mut self, blocks: &[[__m256i; 2]; 8]) {
        let keys: [__m256i; PACKETS] = from_fn(|i| blocks[i * 8 / PACKETS][0]);
        for (mask, key) in self.masks.iter_mut().zip(keys) {
            *mask = number(_mm256_extracti128_si256::<1>(key));
        }
        for (factor, keys) in self.factors.iter_mut().zip(keys.as_chunks::<4>().0) {
            let [low, high] = words(keys.map(|key| _mm256_castsi256_si128(key)));
            // Bits that the standard wants cleared (section 2.5).
            let low = _mm256_and_si256(low, _mm256_set1_epi64x(0x0fff_fffc_0fff_ffff));
            let high = _mm256_and_si256(high, _mm256_set1_epi64x(0x0fff_fffc_0fff_fffc));
            factor.r = limbs(low, high);
            factor.s = from_fn(|i| {
                let r = factor.r[i + 1];
                _mm256_add_epi64(r, _mm256_slli_epi64::<2>(r))
            });
        }
    }

    /// How many steps need no more than the first `bytes` of the texts.
    #[inline]
    pub(crate) const fn steps_within(&self, bytes: usize) -> usize {
        bytes / 16 * QUADS
    }

    /// How many steps there are up to the last that touches the first `bytes` of a text.
    #[inline]
    pub(crate) const fn steps_past(&self, bytes: usize) -> usize {
        bytes.div_ceil(16) * QUADS + self.fronts
    }

    /// Does that many steps, those done before included, but never the last one of a quad, which is for [`Hash::end`].
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    pub(crate) fn run(&mut self, steps: usize) {
        while self.done < steps.min(self.steps) {
            self.step::<1>(steps);
        }
    }

    /// Does one step, if less than that many are done.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn step<const PLACE: usize>(&mut self, steps: usize) {
        if self.done >= steps.min(self.steps) {
            return;
        }
        let (quad, offset) = (self.done % QUADS, 16 * (self.done / QUADS).cast_signed());
        let mark = if self.done < self.fronts { self.marks(quad, offset) } else { _mm256_set1_epi64x(MARK) };
        let [a, b, c, d] = from_fn(|i| self.texts[4 * quad + i].load_block(self.starts[4 * quad + i] + offset));
        let [low, high] = words([a, b, c, d]);
        self.add::<PLACE>(quad, low, high, mark);
        self.done += 1;
    }

    /// Does what is left, and gives the tags.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn end(&mut self) -> [u128; PACKETS] {
        self.run(self.steps);
        let mut tags = self.masks;
        for (quad, tags) in tags.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // No additional data, and so many bytes of text.
            let [a, b, c, d] = from_fn(|i| self.texts[4 * quad + i].len() as i64);
            self.add::<2>(quad, _mm256_setzero_si256(), _mm256_setr_epi64x(a, b, c, d), _mm256_set1_epi64x(MARK));
            let limbs = self.sums[quad].map(lanes);
            for (i, tag) in tags.iter_mut().enumerate() {
                *tag = tag.wrapping_add(reduce(limbs.map(|limb| limb[i])));
            }
        }
        tags
    }

    /// Forgets the one-time keys and all that was made of them.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn wipe(&mut self) {
        let zero = _mm256_setzero_si256();
        wipe(&mut self.factors, Factor { r: [zero; 5], s: [zero; 4] });
        wipe(&mut self.sums, [zero; 5]);
        wipe(&mut self.masks, 0);
    }

    /// The mark in lanes whose text has begun.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn marks(&self, quad: usize, offset: isize) -> __m256i {
        let [a, b, c, d] = from_fn(|i| if self.starts[4 * quad + i] + offset < 0 { 0 } else { MARK });
        _mm256_setr_epi64x(a, b, c, d)
    }

    /// sum = (sum + block) * r. `PLACE` is different for every caller, because what is called from one place is inlined.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add<const PLACE: usize>(&mut self, quad: usize, low: __m256i, high: __m256i, mark: __m256i) {
        let block = limbs(low, high);
        let sum = self.sums[quad];
        let mut h: Limbs = from_fn(|i| _mm256_add_epi64(sum[i], block[i]));
        h[4] = _mm256_add_epi64(h[4], mark);
        self.sums[quad] = Self::times::<PLACE>(&self.factors[quad], &h);
    }

    /// The product modulo p, with limbs below 2^26, but the second and the fifth below 2^26 + 2^12.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn times<const PLACE: usize>(factor: &Factor, [h0, h1, h2, h3, h4]: &Limbs) -> Limbs {
        let Factor { r: [r0, r1, r2, r3, r4], s: [s1, s2, s3, s4] } = factor;
        let d0 = products!(h0 r0, h1 s4, h2 s3, h3 s2, h4 s1);
        let d1 = products!(h0 r1, h1 r0, h2 s4, h3 s3, h4 s2);
        let d2 = products!(h0 r2, h1 r1, h2 r0, h3 s4, h4 s3);
        let d3 = products!(h0 r3, h1 r2, h2 r1, h3 r0, h4 s4);
        let d4 = products!(h0 r4, h1 r3, h2 r2, h3 r1, h4 r0);
        // Two chains of carries side by side.
        let (d0, d1) = carry(d0, d1);
        let (d3, d4) = carry(d3, d4);
        let (d1, d2) = carry(d1, d2);
        let over = _mm256_srli_epi64::<26>(d4);
        let d4 = _mm256_and_si256(d4, _mm256_set1_epi64x(LOW));
        let d0 = _mm256_add_epi64(d0, _mm256_add_epi64(over, _mm256_slli_epi64::<2>(over)));
        let (d2, d3) = carry(d2, d3);
        let (d0, d1) = carry(d0, d1);
        let (d3, d4) = carry(d3, d4);
        [d0, d1, d2, d3, d4]
    }
}

/// `a` without what is over a limb, and `b` with it.
#[inline]
#[target_feature(enable = "avx2")]
fn carry(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    (_mm256_and_si256(a, _mm256_set1_epi64x(LOW)), _mm256_add_epi64(b, _mm256_srli_epi64::<26>(a)))
}

/// Limbs of four numbers of 128 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn limbs(low: __m256i, high: __m256i) -> Limbs {
    let mask = _mm256_set1_epi64x(LOW);
    let middle = _mm256_or_si256(_mm256_srli_epi64::<52>(low), _mm256_slli_epi64::<12>(high));
    [
        _mm256_and_si256(low, mask),
        _mm256_and_si256(_mm256_srli_epi64::<26>(low), mask),
        _mm256_and_si256(middle, mask),
        _mm256_and_si256(_mm256_srli_epi64::<14>(high), mask),
        _mm256_srli_epi64::<40>(high),
    ]
}

/// The lower and upper words of four blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn words([a, b, c, d]: [__m128i; 4]) -> [__m256i; 2] {
    let [ac, bd] = [_mm256_set_m128i(c, a), _mm256_set_m128i(d, b)];
    [_mm256_unpacklo_epi64(ac, bd), _mm256_unpackhi_epi64(ac, bd)]
}

/// h mod p mod 2^128. Limbs are below 2^27.
#[inline]
fn reduce([h0, h1, h2, h3, h4]: [u64; 5]) -> u128 {
    let low = u128::from(h0) + (u128::from(h1) << 26) + (u128::from(h2) << 52) + (u128::from(h3) << 78);
    // h = high * 2^104 + rest, with high below 2^29: what is at and above bit 130 is at most 7.
    let high = u128::from(h4) + (low >> 104);
    let rest = low & ((1 << 104) - 1);
    let over = (high >> 26) as u64;
    // At most 7 * 5 more, which carries once more at most.
    let rest = rest + u128::from(over * 5);
    let high = (high & ((1 << 26) - 1)) + (rest >> 104);
    let rest = rest & ((1 << 104) - 1);
    // Now h < 2^130 + 35. It is at least p exactly if h + 5 has bit 130, and then h - p = h + 5 - 2^130.
    let more = rest + 5;
    let above = ((high + (more >> 104)) >> 26) as u64;
    // Modulo 2^128, subtracting 2^130 changes nothing.
    (rest | high << 104).wrapping_add(u128::from(above.wrapping_mul(5)))
}

#[inline]
fn lanes(vector: __m256i) -> [u64; 4] {
    // SAFETY: four words are a vector.
    unsafe { core::mem::transmute(vector) }
}

#[inline]
fn number(vector: __m128i) -> u128 {
    // SAFETY: a vector of 128 bits is a number of 128 bits.
    unsafe { core::mem::transmute(vector) }
}

/// Blocks of the message: those of the text, and one with the lengths.
#[inline]
const fn blocks(text: &Text<'_>) -> usize {
    text.len().div_ceil(16) + 1
}
