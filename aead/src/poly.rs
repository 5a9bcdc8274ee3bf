//! Poly1305 (RFC 8439, section 2.5) over several packets, eight blocks of 16 bytes per vector.
//!
//! # Numbers
//! Modulo p = 2^130 - 5, in three limbs of 44, 44 and 42 bits, because the multiplier of IFMA takes 52 bits and gives the
//! lower and upper 52 of the product. Limbs that overflow 2^132 come back multiplied by 4 * 5 = 20, so a factor r is kept
//! with 20 r1 and 20 r2 beside it; those stay below 2^44 * 20 < 2^49. Sums that are multiplied have limbs below
//! 2^46. Six lower halves below 2^52 and six upper ones below 2^(46 + 49 - 52) = 2^43, the latter moved up by 8 (for they
//! weigh 2^52 = 2^(44 + 8)) or 10 bits (2^(42 + 10)), add up to less than 2^56: nothing overflows.
//!
//! # Lanes
//! 64 bytes of a packet A are four blocks of two 64-bit words. Unpacking them with 64 bytes of a packet B gives the low
//! words in one vector and the high words in another, lanes A0 B0 A1 B1 A2 B2 A3 B3, without any transposition. Each lane
//! is a polynomial of its own in r^4:
//!
//! - a *step* takes two such groups, m and n, of each packet: sum = (sum + m) * r^8 + n * r^4, with one reduction;
//! - the last step takes sum = (sum + m) * r^4 + n, and then the lanes of blocks 0 to 3 are multiplied by r^4, r^3, r^2
//!   and r and added up.
//!
//! A step is eight blocks per packet. A message has ceil(text / 16) + 1 of them, the last with the lengths. It is made a
//! multiple of eight by blocks of zero in *front*, which change nothing (0 * r = 0) and need no treatment at the end; the
//! first loads then begin before the text.
//!
//! A single packet is its own pair: A is the first, B the second 64 of 128 bytes. A step has 16 blocks, the powers are
//! r^16 and r^8, and at the end r^8 to r.

use crate::chacha::transpose_quarters;
use crate::memory::Text;
use crate::tag::tag as finish;
use crate::wipe::{wipe_vectors, wipe_words};
use core::arch::x86_64::*;

/// Three limbs of eight numbers.
type Limbs = [__m512i; 3];

/// What is multiplied by: three limbs and 20 times the upper two.
type Factor = [__m512i; 5];

const LIMB: u32 = 44;
const LOW: i64 = (1 << LIMB) - 1;
const TOP: i64 = (1 << 42) - 1;

/// The bit behind a block's 128, seen from the third limb, which begins at bit 88.
const MARK: i64 = 1 << 40;

/// The hashes of a batch at work.
///
/// `PAIRS` is half of `PACKETS`, or 1 for one packet.
pub(crate) struct Hash<'a, const PACKETS: usize, const PAIRS: usize> {
    pairs: [Pair<'a>; PAIRS],
    /// What is added to each hash at the end.
    masks: [u128; PACKETS],
    /// Steps of all pairs together, in order of place and then of pair, up to the last of each pair exclusively.
    steps: usize,
    /// Steps that are done.
    done: usize,
    /// Steps that may be done now.
    due: usize,
    /// Bytes of the blocks in front of the shortest text.
    lead: usize,
}

/// Two halves and their powers.
struct Pair<'a> {
    halves: [Half<'a>; 2],
    sum: Limbs,
    /// r^8, or r^16 for a single packet.
    long: Factor,
    /// r^4, or r^8 for a single packet.
    short: Factor,
    /// r^4 to r, or r^8 to r for a single packet, in the order of the lanes.
    last: Factor,
}

/// The text that fills every other lane of a pair.
#[derive(Clone, Copy)]
struct Half<'a> {
    text: Text<'a>,
    /// Where the first step begins in the text, mostly before it.
    start: isize,
}

impl<'a, const PACKETS: usize, const PAIRS: usize> Hash<'a, PACKETS, PAIRS> {
    /// Bytes of a packet per step.
    pub(crate) const STEP: usize = if PACKETS == 1 { 256 } else { 128 };

