//! Stacks that keep no secrets.
//!
//! Secrets wipe themselves where they are dropped. But a value that is moved leaves its bytes where it was, the compiler keeps
//! others in places of its own while it has too few registers, and the primitives do as they like: what a handshake computed
//! lies about below the thread's stack pointer until later calls happen to overwrite it.

use core::hint::black_box;

/// How far down it is overwritten. In a build with optimisation a handshake reaches down a third of that, in others half of it
/// (`tests/stack.rs` measures it).
#[doc(hidden)]
pub const SCRUBBED: usize = 24 << 10;

/// Does `work`, and then overwrites the stack that it used, as far as 24 KiB below the caller's frame.
///
/// What `work` gives back and what it writes through its captures stays, with whatever lies in their unused bytes: what is made
/// of secrets should end within it. Registers are not overwritten.
///
/// ```
/// let length = kerntun_host::scrubbed(|| format!("{}", 12345).len());
/// assert_eq!(length, 5);
/// ```
pub fn scrubbed<R>(work: impl FnOnce() -> R) -> R {
    let result = apart(work);
    overwrite();
    result
}

/// In a frame of its own, where [`overwrite`] has its own a moment later.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[inline(never)]
fn overwrite() {
    let mut stack = [0_u8; SCRUBBED];
    // Somebody might look at it, so it has to be there.
    black_box(&mut stack);
}
