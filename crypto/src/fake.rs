//! NOT CRYPTOGRAPHY. What fuzzers and simulations use in its place.

use crate::run::Slices;
use kerntun_engine::host::Crypto;
use kerntun_engine::packet::Incoming;
use kerntun_engine::secret::Secret;

/// **Protects nothing.** The algebra of the primitives without their strength, for fuzzers and simulations.
///
/// Diffie-Hellman commutes and refuses a public key of zeros, hashes depend on every byte, a changed byte or a wrong key,
/// nonce or length breaks a tag, and everything is the same in every run. But private keys follow from public ones by one
/// division, keys from texts, and anybody can make a tag. A handshake costs about a hundredth of a real one, a full packet
/// a quarter, and a fuzzer that can make tags gets behind the checks that real cryptography would end at.
#[derive(Clone, Copy, Debug, Default)]
pub struct InsecureFake;

impl Crypto for InsecureFake {
    type Run<'a> = Slices<'a>;

    fn run_len(&self, run: &Slices<'_>) -> usize {
        run.spans.len()
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Slices<'_>) {
        run.seal_each(first_counter, |counter, text| Some(self.seal(key, counter, &[], text)));
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Slices<'_>) {
        run.open_each(packets, |counter, text, tag| self.open(key, counter, &[], text, tag));
    }

    /// Multiplication of four words modulo 2^64 each. Private words count as odd, so that only zero gives zero.
    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        *out.expose_mut() = multiply(private.expose(), public);
        !out.is_zero()
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        multiply(private.expose(), &GENERATOR)
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        *out = Mixer::over(HASH, &[], parts).finish();
    }

    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        *out = Mixer::over(MAC, key, parts).tag();
    }

    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        seal(Mixer::over(AEAD, key.expose(), &[&counter.to_le_bytes()]), additional, text)
    }

    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        open(Mixer::over(AEAD, key.expose(), &[&counter.to_le_bytes()]), additional, text, tag)
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        seal(Mixer::over(XAEAD, key.expose(), &[nonce]), additional, text)
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        open(Mixer::over(XAEAD, key.expose(), &[nonce]), additional, text, tag)
    }
}

/// What the mixer is used for, so that no two uses give the same.
const HASH: u64 = 1;
const MAC: u64 = 2;
const AEAD: u64 = 3;
const XAEAD: u64 = 4;

/// The base point: four odd words.
const GENERATOR: [u8; 32] = [0x4b; 32];

/// An odd number near 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn seal(mut mixer: Mixer, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
    mixer.absorb_with_length(additional);
    mask(mixer.lanes[0], text);
    mixer.absorb_with_length(text);
    mixer.tag()
}

fn open(mut mixer: Mixer, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
    mixer.absorb_with_length(additional);
    let seed = mixer.lanes[0];
    mixer.absorb_with_length(text);
    let passed = mixer.tag() == *tag;
    if passed {
        mask(seed, text);
    } else {
        text.fill(0);
    }
    passed
}

/// Makes a text unlike itself, and back.
fn mask(seed: u64, text: &mut [u8]) {
    let mut mask = seed;
    let (words, tail) = text.as_chunks_mut();
    for word in words {
        mask = mask.wrapping_add(GOLDEN);
        *word = (u64::from_le_bytes(*word) ^ mask).to_le_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(scatter(mask).to_le_bytes()) {
        *byte ^= mask;
    }
}

fn multiply(private: &[u8; 32], public: &[u8; 32]) -> [u8; 32] {
    let mut product = [0; 32];
    let factors = private.as_chunks::<8>().0.iter().zip(public.as_chunks::<8>().0);
    for (place, (private, public)) in product.as_chunks_mut::<8>().0.iter_mut().zip(factors) {
        let private = u64::from_le_bytes(*private) | 1;
        *place = private.wrapping_mul(u64::from_le_bytes(*public)).to_le_bytes();
    }
    product
}

/// Four words that take turns at having eight bytes mixed into them. Every step is reversible, so that inputs of one
/// length that differ in one word never meet again.
struct Mixer {
    /// The one whose turn it is comes first.
    lanes: [u64; 4],
    pending: u64,
    filled: u32,
    total: u64,
}

impl Mixer {
    fn over(usage: u64, key: &[u8], parts: &[&[u8]]) -> Self {
        let lanes = [1, 2, 3, 4].map(|lane| scatter(usage << 8 | lane));
        let mut mixer = Self { lanes, pending: 0, filled: 0, total: 0 };
        mixer.absorb_with_length(key);
        for part in parts {
            mixer.absorb(part);
        }
        mixer
    }

    fn absorb_with_length(&mut self, bytes: &[u8]) {
        self.absorb(&(bytes.len() as u64).to_le_bytes());
        self.absorb(bytes);
    }

    /// The same for any way to cut the bytes into calls.
    fn absorb(&mut self, bytes: &[u8]) {
        let unaligned = if self.filled == 0 { 0 } else { 8 - self.filled as usize };
        let (first, rest) = bytes.split_at(unaligned.min(bytes.len()));
        for byte in first {
            self.absorb_byte(*byte);
        }
        let (words, tail) = rest.as_chunks();
        let (turns, rest) = words.as_chunks();
        for words in turns {
            self.mix_turn(words.map(u64::from_le_bytes));
        }
        for word in rest {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in tail {
            self.absorb_byte(*byte);
        }
        self.total = self.total.wrapping_add(bytes.len() as u64);
    }

    fn absorb_byte(&mut self, byte: u8) {
        self.pending |= u64::from(byte) << (8 * self.filled);
        self.filled += 1;
        if self.filled == 8 {
            self.mix(self.pending);
            (self.pending, self.filled) = (0, 0);
        }
    }

    fn mix(&mut self, word: u64) {
        let [first, second, third, fourth] = self.lanes;
        self.lanes = [second, third, fourth, step(first, word)];
    }

    /// Four times [`Mixer::mix`], at once.
    fn mix_turn(&mut self, [first, second, third, fourth]: [u64; 4]) {
        let [a, b, c, d] = self.lanes;
        self.lanes = [step(a, first), step(b, second), step(c, third), step(d, fourth)];
    }

    fn finish(mut self) -> [u8; 32] {
        self.mix(self.pending);
        self.mix(self.total);
        // Two turns in which each takes up the one before it carry every word into every other.
        for _ in 0..8 {
            let [first, second, third, fourth] = self.lanes;
            self.lanes = [second, third, fourth, scatter(first ^ fourth)];
        }
        let mut out = [0; 32];
        for (place, lane) in out.as_chunks_mut::<8>().0.iter_mut().zip(self.lanes) {
            *place = lane.to_le_bytes();
        }
        out
    }

    fn tag(self) -> [u8; 16] {
        let [tag @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.finish();
        tag
    }
}

/// Twice, as the first product leaves a difference in the highest bits alone, where a second one could undo it.
const fn step(lane: u64, word: u64) -> u64 {
    let mixed = (lane ^ word).wrapping_mul(GOLDEN);
    (mixed ^ (mixed >> 32)).wrapping_mul(GOLDEN).rotate_left(29)
}

/// A permutation of words under which neighbours become strangers (the output function of `SplitMix64`).
const fn scatter(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
