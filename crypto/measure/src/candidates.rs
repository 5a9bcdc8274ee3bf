//! The candidates for each primitive.

use crate::Candidate;
use ::graviola::{aead as graviola, key_agreement::x25519 as graviola_dh};
use aws_lc_rs::{aead as aws, agreement as aws_dh};
use blake2::digest::{FixedOutput, Update};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, XChaCha20Poly1305};
use ring::{aead as ring_aead, agreement as ring_dh};
use std::hint::black_box;

const KEY: [u8; 32] = [0x42; 32];

/// Title, bytes per operation if a speed makes sense, and candidates.
pub(crate) fn tables() -> Vec<(String, usize, Vec<Candidate>)> {
    let mut tables = Vec::new();
    for len in [32, 64, 576, 1_420, 8_900] {
        tables.push((format!("seal {len} bytes in place, key ready"), len, seal(len)));
        tables.push((format!("open {len} bytes in place, key ready (and copy them)"), len, open(len)));
    }
    tables.push(("key set-up and wiping".into(), 0, set_up()));
    tables.push(("key set-up, seal 32 bytes, wiping".into(), 0, set_up_and_seal()));
    tables.push(("XChaCha20-Poly1305 of 16 bytes (cookie reply), key from bytes".into(), 0, xseal()));
    tables.push(("X25519, any point, keys from bytes".into(), 0, x25519()));
    tables.push(("X25519, any point, keys ready".into(), 0, x25519_ready()));
    tables.push(("X25519, base point, key from bytes".into(), 0, x25519_base()));
    tables.push(("BLAKE2s of 64 bytes".into(), 0, hash()));
    tables.push(("keyed BLAKE2s of 116 bytes (mac1)".into(), 0, mac()));
    tables
}

/// A nonce that no two calls share, as in use.
fn counter() -> impl FnMut() -> [u8; 12] {
    let mut counter = 0_u64;
    move || {
        counter += 1;
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        nonce
    }
}

fn aws_key() -> aws::LessSafeKey {
    aws::LessSafeKey::new(aws::UnboundKey::new(&aws::CHACHA20_POLY1305, &KEY).unwrap())
}

fn ring_key() -> ring_aead::LessSafeKey {
    ring_aead::LessSafeKey::new(ring_aead::UnboundKey::new(&ring_aead::CHACHA20_POLY1305, &KEY).unwrap())
}

fn seal(len: usize) -> Vec<Candidate> {
    let text = vec![0x17; len];
    vec![
        Candidate::new("aws-lc-rs", {
            let (key, mut text, mut nonce) = (aws_key(), text.clone(), counter());
            move || {
                let nonce = aws::Nonce::assume_unique_for_key(nonce());
                key.seal_in_place_separate_tag(nonce, aws::Aad::empty(), &mut text).unwrap()
            }
        }),
        Candidate::new("ring", {
            let (key, mut text, mut nonce) = (ring_key(), text.clone(), counter());
            move || {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce());
                key.seal_in_place_separate_tag(nonce, ring_aead::Aad::empty(), &mut text).unwrap()
            }
        }),
        Candidate::new("graviola", {
            let (key, mut text, mut nonce) = (graviola::ChaCha20Poly1305::new(KEY), text.clone(), counter());
            move || {
                let mut tag = [0; 16];
                key.encrypt(&nonce(), &[], &mut text, &mut tag);
                tag
            }
        }),
        Candidate::new("RustCrypto", {
            let (key, mut text, mut nonce) = (ChaCha20Poly1305::new(&KEY.into()), text, counter());
            move || key.encrypt_inout_detached(&nonce().into(), &[], text.as_mut_slice().into()).unwrap()
        }),
    ]
}

