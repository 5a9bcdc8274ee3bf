#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
//! The user-space home of the kerntun engine: [`UserHost`] lends it locks, randomness and a queue for packets that wait
//! for a session; the crypto comes from outside.
//!
//! In builds with debug assertions every lock checks the order of ranks, so that each test of an engine in this home
//! is also a test of its locking.

mod entropy;
mod host;
mod lock;
mod order;
mod queue;
mod stack;

#[cfg(feature = "seeded")]
pub use entropy::SeededEntropy;
pub use entropy::SystemEntropy;
pub use host::UserHost;
pub use lock::{UserLock, UserTable};
#[doc(hidden)]
pub use order::held;
pub use queue::{Held, HeldQueue};
pub use stack::{SCRUBBED, scrubbed};
