//! The primitives in plain Rust, for every target.

use crate::run::{Slices, nonce};
use blake2::digest::block_api::{Buffer, UpdateCore, VariableOutputCore};
use blake2::digest::zeroize::Zeroize;
use blake2::digest::{FixedOutput, Update};
use blake2::{Blake2s256, Blake2sMac, Blake2sVarCore};
use chacha20poly1305::aead::{self, AeadInOut};
use chacha20poly1305::consts::U16;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, XChaCha20Poly1305};
use kerntun_engine::host::Crypto;
use kerntun_engine::packet::Incoming;
use kerntun_engine::secret::Secret;
use x25519_dalek::{PublicKey, StaticSecret};

/// RustCrypto's ChaCha20-Poly1305 and BLAKE2s, curve25519-dalek's X25519: no_std, no allocation, no C compiler, no
/// 64-bit atomics. Uses vector instructions that it finds at run time on x86.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl Crypto for Portable {
    type Run<'a> = Slices<'a>;

    fn run_len(&self, run: &Slices<'_>) -> usize {
        run.spans.len()
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Slices<'_>) {
        let cipher = ChaCha20Poly1305::new(key.expose().into());
        run.seal_each(first_counter, |counter, text| seal(&cipher, &nonce(counter).into(), &[], text));
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Slices<'_>) {
        let cipher = ChaCha20Poly1305::new(key.expose().into());
        run.open_each(packets, |counter, text, tag| open(&cipher, &nonce(counter).into(), &[], text, tag));
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        let private = StaticSecret::from(*private.expose());
        *out.expose_mut() = *private.diffie_hellman(&PublicKey::from(*public)).as_bytes();
        !out.is_zero()
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(*private.expose())).to_bytes()
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        let mut hash = Blake2s256::default();
        for part in parts {
            hash.update(part);
        }
        hash.finalize_into(out.into());
    }

    /// The same as the trait's own, with the blocks of the key that all outputs have hashed once: a tenth less of a
    /// handshake's BLAKE2s.
    fn derive(&self, chaining: &mut Secret, input: &[u8], others: &mut [&mut Secret]) {
        let (mut inner, mut extract) = (Secret::ZERO, Secret::ZERO);
        behind(chaining, INNER, |key| self.hash(inner.expose_mut(), &[key, input]));
        behind(chaining, OUTER, |key| self.hash(extract.expose_mut(), &[key, inner.expose()]));
        let expand = Hmac::new(&extract);
        expand.of(chaining.expose_mut(), &[&[1]]);
        let mut previous = &*chaining;
        for (number, output) in (2_u8..).zip(others) {
            expand.of(output.expose_mut(), &[previous.expose(), &[number]]);
            previous = output;
        }
    }

    /// Of a `key` longer than 32 bytes, which BLAKE2s does not take, only the first 32 count.
    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        let key = key.get(..32).unwrap_or(key);
        let Ok(mut mac) = Blake2sMac::<U16>::new_from_slice(key) else { return };
        for part in parts {
            mac.update(part);
        }
        mac.finalize_into(out.into());
    }

    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        seal_or_wipe(&ChaCha20Poly1305::new(key.expose().into()), &nonce(counter).into(), additional, text)
    }

    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        open_or_wipe(&ChaCha20Poly1305::new(key.expose().into()), &nonce(counter).into(), additional, text, tag)
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        seal_or_wipe(&XChaCha20Poly1305::new(key.expose().into()), nonce.into(), additional, text)
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        open_or_wipe(&XChaCha20Poly1305::new(key.expose().into()), nonce.into(), additional, text, tag)
    }
}

/// Pads of HMAC (RFC 2104).
const INNER: u8 = 0x36;
const OUTER: u8 = 0x5c;

/// HMAC-BLAKE2s with a key of 32 bytes: its two hashes, each behind its block of key. Wiped when dropped.
struct Hmac {
    inner: Blake2sVarCore,
    outer: Blake2sVarCore,
}

impl Hmac {
    fn new(key: &Secret) -> Self {
        let [inner, outer] = [INNER, OUTER].map(|pad| {
            let mut core = Blake2sVarCore::new_with_params(&[], &[], 0, 32);
            behind(key, pad, |block| core.update_blocks(core::slice::from_ref(block.into())));
            core
        });
        Self { inner, outer }
    }

    /// Of something: what comes behind a block that is hashed already must not be empty, or that was the last one.
    fn of(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        let mut inner = Secret::ZERO;
        finish(&self.inner, inner.expose_mut(), parts);
        finish(&self.outer, out, &[inner.expose()]);
    }
}

/// Does something with the block of key under a pad, which is wiped.
fn behind(key: &Secret, pad: u8, act: impl FnOnce(&[u8; 64])) {
    let mut block = [pad; 64];
    block.iter_mut().zip(key.expose()).for_each(|(byte, key)| *byte ^= key);
    act(&block);
    block.zeroize();
}

/// The hash that has come as far as `core`, of `parts` behind that.
fn finish(core: &Blake2sVarCore, out: &mut [u8; 32], parts: &[&[u8]]) {
    let (mut core, mut buffer) = (core.clone(), Buffer::<Blake2sVarCore>::default());
    for part in parts {
        buffer.digest_blocks(part, |blocks| core.update_blocks(blocks));
    }
    core.finalize_variable_core(&mut buffer, out.into());
}

/// The tag, or `None` for a text longer than the cipher can take (256 GiB).
fn seal<A: AeadInOut<TagSize = U16>>(
    cipher: &A,
    nonce: &aead::Nonce<A>,
    additional: &[u8],
    text: &mut [u8],
) -> Option<[u8; 16]> {
    cipher.encrypt_inout_detached(nonce, additional, text.into()).ok().map(Into::into)
}

/// Whether the tag is right. Nothing is decrypted before that is known.
fn open<A: AeadInOut<TagSize = U16>>(
    cipher: &A,
    nonce: &aead::Nonce<A>,
    additional: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> bool {
    cipher.decrypt_inout_detached(nonce, additional, text.into(), tag.into()).is_ok()
}

/// Never leaves a text that could not be encrypted.
fn seal_or_wipe<A: AeadInOut<TagSize = U16>>(
    cipher: &A,
    nonce: &aead::Nonce<A>,
    additional: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    seal(cipher, nonce, additional, text).unwrap_or_else(|| {
        text.fill(0);
        [0; 16]
    })
}

fn open_or_wipe<A: AeadInOut<TagSize = U16>>(
    cipher: &A,
    nonce: &aead::Nonce<A>,
    additional: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> bool {
    let passed = open(cipher, nonce, additional, text, tag);
    if !passed {
        text.fill(0);
    }
    passed
}
