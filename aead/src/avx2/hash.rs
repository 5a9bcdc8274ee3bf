//! Poly1305 (RFC 8439, section 2.5) in ordinary registers, one packet at a time.
//!
//! Modulo p = 2^130 - 5, in two limbs of 64 bits and one of a few. The standard clears the upper four bits of both halves of r and
//! the lower two of the second, r1. So h1 * r1 * 2^128, which comes back multiplied by 5 / 4, does so without a remainder, as
//! h1 * s1 with s1 = r1 * 5 / 4; and no sum of products overflows.

use crate::memory::Text;
use crate::wipe::wipe;

/// The hashes of a batch at work.
pub(crate) struct Hash<'a, const PACKETS: usize> {
    texts: [Text<'a>; PACKETS],
    sums: [Sum; PACKETS],
    /// What is added to each hash at the end.
    masks: [u128; PACKETS],
}

/// One hash at work.
#[derive(Clone, Copy)]
struct Sum {
    h: Limbs,
    /// Halves of r.
    r: [u64; 2],
    /// Bytes of the text that are done.
    done: usize,
}

/// A number below 2^131, between one block and the next one.
type Limbs = [u64; 3];

impl<'a, const PACKETS: usize> Hash<'a, PACKETS> {
    /// Hashes over `texts` under these one-time keys.
    #[inline]
    pub(crate) fn new(texts: &[Text<'a>; PACKETS], keys: &[[u128; 2]; PACKETS]) -> Self {
        let sums = keys.each_ref().map(|[r, _]| Sum::new(*r));
        Self { texts: *texts, sums, masks: keys.each_ref().map(|[_, mask]| *mask) }
    }

    /// Hashes the next 64 bytes of a text, if they are among its first `bytes`. Says whether they were.
    ///
    /// Always inlined: a call would take the cipher's vectors out of their registers.
    #[inline(always)]
    pub(crate) fn step(&mut self, packet: usize, bytes: usize) -> bool {
        let (text, sum) = (&self.texts[packet % PACKETS], &mut self.sums[packet % PACKETS]);
        if sum.done + 64 <= bytes
            && let Some(blocks) = text.four_blocks(sum.done)
        {
            sum.h = blocks.into_iter().fold(sum.h, |h, block| times(plus(h, block, 1), sum.r));
            sum.done += 64;
            return true;
        }
        false
    }

    /// Hashes what is left, and gives the tags.
    #[inline]
    pub(crate) fn end(&mut self) -> [u128; PACKETS] {
        let mut tags = self.masks;
        for (i, tag) in tags.iter_mut().enumerate() {
            let len = self.texts[i].len();
            while self.step(i, len) {}
            let sum = &mut self.sums[i];
            while sum.done < len {
                sum.block(self.texts[i].block(sum.done));
                sum.done += 16;
            }
            // No additional data, and so many bytes of text.
            sum.block((len as u128) << 64);
            *tag = tag.wrapping_add(reduce(sum.h));
        }
        tags
    }

    /// Forgets the one-time keys and all that was made of them.
    #[inline]
    pub(crate) fn wipe(&mut self) {
        wipe(&mut self.sums, Sum { h: [0; 3], r: [0; 2], done: 0 });
        wipe(&mut self.masks, 0);
    }
}

impl Sum {
    #[inline]
    const fn new(r: u128) -> Self {
        // Bits that the standard wants cleared (section 2.5).
        let r = r & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        Self { h: [0; 3], r: [r as u64, (r >> 64) as u64], done: 0 }
    }

    #[inline]
    fn block(&mut self, block: u128) {
        self.h = times(plus(self.h, block, 1), self.r);
    }
}

/// h + `number` + `mark` * 2^128.
#[inline(always)]
fn plus([h0, h1, h2]: Limbs, number: u128, mark: u64) -> Limbs {
    let (h0, over) = h0.carrying_add(number as u64, false);
    let (h1, over) = h1.carrying_add((number >> 64) as u64, over);
    [h0, h1, h2 + mark + u64::from(over)]
}

/// h * r modulo p, with a last limb of 4 at most if that of h was 6 at most.
#[inline(always)]
fn times([h0, h1, h2]: Limbs, [r0, r1]: [u64; 2]) -> Limbs {
    let s1 = r1 + (r1 >> 2);
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
    let d0 = product(h0, r0) + product(h1, s1);
    let d1 = product(h0, r1) + product(h1, r0) + u128::from(h2 * s1) + (d0 >> 64);
    let d2 = h2 * r0 + (d1 >> 64) as u64;
    // What is at and above bit 130 comes back multiplied by 5.
    plus([d0 as u64, d1 as u64, d2 & 3], u128::from((d2 >> 2) * 5), 0)
}

/// h mod p mod 2^128.
#[inline]
fn reduce([h0, h1, h2]: Limbs) -> u128 {
    // h < 5 * 2^128 < 2 * p. It is at least p exactly if h + 5 has bit 130, and then h - p = h + 5 - 2^130.
    let [_, _, with_5] = plus([h0, h1, h2], 5, 0);
    let [low, high, _] = plus([h0, h1, h2], u128::from(with_5 >> 2) * 5, 0);
    // Modulo 2^128, subtracting 2^130 changes nothing.
    u128::from(high) << 64 | u128::from(low)
}
