#![no_std]
#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]
//! The WireGuard protocol and cryptokey routing, as a mechanism without policy.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
mod cookie;
mod deadlines;
pub mod device;
pub mod egress;
pub mod handshake;
pub mod host;
mod indices;
pub mod ingress;
pub mod inner;
pub mod listing;
pub mod memory;
pub mod message;
mod noise;
pub mod packet;
mod pages;
pub mod peer;
mod ratelimiter;
pub mod reason;
mod replay;
pub mod routes;
pub mod secret;
pub mod session;
#[cfg(test)]
mod testing;
pub mod time;
pub mod timers;
