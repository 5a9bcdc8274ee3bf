//! What the trait promises, of every implementation.

use crate::random::Random;
use crate::{Check, Provider, each, each_real};
use kerntun_crypto::Portable;
use kerntun_engine::host::Crypto;
use kerntun_engine::secret::Secret;

/// Counters at every edge the protocol knows and some it never reaches.
const COUNTERS: [u64; 8] = [0, 1, 255, 1 << 32, 1 << 60, u64::MAX - (1 << 13) - 1, u64::MAX - 1, u64::MAX];

#[test]
fn opening_reverses_sealing_at_every_length() {
    struct Lengths;
    impl Check for Lengths {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(3);
            for len in 0..=2_100 {
                let (key, plain) = (random.secret(), random.bytes(len));
                let additional_len = random.below(70);
                let additional = random.bytes(additional_len);
                let counter = COUNTERS[len % COUNTERS.len()];
                let mut text = plain.clone();
                let tag = crypto.seal(&key, counter, &additional, &mut text);
                assert!(len < 8 || text != plain, "{name}: {len}");
                assert!(crypto.open(&key, counter, &additional, &mut text, &tag), "{name}: {len}");
                assert_eq!(text, plain, "{name}: {len}");
                let nonce = random.array();
                let tag = crypto.xseal(&key, &nonce, &additional, &mut text);
                assert!(len < 8 || text != plain, "{name}: {len}");
                assert!(crypto.xopen(&key, &nonce, &additional, &mut text, &tag), "{name}: {len}");
                assert_eq!(text, plain, "{name}: {len}");
            }
        }
    }
    each(&Lengths);
}

#[test]
fn real_providers_agree_with_each_other() {
    struct Agreement;
    impl Check for Agreement {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(4);
            for len in 0..=2_100 {
                let (key, plain, nonce) = (random.secret(), random.bytes(len), random.array());
                let counter = random.word();
                let additional_len = random.below(70);
                let additional = random.bytes(additional_len);
                let (mut ours, mut theirs) = (plain.clone(), plain.clone());
                let tag = crypto.seal(&key, counter, &additional, &mut ours);
                assert_eq!(tag, Portable.seal(&key, counter, &additional, &mut theirs), "{name}: {len}");
                assert_eq!(ours, theirs, "{name}: {len}");
                let tag = crypto.xseal(&key, &nonce, &additional, &mut ours);
                assert_eq!(tag, Portable.xseal(&key, &nonce, &additional, &mut theirs), "{name}: {len}");
                assert_eq!(ours, theirs, "{name}: {len}");
            }
            for round in 0..500 {
                let (private, mut public) = (random.secret(), random.array::<32>());
                match round % 4 {
                    // Not reduced: between p and 2^255.
                    0 => public[1..].fill(0xff),
                    1 => public[31] |= 0x80,
                    _ => {}
                }
                let mut shared = [Secret::default(), Secret::default()];
                let [ours, theirs] = &mut shared;
                let agreed = crypto.x25519(ours, &private, &public);
                assert_eq!(agreed, Portable.x25519(theirs, &private, &public), "{name}: {public:02x?}");
                assert!(!agreed || shared[0] == shared[1], "{name}: {public:02x?}");
                assert_eq!(crypto.public_key(&private), Portable.public_key(&private), "{name}");
            }
        }
    }
    each_real(&Agreement);
}

#[test]
fn any_changed_bit_is_found_and_nothing_stays_readable() {
    struct Bits;
    impl Check for Bits {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(5);
            for len in [0, 1, 7, 8, 15, 16, 17, 32, 63, 64, 65, 100] {
                let (key, plain, additional) = (random.secret(), random.bytes(len), random.bytes(9));
                let nonce: [u8; 24] = random.array();
                let counter = 77;
                let mut text = plain.clone();
                let tag = crypto.seal(&key, counter, &additional, &mut text);
                let mut xtext = plain.clone();
                let xtag = crypto.xseal(&key, &nonce, &additional, &mut xtext);
                let refused = |what: &str, key: &Secret, counter, additional: &[u8], text: &[u8], tag: &[u8; 16]| {
                    let mut text = text.to_vec();
                    assert!(!crypto.open(key, counter, additional, &mut text, tag), "{name}: {what} of {len}");
                    assert!(text.iter().all(|byte| *byte == 0), "{name}: {what} of {len} left text");
                };
                let xrefused = |what: &str, nonce: &[u8; 24], additional: &[u8], text: &[u8], tag: &[u8; 16]| {
                    let mut text = text.to_vec();
                    assert!(!crypto.xopen(&key, nonce, additional, &mut text, tag), "{name}: {what} of {len}");
                    assert!(text.iter().all(|byte| *byte == 0), "{name}: {what} of {len} left text");
                };
                for bit in 0..8 * len {
                    refused("text", &key, counter, &additional, &flip(&text, bit), &tag);
                    xrefused("text", &nonce, &additional, &flip(&xtext, bit), &xtag);
                }
                for bit in 0..8 * 16 {
                    refused("tag", &key, counter, &additional, &text, &flip(&tag, bit).try_into().unwrap());
                    xrefused("tag", &nonce, &additional, &xtext, &flip(&xtag, bit).try_into().unwrap());
                }
                for bit in 0..8 * additional.len() {
                    refused("additional", &key, counter, &flip(&additional, bit), &text, &tag);
                    xrefused("additional", &nonce, &flip(&additional, bit), &xtext, &xtag);
                }
                for bit in 0..8 * 32 {
                    let key = Secret::new(flip(key.expose(), bit).try_into().unwrap());
                    refused("key", &key, counter, &additional, &text, &tag);
                }
                for bit in 0..64 {
                    refused("counter", &key, counter ^ 1 << bit, &additional, &text, &tag);
                }
                for bit in 0..8 * 24 {
                    xrefused("nonce", &flip(&nonce, bit).try_into().unwrap(), &additional, &xtext, &xtag);
                }
                if let Some((_, shorter)) = text.split_last() {
                    refused("end", &key, counter, &additional, shorter, &tag);
                }
                refused("length", &key, counter, &additional, &[&text[..], &[0]].concat(), &tag);
                let (cut, moved) = additional.split_at(8);
                refused("border", &key, counter, cut, &[moved, &text].concat(), &tag);
            }
        }
    }
    each(&Bits);
}

