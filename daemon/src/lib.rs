#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]
//! The user-space WireGuard daemon: workers that carry batches between Linux and the engine.
//!
//! # How a program becomes the daemon
//!
//! | command | options |
//! |---|---|
//! | `kerntun run IFNAME`, `kerntun -f IFNAME` | [`Options::from_environment`] with [`Mode::Foreground`] |
//! | `kerntun IFNAME` | [`Options::from_environment`] with [`Mode::Background`] |
//!
//! and then [`run`]. Two processes make a daemon, both of them this program: the *keeper* that [`run`] becomes, which has to
//! do with the system and not with the network, and the *server*, which it starts with the same arguments and some
//! environment variables, and whose work needs so little of the system that it gives up nearly all rights to it. In the
//! background mode the keeper is a process of its own too; the first process returns when the server is ready. The error of
//! either call is a sentence for the person who started it, not yet printed or logged; the exit code is 0 after `Ok` and 1
//! after `Err`.
//!
//! ```no_run
//! use kerntun_daemon::{Mode, Options, run};
//!
//! # fn main() -> Result<(), kerntun_daemon::Error> {
//! run(Options::from_environment("wg0", Mode::Foreground)?)
//! # }
//! ```
//!
//! # Threads
//!
//! - **Workers**, one per processor and at most eight, each with a queue of the TUN device (where it has several), a
//!   pair of UDP sockets and all its buffers. They run every batch to completion and wait for nobody: not for
//!   Diffie-Hellman, not for configuration.
//! - **Handshakes**: one thread with a bounded queue of received handshake messages and the deadlines of all peers. It
//!   sleeps until one of them is due or somebody wakes it.
//! - **Control**: the thread that called [`run`]: signals, and what the keeper tells of the interface. Beside it
//!   the configuration socket is served, with a short-lived thread for each connection.
//!
//! The keeper has one thread. With nothing to do all of them sleep without a time limit.
//!
//! # Memory
//!
//! A worker owns 1 MiB to seal in, at most 4 MiB to receive in (of which it touches no more than 512 KiB while datagrams come
//! joined), and 256 KiB for what comes from the TUN device: 5.3 MiB, reserved at the start, at most 42 MiB for eight
//! workers. The handshake thread owns 1 MiB to seal in and a queue of 4,096 messages, 1 MiB. Packets that wait for a session
//! are bounded by the engine: 128 datagrams or 1 MiB a peer.

mod again;
mod background;
mod configuration;
mod control;
mod device;
mod error;
mod handshakes;
mod incoming;
mod keeper;
mod lifeline;
mod log;
mod loops;
mod opening;
mod options;
mod outgoing;
mod sandbox;
mod sender;
mod signals;
mod sockets;
mod stamps;
mod status;
mod strangers;
mod unreachable;
mod worker;

pub use error::Error;
pub use options::{DEFAULT_MTU, LogLevel, MAX_WORKERS, Mode, Options};

/// Serves an interface: until it ends in [`Mode::Foreground`], until the background process is ready in
/// [`Mode::Background`].
///
/// A signal (`SIGTERM`, `SIGINT`, `SIGHUP`), deletion of the interface and removal of the configuration socket are
/// good ends. Nothing is left behind after any end.
///
/// Changes of the whole process, so that a program calls this once and as its last deed: log output goes to standard
/// error, new files are private (`umask`), there are no core dumps, and most rights are given up for good.
///
/// # Errors
/// A sentence for the person who started it, see [`Error`].
pub fn run(options: Options) -> Result<(), Error> {
    log::start(options.log);
    match (options.mode, options.lifeline_fd) {
        (Mode::Foreground, Some(fd)) => control::serve(&options, fd),
        (Mode::Foreground, None) => keeper::keep(&options),
        (Mode::Background, _) => background::start(&options),
    }
}
