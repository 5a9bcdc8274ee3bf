//! Sealing with secrets that valgrind takes for uninitialised: it reports every branch and every address that depends on one.
//!
//! Opening is left out, because whether a tag was right is nobody's secret and does decide what is done; that the way to it takes the
//! same instructions for all secrets is counted instead.

use crate::aead::{MIXED, Run, random};
use kerntun_aead::State;
use std::hint::black_box;

/// Seals; with `leak`, branches on the key as well, to see that it is noticed.
pub(crate) fn run(leak: bool) {
    let mut run = Run::new(&MIXED, random(8));
    forget(&run.key);
    forget(&run.buffer);
    if leak && run.key[5] & 1 == 1 {
        black_box(1);
    }
    run.seal();
    assert!(run.packets.iter().all(|packet| packet.state == State::Done), "not all went through the vectors");
    println!("sealed {} packets with secrets unknown to valgrind", run.packets.len());
}

/// Tells valgrind's memcheck that these bytes have no known value.
fn forget(bytes: &[u8]) {
    // "MC" in the two upper bytes, and 1: make memory undefined (valgrind's memcheck.h).
    let request = [0x4d43_0001, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: four rotations by 128 bits in all and an exchange of a register with itself change nothing but flags on a processor;
    // valgrind takes them for a request (valgrind.h), which changes what it knows of memory and not memory.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") &raw const request, inout("rdx") 0_usize => _,
        );
    }
}