    /// Hashes over `texts`. Their one-time keys are in the first 32 bytes of every (16 / `PACKETS`)th of `blocks`.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn new(keys: &[__m512i; 16], texts: &[Text<'a>; PACKETS]) -> Self {
        let longest = texts.iter().map(|text| blocks(text.len())).max().unwrap_or(1);
        let turns = (16 * longest).div_ceil(Self::STEP);
        let shortest = texts.iter().map(|text| blocks(text.len())).min().unwrap_or(1);
        let lead = turns * Self::STEP - 16 * shortest;
        let start = |text: &Text<'_>| (16 * blocks(text.len())).cast_signed() - (turns * Self::STEP).cast_signed();
        let mut masks = [0; PACKETS];
        for (mask, key) in masks.iter_mut().zip(keys.iter().step_by(16 / PACKETS)) {
            let half = _mm512_extracti32x4_epi32::<1>(*key);
            let [low, high] = [_mm_cvtsi128_si64(half), _mm_extract_epi64::<1>(half)].map(i64::cast_unsigned);
            *mask = u128::from(low) | u128::from(high) << 64;
        }
        let zero = [_mm512_setzero_si512(); 3];
        let none = [_mm512_setzero_si512(); 5];
        let text = texts[0];
        let half = Half { text, start: 0 };
        let mut pairs =
            core::array::from_fn(|_| Pair { halves: [half; 2], sum: zero, long: none, short: none, last: none });
        if PACKETS == 1 {
            let half = Half { text, start: start(&text) };
            pairs[0].halves = [half, Half { start: half.start + 64, ..half }];
            pairs[0].set_powers_of_one(keys[0], turns > 1);
        } else {
            for (pair, texts) in pairs.iter_mut().zip(texts.as_chunks::<2>().0) {
                pair.halves = texts.map(|text| Half { text, start: start(&text) });
            }
            for (pairs, keys) in pairs.chunks_mut(4).zip(keys.chunks(128 / PACKETS)) {
                set_powers(pairs, keys, 16 / PACKETS, turns > 1);
            }
        }
        Self { pairs, masks, steps: (turns - 1) * PAIRS, done: 0, due: 0, lead }
    }

    /// Allows the steps that need no more than the first `bytes` of every text.
    #[inline]
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.due = (bytes / Self::STEP * PAIRS).min(self.steps);
    }

    /// One step, if one is due.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn step_if_due(&mut self) {
        if self.done < self.due {
            self.step();
        }
    }

    /// Does all steps that touch the first `bytes` of a text. False if these include the last one, which is for
    /// [`Hash::end`] to do.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn run_to(&mut self, bytes: usize) -> bool {
        let steps = (bytes + self.lead).div_ceil(Self::STEP) * PAIRS;
        while self.done < steps.min(self.steps) {
            self.step();
        }
        steps <= self.steps
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn step(&mut self) {
        let offset = (self.done / PAIRS * Self::STEP).cast_signed();
        let pair = &mut self.pairs[self.done % PAIRS];
        let first = pair.group(offset);
        let second = pair.group(offset + (Self::STEP / 2).cast_signed());
        let mut product = Product::zero();
        product.add(&sum(&pair.sum, &first), &pair.long);
        product.add(&second, &pair.short);
        pair.sum = product.reduce();
        self.done += 1;
    }

    /// Does what is left, and gives the tags.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn end(&mut self) -> [u128; PACKETS] {
        while self.done < self.steps {
            self.step();
        }
        let offset = (self.steps / PAIRS * Self::STEP).cast_signed();
        let mut tags = self.masks;
        for (pair, tags) in self.pairs.iter().zip(tags.chunks_mut(2)) {
            for (tag, hash) in tags.iter_mut().zip(pair.end::<PACKETS>(offset, Self::STEP / 2)) {
                *tag = finish(hash, *tag);
            }
        }
        tags
    }

    /// Forgets the one-time keys and all that was made of them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn wipe(&mut self) {
        wipe_words(&mut self.masks);
        for pair in &mut self.pairs {
            wipe_vectors(&mut pair.sum);
            wipe_vectors(&mut pair.short);
            wipe_vectors(&mut pair.last);
            if self.steps > 0 {
                wipe_vectors(&mut pair.long);
            }
        }
    }
}

