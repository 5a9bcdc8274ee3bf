//! `kerntun run`, `kerntun IFNAME`, `kerntun -f IFNAME`: being the daemon.

use crate::failure::Failure;
use kerntun_config::InterfaceName;
use std::process::ExitCode;

/// What `kerntun run` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The interface to make and serve
    pub(crate) interface: String,
}

/// `kerntun run`: serves an interface in the foreground until it is told to end.
///
/// # Errors
/// See [`serve`].
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    serve(&args.interface, true)
}

/// `kerntun [-f] IFNAME`: what wireguard-go does when called so.
///
/// # Errors
/// When the name is none, or the daemon cannot start.
pub(crate) fn serve(interface: &str, _foreground: bool) -> Result<ExitCode, Failure> {
    let interface = InterfaceName::new(interface).map_err(|error| {
        Failure::usage(format!("'{}' is neither a command nor an interface: {error}", interface.escape_debug()))
            .help("see 'kerntun --help' for the commands")
    })?;
    Err(Failure::new(format!("cannot serve {interface}: the daemon is not part of this build")))
}
