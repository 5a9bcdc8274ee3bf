//! Poly1305 against a slow model, with the numbers that carries and the last subtraction can go wrong on.

use super::has;
use crate::memory::{Memory, Text};
use crate::{Level, avx2, avx512};
use core::arch::x86_64::*;
use core::array::from_fn;
use std::vec;
use std::vec::Vec;

/// Bits of r that stay (RFC 8439, section 2.5).
const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;

/// A number below 2^192, by its parts above and below 2^128.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Number(u64, u128);

const P: Number = Number(3, u128::MAX - 4);

impl Number {
    fn plus(self, other: Self) -> Self {
        let (low, carry) = self.1.overflowing_add(other.1);
        let sum = Self(self.0 + other.0 + u64::from(carry), low);
        if sum >= P {
            let (low, borrow) = sum.1.overflowing_sub(P.1);
            Self(sum.0 - P.0 - u64::from(borrow), low)
        } else {
            sum
        }
    }

    /// By doubling and adding, a bit of `factor` at a time.
    fn times(self, factor: u128) -> Self {
        (0..128).rev().fold(Self(0, 0), |sum, bit| {
            let double = sum.plus(sum);
            if factor >> bit & 1 == 1 { double.plus(self) } else { double }
        })
    }
}

/// The tag over `text` as it is defined (RFC 8439, sections 2.5.1 and 2.8).
fn model(r: u128, s: u128, text: &[u8]) -> u128 {
    let mut padded = text.to_vec();
    padded.resize(text.len().next_multiple_of(16), 0);
    padded.extend(0_u64.to_le_bytes());
    padded.extend((text.len() as u64).to_le_bytes());
    let (blocks, _) = padded.as_chunks::<16>();
    let sum = blocks
        .iter()
        .fold(Number(0, 0), |sum, block| sum.plus(Number(1, u128::from_le_bytes(*block))).times(r & CLAMP));
    sum.1.wrapping_add(s)
}

/// Gives `N` texts that lie in a buffer to `hash`.
fn place<const N: usize>(texts: &[Vec<u8>], hash: impl FnOnce(&[Text<'_>; N]) -> [u128; N]) -> [u128; N] {
    let mut buffer = Vec::new();
    let starts: [usize; N] = from_fn(|i| {
        buffer.extend(&texts[i]);
        buffer.resize(buffer.len() + 16, 0);
        buffer.len() - 16 - texts[i].len()
    });
    let memory = Memory::new(&mut buffer);
    hash(&from_fn(|i| memory.text(starts[i], texts[i].len()).unwrap()))
}

/// Tags of `PACKETS` texts, each under its r and s.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn tags_avx512<const PACKETS: usize, const PAIRS: usize>(keys: &[(u128, u128)], texts: &[Vec<u8>]) -> [u128; PACKETS] {
    let mut vectors = [_mm512_setzero_si512(); 16];
    for (i, (r, s)) in keys.iter().enumerate().take(PACKETS) {
        let words = [*r as i64, (*r >> 64) as i64, *s as i64, (*s >> 64) as i64];
        vectors[i * 16 / PACKETS] = _mm512_setr_epi64(words[0], words[1], words[2], words[3], 0, 0, 0, 0);
    }
    place(texts, |texts| {
        let mut hash = avx512::Hash::<PACKETS, PAIRS>::new(texts);
        hash.set_keys(&vectors);
        hash.end()
    })
}

fn tags_avx2<const PACKETS: usize>(keys: &[(u128, u128)], texts: &[Vec<u8>]) -> [u128; PACKETS] {
    place(texts, |texts| avx2::Hash::<PACKETS>::new(texts, &from_fn(|i| keys[i].into())).end())
}

fn check(keys: &[(u128, u128); 16], texts: &[Vec<u8>; 16]) {
    let expected: [u128; 16] = from_fn(|i| model(keys[i].0, keys[i].1, &texts[i]));
    let parts = |size| keys.chunks(size).zip(texts.chunks(size)).zip(expected.chunks(size));
    if has(Level::Avx512Ifma) {
        // SAFETY: the features are there.
        unsafe {
            parts(16).for_each(|((keys, texts), tags)| assert_eq!(tags_avx512::<16, 8>(keys, texts), tags));
            parts(8).for_each(|((keys, texts), tags)| assert_eq!(tags_avx512::<8, 4>(keys, texts), tags));
            parts(4).for_each(|((keys, texts), tags)| assert_eq!(tags_avx512::<4, 2>(keys, texts), tags));
            parts(2).for_each(|((keys, texts), tags)| assert_eq!(tags_avx512::<2, 1>(keys, texts), tags));
            parts(1).for_each(|((keys, texts), tags)| assert_eq!(tags_avx512::<1, 1>(keys, texts), tags));
        }
    }
    parts(8).for_each(|((keys, texts), tags)| assert_eq!(tags_avx2::<8>(keys, texts), tags));
}

/// Every limb of r as large or as small as can be, over texts of ones and zeros.
#[test]
fn extreme_keys_and_texts() {
    let rs = [0, 1, 2, 4, CLAMP, CLAMP - 1, CLAMP >> 64, CLAMP << 64, 0xfff_ffff_ffff, u128::MAX, 1 << 124, 5 << 100];
    for len in [0, 1, 15, 16, 17, 48, 63, 64, 65, 112, 113, 127, 128, 129, 240, 241, 256, 257, 500, 1_024, 1_420, 2_100]
    {
        for byte in [0xff, 0, 0x80, 0xfb] {
            for round in 0..rs.len() {
                let keys = from_fn(|i| (rs[(round + i) % rs.len()], if i % 2 == 0 { u128::MAX } else { 0 }));
                check(&keys, &from_fn(|_| vec![byte; len]));
            }
        }
    }
}

/// Sums around p: with r = 1, two blocks of text and the lengths add up to 3 * 2^128 + m + n + 32 * 2^64.
#[test]
fn sums_around_the_prime() {
    let keys = from_fn(|i| (1, if i < 8 { 0 } else { u128::MAX - 3 }));
    for more in 0..8 {
        let texts = from_fn(|i| {
            let m = u128::MAX - (32 << 64) - 10 + 2 * more + i as u128 % 2;
            [m.to_le_bytes(), 0_u128.to_le_bytes()].concat()
        });
        check(&keys, &texts);
    }
}

/// All carries at once: sums of many blocks of ones with r = 1 run through every multiple of 2^128.
#[test]
fn sums_of_ones() {
    for blocks in 0..200 {
        check(&[(1, 7); 16], &from_fn(|i| vec![0xff; 16 * blocks + i % 4]));
    }
}