impl Pair<'_> {
    /// Four blocks of each half that are not the last, as limbs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn group(&self, offset: isize) -> Limbs {
        let [a, b] = self.halves;
        let mut limbs = limbs(a.text.load(a.start + offset), b.text.load(b.start + offset));
        let mark = _mm512_set1_epi64(MARK);
        limbs[2] = if a.start + offset < 0 || b.start + offset < 0 {
            _mm512_mask_or_epi64(limbs[2], self.marks(offset), limbs[2], mark)
        } else {
            _mm512_or_si512(limbs[2], mark)
        };
        limbs
    }

    /// Four blocks of each half of which the last may end the message.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn group_at_end(&self, offset: isize) -> Limbs {
        let [a, b] = self.halves.map(|half| {
            let start = half.start + offset;
            let text = half.text.load(start);
            // The block of lengths: no additional data, `len` bytes of text.
            let len = half.text.len();
            let at_end = start + 64 == (16 * blocks(len)).cast_signed();
            _mm512_mask_set1_epi64(text, u8::from(at_end) << 7, len as i64)
        });
        let mut limbs = limbs(a, b);
        limbs[2] = _mm512_mask_or_epi64(limbs[2], self.marks(offset), limbs[2], _mm512_set1_epi64(MARK));
        limbs
    }

    /// The lanes whose blocks are not in front of the message.
    #[inline]
    fn marks(&self, offset: isize) -> u8 {
        let [a, b] = self.halves.map(|half| half.start + offset);
        (0..4).fold(0, |marks, i| {
            marks | u8::from(a + 16 * i >= 0) << (2 * i) | u8::from(b + 16 * i >= 0) << (2 * i + 1)
        })
    }

    /// The last step. Gives the sums of both halves, or of the two together if they are one packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn end<const PACKETS: usize>(&self, offset: isize, group: usize) -> [[u64; 3]; 2] {
        let mut product = Product::zero();
        product.add(&sum(&self.sum, &self.group_at_end(offset)), &self.short);
        let last = sum(&product.reduce(), &self.group_at_end(offset + group.cast_signed()));
        let mut product = Product::zero();
        product.add(&last, &self.last);
        let mut sums = [[0; 3]; 2];
        for (i, limb) in product.reduce().into_iter().enumerate() {
            let half = _mm256_add_epi64(_mm512_castsi512_si256(limb), _mm512_extracti64x4_epi64::<1>(limb));
            let quarter = _mm_add_epi64(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
            sums[0][i] = _mm_cvtsi128_si64(quarter).cast_unsigned();
            sums[1][i] = _mm_extract_epi64::<1>(quarter).cast_unsigned();
            if PACKETS == 1 {
                sums[0][i] += sums[1][i];
            }
        }
        sums
    }

    /// The powers for a single packet. Lanes of the two halves alternate: blocks 0 4 1 5 2 6 3 7 need r^8 r^4 r^7 r^3 r^6
    /// r^2 r^5 r.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn set_powers_of_one(&mut self, key: __m512i, long: bool) {
        let low = _mm512_broadcastq_epi64(_mm512_castsi512_si128(key));
        let high = _mm512_broadcastq_epi64(_mm_unpackhi_epi64(_mm512_castsi512_si128(key), _mm512_castsi512_si128(key)));
        let r = clamped(low, high);
        let square = multiply(&r, &factor(&r));
        let square_or_r = blend(0b0011_0011, &r, &square);
        let fourth_or_cube = multiply(&square_or_r, &factor(&square));
        // r^4 r^4 r^3 r^3 r^2 r^2 r r
        let low = blend(0b1111_0000, &fourth_or_cube, &square_or_r);
        // r^8 r^8 r^7 r^7 r^6 r^6 r^5 r^5
        let high = multiply(&low, &factor(&first_lane(&low)));
        let eighth = first_lane(&high);
        self.short = factor(&eighth);
        self.last = factor(&blend(0b0101_0101, &low, &high));
        if long {
            self.long = factor(&multiply(&eighth, &self.short));
        }
    }
}

