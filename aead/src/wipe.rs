//! Forgetting what was secret.

use core::ptr::write_volatile;

/// `zero` into all of `secrets`, in a way the compiler may not leave out.
#[inline]
pub(crate) fn wipe<T: Copy>(secrets: &mut [T], zero: T) {
    for secret in secrets {
        // SAFETY: a reference is valid for writes; what can be copied has nothing to drop.
        unsafe { write_volatile(secret, zero) };
    }
}
