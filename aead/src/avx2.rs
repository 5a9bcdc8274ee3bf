//! AVX2: eight blocks of ChaCha20 per vector, and Poly1305 of four packets.

mod batch;
mod chacha;
mod hash;

pub(crate) use batch::Batch;
#[cfg(test)]
pub(crate) use hash::Hash;