fn open(len: usize) -> Vec<Candidate> {
    const NONCE: [u8; 12] = [9; 12];
    let mut sealed = vec![0x17; len];
    let tag = ChaCha20Poly1305::new(&KEY.into())
        .encrypt_inout_detached(&NONCE.into(), &[], sealed.as_mut_slice().into())
        .unwrap();
    let tag: [u8; 16] = tag.into();
    let text = sealed.clone();
    vec![
        Candidate::new("aws-lc-rs", {
            let (key, sealed, mut text) = (aws_key(), sealed.clone(), text.clone());
            move || {
                text.copy_from_slice(&sealed);
                let nonce = aws::Nonce::assume_unique_for_key(NONCE);
                key.open_in_place_separate_tag(nonce, aws::Aad::empty(), &tag, &mut text).unwrap()[0]
            }
        }),
        Candidate::new("ring", {
            let (key, sealed, mut text) = (ring_key(), sealed.clone(), text.clone());
            move || {
                text.copy_from_slice(&sealed);
                let nonce = ring_aead::Nonce::assume_unique_for_key(NONCE);
                let tag = ring_aead::Tag::from(tag);
                key.open_in_place_separate_tag(nonce, ring_aead::Aad::empty(), tag, &mut text, 0..).unwrap()[0]
            }
        }),
        Candidate::new("graviola", {
            let (key, sealed, mut text) = (graviola::ChaCha20Poly1305::new(KEY), sealed.clone(), text.clone());
            move || {
                text.copy_from_slice(&sealed);
                key.decrypt(&NONCE, &[], &mut text, &tag).unwrap();
                text[0]
            }
        }),
        Candidate::new("RustCrypto", {
            let (key, mut text) = (ChaCha20Poly1305::new(&KEY.into()), text);
            move || {
                text.copy_from_slice(&sealed);
                let tag = tag.into();
                key.decrypt_inout_detached(&NONCE.into(), &[], text.as_mut_slice().into(), &tag).unwrap();
                text[0]
            }
        }),
    ]
}

fn set_up() -> Vec<Candidate> {
    vec![
        Candidate::new("aws-lc-rs", aws_key),
        Candidate::new("ring", ring_key),
        Candidate::new("graviola", || graviola::ChaCha20Poly1305::new(KEY)),
        Candidate::new("RustCrypto", || ChaCha20Poly1305::new(&KEY.into())),
    ]
}

fn set_up_and_seal() -> Vec<Candidate> {
    vec![
        Candidate::new("aws-lc-rs", || {
            let nonce = aws::Nonce::assume_unique_for_key([0; 12]);
            aws_key().seal_in_place_separate_tag(nonce, aws::Aad::empty(), &mut [7; 32]).unwrap()
        }),
        Candidate::new("ring", || {
            let nonce = ring_aead::Nonce::assume_unique_for_key([0; 12]);
            ring_key().seal_in_place_separate_tag(nonce, ring_aead::Aad::empty(), &mut [7; 32]).unwrap()
        }),
        Candidate::new("graviola", || {
            let mut tag = [0; 16];
            graviola::ChaCha20Poly1305::new(KEY).encrypt(&[0; 12], &[], &mut [7; 32], &mut tag);
            tag
        }),
        Candidate::new("RustCrypto", || {
            let mut text = [7; 32];
            let key = ChaCha20Poly1305::new(&KEY.into());
            key.encrypt_inout_detached(&[0; 12].into(), &[], text.as_mut_slice().into()).unwrap()
        }),
    ]
}

fn xseal() -> Vec<Candidate> {
    const NONCE: [u8; 24] = [5; 24];
    vec![
        Candidate::new("HChaCha20 of RustCrypto, the rest of aws-lc-rs", || {
            let subkey = chacha20::hchacha::<chacha20::R20>(&KEY.into(), black_box(&[5; 16]).into());
            let key = aws::LessSafeKey::new(aws::UnboundKey::new(&aws::CHACHA20_POLY1305, &subkey).unwrap());
            let nonce = aws::Nonce::assume_unique_for_key([0, 0, 0, 0, 5, 5, 5, 5, 5, 5, 5, 5]);
            key.seal_in_place_separate_tag(nonce, aws::Aad::from(&KEY), &mut [7; 16]).unwrap()
        }),
        Candidate::new("graviola", || {
            let mut tag = [0; 16];
            graviola::XChaCha20Poly1305::new(KEY).encrypt(&NONCE, &KEY, &mut [7; 16], &mut tag);
            tag
        }),
        Candidate::new("RustCrypto", || {
            let mut text = [7; 16];
            let key = XChaCha20Poly1305::new(&KEY.into());
            key.encrypt_inout_detached(&NONCE.into(), &KEY, text.as_mut_slice().into()).unwrap()
        }),
    ]
}

