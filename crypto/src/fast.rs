//! The fastest of each primitive in user space. The measurements behind every choice are in the crate's README.

use crate::Portable;
use crate::batch;
use crate::run::{Slices, nonce};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use kerntun_aead::Vectors;
use kerntun_engine::host::Crypto;
use kerntun_engine::packet::Incoming;
use kerntun_engine::secret::Secret;

/// ChaCha20-Poly1305 of AWS-LC, X25519 of s2n-bignum, BLAKE2s of RustCrypto.
///
/// Where the processor has AVX-512 with IFMA or AVX2, datagrams that gain by it go through the lanes of `kerntun-aead`; this
/// too is decided once, here.
///
/// s2n-bignum's X25519 comes through `graviola` where the processor has what that needs (x86-64 since about 2014, 64-bit
/// Arm with cryptography instructions), which is decided once, here; through AWS-LC elsewhere, at a third more time.
#[derive(Clone, Copy, Debug)]
pub struct Fast {
    graviola: bool,
    vectors: Option<Vectors>,
}

impl Fast {
    /// The primitives that fit this processor.
    #[must_use]
    pub fn new() -> Self {
        Self { graviola: graviola::is_usable(), vectors: Vectors::detect() }
    }
}

impl Default for Fast {
    fn default() -> Self {
        Self::new()
    }
}

impl Crypto for Fast {
    type Run<'a> = Slices<'a>;

    fn run_len(&self, run: &Slices<'_>) -> usize {
        run.spans.len()
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Slices<'_>) {
        let mut cipher = LateCipher::new(key);
        let seal = |counter, text: &mut [u8]| cipher.get().seal(counter, &[], text);
        match &self.vectors {
            Some(vectors) if batch::gains(vectors, run.spans) => {
                batch::seal_each(vectors, key.expose(), run, first_counter, seal)
            }
            _ => run.seal_each(first_counter, seal),
        }
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Slices<'_>) {
        let mut cipher = LateCipher::new(key);
        let open = |counter, text: &mut [u8], tag: &[u8; 16]| cipher.get().open(counter, &[], text, tag);
        match &self.vectors {
            Some(vectors) if batch::gains(vectors, run.spans) => {
                batch::open_each(vectors, key.expose(), run, packets, open)
            }
            _ => run.open_each(packets, open),
        }
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        let agreed = if self.graviola {
            graviola::x25519(out.expose_mut(), private.expose(), public)
        } else {
            aws_x25519(out.expose_mut(), private.expose(), public)
        };
        // Both refuse a result of zeros themselves; that this holds is too much to hang on another's promise.
        agreed && !out.is_zero()
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        if self.graviola { graviola::public_key(private.expose()) } else { aws_public_key(private) }
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        Portable.hash(out, parts);
    }

    fn derive(&self, chaining: &mut Secret, input: &[u8], others: &mut [&mut Secret]) {
        Portable.derive(chaining, input, others);
    }

    /// Of a `key` longer than 32 bytes, which BLAKE2s does not take, only the first 32 count.
    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        Portable.mac(out, key, parts);
    }

    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        Cipher::new(key).seal(counter, additional, text).unwrap_or_else(|| {
            text.fill(0);
            [0; 16]
        })
    }

    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let passed = Cipher::new(key).open(counter, additional, text, tag);
        if !passed {
            text.fill(0);
        }
        passed
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        let (key, counter) = derive(key, nonce);
        self.seal(&key, counter, additional, text)
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let (key, counter) = derive(key, nonce);
        self.open(&key, counter, additional, text, tag)
    }
}

/// A key of AWS-LC, which wipes it when dropped; `None` if there was no memory for it, and then nothing is sealed and
/// nothing opened.
struct Cipher(Option<LessSafeKey>);

impl Cipher {
    fn new(key: &Secret) -> Self {
        Self(UnboundKey::new(&CHACHA20_POLY1305, key.expose()).ok().map(LessSafeKey::new))
    }

    fn seal(&self, counter: u64, additional: &[u8], text: &mut [u8]) -> Option<[u8; 16]> {
        let nonce = Nonce::assume_unique_for_key(nonce(counter));
        let tag = self.0.as_ref()?.seal_in_place_separate_tag(nonce, Aad::from(additional), text).ok()?;
        tag.as_ref().try_into().ok()
    }

    fn open(&self, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce(counter));
        let Some(key) = &self.0 else { return false };
        key.open_in_place_separate_tag(nonce, Aad::from(additional), tag, text).is_ok()
    }
}

/// A key that is only made when something wants it: runs that go through the vectors as a whole do not.
struct LateCipher<'a> {
    key: &'a Secret,
    cipher: Option<Cipher>,
}

impl<'a> LateCipher<'a> {
    const fn new(key: &'a Secret) -> Self {
        Self { key, cipher: None }
    }

    fn get(&mut self) -> &Cipher {
        self.cipher.get_or_insert_with(|| Cipher::new(self.key))
    }
}

