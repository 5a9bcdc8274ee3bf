#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! ChaCha20-Poly1305 (RFC 8439) over runs of packets, several packets at once in the lanes of AVX-512 or
//! AVX2.
//!
//! For protocols whose packets come in runs under one key and with a counter as nonce, as WireGuard's do: four zero bytes
//! and the counter in little endian, no additional data, in place, the tag behind the text.
//!
//! This is an accelerator and not a library of its own: [`Vectors::detect`] finds nothing on processors that have neither
//! AVX-512 F, BW, VL and IFMA nor AVX2, and a packet that is done faster alone is left [waiting](State::Waiting) for the
//! library the caller has anyway.
//!
//! ```
//! use kerntun_aead::{Packet, State, Vectors};
//!
//! // Sixteen packets of 64 bytes, each with 16 bytes for the tag.
//! let mut buffer = [0; 16 * 80];
//! let run: [Packet; 16] = core::array::from_fn(|i| Packet::new(80 * i, 64, 7 + i as u64));
//! if let Some(vectors) = Vectors::detect() {
//!     let mut sealed = run;
//!     vectors.seal(&[1; 32], &mut buffer, &mut sealed);
//!     assert!(sealed.iter().all(|packet| packet.state == State::Done));
//!     let mut opened = run;
//!     vectors.open(&[1; 32], &mut buffer, &mut opened);
//!     assert!(opened.iter().all(|packet| packet.state == State::Done));
//!     assert_eq!(buffer[..64], [0; 64]);
//! }
//! ```

#[cfg(feature = "std")]
extern crate std;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod chacha;
#[cfg(target_arch = "x86_64")]
mod costs;
#[cfg(target_arch = "x86_64")]
mod memory;
#[cfg(target_arch = "x86_64")]
mod packets;
#[cfg(target_arch = "x86_64")]
mod processor;
#[cfg(target_arch = "x86_64")]
mod run;
#[cfg(target_arch = "x86_64")]
mod wipe;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

/// One packet of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Offset of the text's first byte in the buffer.
    pub start: usize,
    /// Length of the text in bytes; 16 bytes of tag follow it.
    pub len: usize,
    /// The number that makes the nonce.
    pub counter: u64,
    /// What has become of it.
    pub state: State,
}

impl Packet {
    /// The packet whose text of `len` bytes is at `start` and whose number is `counter`, waiting.
    #[must_use]
    pub const fn new(start: usize, len: usize, counter: u64) -> Self {
        Self { start, len, counter, state: State::Waiting }
    }
}

/// What has become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing yet. After a call: not touched, because it is done faster alone, because it is longer than 65,535 bytes, or
    /// because it leaves the buffer. For the caller's library to do or to refuse.
    Waiting,
    /// Sealed, or opened and authentic.
    Done,
    /// Its tag was wrong, and its text has been wiped.
    Forged,
}

/// What the processor has for runs of packets, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// AVX-512 F, BW, VL and IFMA: sixteen blocks of ChaCha20 and eight of Poly1305 at once.
    Avx512Ifma,
    /// AVX2: eight blocks of ChaCha20 at once, and Poly1305 beside them in ordinary registers.
    Avx2,
}

impl Level {
    /// All of them, the best first.
    pub const ALL: [Self; 2] = [Self::Avx512Ifma, Self::Avx2];
}

/// The proof that this processor can run the code behind it.
#[derive(Clone, Copy, Debug)]
pub struct Vectors {
    level: Level,
    #[cfg(target_arch = "x86_64")]
    /// For sealing and for opening.
    costs: [&'static costs::Costs; 2],
}

impl Vectors {
    /// The best that this processor has, if it has enough. Ask once and keep the answer.
    #[must_use]
    pub fn detect() -> Option<Self> {
        Level::ALL.into_iter().find_map(Self::at)
    }

    /// A level of one's choice, if this processor has it: for tests and measurements.
    #[must_use]
    pub fn at(level: Level) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return processor::has(level).then(|| Self { level, costs: processor::costs(level) });
        #[cfg(not(target_arch = "x86_64"))]
        return {
            _ = level;
            None
        };
    }

    /// The same, but taking every packet for which there is room in a batch, however slow: for tests and measurements.
    #[must_use]
    pub fn eager(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        return Self { costs: self.costs.map(|costs| costs.eager()), ..self };
        #[cfg(not(target_arch = "x86_64"))]
        return self;
    }

    /// Which code runs.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Whether any of `count` packets of `len` bytes each would be done, when sealed or when opened. Where this says no the
    /// library can be called at once, which spares a packet that comes alone the way through here.
    #[must_use]
    pub fn gains(&self, count: usize, len: usize) -> bool {
        #[cfg(target_arch = "x86_64")]
        return count > 0 && self.costs.iter().any(|costs| costs.size(count, run::blocks(len)) > 0);
        #[cfg(not(target_arch = "x86_64"))]
        return {
            _ = (count, len);
            false
        };
    }

    /// Encrypts in place those of the waiting `packets` that gain by it, each under its counter, writes their tags behind
    /// them, and calls them [`State::Done`]. The texts may have any lengths; those of about the same go together.
    ///
    /// Packets must not overlap; if they do, their bytes are wrong, others' are not.
    ///
    /// `key` is not kept, and what was made of it is wiped.
    pub fn seal(&self, key: &[u8; 32], buffer: &mut [u8], packets: &mut [Packet]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level is only made where the processor has what it needs.
        unsafe {
            run::seal(self.level, self.costs[0], key, buffer, packets);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (key, buffer, packets);
    }

    /// Decrypts in place those of the waiting `packets` that gain by it, each under its counter, and calls them
    /// [`State::Done`] if the tag behind them is right; [`State::Forged`] if it is wrong, and then the text is wiped.
    ///
    /// Otherwise like [`Vectors::seal`].
    pub fn open(&self, key: &[u8; 32], buffer: &mut [u8], packets: &mut [Packet]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level is only made where the processor has what it needs.
        unsafe {
            run::open(self.level, self.costs[1], key, buffer, packets);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (key, buffer, packets);
    }
}
