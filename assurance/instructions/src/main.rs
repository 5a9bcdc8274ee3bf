//! Does each thing once that happens to packets, in a function of its own, for valgrind to count the instructions of it: the
//! script `check.sh` beside this runs it and compares with `limits`.
//!
//! Everything is the same in every run: virtual time, seeded randomness, fixed peers. The engine's primitives are the fake
//! ones, so that what is counted is the engine's own work. Nothing is asserted about numbers here, but everything about
//! what was counted: that a packet took the way its name says.

/// A function whose instructions are counted, callees included, under the name that the table shows.
///
/// Never inlined and never renamed, so that valgrind finds it, and different from all others, so that the compiler does not make
/// one function of two; it is called exactly once in a run.
macro_rules! counted {
    ($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {
        // SAFETY: every name begins with `counted_`, which no library has.
        #[unsafe(no_mangle)]
        #[inline(never)]
        #[allow(improper_ctypes_definitions, reason = "it is found by its name, but called from Rust")]
        fn $name($($argument: $type),*) $(-> $result)? {
            std::hint::black_box(stringify!($name));
            $body
        }
    };
}

mod aead;
mod comparisons;
mod engine;
mod secrets;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("engine") => engine::run(),
        Some("comparisons") => comparisons::run(),
        Some("aead") => aead::run(),
        Some("secrets") => secrets::run(false),
        Some("leak") => secrets::run(true),
        _ => panic!("usage: instructions engine|comparisons|aead|secrets|leak"),
    }
}
