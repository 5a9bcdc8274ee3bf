//! `kerntun up`.

use crate::failure::Failure;
use std::process::ExitCode;

/// What `kerntun up` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A configuration file, or the name of an interface for /etc/wireguard/NAME.conf
    #[arg(value_name = "FILE|NAME")]
    file: String,
}

/// Does it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    crate::configuration::read(&args.file)?;
    Err(Failure::new("not part of this build"))
}
