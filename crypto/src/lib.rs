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
//! All work on [`Slices`]: datagrams in one piece of memory, sealed and opened where they lie.

#[cfg(feature = "std")]
extern crate std;

mod portable;
mod run;

pub use portable::Portable;
pub use run::{Slices, Span};
