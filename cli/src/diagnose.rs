//! `kerntun diagnose`: what is wrong with a tunnel, whose fault it is, and what to do next.
//!
//! Facts are gathered first, all of them; then rules that look at nothing but the facts turn them into findings. So
//! every rule can be tried on facts that are hard to bring about.
//!
//! | file | what |
//! |---|---|
//! | `facts` | what is known: of the device, its peers, the routes, the clock, the file |
//! | `gather` | asking for it |
//! | `dead` | what to say of a tunnel that nobody can be asked about any more |
//! | `finding` | a sentence of what happened, whose fault, what to do |
//! | `rules/` | from facts to findings: `device`, `handshake`, `traffic`, `defaults`, `path`, `file` |
//! | `output` | for people and for programs |

mod dead;
mod facts;
mod finding;
mod gather;
mod output;
mod rules;

use crate::dead::Dead;
use crate::failure::Failure;
use crate::say::say;
use crate::show::{Snapshot, print, resolve};
use kerntun_config::InterfaceName;
use std::process::ExitCode;

/// What `kerntun diagnose` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at counters, deadlines, routes, the clock and /etc/wireguard/INTERFACE.conf; changes nothing and sends nothing but
questions for names. Run it on both sides: each sees what the other cannot. Interfaces that are not served by kerntun have
no counters, so that less can be said about them.
Exit codes: 0 nothing wrong, 1 a problem was found or an interface cannot be asked, 2 the command line is wrong.")]
pub(crate) struct Args {
    /// The interface [default: all of them]
    #[arg(value_name = "INTERFACE")]
    interface: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Says what is wrong.
///
/// # Errors
/// When the interface does not exist or cannot be asked.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (snapshots, failures, dead) = match &args.interface {
        Some(name) => match Snapshot::take(&resolve(name)?) {
            Ok(snapshot) => (vec![snapshot], Vec::new(), Vec::new()),
            Err(failure) => {
                let dead = InterfaceName::new(name).ok().and_then(|name| Dead::find(&name));
                (Vec::new(), Vec::new(), vec![dead.ok_or(failure)?])
            }
        },
        None => {
            let (snapshots, failures) = Snapshot::take_all()?;
            (snapshots, failures, Dead::all())
        }
    };
    if snapshots.is_empty() && failures.is_empty() && dead.is_empty() {
        return Err(Failure::new("there is no WireGuard interface to look at")
            .help("bring one up: kerntun up NAME; or see that tunnels work here at all: kerntun demo"));
    }
    let diagnoses: Vec<_> = snapshots
        .iter()
        .map(|snapshot| {
            let facts = gather::gather(snapshot);
            let findings = rules::judge(&facts);
            (facts, findings)
        })
        .chain(dead.iter().map(dead::judge))
        .collect();
    print(&if args.json { output::json(&diagnoses) } else { output::text(&diagnoses, crate::show::Paint::stdout()) })?;
    failures.iter().for_each(|(_, failure)| say!("{failure}"));
    let sick = diagnoses.iter().any(|(_, findings)| findings.iter().any(finding::Finding::is_problem));
    Ok(if sick || !failures.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
