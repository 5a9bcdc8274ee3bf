//! Keys: secret ones that never show themselves, and public ones that do.

use base64ct::{Base64, Encoding};
use core::fmt;
use core::str::FromStr;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes in any key of the protocol (Curve25519 scalar or point, or preshared key).
pub const KEY_LEN: usize = 32;

/// Characters of a key in base64, the final `=` included.
pub const KEY_BASE64_LEN: usize = 44;

/// Characters of a key in hexadecimal, as the UAPI socket speaks it.
pub const KEY_HEX_LEN: usize = 64;

/// A secret key: a private key or a preshared key.
///
/// It is wiped when dropped, compared in constant time, and printed by nothing: `Debug` shows a placeholder and there is
/// no `Display`. To write it out, say so with [`Key::to_base64`] or [`Key::to_hex`].
#[derive(Clone)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// Takes the key's bytes as they are (a private key is not clamped: that is the curve's business).
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads the base64 form that `wg genkey` and `wg genpsk` print.
    ///
    /// # Errors
    /// [`KeyError`] tells what is wrong without repeating any of the text.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_LEN]);
        decode_base64(text, &mut key.0)?;
        Ok(key)
    }

    /// Reads the hexadecimal form of the UAPI socket (either case).
    ///
    /// # Errors
    /// [`KeyError`] tells what is wrong without repeating any of the text.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_LEN]);
        decode_hex(text, &mut key.0)?;
        Ok(key)
    }

    /// The key itself. Keep the reference short-lived: copies made from it are not wiped.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The key in base64, wiped when dropped.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64::encode_string(&self.0))
    }

    /// The key in lower-case hexadecimal, wiped when dropped.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(encode_hex(&self.0))
    }

    /// Whether all bytes are zero: "no key" to every WireGuard implementation.
    pub fn is_zero(&self) -> bool {
        self.0.ct_eq(&[0; KEY_LEN]).into()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Key {}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// A public key: a peer's name. It is no secret and shows as base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Takes the key's bytes as they are.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads the base64 form that `wg pubkey` prints.
    ///
    /// # Errors
    /// [`KeyError`] when this is not 44 characters of canonical base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_LEN]);
        decode_base64(text, &mut key.0)?;
        Ok(key)
    }

    /// Reads the hexadecimal form of the UAPI socket (either case).
    ///
    /// # Errors
    /// [`KeyError`] when this is not 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_LEN]);
        decode_hex(text, &mut key.0)?;
        Ok(key)
    }

    /// The key itself.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The key in lower-case hexadecimal.
    pub fn to_hex(&self) -> String {
        encode_hex(&self.0)
    }

    /// Whether all bytes are zero, which is no valid peer.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; KEY_LEN]
    }

    /// Whether Diffie-Hellman with this key gives zero whatever the private key is (RFC 7748, section 6.1): no private key has it, and every
    /// handshake with it fails. The key of zeros is one of them.
    pub fn is_low_order(&self) -> bool {
        let mut point = self.0;
        // X25519 ignores the highest bit.
        let [.., last] = &mut point;
        *last &= 0x7f;
        LOW_ORDER.contains(&point)
    }
}

/// Every encoding of a point whose order divides eight, without the highest bit: 0, 1, two of order eight, and p - 1, p and p + 1,
/// where p = 2^255 - 19.
const LOW_ORDER: [[u8; KEY_LEN]; 7] = [
    [0; KEY_LEN],
    ends(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    ends(0xec, 0xff, 0x7f),
    ends(0xed, 0xff, 0x7f),
    ends(0xee, 0xff, 0x7f),
];

/// A number by its first byte, the ones between, and the last.
const fn ends(first: u8, between: u8, last: u8) -> [u8; KEY_LEN] {
    let mut bytes = [between; KEY_LEN];
    let [start, .., end] = &mut bytes;
    (*start, *end) = (first, last);
    bytes
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_base64(text)
    }
}

/// Why a text is not a key. The text's author is at fault; nothing of the text is repeated here, as it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no text at all.
    Empty,
    /// The number of characters is not the `expected` one.
    Length {
        /// How many characters there are.
        found: usize,
        /// How many a key has in this notation.
        expected: usize,
    },
    /// The character at this position (counted from 1) does not belong to the notation.
    Character {
        /// Position, counted from 1.
        position: usize,
        /// `"base64"` or `"a hexadecimal digit"`.
        notation: &'static str,
    },
    /// 44 characters, but the last one is not `=`.
    NoPadding,
    /// The last character before `=` carries bits that no 32-byte key has: a character was changed or lost.
    TrailingBits,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("is empty"),
            Self::Length { found, expected: KEY_BASE64_LEN } => {
                write!(f, "has {found} character{}, a key has 44 ending in '='", if found == 1 { "" } else { "s" })
            }
            Self::Length { found, expected } => {
                write!(f, "has {found} character{}, a key has {expected}", if found == 1 { "" } else { "s" })
            }
            Self::Character { position, notation } => write!(f, "is no key: character {position} is not {notation}"),
            Self::NoPadding => f.write_str("is no key: its last character is not '='"),
            Self::TrailingBits => {
                f.write_str("is no key: its last character before '=' cannot end one, so something was mistyped or cut")
            }
        }
    }
}