/// Key and counter of ChaCha20-Poly1305 that stand for those of XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha, section
/// 2.3): HChaCha20 of the nonce's first 16 bytes, and its last eight behind four zeros, where this protocol's counter
/// is too.
fn derive(key: &Secret, nonce: &[u8; 24]) -> (Secret, u64) {
    let [input @ .., a, b, c, d, e, f, g, h] = nonce;
    let subkey = chacha20::hchacha::<chacha20::R20>(key.expose().into(), input.into());
    (Secret::new(subkey.into()), u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
}

fn aws_x25519(out: &mut [u8; 32], private: &[u8; 32], public: &[u8; 32]) -> bool {
    let Ok(private) = PrivateKey::from_private_key(&X25519, private) else { return false };
    let agreed = agreement::agree(&private, UnparsedPublicKey::new(&X25519, public), (), |secret| {
        *out = secret.try_into().map_err(|_| ())?;
        Ok(())
    });
    agreed.is_ok()
}

fn aws_public_key(private: &Secret) -> [u8; 32] {
    PrivateKey::from_private_key(&X25519, private.expose())
        .and_then(|key| Ok(key.compute_public_key()?))
        .ok()
        .and_then(|public| public.as_ref().try_into().ok())
        .unwrap_or_else(|| Portable.public_key(private))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod graviola {
    use graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};

    /// Whether the processor has what the crate needs; calling it without would be a panic.
    pub(super) fn is_usable() -> bool {
        graviola::util::is_cpu_supported()
    }

    pub(super) fn x25519(out: &mut [u8; 32], private: &[u8; 32], public: &[u8; 32]) -> bool {
        match StaticPrivateKey::from_array(private).diffie_hellman(&PublicKey::from_array(public)) {
            Ok(secret) => {
                *out = secret.0;
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn public_key(private: &[u8; 32]) -> [u8; 32] {
        StaticPrivateKey::from_array(private).public_key().as_bytes()
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod graviola {
    pub(super) const fn is_usable() -> bool {
        false
    }

    pub(super) const fn x25519(_: &mut [u8; 32], _: &[u8; 32], _: &[u8; 32]) -> bool {
        false
    }

    pub(super) const fn public_key(_: &[u8; 32]) -> [u8; 32] {
        [0; 32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;
    use kerntun_aead::Level;
    use std::println;
    use std::vec;
    use std::vec::Vec;

    /// A run of datagrams of one length and of others, whole ones side by side.
    fn run(lengths: &[usize]) -> (Vec<u8>, Vec<Span>) {
        let mut end = 0;
        let spans = lengths.iter().map(|len| {
            end += len + 32;
            Span { start: end - len - 32, len: len + 32 }
        });
        let spans: Vec<_> = spans.collect();
        let mut buffer = vec![0; end];
        for (i, span) in spans.iter().enumerate() {
            buffer[span.start] = 4;
            buffer[span.start + 8..span.start + 16].copy_from_slice(&(77 + i as u64).to_le_bytes());
        }
        (buffer, spans)
    }

    /// With the vectors and without, a run becomes the same bytes, and what one sealed the other opens.
    #[test]
    fn both_ways_through_a_run_agree() {
        for level in Level::ALL {
            match Vectors::at(level) {
                Some(vectors) => agree(Fast { vectors: Some(vectors), ..Fast::new() }),
                None => println!("SKIPPED: this processor has no {level:?}"),
            }
        }
    }

    fn agree(way: Fast) {
        let ways = [Fast { vectors: None, ..way }, way];
        let key = Secret::new([5; 32]);
        for count in [1, 2, 3, 8, 16, 21, 64, 65, 130] {
            for usual in [0, 16, 64, 576, 1_424, 8_896] {
                let lengths: Vec<_> = (0..count).map(|i| if i % 5 == 4 { 16 * i } else { usual }).collect();
                let (plain, spans) = run(&lengths);
                let sealed = ways.map(|way| {
                    let mut buffer = plain.clone();
                    way.seal_run(&key, 77, &mut Slices { buffer: &mut buffer, spans: &spans });
                    buffer
                });
                assert!(sealed[0] == sealed[1], "{count} of {usual}");
                let [mut buffer, _] = sealed;
                let header = |span: &Span| buffer[span.start..].first_chunk().copied().unwrap();
                let mut entries: Vec<_> =
                    spans.iter().map(|span| Incoming::new(&header(span), span.len, 0).unwrap()).collect();
                // One wrong tag in the middle.
                let wrong = count / 2;
                buffer[spans[wrong].start + spans[wrong].len - 1] ^= 1;
                ways[1].open_run(&key, &mut entries, &mut Slices { buffer: &mut buffer, spans: &spans });
                for (i, (entry, span)) in entries.iter().zip(&spans).enumerate() {
                    assert_eq!(entry.is_wanted(), i == wrong, "{i} of {count} of {usual}");
                    let text = span.start + 16..span.start + span.len - 16;
                    assert!(buffer[text].iter().all(|byte| *byte == 0));
                }
            }
        }
    }

    /// The processor of the test takes one of the two ways; the other has to be right as well.
    #[test]
    fn both_ways_to_x25519_agree() {
        let ways = [Fast { graviola: false, ..Fast::new() }, Fast::new()];
        let mut private = Secret::new([1; 32]);
        for _ in 0..200 {
            let [public, other] = ways.map(|way| way.public_key(&private));
            assert_eq!(public, other);
            let mut shared = [Secret::default(), Secret::default()];
            for (way, shared) in ways.iter().zip(&mut shared) {
                assert!(way.x25519(shared, &private, &public));
            }
            assert_eq!(shared[0], shared[1]);
            private = shared[0].clone();
        }
        for point in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            assert!(ways.iter().all(|way| !way.x25519(&mut Secret::default(), &private, &point)));
        }
    }
}
