#![no_std]
//! The engine as one object for the Linux kernel: the same crate as in user space, in a home whose memory, locks,
//! randomness and crypto are the kernel's, behind the C interface of `kerntun.h`.
//!
//! Nothing here decides anything: each function turns numbers and pointers into the engine's types, calls it once, and
//! turns what it says back. The object refers to the kernel only through the `kt_host_*` functions of the glue, so that it is
//! built once and loaded into every kernel.
//!
//! A panic would call a function that does not exist. The linker keeps that call only if it can be reached, and
//! `check-object` (and after it the kernel's own `modpost`) refuses an object that has it.

extern crate alloc;

pub mod abi;
mod config;
mod data;
mod device;
mod handshake;
mod home;
mod host;
mod list;
mod lock;
mod staged;

use core::alloc::{GlobalAlloc, Layout};

unsafe extern "C" {
    /// Does not exist. An object in which it is missing has a panic that can be reached.
    fn kerntun_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: an object in which this call is left is never linked into a module.
    unsafe { kerntun_can_panic() }
}

struct Memory;

// SAFETY: the glue's allocator gives memory of that size and alignment or none, and gives it to nobody else meanwhile.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: called for configuration and session blocks only, where the kernel may sleep.
        unsafe { host::kt_host_alloc(layout.size(), layout.align()).cast() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `alloc`.
        unsafe { host::kt_host_free(memory.cast(), layout.size()) }
    }
}

#[global_allocator]
static MEMORY: Memory = Memory;

#[cfg(feature = "deliberate-panic")]
#[unsafe(no_mangle)]
extern "C" fn kt_deliberate(at: usize) -> u8 {
    #[expect(clippy::indexing_slicing, reason = "the offence that has to be noticed")]
    core::hint::black_box([1, 2, 3])[at]
}
