//! AVX2: eight blocks of ChaCha20 per vector, and Poly1305 beside them in ordinary registers.

mod batch;
mod chacha;
mod hash;

pub(crate) use batch::Batch;
#[cfg(test)]
pub(crate) use hash::Hash;
