#![no_std]
#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
//! Implementations of the kerntun engine's [`Crypto`](kerntun_engine::host::Crypto) trait.
//!
//! | | for | needs |
//! |---|---|---|
//! | `Fast` (feature `fast`, a default) | daemons and applications | `std`, a C compiler |
//! | [`Portable`] | every target | nothing, not even `alloc` |
//! | `InsecureFake` (feature `fake`) | fuzzers and simulations: **no protection whatever** | nothing |
//!
//! On a bare x86-64 target, which has no vector registers (`x86_64-unknown-none`), the libraries under [`Portable`] have to be
//! told so: `RUSTFLAGS='--cfg curve25519_dalek_backend="serial" --cfg poly1305_backend="soft" --cfg chacha20_backend="soft"'`.
//!
//! All work on [`Slices`]: datagrams in one piece of memory, sealed and opened where they lie.
//!
//! ```
//! use kerntun_crypto::{Portable, Slices, Span};
//! use kerntun_engine::host::Crypto;
//! use kerntun_engine::secret::Secret;
//!
//! // Two datagrams side by side: 16 bytes of header, 32 of text, 16 for the tag.
//! let mut buffer = [0; 128];
//! let spans = [Span { start: 0, len: 64 }, Span { start: 64, len: 64 }];
//! let key = Secret::new([7; 32]);
//! Portable.seal_run(&key, 0, &mut Slices { buffer: &mut buffer, spans: &spans });
//! assert_ne!(buffer[16..64], buffer[80..]);
//! ```

#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "fast")]
mod batch;
#[cfg(feature = "fake")]
mod fake;
#[cfg(feature = "fast")]
mod fast;
mod portable;
mod run;

#[cfg(feature = "fake")]
pub use fake::InsecureFake;
#[cfg(feature = "fast")]
pub use fast::Fast;
pub use portable::Portable;
pub use run::{Slices, Span};
