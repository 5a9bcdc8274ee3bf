//! `kerntun diagnose`: Says in sentences what is wrong with a tunnel, whose fault it is, and what to do next.

use crate::failure::Failure;
use std::process::ExitCode;

/// What `kerntun diagnose` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The interface; all of them when none is given.
    pub(crate) interface: Option<String>,
}

/// Says in sentences what is wrong with a tunnel, whose fault it is, and what to do next.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn run(_: &Args) -> Result<ExitCode, Failure> {
    Err(Failure::new("'kerntun diagnose' is not part of this build"))
}
