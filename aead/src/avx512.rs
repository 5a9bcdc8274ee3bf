//! AVX-512 with IFMA: sixteen blocks of ChaCha20 and eight of Poly1305 per vector.

mod batch;
mod chacha;
mod hash;
mod open;
mod poly;
mod powers;
mod seal;

pub(crate) use batch::Batch;
#[cfg(test)]
pub(crate) use hash::Hash;
