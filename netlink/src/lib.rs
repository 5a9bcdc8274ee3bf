#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]
//! WireGuard in the kernel, its own or kerntun's, as it is spoken to: what is asked of it, and what it answers. Bytes in, values out; sockets are
//! the business of whoever has one, so that all of this can be fed to a fuzzer.

mod answer;
pub mod drops;
pub mod wireguard;

pub use answer::{Answer, NetlinkError};
