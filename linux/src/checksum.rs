//! The internet checksum (RFC 1071) over wide words.
//!
//! The one's-complement sum does not depend on byte order (RFC 1071, section 2 (B)), so the sums here are taken over
//! 32-bit words as they lie in memory and kept in 64 bits: no carry handling inside the loop, and the compiler turns
//! it into vector code. Values that do not come from memory enter through [`Sum::add_u16`], which puts them into
//! memory order first.

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
        let (words, tail) = data.as_chunks::<4>();
        let mut sum = self.0;
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
