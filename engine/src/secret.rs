//! Keys: public ones to look at, secret ones that wipe themselves.

use core::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A Curve25519 public key, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PublicKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// 32 secret bytes: a private key, a preshared key, a chaining key, a session key.
///
/// Wiped when dropped, compared in constant time, never shown.
#[derive(Clone, Default)]
pub struct Secret([u8; 32]);

impl Secret {
    /// All zeros: what a missing preshared key is (paper, section 5.4).
    pub const ZERO: Self = Self([0; 32]);

    /// Takes over `bytes`; the caller's own copy is the caller's to wipe.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to give to a crypto primitive.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes, to be written by a crypto primitive.
    #[must_use]
    pub const fn expose_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }

    /// Whether all bytes are zero, without a branch on any of them.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.ct_eq(&[0; 32]).into()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn a_secret_never_shows_itself() {
        assert_eq!(format!("{:?}", Secret::new([0xab; 32])), "Secret(…)");
    }

    #[test]
    fn only_zeros_are_zero() {
        assert!(Secret::ZERO.is_zero());
        for at in 0..32 {
            let mut bytes = [0; 32];
            bytes[at] = 1;
            assert!(!Secret::new(bytes).is_zero());
        }
    }
}
