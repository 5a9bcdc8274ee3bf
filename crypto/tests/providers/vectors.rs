//! The numbers of the standards, restated.

use crate::blake2s::blake2s;
use crate::random::Random;
use crate::{Check, Provider, array, each_real, hex};
use kerntun_engine::secret::Secret;

/// RFC 8439, appendix A.5: the only example there whose nonce starts with four zero bytes. The right tag says that the
/// whole ciphertext is right.
#[test]
fn chacha20_poly1305_of_rfc_8439() {
    struct Vector;
    impl Check for Vector {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let key = Secret::new(array("1c9240a5eb55d38af333888604f6b5f0 473917c1402b80099dca5cbc207075c0"));
            let counter = 0x0807_0605_0403_0201;
            let additional = hex("f33388860000000000004e91");
            let plain = "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, \
                replaced, or obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as \
                reference material or to cite them other than as /\u{201c}work in progress./\u{201d}";
            let tag = array("eead9d67890cbb22392336fea1851f38");
            let mut text = plain.as_bytes().to_vec();
            assert_eq!(text.len(), 265);
            assert_eq!(crypto.seal(&key, counter, &additional, &mut text), tag, "{name}");
            assert_eq!(text[..16], hex("64a0861575861af460f062c79be643bd"), "{name}");
            assert!(crypto.open(&key, counter, &additional, &mut text, &tag), "{name}");
            assert_eq!(text, plain.as_bytes(), "{name}");
        }
    }
    each_real(&Vector);
}

/// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
#[test]
fn xchacha20_poly1305_of_the_draft() {
    struct Vector;
    impl Check for Vector {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let key = Secret::new(std::array::from_fn(|at| 0x80 + at as u8));
            let nonce = std::array::from_fn(|at| 0x40 + at as u8);
            let additional = hex("50515253c0c1c2c3c4c5c6c7");
            let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                sunscreen would be it.";
            let tag = array("c0875924c1c7987947deafd8780acf49");
            let mut text = plain.to_vec();
            assert_eq!(crypto.xseal(&key, &nonce, &additional, &mut text), tag, "{name}");
            assert_eq!(text[..16], hex("bd6d179d3e83d43b9576579493c0e939"), "{name}");
            assert!(crypto.xopen(&key, &nonce, &additional, &mut text, &tag), "{name}");
            assert_eq!(text, plain, "{name}");
        }
    }
    each_real(&Vector);
}

/// RFC 7748, section 5.2: two single calls, then a chain that feeds results back.
#[test]
fn x25519_of_rfc_7748() {
    struct Vector;
    impl Check for Vector {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            for [private, public, expected] in [
                [
                    "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                    "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                    "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
                ],
                [
                    "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                    // The highest bit is set, and has to be ignored.
                    "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                    "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
                ],
            ] {
                let mut shared = Secret::default();
                assert!(crypto.x25519(&mut shared, &Secret::new(array(private)), &array(public)), "{name}");
                assert_eq!(shared.expose(), &array(expected), "{name}");
            }
            let mut private = Secret::new(array("0900000000000000000000000000000000000000000000000000000000000000"));
            let mut public = *private.expose();
            for step in 1..=1_000 {
                let mut shared = Secret::default();
                assert!(crypto.x25519(&mut shared, &private, &public), "{name}");
                public = *private.expose();
                private = shared;
                if step == 1 {
                    let once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
                    assert_eq!(private.expose(), &array(once), "{name}");
                }
            }
            let often = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
            assert_eq!(private.expose(), &array(often), "{name}");
        }
    }
    each_real(&Vector);
}

