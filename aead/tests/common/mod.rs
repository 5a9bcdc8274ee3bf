//! What the tests share: a source of numbers, and the library that is right.
#![allow(dead_code, reason = "each test takes what it needs")]

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use kerntun_aead::{Level, Vectors};

/// Every level that this processor has, as it is used and with everything that has room; a word about those it has not.
pub(crate) fn vectors(test: &str) -> Vec<Vectors> {
    let mut all = Vec::new();
    for level in Level::ALL {
        match Vectors::at(level) {
            Some(vectors) => all.extend([vectors, vectors.eager()]),
            None => println!("SKIPPED: {test}: this processor has no {level:?}"),
        }
    }
    all
}

/// Steele, Lea and Flood's SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    pub(crate) fn key(&mut self) -> [u8; 32] {
        let mut key = [0; 32];
        self.fill(&mut key);
        key
    }
}

/// Four zero bytes and the counter in little endian (WireGuard paper, section 5.4.6).
pub(crate) fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// Seals `text` in place with AWS-LC; gives the tag.
pub(crate) fn reference(key: &[u8; 32], counter: u64, text: &mut [u8]) -> [u8; 16] {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
    let nonce = Nonce::assume_unique_for_key(nonce(counter));
    key.seal_in_place_separate_tag(nonce, Aad::empty(), text).unwrap().as_ref().try_into().unwrap()
}
