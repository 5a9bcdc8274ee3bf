//! `kerntun check`: validate a configuration and change nothing.

use crate::configuration::judge;
use crate::failure::Failure;
use crate::say::say;
use crate::show::print;
use std::process::ExitCode;

/// What `kerntun check` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 it can be used (there may be warnings), 1 it cannot.")]
pub(crate) struct Args {
    /// A configuration file, or the name of an interface for /etc/wireguard/NAME.conf
    #[arg(value_name = "FILE|NAME")]
    file: String,
}

/// Shows all that is wrong with a configuration, then one line that sums it up.
///
/// # Errors
/// When the file cannot be read. Errors within it make the exit code 1.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let judged = judge(&args.file)?;
    judged.diagnostics.iter().for_each(|diagnostic| say!("{diagnostic}\n"));
    let errors = judged.diagnostics.iter().filter(|d| d.is_error()).count();
    let warnings = judged.diagnostics.len().saturating_sub(errors);
    let path = judged.location.path.display();
    if judged.config.is_none() {
        return Err(Failure::new(format!("{path} cannot be used: {}", count(errors, "error"))));
    }
    let name = &judged.location.interface;
    match warnings {
        0 => print(&format!("{path}: good, for interface {name}\n"))?,
        _ => print(&format!("{path}: can be used for interface {name}, with {}\n", count(warnings, "warning")))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A number and its noun.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
