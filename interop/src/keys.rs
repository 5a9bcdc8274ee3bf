//! Key pairs as people write them, and the protocol's keyed hash for those who forge messages.

use blake2::digest::{Digest, KeyInit, Mac, consts::U16};
use blake2::{Blake2s256, Blake2sMac};
use std::fmt::Write as _;
use x25519_dalek::{PublicKey, StaticSecret};

/// A Curve25519 key pair.
#[derive(Clone)]
pub struct Keys {
    secret: [u8; 32],
    public: [u8; 32],
}

impl Keys {
    /// The pair that belongs to a number. The same number always gives the same pair.
    #[must_use]
    pub fn number(number: u64) -> Self {
        let secret: [u8; 32] = Blake2s256::digest(number.to_le_bytes()).into();
        let public = PublicKey::from(&StaticSecret::from(secret)).to_bytes();
        Self { secret, public }
    }

    /// The private key in base64.
    #[must_use]
    pub fn private_text(&self) -> String {
        base64(&self.secret)
    }

    /// The public key in base64.
    #[must_use]
    pub fn public_text(&self) -> String {
        base64(&self.public)
    }

    /// The private key in hexadecimal digits.
    #[must_use]
    pub fn private_hex(&self) -> String {
        hex(&self.secret)
    }

    /// The public key in hexadecimal digits.
    #[must_use]
    pub fn public_hex(&self) -> String {
        hex(&self.public)
    }

    /// Writes the mac1 that a message to the owner of this key needs (paper, section 5.4.4) into a message of type 1 or
    /// 2 of any length above 32.
    pub fn put_mac1(&self, message: &mut [u8]) {
        let end = message.len() - 32;
        let key = Blake2s256::new().chain_update(b"mac1----").chain_update(self.public).finalize();
        let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&key).expect("32 bytes are a key");
        mac.update(&message[..end]);
        message[end..][..16].copy_from_slice(&mac.finalize().into_bytes());
    }

    /// Whether a message of type 1 or 2 to the owner of this key has the right mac1.
    #[must_use]
    pub fn has_mac1(&self, message: &[u8]) -> bool {
        let mut own = message.to_vec();
        self.put_mac1(&mut own);
        own == message
    }
}

/// Hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 4648, section 4.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