impl core::error::Error for KeyError {}

fn decode_base64(text: &str, out: &mut [u8; KEY_LEN]) -> Result<(), KeyError> {
    if text.len() == KEY_BASE64_LEN && matches!(Base64::decode(text, out.as_mut_slice()), Ok(d) if d.len() == KEY_LEN) {
        return Ok(());
    }
    out.zeroize();
    Err(explain_base64(text))
}

/// Finds what is wrong with a text that did not decode. Its time depends on the text, which is not a key.
fn explain_base64(text: &str) -> KeyError {
    let found = text.chars().count();
    if found == 0 {
        return KeyError::Empty;
    }
    let stranger = text.chars().position(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')));
    if let Some(index) = stranger {
        return KeyError::Character { position: index + 1, notation: "base64" };
    }
    if found != KEY_BASE64_LEN {
        return KeyError::Length { found, expected: KEY_BASE64_LEN };
    }
    match text.find('=') {
        None => KeyError::NoPadding,
        Some(index) if index + 1 < KEY_BASE64_LEN => KeyError::Character { position: index + 1, notation: "base64" },
        Some(_) => KeyError::TrailingBits,
    }
}

fn decode_hex(text: &str, out: &mut [u8; KEY_LEN]) -> Result<(), KeyError> {
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    if let Some(index) = text.chars().position(|c| !c.is_ascii_hexdigit()) {
        return Err(KeyError::Character { position: index + 1, notation: "a hexadecimal digit" });
    }
    if text.len() != KEY_HEX_LEN {
        return Err(KeyError::Length { found: text.len(), expected: KEY_HEX_LEN });
    }
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = hex_value(*high) << 4 | hex_value(*low);
    }
    Ok(())
}

/// The value of a character known to be a hexadecimal digit, by arithmetic alone: a table or a branch would leave the
/// key's trace in the caches. Letters have bit 6 set and count from 1 in their low bits.
const fn hex_value(digit: u8) -> u8 {
    (digit & 0x0f) + (digit >> 6) * 9
}

/// Arithmetic alone, for the same reason as [`hex_value`].
fn encode_hex(bytes: &[u8; KEY_LEN]) -> String {
    let digit = |n: u8| -> char {
        // 9 - n wraps to 0xff.. exactly for 10..=15; 39 is the distance from '9' + 1 to 'a'.
        let letter = (9u8.wrapping_sub(n) >> 7) * 39;
        char::from(b'0' + n + letter)
    };
    let mut text = String::with_capacity(KEY_HEX_LEN);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0x0f));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_hex_agree_with_a_known_pair() {
        // RFC 4648 alphabet over the bytes 0..32, written out by hand.
        let bytes: [u8; 32] = core::array::from_fn(|i| i as u8);
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let key = Key::from_bytes(bytes);
        assert_eq!(key.to_base64().as_str(), base64);
        assert_eq!(key.to_hex().as_str(), hex);
        assert_eq!(Key::from_base64(base64), Ok(key.clone()));
        assert_eq!(Key::from_hex(&hex.to_uppercase()), Ok(key.clone()));
        assert_eq!(PublicKey::from_hex(hex).unwrap().to_string(), base64);
        assert_eq!(format!("{key:?}"), "Key(secret)");
        assert_eq!(format!("{:?}", PublicKey::from_bytes(bytes)), format!("PublicKey({base64})"));
    }

    #[test]
    fn hex_knows_every_byte() {
        for value in 0..=255u8 {
            let text = format!("{value:02x}").repeat(32);
            assert_eq!(Key::from_hex(&text).unwrap().as_bytes(), &[value; 32]);
            assert_eq!(Key::from_bytes([value; 32]).to_hex().as_str(), text);
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let say = |text: &str| Key::from_base64(text).unwrap_err().to_string();
        assert_eq!(say(""), "is empty");
        assert_eq!(say(&good[..43]), "has 43 characters, a key has 44 ending in '='");
        assert_eq!(say("A"), "has 1 character, a key has 44 ending in '='");
        assert_eq!(say(&good.replace('Q', "!")), "is no key: character 7 is not base64");
        assert_eq!(say(&good.replace('=', "A")), "is no key: its last character is not '='");
        assert_eq!(say(&good.replace('Q', "=")), "is no key: character 7 is not base64");
        assert!(say(&good.replace("8=", "9=")).starts_with("is no key: its last character before '='"));
        assert_eq!(Key::from_hex("ab").unwrap_err().to_string(), "has 2 characters, a key has 64");
        assert_eq!(Key::from_hex("x").unwrap_err().to_string(), "is no key: character 1 is not a hexadecimal digit");
    }
}
