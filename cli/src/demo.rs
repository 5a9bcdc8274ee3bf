//! `kerntun demo`: a real tunnel between two network namespaces, shown at work.
//!
//! Everything lives in namespaces of `kerntun-lab`, which vanish with this program whatever becomes of it.
//!
//! | file | what |
//! |---|---|
//! | `story` | the first process inside: the steps, one after the other |
//! | `wire` | the veth pair between the sites |
//! | `node` | a daemon and its configuration |
//! | `echo`, `bulk`, `tap` | ping, mass transfer, and a look at the outer wire |
//! | `report` | what people read and what programs read |
//! | `kernel` | another demo: the kernel module, in a virtual machine |

mod bulk;
mod echo;
mod kernel;
mod node;
mod report;
mod story;
mod tap;
mod wire;

use crate::failure::Failure;
use crate::say::say;
use kerntun_lab::End;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Time for everything but the mass transfer, which normally takes two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `kerntun demo` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Needs the right to make namespaces (root has it, most users do) and /dev/net/tun, and no other program. Nothing outside
the namespaces is touched, and nothing is left behind, also after Ctrl-C.

With --kernel, the kernel module is shown instead: a stock kernel of Debian is booted in QEMU. For that the project's
sources are needed and, the first time, root on Debian or Ubuntu, who may install QEMU, and about 100 MB of downloads,
which go to target/kernel-lab.

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

    /// Show the kernel module in a virtual machine with a kernel of this series
    #[arg(long, value_name = "SERIES", num_args = 0..=1, default_missing_value = "6.12", value_parser = ["6.1", "6.12"])]
    #[arg(conflicts_with_all = ["bytes", "seconds", "json"])]
    kernel: Option<String>,

    /// A kerntun.ko for exactly that kernel, instead of one built from the sources
    #[arg(long, value_name = "FILE", requires = "kernel")]
    module: Option<PathBuf>,

    /// The process inside the namespaces
    #[arg(long, hide = true)]
    inside: bool,
}

/// Shows the tunnel.
///
/// # Errors
/// When namespaces cannot be had, saying what is missing, or when a step fails.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.kernel {
        Some(series) => kernel::show(series, args.module.as_deref()),
        None if args.inside => story::tell(args),
        None => keep(args),
    }
}

/// Starts the story in namespaces of its own and waits for its end.
fn keep(args: &Args) -> Result<ExitCode, Failure> {
    match kerntun_lab::keep("kerntun", PATIENCE + Duration::from_secs(args.seconds))? {
        End::Ended(status) => {
            Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
        }
        End::Interrupted => {
            say!("Interrupted; everything is cleaned up.");
            Ok(ExitCode::from(130))
        }
        End::TooLate => {
            Err(Failure::new("the demo did not come to its end in time and was stopped; all is cleaned up")
                .help("on a very slow machine, try again with fewer --bytes"))
        }
        End::Lost(error) => Err(Failure::new(format!("lost sight of the demo, which was stopped: {error}"))),
    }
}
