//! Poly1305's arithmetic (RFC 8439, section 2.5), eight numbers per vector.
//!
//! Modulo p = 2^130 - 5, in three limbs of 44, 44 and 42 bits, because the multiplier of IFMA takes 52 bits and gives the
//! lower and upper 52 of the product. Limbs that overflow 2^132 come back multiplied by 4 * 5 = 20, so a factor r is kept
//! with 20 r1 and 20 r2 beside it; those stay below 2^44 * 20 < 2^49. Sums that are multiplied have limbs below
//! 2^46. Six lower halves below 2^52 and six upper ones below 2^(46 + 49 - 52) = 2^43, the latter moved up by 8 (for they
//! weigh 2^52 = 2^(44 + 8)) or 10 bits (2^(42 + 10)), add up to less than 2^56: nothing overflows.

use crate::avx512::chacha::transpose_quarters;
use core::arch::x86_64::*;

/// Three limbs of eight numbers.
pub(crate) type Limbs = [__m512i; 3];

/// What is multiplied by: three limbs, and 20 times the upper two.
pub(crate) type Factor = [__m512i; 5];

const LIMB: u32 = 44;
const LOW: i64 = (1 << LIMB) - 1;
const TOP: i64 = (1 << 42) - 1;

/// The bit behind a block's 128, seen from the third limb, which begins at bit 88.
pub(crate) const MARK: i64 = 1 << 40;

/// The lower and upper halves of sums of products, by weight.
pub(crate) struct Product {
    low: Limbs,
    high: Limbs,
}

impl Product {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn zero() -> Self {
        Self { low: [_mm512_setzero_si512(); 3], high: [_mm512_setzero_si512(); 3] }
    }

    /// Adds `a * b`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn add(&mut self, a: &Limbs, [r0, r1, r2, s1, s2]: &Factor) {
        for (a, row) in a.iter().zip([[r0, r1, r2], [s2, r0, r1], [s1, s2, r0]]) {
            for (i, b) in row.into_iter().enumerate() {
                self.low[i] = _mm512_madd52lo_epu64(self.low[i], *a, *b);
                self.high[i] = _mm512_madd52hi_epu64(self.high[i], *a, *b);
            }
        }
    }

    /// The sum modulo p, with limbs below 2^44, 2^44 + 2^11 and 2^42.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn reduce(self) -> Limbs {
        let [l0, l1, l2] = self.low;
        let [h0, h1, h2] = self.high;
        let low = _mm512_set1_epi64(LOW);
        let l1 = _mm512_add_epi64(l1, _mm512_add_epi64(_mm512_slli_epi64::<8>(h0), _mm512_srli_epi64::<LIMB>(l0)));
        let l2 = _mm512_add_epi64(l2, _mm512_add_epi64(_mm512_slli_epi64::<8>(h1), _mm512_srli_epi64::<LIMB>(l1)));
        let over = _mm512_add_epi64(_mm512_slli_epi64::<10>(h2), _mm512_srli_epi64::<42>(l2));
        let five = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
        let l0 = _mm512_add_epi64(_mm512_and_si512(l0, low), five);
        [
            _mm512_and_si512(l0, low),
            _mm512_add_epi64(_mm512_and_si512(l1, low), _mm512_srli_epi64::<LIMB>(l0)),
            _mm512_and_si512(l2, _mm512_set1_epi64(TOP)),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn multiply(a: &Limbs, b: &Factor) -> Limbs {
    let mut product = Product::zero();
    product.add(a, b);
    product.reduce()
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn factor([r0, r1, r2]: &Limbs) -> Factor {
    let [s1, s2] = [r1, r2].map(|r| _mm512_add_epi64(_mm512_slli_epi64::<4>(*r), _mm512_slli_epi64::<2>(*r)));
    [*r0, *r1, *r2, s1, s2]
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn sum(a: &Limbs, b: &Limbs) -> Limbs {
    [_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])]
}

/// Lanes of `b` where `mask` is set, of `a` elsewhere.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn blend(mask: u8, a: &Limbs, b: &Limbs) -> Limbs {
    [0, 1, 2].map(|i| _mm512_mask_mov_epi64(a[i], mask, b[i]))
}

