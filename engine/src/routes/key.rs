//! What the trees of the routes are ordered by.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of the longest key. Every step down a tree is at a longer prefix, so a path has at most one node more.
pub(super) const KEY_BITS: u8 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    V4,
    V6,
    Peers,
}

/// 128 bits, the first one on top. Two words, because kernels link no arithmetic on 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    high: u64,
    low: u64,
}

impl Tree {
    pub(super) const COUNT: usize = 3;

    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 | Self::Peers => KEY_BITS,
        }
    }
}

impl Key {
    pub(super) const ZERO: Self = Self { high: 0, low: 0 };

    pub(super) fn of(address: IpAddr) -> (Tree, Self) {
        match address {
            IpAddr::V4(ip) => (Tree::V4, Self { high: u64::from(ip.to_bits()) << 32, low: 0 }),
            IpAddr::V6(ip) => (Tree::V6, Self::from_u128(ip.to_bits())),
        }
    }

    pub(super) const fn from_u128(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: (bits & 0xffff_ffff_ffff_ffff) as u64 }
    }

    pub(super) fn address(self, tree: Tree) -> IpAddr {
        match tree {
            Tree::V4 => Ipv4Addr::from_bits((self.high >> 32) as u32).into(),
            Tree::V6 | Tree::Peers => Ipv6Addr::from_bits(u128::from(self.high) << 64 | u128::from(self.low)).into(),
        }
    }

    /// How many leading bits both have in common.
    pub(super) fn common(self, other: Self) -> u8 {
        let equal = match self.high ^ other.high {
            0 => (self.low ^ other.low).leading_zeros().saturating_add(64),
            differs => differs.leading_zeros(),
        };
        u8::try_from(equal).unwrap_or(KEY_BITS)
    }

    /// Bit `at`, counted from the top; those behind the last one are zero.
    pub(super) fn bit(self, at: u8) -> bool {
        let top = match at {
            0..64 => self.high.wrapping_shl(u32::from(at)),
            64..128 => self.low.wrapping_shl(u32::from(at)),
            _ => 0,
        };
        top >> 63 != 0
    }

    /// The first `bits` bits, then zeros.
    pub(super) fn masked(self, bits: u8) -> Self {
        let bits = u32::from(bits);
        let low_bits = bits.saturating_sub(64);
        Self {
            high: self.high & !u64::MAX.checked_shr(bits).unwrap_or(0),
            low: self.low & !u64::MAX.checked_shr(low_bits).unwrap_or(0),
        }
    }
}
