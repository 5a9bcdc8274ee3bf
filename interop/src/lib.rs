#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
//! What the system tests are made of: network namespaces joined by a cable, daemons of several implementations in them,
//! and traffic.
//!
//! The tests run the real `kerntun` program and configure it with `wg` and `wg-quick` as they are. They need root,
//! `/dev/net/tun`, `ip`, `wg` and `wireguard-go`, and say so in a line that starts with `SKIPPED:` where one is missing,
//! see [`requirements`].
//!
//! Everything they make is named `kti-` and the process id of the test run. It is removed when it goes out of scope,
//! also when a test fails; what a test run that was killed has left behind is removed by the next one.
//!
//! The daemons log nothing unless `LOG_LEVEL` is set for the tests.
//!
//! Nothing here asserts how long something took. Waiting is bounded all the same, see [`wait`].

pub mod attack;
pub mod end;
pub mod flood;
pub mod keys;
pub mod namespace;
pub mod program;
pub mod random;
pub mod requirements;
pub mod site;
pub mod tap;
pub mod traffic;
pub mod tunnel;
pub mod uapi;
pub mod wait;
