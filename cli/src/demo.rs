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

mod bulk;
mod echo;
mod node;
mod report;
mod story;
mod tap;
mod wire;

use crate::failure::Failure;
use kerntun_lab::End;
use std::process::ExitCode;
use std::time::Duration;

/// Time for everything but the mass transfer, which normally takes two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

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
    if args.inside { story::tell(args) } else { keep(args) }
}

/// Starts the story in namespaces of its own and waits for its end.
fn keep(args: &Args) -> Result<ExitCode, Failure> {
    match kerntun_lab::keep("kerntun", PATIENCE + Duration::from_secs(args.seconds))? {
        End::Ended(status) => {
            Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
        }
        End::Interrupted => {
            eprintln!("Interrupted; everything is cleaned up.");
            Ok(ExitCode::from(130))
        }
        End::TooLate => {
            Err(Failure::new("the demo did not come to its end in time and was stopped; all is cleaned up")
                .help("on a very slow machine, try again with fewer --bytes"))
        }
        End::Lost(error) => Err(Failure::new(format!("lost sight of the demo, which was stopped: {error}"))),
    }
}