#[test]
fn both_sides_agree_on_a_secret() {
    struct Commutes;
    impl Check for Commutes {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(6);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..100 {
                let [alice, bob] = [random.secret(), random.secret()];
                let mut shared = [Secret::default(), Secret::default()];
                let [first, second] = &mut shared;
                assert!(crypto.x25519(first, &alice, &crypto.public_key(&bob)), "{name}");
                assert!(crypto.x25519(second, &bob, &crypto.public_key(&alice)), "{name}");
                assert_eq!(shared[0], shared[1], "{name}");
                assert!(seen.insert(*shared[0].expose()), "{name}");
                assert!(seen.insert(crypto.public_key(&alice)), "{name}");
            }
            assert!(!crypto.x25519(&mut Secret::default(), &random.secret(), &[0; 32]), "{name}");
        }
    }
    each(&Commutes);
}

#[test]
fn hashes_see_bytes_and_not_their_parts() {
    struct Parts;
    impl Check for Parts {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(7);
            let mut seen = std::collections::BTreeSet::new();
            for len in 0..=200 {
                let (input, key) = (random.bytes(len), random.bytes(if len % 2 == 0 { 16 } else { 32 }));
                let ([mut whole, mut parted], [mut mac, mut mac_parted]) = ([[0; 32]; 2], [[0; 16]; 2]);
                crypto.hash(&mut whole, &[&input]);
                crypto.mac(&mut mac, &key, &[&input]);
                for _ in 0..5 {
                    let first = random.below(len + 1);
                    let second = first + random.below(len - first + 1);
                    let parts = [&input[..first], &[], &input[first..second], &input[second..]];
                    crypto.hash(&mut parted, &parts);
                    crypto.mac(&mut mac_parted, &key, &parts);
                    assert_eq!((whole, mac), (parted, mac_parted), "{name}: {len} cut at {first} and {second}");
                }
                assert!(seen.insert(whole.to_vec()) && seen.insert(mac.to_vec()), "{name}: {len}");
                for bit in 0..8 * len {
                    crypto.hash(&mut parted, &[&flip(&input, bit)]);
                    crypto.mac(&mut mac_parted, &key, &[&flip(&input, bit)]);
                    assert!(parted != whole && mac_parted != mac, "{name}: {len}, bit {bit}");
                }
                for bit in 0..8 * key.len() {
                    crypto.mac(&mut mac_parted, &flip(&key, bit), &[&input]);
                    assert_ne!(mac_parted, mac, "{name}: {len}, bit {bit} of the key");
                }
                // A longer input of the same bytes and zeros, and a key grown by zeros, are others.
                crypto.hash(&mut parted, &[&input, &[0]]);
                crypto.mac(&mut mac_parted, &[&key[..16], &[0; 16]].concat(), &[&input]);
                assert!(parted != whole && mac_parted != mac, "{name}: {len}");
            }
        }
    }
    each(&Parts);
}

#[test]
fn threads_may_share_a_provider() {
    struct Threads;
    impl Check for Threads {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let work = |seed| {
                let mut random = Random::new(seed);
                let key = random.secret();
                let mut all = Vec::new();
                for counter in 0..200 {
                    let mut text = random.bytes(100);
                    all.push(crypto.seal(&key, counter, &[], &mut text));
                    all.push(crypto.public_key(&random.secret())[..16].try_into().unwrap());
                }
                all
            };
            let alone: Vec<_> = (0..4).map(work).collect();
            std::thread::scope(|scope| {
                let together: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
                for (thread, expected) in together.into_iter().zip(alone) {
                    assert_eq!(thread.join().unwrap(), expected, "{name}");
                }
            });
        }
    }
    each(&Threads);
}

fn flip(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}

/// Two flipped bits, anywhere: the fake one, too, is to be fooled on purpose only.
#[test]
fn no_two_bits_undo_each_other() {
    struct Pairs;
    impl Check for Pairs {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let key = Secret::new([3; 32]);
            let sealed = *b"thirty-two bytes of a text, all!";
            let mut text = sealed;
            let tag = crypto.seal(&key, 14, &[], &mut text);
            for first in 0..64 {
                for second in 0..256 {
                    let mut changed = text;
                    changed[second / 8] ^= 1 << (second % 8);
                    let passed = crypto.open(&key, 14 ^ 1 << first, &[], &mut changed, &tag);
                    assert!(!passed, "{name}: bit {first} of the counter and bit {second} of the text");
                }
            }
        }
    }
    each(&Pairs);
}