/// RFC 7748, section 6.1.
#[test]
fn diffie_hellman_of_rfc_7748() {
    struct Vector;
    impl Check for Vector {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let alice = Secret::new(array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
            let bob = Secret::new(array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
            let [at_alice, at_bob] = [crypto.public_key(&alice), crypto.public_key(&bob)];
            assert_eq!(at_alice, array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"), "{name}");
            assert_eq!(at_bob, array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"), "{name}");
            for (private, public) in [(&alice, at_bob), (&bob, at_alice)] {
                let mut shared = Secret::default();
                assert!(crypto.x25519(&mut shared, private, &public), "{name}");
                let expected = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
                assert_eq!(shared.expose(), &array(expected), "{name}");
            }
        }
    }
    each_real(&Vector);
}

/// The points of small order, and everything congruent to one in 255 bits: each makes every private key agree on zero
/// (RFC 7748, section 6.1). The highest bit is ignored, so each comes twice.
#[test]
fn points_of_small_order_are_refused() {
    struct Points;
    impl Check for Points {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(1);
            for point in [
                // 0, 1, two of order eight, p − 1, p, p + 1.
                "0000000000000000000000000000000000000000000000000000000000000000",
                "0100000000000000000000000000000000000000000000000000000000000000",
                "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            ] {
                for high in [0, 0x80] {
                    let mut public: [u8; 32] = array(point);
                    public[31] |= high;
                    for _ in 0..20 {
                        let mut shared = Secret::default();
                        assert!(!crypto.x25519(&mut shared, &random.secret(), &public), "{name}: {public:02x?}");
                    }
                }
            }
            // Their neighbours are as good as any.
            for point in ["02", "03", "09"] {
                let mut public = [0; 32];
                public[0] = hex(point)[0];
                assert!(crypto.x25519(&mut Secret::default(), &random.secret(), &public), "{name}: {point}");
            }
        }
    }
    each_real(&Points);
}

/// HKDF-BLAKE2s written out from RFC 2104 and RFC 5869, over the model's hash and one block of 64 bytes.
#[test]
fn derived_keys_are_those_of_hkdf() {
    fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
        let pad = |with: u8| (0..64).map(|at| key.get(at).unwrap_or(&0) ^ with).collect::<Vec<_>>();
        let inner = blake2s(32, &[], &[&pad(0x36), data].concat());
        blake2s(32, &[], &[&pad(0x5c)[..], &inner].concat())
    }
    struct Derive;
    impl Check for Derive {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(5);
            for len in (0..=130).chain([200, 300]) {
                let (chaining, input) = (random.secret(), random.bytes(len));
                let extract = hmac(chaining.expose(), &input);
                let one = hmac(&extract, &[1]);
                let two = hmac(&extract, &[&one[..], &[2]].concat());
                let three = hmac(&extract, &[&two[..], &[3]].concat());
                for outputs in 1..=3 {
                    let (mut first, mut rest) = (chaining.clone(), [Secret::ZERO, Secret::ZERO]);
                    let mut others: Vec<_> = rest.iter_mut().take(outputs - 1).collect();
                    crypto.derive(&mut first, &input, &mut others);
                    let [second, third] = &rest;
                    let wanted = [&one, &two, &three].map(|output| &output[..]);
                    for (number, output) in [&first, second, third].into_iter().take(outputs).enumerate() {
                        assert_eq!(output.expose()[..], *wanted[number], "{name}: {len}, {number} of {outputs}");
                    }
                }
            }
        }
    }
    each_real(&Derive);
}

/// RFC 7693, appendix B, and the model for everything else.
#[test]
fn blake2s_of_rfc_7693() {
    struct Vector;
    impl Check for Vector {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut out = [0; 32];
            crypto.hash(&mut out, &[b"abc"]);
            let abc = array("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
            assert_eq!(out, abc, "{name}");
            let mut random = Random::new(2);
            for len in 0..=300 {
                let input = random.bytes(len);
                crypto.hash(&mut out, &[&input]);
                assert_eq!(out[..], blake2s(32, &[], &input), "{name}: {len}");
                for key_len in [16, 32] {
                    let key = random.bytes(key_len);
                    let mut mac = [0; 16];
                    crypto.mac(&mut mac, &key, &[&input]);
                    assert_eq!(mac[..], blake2s(16, &key, &input), "{name}: {len} under {key_len}");
                }
            }
        }
    }
    each_real(&Vector);
}
