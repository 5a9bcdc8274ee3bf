//! The scalar end of Poly1305: from three limbs to a tag.

/// Bits of the two lower limbs; the third has 42 more, 130 together.
const LIMB: u32 = 44;
const LOW: u64 = (1 << LIMB) - 1;
const TOP: u64 = (1 << 42) - 1;

/// `(h mod 2^130 - 5) + s mod 2^128` (RFC 8439, section 2.5.1), `h` in limbs of weight 1, 2^44 and 2^88, each below
/// 2^60.
///
/// Takes the same time for all values.
#[inline]
pub(crate) const fn tag(h: [u64; 3], s: u128) -> u128 {
    let [h0, h1, h2] = h;
    let h1 = h1 + (h0 >> LIMB);
    let h2 = h2 + (h1 >> LIMB);
    let h0 = (h0 & LOW) + 5 * (h2 >> 42);
    let h1 = (h1 & LOW) + (h0 >> LIMB);
    // At most 2^42 now: the sum is below 2^130 + 2^88 and needs at most one subtraction of the prime.
    let h2 = (h2 & TOP) + (h1 >> LIMB);
    let low = (h0 & LOW) as u128 | ((h1 & LOW) as u128) << LIMB;
    let low = low.wrapping_add((h2 as u128) << (2 * LIMB));
    let high = h2 >> 40;
    // h >= 2^130 - 5 exactly if h + 5 has bit 130.
    let (reduced, carry) = low.overflowing_add(5);
    let above = ((high + carry as u64) >> 2) as u128;
    let mask = above.wrapping_neg();
    ((reduced & mask) | (low & !mask)).wrapping_add(s)
}

/// Whether two tags are equal, in a time that says nothing of where they differ.
#[inline]
pub(crate) fn equal(a: u128, b: u128) -> bool {
    core::hint::black_box(a ^ b) == 0
}
