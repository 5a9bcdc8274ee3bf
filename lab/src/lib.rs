#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]
//! Namespaces that vanish with the program that made them, for demonstrations and measurements.
//!
//! Cleaning up is not a matter of care but of structure. Everything lives in namespaces that have no names: network
//! namespaces with all interfaces, a mount namespace with the sockets' directory, and a process namespace. When its first
//! process ends, for whatever reason, the kernel ends all the others and takes the namespaces away with them. That
//! first process in turn dies with the command that the user started: Ctrl-C, a crash and `kill -9` leave nothing behind.
//!
//! A program calls [`keep`], which starts it again as the first process inside ([`keeper::INSIDE`] is added to its
//! arguments); there it calls [`settle`] first.
//!
//! | file | what |
//! |---|---|
//! | `keeper` | the process the user started: makes the process namespace, waits, heeds Ctrl-C |
//! | `inside` | what the first process inside does before anything else |
//! | `rights` | what keeps a user from making namespaces, in sentences |
//! | `site` | a network namespace as a thread that works in it |
//! | `trouble` | what went wrong, and what to do next |

pub mod inside;
pub mod keeper;
pub mod rights;
pub mod site;
pub mod trouble;

pub use inside::{hide, settle};
pub use keeper::{End, INSIDE, keep};
pub use site::Site;
pub use trouble::Trouble;