/// The powers for up to eight packets, the keys of which are in lanes of their own.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn set_powers(pairs: &mut [Pair<'_>], keys: &[__m512i], stride: usize, long: bool) {
    let mut words = [[_mm_setzero_si128(); 4]; 2];
    for (i, two) in keys.chunks_exact(2 * stride).take(4).enumerate() {
        let [a, b] = [_mm512_castsi512_si128(two[0]), _mm512_castsi512_si128(two[stride])];
        words[0][i] = _mm_unpacklo_epi64(a, b);
        words[1][i] = _mm_unpackhi_epi64(a, b);
    }
    let [low, high] = words.map(|[a, b, c, d]| {
        let [e, f] = [_mm256_set_m128i(b, a), _mm256_set_m128i(d, c)];
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(e), f)
    });
    let r = clamped(low, high);
    let times_r = factor(&r);
    let square = multiply(&r, &times_r);
    let times_square = factor(&square);
    let cube = multiply(&r, &times_square);
    let fourth = multiply(&square, &times_square);
    // A pair's two numbers are a quarter of a vector.
    let last = [0, 1, 2].map(|i| transpose_quarters([fourth[i], cube[i], square[i], r[i]]));
    let fourth = factor(&fourth);
    let eighth =
        if long { factor(&multiply(&[fourth[0], fourth[1], fourth[2]], &fourth)) } else { fourth };
    for (i, pair) in pairs.iter_mut().take(4).enumerate() {
        let i = i as i64;
        let lanes = _mm512_set_epi64(2 * i + 1, 2 * i, 2 * i + 1, 2 * i, 2 * i + 1, 2 * i, 2 * i + 1, 2 * i);
        pair.short = fourth.map(|limb| _mm512_permutexvar_epi64(lanes, limb));
        if long {
            pair.long = eighth.map(|limb| _mm512_permutexvar_epi64(lanes, limb));
        }
        let i = i as usize % 4;
        pair.last = factor(&[last[0][i], last[1][i], last[2][i]]);
    }
}

/// Blocks of the message: those of the text, and one with the lengths.
#[inline]
const fn blocks(text: usize) -> usize {
    text.div_ceil(16) + 1
}

/// The lower and upper halves of sums of products, by weight.
struct Product {
    low: Limbs,
    high: Limbs,
}

impl Product {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        Self { low: [_mm512_setzero_si512(); 3], high: [_mm512_setzero_si512(); 3] }
    }

    /// Adds `a * b`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&mut self, a: &Limbs, [r0, r1, r2, s1, s2]: &Factor) {
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
    fn reduce(self) -> Limbs {
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
fn multiply(a: &Limbs, b: &Factor) -> Limbs {
    let mut product = Product::zero();
    product.add(a, b);
    product.reduce()
}

#[inline]
#[target_feature(enable = "avx512f")]
fn factor([r0, r1, r2]: &Limbs) -> Factor {
    let [s1, s2] = [r1, r2].map(|r| _mm512_add_epi64(_mm512_slli_epi64::<4>(*r), _mm512_slli_epi64::<2>(*r)));
    [*r0, *r1, *r2, s1, s2]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sum(a: &Limbs, b: &Limbs) -> Limbs {
    [_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])]
}

/// Lanes of `b` where `mask` is set, of `a` elsewhere.
#[inline]
#[target_feature(enable = "avx512f")]
fn blend(mask: u8, a: &Limbs, b: &Limbs) -> Limbs {
    [0, 1, 2].map(|i| _mm512_mask_mov_epi64(a[i], mask, b[i]))
}

/// The number in the first lane in all lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn first_lane(limbs: &Limbs) -> Limbs {
    limbs.map(|limb| _mm512_broadcastq_epi64(_mm512_castsi512_si128(limb)))
}

/// Limbs of four blocks of a and four of b.
#[inline]
#[target_feature(enable = "avx512f")]
fn limbs(a: __m512i, b: __m512i) -> Limbs {
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
fn clamped(low: __m512i, high: __m512i) -> Limbs {
    split(
        _mm512_and_si512(low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff)),
        _mm512_and_si512(high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc)),
    )
}
