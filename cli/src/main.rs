//! The `kerntun` program: what a person types and reads.
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line, and which command runs |
//! | `up`, `down` | the two recipes; everything below is an ingredient |
//! | `configuration`, `check` | reading the file, and saying what is wrong with it |
//! | `record`, `dead` | the note that `up` leaves, and tunnels whose daemon died |
//! | `device`, `kernel` | a WireGuard interface, whoever serves it: our daemon, another one, or the kernel |
//! | `start`, `run` | starting the daemon, and being it |
//! | `netlink/` | links, addresses, routes, rules |
//! | `plan`, `mtu`, `resolve` | which routes, which MTU, which endpoint |
//! | `turn` | one after the other where two at once would choose the same |
//! | `firewall`, `dns`, `hooks`, `spawn` | other programs and what they are told |
//! | `say` | telling people what happens, whether or not they listen |
//! | `privilege`, `interrupt`, `sysctl` | the rest of what the system has to do with it |
//! | `undo` | what was done, to be undone in reverse |
//! | `save` | SaveConfig |
//! | `keys` | making keys |
//! | `show`, `diagnose`, `demo` | telling people what happens |

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::print_stderr,
        clippy::print_stdout
    )
)]

mod args;
mod check;
mod clock;
mod configuration;
mod dead;
mod demo;
mod device;
mod diagnose;
mod dns;
mod down;
mod failure;
mod firewall;
mod hooks;
mod interrupt;
mod kernel;
mod keys;
mod mtu;
mod netlink;
mod plan;
mod privilege;
mod record;
mod resolve;
mod run;
mod save;
mod say;
mod show;
mod spawn;
mod start;
mod sysctl;
mod turn;
mod undo;
mod up;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Wrong command lines end here with exit code 2, `--help` and `--version` with 0: clap's own convention.
    let args = args::Args::parse();
    args::dispatch(args).unwrap_or_else(|failure| {
        say::say!("{failure}");
        failure.exit_code()
    })
}
