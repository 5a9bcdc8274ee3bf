//! The powers of Poly1305's r that a batch needs.

use crate::avx512::chacha::transpose_quarters;
use crate::avx512::poly::{Factor, Limbs, blend, clamped, factor, first_lane, multiply};
use core::arch::x86_64::*;

/// The powers for a pair: see [`Hash`](crate::avx512::hash::Hash).
pub(crate) struct Powers {
    /// r^8, or r^16 for a single packet. Only set if there is more than one step.
    pub(crate) long: Factor,
    /// r^4, or r^8 for a single packet.
    pub(crate) short: Factor,
    /// r^4 to r, or r^8 to r for a single packet, in the order of the lanes.
    pub(crate) last: Limbs,
}

impl Powers {
    /// Not set yet.
    pub(crate) const ZERO: Self = {
        // SAFETY: vectors of integers may be zero.
        unsafe { core::mem::zeroed() }
    };
}

/// The powers of a single packet. Lanes of the two halves alternate: blocks 0 4 1 5 2 6 3 7 need r^8 r^4 r^7 r^3 r^6 r^2
/// r^5 r.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn set_powers_of_one(powers: &mut Powers, [low, high]: [__m512i; 2], long: bool) {
    let r = first_lane(&clamped(low, high));
    let square = multiply(&r, &factor(&r));
    let square_or_r = blend(0b0011_0011, &r, &square);
    let fourth_or_cube = multiply(&square_or_r, &factor(&square));
    // r^4 r^4 r^3 r^3 r^2 r^2 r r
    let low = blend(0b1111_0000, &fourth_or_cube, &square_or_r);
    // r^8 r^8 r^7 r^7 r^6 r^6 r^5 r^5
    let high = multiply(&low, &factor(&first_lane(&low)));
    let eighth = first_lane(&high);
    powers.short = factor(&eighth);
    powers.last = blend(0b0101_0101, &low, &high);
    if long {
        powers.long = factor(&multiply(&eighth, &powers.short));
    }
}

/// The lower and upper words of r and of s of up to eight packets, a packet in a lane. Their keys are `stride` vectors
/// apart.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn one_time_keys(keys: &[__m512i], stride: usize) -> [[__m512i; 2]; 2] {
    let mut pairs = [[_mm256_setzero_si256(); 4]; 2];
    for (i, keys) in keys.chunks(2 * stride).take(4).enumerate() {
        let [a, b] = [keys[0], keys[stride % keys.len()]].map(|key| _mm512_castsi512_si256(key));
        pairs[0][i] = _mm256_unpacklo_epi64(a, b);
        pairs[1][i] = _mm256_unpackhi_epi64(a, b);
    }
    let [low, high] = pairs.map(|[a, b, c, d]| {
        // Lower half: r, upper half: s.
        let [e, f] = [
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b),
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(c), d),
        ];
        [_mm512_shuffle_i64x2::<0x88>(e, f), _mm512_shuffle_i64x2::<0xdd>(e, f)]
    });
    [[low[0], high[0]], [low[1], high[1]]]
}

/// The powers of up to four pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn set_powers(pairs: &mut [Powers], [low, high]: [__m512i; 2], long: bool) {
    let r = clamped(low, high);
    let square = multiply(&r, &factor(&r));
    let times_square = factor(&square);
    let cube = multiply(&r, &times_square);
    let fourth = multiply(&square, &times_square);
    let short = factor(&fourth);
    let eighth = if long { factor(&multiply(&fourth, &short)) } else { short };
    // The two numbers of a pair are a quarter of a vector.
    let [a, b, c] = [0, 1, 2].map(|i| transpose_quarters([fourth[i], cube[i], square[i], r[i]]));
    for (i, powers) in pairs.iter_mut().take(4).enumerate() {
        let lanes = _mm512_setr_epi64(0, 1, 0, 1, 0, 1, 0, 1);
        let lanes = _mm512_or_si512(_mm512_set1_epi64(2 * i as i64), lanes);
        powers.short = short.map(|limb| _mm512_permutexvar_epi64(lanes, limb));
        powers.last = [a[i], b[i], c[i]];
        if long {
            powers.long = eighth.map(|limb| _mm512_permutexvar_epi64(lanes, limb));
        }
    }
}
