//! Forgetting what was secret.

use core::arch::x86_64::{__m512i, _mm512_setzero_si512};
use core::ptr::write_volatile;

/// Zeros into vectors, in a way the compiler may not leave out.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn wipe_vectors(vectors: &mut [__m512i]) {
    for vector in vectors {
        // SAFETY: a reference is valid for writes.
        unsafe { write_volatile(vector, _mm512_setzero_si512()) };
    }
}

/// Zeros into integers, in a way the compiler may not leave out.
#[inline]
pub(crate) fn wipe_words<T: Copy + Default>(words: &mut [T]) {
    for word in words {
        // SAFETY: a reference is valid for writes; integers have nothing to drop.
        unsafe { write_volatile(word, T::default()) };
    }
}
