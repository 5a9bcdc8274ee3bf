//! Poly1305 over several packets, four blocks of two packets per vector.
//!
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

use crate::avx512::poly::{Limbs, MARK, Product, add_lanes, add_quarters, factor, finish, limbs, sum};
use crate::avx512::powers::{Powers, one_time_keys, set_powers, set_powers_of_one};
use crate::memory::{Edge, Text};
use crate::wipe::wipe;
use core::arch::x86_64::*;
use core::array::from_fn;

/// The hashes of a batch at work.
///
/// `PAIRS` is half of `PACKETS`, or 1 for one packet.
pub(crate) struct Hash<'a, const PACKETS: usize, const PAIRS: usize> {
    halves: [[Half<'a>; 2]; PAIRS],
    powers: [Powers; PAIRS],
    sums: [Limbs; PAIRS],
    /// What is added to each hash at the end, lower and upper words of eight packets each.
    masks: [[__m512i; 2]; 2],
    /// Steps of all pairs together, in order of place and then of pair, up to the last of each pair exclusively.
    steps: usize,
    /// Steps that begin before a text.
    edges: usize,
    /// Steps that are done.
    done: usize,
    /// Bytes of the blocks in front of the shortest text.
    lead: usize,
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
    const STEP: usize = if PACKETS == 1 { 256 } else { 128 };

    /// Bytes between the two groups of a half in a step.
    const GROUP: isize = Self::STEP.cast_signed() / 2;

    /// Vectors from one packet's one-time key to the next one's.
    const STRIDE: usize = 16 / PACKETS;

    /// Hashes over `texts`, which need their keys yet.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn new(texts: &[Text<'a>; PACKETS]) -> Self {
        let longest = texts.iter().map(blocks).max().unwrap_or(1);
        // Lanes without a packet have no mark to be right.
        let real = texts.iter().filter(|text| !text.is_nothing());
        let shortest = real.map(blocks).min().unwrap_or(1);
        let turns = (16 * longest).div_ceil(Self::STEP);
        let lead = turns * Self::STEP - 16 * shortest;
        let half = |i: usize| {
            let text = texts[i % PACKETS];
            Half { text, start: (16 * blocks(&text)).cast_signed() - (turns * Self::STEP).cast_signed() }
        };
        let halves = from_fn(|i| {
            if PACKETS == 1 {
                [half(0), Half { start: half(0).start + 64, ..half(0) }]
            } else {
                [half(2 * i), half(2 * i + 1)]
            }
        });
        let edges = lead.div_ceil(Self::STEP) * PAIRS;
        let powers = [const { Powers::ZERO }; PAIRS];
        let sums = [[_mm512_setzero_si512(); 3]; PAIRS];
        Self {
            halves,
            powers,
            sums,
            masks: [[_mm512_setzero_si512(); 2]; 2],
            steps: (turns - 1) * PAIRS,
            edges,
            done: 0,
            lead,
        }
    }

    /// Takes the one-time keys from the first 32 bytes of every `STRIDE`th of `keys`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn set_keys(&mut self, keys: &[__m512i; 16]) {
        let long = self.steps > 0;
        let groups = self.powers.chunks_mut(4).zip(keys.chunks(8 * Self::STRIDE));
        for ((powers, keys), masks) in groups.zip(&mut self.masks) {
            let [r, s] = one_time_keys(keys, Self::STRIDE);
            *masks = s;
            if PACKETS == 1 {
                set_powers_of_one(&mut powers[0], r, long);
            } else {
                set_powers(powers, r, long);
            }
        }
    }

    /// Does all steps that need no more than the first `bytes` of the texts.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn run_within(&mut self, bytes: usize) {
        self.run(bytes / Self::STEP * PAIRS);
    }

    /// Does all steps that touch the first `bytes` of a text. False if these include the last one, which is for
    /// [`Hash::end`] to do.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn run_past(&mut self, bytes: usize) -> bool {
        let steps = (bytes + self.lead).div_ceil(Self::STEP) * PAIRS;
        self.run(steps);
        steps <= self.steps
    }

    /// Does that many steps, those done before included.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn run(&mut self, steps: usize) {
        let steps = steps.min(self.steps);
        let mut edges = [[Edge::NONE; 2]; 2];
        while self.done < steps.min(self.edges) {
            let (pair, offset) = (self.done % PAIRS, self.offset());
            let first = self.group::<0>(pair, offset, &mut edges[0]);
            let second = self.group::<1>(pair, offset + Self::GROUP, &mut edges[1]);
            self.step(pair, &first, &second);
        }
        while self.done < steps {
            let (pair, offset) = (self.done % PAIRS, self.offset());
            let [first, second] = [self.inner_group(pair, offset), self.inner_group(pair, offset + Self::GROUP)];
            self.step(pair, &first, &second);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn step(&mut self, pair: usize, first: &Limbs, second: &Limbs) {
        let powers = &self.powers[pair];
        let mut product = Product::zero();
        product.add(&sum(&self.sums[pair], first), &powers.long);
        product.add(second, &powers.short);
        self.sums[pair] = product.reduce();
        self.done += 1;
    }

    /// Does what is left, and gives the tags.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(crate) fn end(&mut self) -> [u128; PACKETS] {
        self.run(self.steps);
        let offset = self.offset();
        let mut tags = [0; PACKETS];
        let mut edges = [[Edge::NONE; 2]; 2];
        for (group, (tags, masks)) in tags.chunks_mut(8).zip(&self.masks).enumerate() {
            let sums = from_fn(|i| match 4 * group + i {
                pair if pair < PAIRS => self.last_step(pair, offset, &mut edges),
                _ => [_mm512_setzero_si512(); 3],
            });
            let hashes = if PACKETS == 1 { add_lanes(&sums[0]) } else { add_quarters(sums) };
            let [low, high] = finish(hashes, masks).map(lanes);
            for (tag, (low, high)) in tags.iter_mut().zip(low.into_iter().zip(high)) {
                *tag = u128::from(low) | u128::from(high) << 64;
            }
        }
        tags
    }

    /// Forgets the one-time keys and all that was made of them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn wipe(&mut self) {
        let zero = _mm512_setzero_si512();
        wipe(self.masks.as_flattened_mut(), zero);
        wipe(self.sums.as_flattened_mut(), zero);
        for powers in &mut self.powers {
            if self.steps > 0 {
                wipe(&mut powers.long, zero);
            }
            wipe(&mut powers.short, zero);
            wipe(&mut powers.last, zero);
        }
    }

    /// The last step. What it gives wants its lanes added.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn last_step(&self, pair: usize, offset: isize, edges: &mut [[Edge; 2]; 2]) -> Limbs {
        let first = self.group::<2>(pair, offset, &mut edges[0]);
        let second = self.group::<3>(pair, offset + Self::GROUP, &mut edges[1]);
        let powers = &self.powers[pair];
        let mut product = Product::zero();
        product.add(&sum(&self.sums[pair], &first), &powers.short);
        let last = sum(&product.reduce(), &second);
        let mut product = Product::zero();
        product.add(&last, &factor(&powers.last));
        product.reduce()
    }

    /// Four blocks of each half of a pair, inside of both texts.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn inner_group(&self, pair: usize, offset: isize) -> Limbs {
        let [a, b] = self.halves[pair].map(|half| half.text.load_inner(half.start + offset));
        let [low, middle, high] = limbs(a, b);
        [low, middle, _mm512_or_si512(high, _mm512_set1_epi64(MARK))]
    }

    /// Four blocks of each half of a pair, wherever they are. `PLACE` is different for every caller, because what is
    /// called from one place is inlined; if it is 3, this is the last group of the message, with the lengths in the end.
    /// `edges` are those of the pair before, which mostly has the same.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn group<const PLACE: usize>(&self, pair: usize, offset: isize, edges: &mut [Edge; 2]) -> Limbs {
        let halves = &self.halves[pair];
        let edges: [Edge; 2] = from_fn(|i| Edge::of(halves[i].text.len(), halves[i].start + offset, &mut edges[i]));
        let mut words: [__m512i; 2] = from_fn(|i| halves[i].text.load_edge(&edges[i]));
        if PLACE == 3 {
            // No additional data, and `len` bytes of text. Of one packet, only the second half has its end.
            let ends = words.iter_mut().zip(halves).skip(usize::from(PACKETS == 1));
            ends.for_each(|(words, half)| *words = _mm512_mask_set1_epi64(*words, 1 << 7, half.text.len() as i64));
        }
        let [low, middle, high] = limbs(words[0], words[1]);
        // Blocks in front of the message have no mark.
        let inside = edges[0].blocks | edges[1].blocks << 1;
        [low, middle, _mm512_mask_or_epi64(high, inside, high, _mm512_set1_epi64(MARK))]
    }

    /// Where the next step begins, from the beginning of the hash.
    #[inline]
    const fn offset(&self) -> isize {
        (self.done / PAIRS * Self::STEP).cast_signed()
    }
}

#[inline]
fn lanes(vector: __m512i) -> [u64; 8] {
    // SAFETY: eight words are a vector.
    unsafe { core::mem::transmute(vector) }
}

/// Blocks of the message: those of the text, and one with the lengths.
#[inline]
const fn blocks(text: &Text<'_>) -> usize {
    text.len().div_ceil(16) + 1
}
