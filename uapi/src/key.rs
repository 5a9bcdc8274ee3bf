//! Keys: 32 bytes, written as 64 hexadecimal digits.

use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// A peer's Curve25519 public key. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// A private or preshared key. Wiped when dropped; `Debug` does not show it.
///
/// The bytes live on the heap so that moving the value (a growing vector does it) leaves no copies behind.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Box<[u8; 32]>);

impl PublicKey {
    /// Reads 64 hexadecimal digits of either case.
    #[must_use]
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        decode(digits, &mut bytes).then_some(Self(bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl SecretKey {
    /// Takes the key's bytes; wiping the caller's copy is the caller's job.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let mut boxed = Box::new([0; 32]);
        boxed.copy_from_slice(bytes);
        Self(boxed)
    }

    /// Reads 64 hexadecimal digits of either case.
    #[must_use]
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut key = Self(Box::new([0; 32]));
        decode(digits, &mut key.0).then_some(key)
    }

    /// The bytes. Copies made of them are the caller's to wipe.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether all bytes are zero, which the protocol uses for "no key".
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().fold(0, |all, byte| all | byte) == 0
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(hidden)")
    }
}

/// The 64 lower-case digits of a key, in memory that is wiped.
pub(crate) fn encode(bytes: &[u8; 32]) -> Zeroizing<[u8; 64]> {
    let mut digits = Zeroizing::new([0; 64]);
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    digits
}

fn digit(nibble: u8) -> u8 {
    let base = if nibble < 10 { b'0' } else { b'a'.wrapping_sub(10) };
    base.wrapping_add(nibble)
}

fn decode(digits: &[u8], bytes: &mut [u8; 32]) -> bool {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return false;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) else { return false };
        *byte = high << 4 | low;
    }
    true
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_of_either_case_and_nothing_else() {
        let expected: [u8; 32] = std::array::from_fn(|i| (i * 8 + 7) as u8);
        let lower: String = expected.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(PublicKey::from_hex(lower.as_bytes()), Some(PublicKey(expected)));
        assert_eq!(PublicKey::from_hex(lower.to_uppercase().as_bytes()), Some(PublicKey(expected)));
        assert_eq!(SecretKey::from_hex(lower.as_bytes()), Some(SecretKey::new(&expected)));
        assert_eq!(encode(&expected).as_slice(), lower.as_bytes());
        for wrong in [&lower[1..], &lower[2..], &format!("{lower}0"), &format!("{lower}00"), ""] {
            assert_eq!(PublicKey::from_hex(wrong.as_bytes()), None, "{wrong}");
        }
        for byte in 0..=255_u8 {
            let mut text = lower.clone().into_bytes();
            text[33] = byte;
            assert_eq!(PublicKey::from_hex(&text).is_some(), byte.is_ascii_hexdigit(), "{byte}");
        }
    }

    #[test]
    fn debug_hides_secrets() {
        let text = format!("{:?}", SecretKey::new(&[0xAB; 32]));
        assert!(!text.to_lowercase().contains("ab") && text.contains("hidden"), "{text}");
        assert!(SecretKey::new(&[0; 32]).is_zero() && !SecretKey::new(&[1; 32]).is_zero());
    }
}
