//! Sources of randomness.

use core::sync::atomic::{AtomicBool, Ordering};
use kerntun_engine::host::Entropy;

/// The operating system's randomness, unbuffered: a handshake asks for a few dozen bytes, which cost less than a
/// hundredth of its Diffie-Hellman, and a buffer would be one more secret to wipe and to keep out of forked processes.
#[derive(Debug, Default)]
pub struct SystemEntropy {
    /// Whether the kernel's generator was seen seeded. It never loses its seed again.
    seeded: AtomicBool,
}

impl SystemEntropy {
    /// The source; nothing is opened or read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { seeded: AtomicBool::new(false) }
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> bool {
        if !self.seeded.load(Ordering::Relaxed) {
            if !is_seeded() {
                return false;
            }
            self.seeded.store(true, Ordering::Relaxed);
        }
        getrandom::fill(out).is_ok()
    }
}

/// Whether asking for randomness would not block: false in the first moments after boot (getrandom(2)).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_seeded() -> bool {
    use rustix::rand::{GetRandomFlags, getrandom};
    // Other errors than "would block" are for the real call to report: a kernel without this call, say, or a filter.
    getrandom(&mut [0_u8; 1], GetRandomFlags::NONBLOCK) != Err(rustix::io::Errno::AGAIN)
}

/// Elsewhere processes do not start before the source is seeded.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn is_seeded() -> bool {
    true
}

/// The same bytes for the same seed, in the order of the calls: for tests and simulations that must repeat exactly.
///
/// Whoever knows the seed knows every key. Never for a device that carries packets.
#[cfg(feature = "seeded")]
#[derive(Debug)]
pub struct SeededEntropy {
    stream: parking_lot::Mutex<chacha20::ChaCha20Rng>,
    dry: AtomicBool,
}

#[cfg(feature = "seeded")]
impl SeededEntropy {
    /// The source that starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        use chacha20::rand_core::SeedableRng;
        let stream = chacha20::ChaCha20Rng::seed_from_u64(seed);
        Self { stream: parking_lot::Mutex::new(stream), dry: AtomicBool::new(false) }
    }

    /// Makes the source fail, like the operating system's before it is seeded, or work again.
    pub fn set_dry(&self, dry: bool) {
        self.dry.store(dry, Ordering::Relaxed);
    }
}

#[cfg(feature = "seeded")]
impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) -> bool {
        use chacha20::rand_core::Rng;
        if self.dry.load(Ordering::Relaxed) {
            return false;
        }
        self.stream.lock().fill_bytes(out);
        true
    }
}