/// The number in the first lane in all lanes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn first_lane(limbs: &Limbs) -> Limbs {
    limbs.map(|limb| _mm512_broadcastq_epi64(_mm512_castsi512_si128(limb)))
}

/// Limbs of four blocks of a and four of b.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn limbs(a: __m512i, b: __m512i) -> Limbs {
    split(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
}

/// Limbs of eight numbers of 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn split(low: __m512i, high: __m512i) -> Limbs {
    let mask = _mm512_set1_epi64(LOW);
    let middle = _mm512_or_si512(_mm512_srli_epi64::<LIMB>(low), _mm512_slli_epi64::<20>(high));
    [_mm512_and_si512(low, mask), _mm512_and_si512(middle, mask), _mm512_srli_epi64::<24>(high)]
}

/// r with the bits cleared that the standard wants cleared (RFC 8439, section 2.5).
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn clamped(low: __m512i, high: __m512i) -> Limbs {
    split(
        _mm512_and_si512(low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff)),
        _mm512_and_si512(high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc)),
    )
}

/// All lanes added up in the first.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn add_lanes(limbs: &Limbs) -> Limbs {
    limbs.map(|limb| _mm512_set1_epi64(_mm512_reduce_add_epi64(limb)))
}

/// The quarters of each of four vectors added up, those of vector `i` in quarter `i`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn add_quarters(sums: [Limbs; 4]) -> Limbs {
    [0, 1, 2].map(|i| {
        let [a, b, c, d] = transpose_quarters(sums.map(|sum| sum[i]));
        _mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d))
    })
}

/// The tags: (h mod p) + s mod 2^128, lower and upper words. Limbs of h are below 2^48.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn finish([h0, h1, h2]: Limbs, [s0, s1]: &[__m512i; 2]) -> [__m512i; 2] {
    let low = _mm512_set1_epi64(LOW);
    let top = _mm512_set1_epi64(TOP);
    let h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<LIMB>(h0));
    let h2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<LIMB>(h1));
    let over = _mm512_srli_epi64::<42>(h2);
    let five = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
    let h0 = _mm512_add_epi64(_mm512_and_si512(h0, low), five);
    let h1 = _mm512_add_epi64(_mm512_and_si512(h1, low), _mm512_srli_epi64::<LIMB>(h0));
    let h0 = _mm512_and_si512(h0, low);
    let h2 = _mm512_add_epi64(_mm512_and_si512(h2, top), _mm512_srli_epi64::<LIMB>(h1));
    let h1 = _mm512_and_si512(h1, low);
    // Now h < 2 p. It is at least p exactly if h + 5 has bit 130, and then h - p = h + 5 - 2^130.
    let g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
    let g1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<LIMB>(g0));
    let g2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<LIMB>(g1));
    let above = _mm512_cmpgt_epi64_mask(g2, top);
    let h0 = _mm512_mask_and_epi64(h0, above, g0, low);
    let h1 = _mm512_mask_and_epi64(h1, above, g1, low);
    let h2 = _mm512_mask_mov_epi64(h2, above, g2);
    let t0 = _mm512_add_epi64(_mm512_or_si512(h0, _mm512_slli_epi64::<LIMB>(h1)), *s0);
    let t1 = _mm512_add_epi64(_mm512_or_si512(_mm512_srli_epi64::<20>(h1), _mm512_slli_epi64::<24>(h2)), *s1);
    let carry = _mm512_cmplt_epu64_mask(t0, *s0);
    [t0, _mm512_mask_sub_epi64(t1, carry, t1, _mm512_set1_epi64(-1))]
}