/// Somebody's public key.
fn public() -> [u8; 32] {
    x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from([0x33; 32])).to_bytes()
}

fn x25519() -> Vec<Candidate> {
    let public = public();
    vec![
        Candidate::new("aws-lc-rs", move || {
            let key = aws_dh::PrivateKey::from_private_key(&aws_dh::X25519, &KEY).unwrap();
            let public = aws_dh::UnparsedPublicKey::new(&aws_dh::X25519, public);
            aws_dh::agree(&key, public, (), |secret| Ok(secret[0])).unwrap()
        }),
        Candidate::new("graviola", move || {
            let public = graviola_dh::PublicKey::try_from_slice(&public).unwrap();
            graviola_dh::StaticPrivateKey::from_array(&KEY).diffie_hellman(&public).unwrap()
        }),
        Candidate::new("x25519-dalek", move || {
            x25519_dalek::StaticSecret::from(KEY).diffie_hellman(&public.into()).to_bytes()
        }),
    ]
}

/// ring makes its own keys for one use only, and cannot take the protocol's.
fn x25519_ready() -> Vec<Candidate> {
    let public = public();
    let random = ring::rand::SystemRandom::new();
    vec![
        Candidate::new("aws-lc-rs", {
            let key = aws_dh::PrivateKey::from_private_key(&aws_dh::X25519, &KEY).unwrap();
            move || {
                let public = aws_dh::UnparsedPublicKey::new(&aws_dh::X25519, public);
                aws_dh::agree(&key, public, (), |secret| Ok(secret[0])).unwrap()
            }
        }),
        Candidate::new("ring (and 32 random bytes)", move || {
            let key = ring_dh::EphemeralPrivateKey::generate(&ring_dh::X25519, &random).unwrap();
            let public = ring_dh::UnparsedPublicKey::new(&ring_dh::X25519, public);
            ring_dh::agree_ephemeral(key, &public, |secret| secret[0]).unwrap()
        }),
        Candidate::new("graviola", {
            let key = graviola_dh::StaticPrivateKey::from_array(&KEY);
            move || key.diffie_hellman(&graviola_dh::PublicKey::try_from_slice(&public).unwrap()).unwrap()
        }),
        Candidate::new("x25519-dalek", {
            let key = x25519_dalek::StaticSecret::from(KEY);
            move || key.diffie_hellman(&public.into()).to_bytes()
        }),
    ]
}

fn x25519_base() -> Vec<Candidate> {
    let random = ring::rand::SystemRandom::new();
    let key = ring_dh::EphemeralPrivateKey::generate(&ring_dh::X25519, &random).unwrap();
    vec![
        Candidate::new("aws-lc-rs", || {
            let key = aws_dh::PrivateKey::from_private_key(&aws_dh::X25519, &KEY).unwrap();
            key.compute_public_key().unwrap()
        }),
        Candidate::new("ring (key ready)", move || key.compute_public_key().unwrap()),
        Candidate::new("graviola", || graviola_dh::StaticPrivateKey::from_array(&KEY).public_key().as_bytes()),
        Candidate::new("x25519-dalek", || {
            x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(KEY)).to_bytes()
        }),
    ]
}

fn hash() -> Vec<Candidate> {
    vec![
        Candidate::new("RustCrypto", || {
            let mut hash = blake2::Blake2s256::default();
            hash.update(black_box(&KEY));
            hash.update(black_box(&KEY));
            hash.finalize_fixed()
        }),
        Candidate::new("blake2s_simd", || {
            let mut hash = blake2s_simd::State::new();
            hash.update(black_box(&KEY)).update(black_box(&KEY));
            *hash.finalize().as_array()
        }),
    ]
}

fn mac() -> Vec<Candidate> {
    vec![
        Candidate::new("RustCrypto", || {
            let mut mac = blake2::Blake2sMac::<blake2::digest::consts::U16>::new_from_slice(&KEY).unwrap();
            mac.update(black_box(&[5; 116]));
            mac.finalize_fixed()
        }),
        Candidate::new("blake2s_simd", || {
            let mut mac = blake2s_simd::Params::new().hash_length(16).key(&KEY).to_state();
            mac.update(black_box(&[5; 116]));
            mac.finalize()
        }),
    ]
}
