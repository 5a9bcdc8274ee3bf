//! `kerntun demo`: a real tunnel between two network namespaces, shown at work.
//!
//! Cleaning up is not a matter of care but of structure. Everything lives in namespaces that have no names: two network
//! namespaces with all interfaces, a mount namespace with the sockets' directory, and a process namespace. When its first
//! process ends, for whatever reason, the kernel ends all the others and takes the namespaces away with them. That
//! first process in turn dies with the command that the user started.
//!
//! | file | what |
//! |---|---|
//! | `keeper` | the process the user started: makes the process namespace, waits, heeds Ctrl-C |
//! | `rights` | what keeps a user from making namespaces, in sentences |
//! | `story` | the first process inside: the steps, one after the other |
//! | `site` | a network namespace as a thread that works in it |
//! | `wire` | the veth pair between the sites |
//! | `node` | a daemon and its configuration |
//! | `echo`, `bulk`, `tap` | ping, mass transfer, and a look at the outer wire |
//! | `report` | what people read and what programs read |

mod bulk;
mod echo;
mod keeper;
mod node;
mod report;
mod rights;
mod site;
mod story;
mod tap;
mod wire;

use crate::failure::Failure;
use std::process::ExitCode;

/// What `kerntun demo` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Needs the right to make namespaces (root has it, most users do) and /dev/net/tun, and no other program. Nothing outside
the namespaces is touched, and nothing is left behind, also after Ctrl-C.
Exit codes: 0 the tunnel works, 1 a step failed or something is missing, 130 interrupted.")]
pub(crate) struct Args {
    /// Bytes to send in the mass transfer
    #[arg(long, default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,

    /// Seconds after which the mass transfer ends although not all bytes were sent
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Print the results as JSON instead of the story
    #[arg(long)]
    json: bool,

    /// The process inside the namespaces
    #[arg(long, hide = true)]
    inside: bool,
}

/// Shows the tunnel.
///
/// # Errors
/// When namespaces cannot be had, saying what is missing, or when a step fails.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if args.inside { story::tell(args) } else { keeper::keep(args) }
}
