//! The internet checksum (RFC 1071) over wide words.
//!
//! The one's-complement sum does not depend on byte order (RFC 1071, section 2 (B)), so the sums here are taken over
//! 32-bit words as they lie in memory and kept in 64 bits: no carry handling inside the loop, and the compiler turns
//! it into vector code, for the widest vectors that the processor turns out to have. Values that do not come from memory
//! enter through [`Sum::add_u16`], which puts them into memory order first.

/// A one's-complement sum that has not been folded yet.
///
/// Holds at least 2^32 bytes without overflow, far more than any packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds bytes that start at an even offset of the summed data; an odd tail is padded with a zero byte.
    #[must_use]
    pub fn add_bytes(self, data: &[u8]) -> Self {
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        let mut sum = self.0 + sum_blocks(blocks);
        let (words, tail) = rest.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0u8; 4];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a number that would stand in the packet in network order.
    #[must_use]
    pub fn add_u16(self, value: u16) -> Self {
        Self(self.0 + u64::from(value.to_be()))
    }

    /// Takes a number in network order out of the sum again (adds its complement).
    #[must_use]
    pub fn sub_u16(self, value: u16) -> Self {
        self.add_u16(!value)
    }

    /// The folded 16-bit sum, as a number in host order. Not complemented.
    #[must_use]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        // 64 -> 33 -> 17 -> 16 bits and the last carry.
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be((sum & 0xffff) as u16)
    }

    /// The checksum field for this sum: the complement of [`Sum::fold`].
    #[must_use]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The checksum field where zero means "none" (UDP, RFC 768): zero is written as its other form `0xffff`.
    #[must_use]
    pub fn checksum_nonzero(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// The pseudo header of TCP and UDP over IPv4 (RFC 9293, section 3.1) and IPv6 (RFC 8200, section 8.1).
///
/// `addresses` are source and destination as they lie in the IP header, 8 or 32 bytes. The IPv6 length field has 32
/// bits, but no packet here is longer than 65,535 bytes behind its IP header, so its upper half is zero.
#[must_use]
pub fn pseudo_header(addresses: &[u8], protocol: u8, length: u16) -> Sum {
    Sum::ZERO.add_bytes(addresses).add_u16(u16::from(protocol)).add_u16(length)
}

/// Bytes that one step of the wide sum takes: the widest vector there is.
const BLOCK: usize = 64;

/// The sum of whole blocks, by the widest vectors of this processor.
fn sum_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    // Headers alone are not worth asking for.
    if blocks.is_empty() {
        return 0;
    }
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has just been asked for the one feature that the function wants.
            return unsafe { sum_blocks_avx512(blocks) };
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { sum_blocks_avx2(blocks) };
        }
    }
    sum_blocks_by(blocks)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_blocks_avx512(blocks: &[[u8; BLOCK]]) -> u64 {
    sum_blocks_by(blocks)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_blocks_avx2(blocks: &[[u8; BLOCK]]) -> u64 {
    sum_blocks_by(blocks)
}

/// Compiled once for each kind of vectors.
#[inline(always)]
fn sum_blocks_by(blocks: &[[u8; BLOCK]]) -> u64 {
    let (words, _) = blocks.as_flattened().as_chunks::<4>();
    words.iter().fold(0, |sum, word| sum + u64::from(u32::from_ne_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever this processor has, all ways that it can go give one sum.
    #[test]
    fn all_widths_agree() {
        let mut state = 1_u64;
        // Miri takes a millisecond for every few words.
        let mut data = vec![[0_u8; BLOCK]; if cfg!(miri) { 16 } else { 1024 }];
        for byte in data.as_flattened_mut() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        data.push([0xff; BLOCK]);
        for blocks in [&data[..0], &data[..1], &data[1..8], &data[..]] {
            let slow =
                blocks.as_flattened().chunks(4).map(|word| u64::from(u32::from_ne_bytes(word.try_into().unwrap())));
            let slow = slow.sum::<u64>();
            assert_eq!(sum_blocks(blocks), slow);
            assert_eq!(sum_blocks_by(blocks), slow);
            #[cfg(target_arch = "x86_64")]
            {
                if std::is_x86_feature_detected!("avx2") {
                    // SAFETY: just asked for.
                    assert_eq!(unsafe { sum_blocks_avx2(blocks) }, slow);
                } else {
                    println!("SKIPPED: no AVX2 here");
                }
                if std::is_x86_feature_detected!("avx512f") {
                    // SAFETY: just asked for.
                    assert_eq!(unsafe { sum_blocks_avx512(blocks) }, slow);
                } else {
                    println!("SKIPPED: no AVX-512 here");
                }
            }
        }
    }
}
