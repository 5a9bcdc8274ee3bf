//! `kerntun demo`: Builds a tunnel between two namespaces and shows it at work.

use crate::failure::Failure;
use std::process::ExitCode;

/// What `kerntun demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Builds a tunnel between two namespaces and shows it at work.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn run(_: &Args) -> Result<ExitCode, Failure> {
    Err(Failure::new("'kerntun demo' is not part of this build"))
}
