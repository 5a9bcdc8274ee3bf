//! The primitives, from RustCrypto and dalek.

use crate::host::Crypto;
use crate::packet::Incoming;
use crate::secret::Secret;
use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use std::cell::Cell;
use std::thread_local;
use std::vec::Vec;

thread_local!(static X25519: Cell<u32> = const { Cell::new(0) });

/// How many shared secrets were computed since the last call.
pub(crate) fn x25519_calls() -> u32 {
    X25519.take()
}

/// A run is a list of whole datagrams: header, text, room for the tag.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TestCrypto;

impl Crypto for TestCrypto {
    type Run<'a> = Vec<&'a mut [u8]>;

    fn run_len(&self, run: &Self::Run<'_>) -> usize {
        run.len()
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Self::Run<'_>) {
        for (counter, datagram) in (first_counter..).zip(run.iter_mut()) {
            let (text, tag) = datagram[16..].split_last_chunk_mut().unwrap();
            *tag = self.seal(key, counter, &[], text);
        }
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Self::Run<'_>) {
        assert_eq!(packets.len(), run.len());
        for (packet, datagram) in packets.iter_mut().zip(run.iter_mut()).filter(|(packet, _)| packet.is_wanted()) {
            let (text, tag) = datagram[16..].split_last_chunk_mut().unwrap();
            if self.open(key, packet.counter(), &[], text, tag) {
                packet.authenticated(text);
            }
        }
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        X25519.set(X25519.get() + 1);
        *out = Secret::new(x25519_dalek::x25519(*private.expose(), *public));
        !out.is_zero()
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        x25519_dalek::x25519(*private.expose(), x25519_dalek::X25519_BASEPOINT_BYTES)
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        *out = parts.iter().fold(Blake2s256::new(), Digest::chain_update).finalize().into();
    }

    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        assert!(matches!(key.len(), 16 | 32));
        let state = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).unwrap();
        *out = parts.iter().fold(state, Mac::chain_update).finalize().into_bytes().into();
    }

    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        let cipher = ChaCha20Poly1305::new(key.expose().into());
        cipher.encrypt_inout_detached(&nonce(counter).into(), additional, text.into()).unwrap().into()
    }

    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let cipher = ChaCha20Poly1305::new(key.expose().into());
        let passed = cipher.decrypt_inout_detached(&nonce(counter).into(), additional, (&mut *text).into(), tag.into());
        passed.inspect_err(|_| text.fill(0)).is_ok()
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        let cipher = XChaCha20Poly1305::new(key.expose().into());
        cipher.encrypt_inout_detached(nonce.into(), additional, text.into()).unwrap().into()
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let cipher = XChaCha20Poly1305::new(key.expose().into());
        let passed = cipher.decrypt_inout_detached(nonce.into(), additional, (&mut *text).into(), tag.into());
        passed.inspect_err(|_| text.fill(0)).is_ok()
    }
}

/// RFC 8439 nonce of WireGuard: four zero bytes, then the counter in little endian.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::unhex;

    #[test]
    fn hash_of_rfc_7693() {
        // RFC 7693, appendix B: BLAKE2s-256("abc"), here in two parts.
        let mut out = [0; 32];
        TestCrypto.hash(&mut out, &[b"a", b"bc"]);
        assert_eq!(out, unhex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"));
    }

    #[test]
    fn dh_of_rfc_7748() {
        // RFC 7748, section 6.1.
        let alice = Secret::new(unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        let bob = Secret::new(unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        assert_eq!(
            TestCrypto.public_key(&bob),
            unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
        );
        let (mut one, mut other) = (Secret::ZERO, Secret::ZERO);
        assert!(TestCrypto.x25519(&mut one, &alice, &TestCrypto.public_key(&bob)));
        assert!(TestCrypto.x25519(&mut other, &bob, &TestCrypto.public_key(&alice)));
        assert_eq!(one, other);
        assert_eq!(*one.expose(), unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
    }

    #[test]
    fn wrong_tags_leave_nothing_to_read() {
        let key = Secret::new([7; 32]);
        let mut text = *b"words";
        let mut tag = TestCrypto.seal(&key, 1 << 60, b"more", &mut text);
        let mut copy = text;
        assert!(TestCrypto.open(&key, 1 << 60, b"more", &mut copy, &tag));
        assert_eq!(&copy, b"words");
        tag[0] ^= 1;
        assert!(!TestCrypto.open(&key, 1 << 60, b"more", &mut text, &tag));
        assert_eq!(text, [0; 5]);
    }
}
