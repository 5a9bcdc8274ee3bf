//! The daemon as a process: real interfaces, real sockets, network namespaces of its own.
//!
//! Needs root; otherwise every test says so and passes. The daemon is this very program, started with [`SERVE`] in its
//! environment.

mod endings;
mod guard;
mod lab;
mod memory;
mod settings;
mod tunnel;

use kerntun_daemon::{Mode, Options};

/// Name of the interface to serve instead of testing.
pub(crate) const SERVE: &str = "KTD_SERVE";
/// Set for the background mode.
pub(crate) const BACKGROUND: &str = "KTD_BACKGROUND";

/// Another directory for the configuration socket.
pub(crate) const SOCKETS: &str = "KTD_SOCKETS";

/// No test: what the daemon's processes run.
#[test]
fn serve() {
    let Ok(interface) = std::env::var(SERVE) else { return };
    memory::watch();
    let mode = if std::env::var_os(BACKGROUND).is_some() { Mode::Background } else { Mode::Foreground };
    let result = Options::from_environment(&interface, mode).and_then(|mut options| {
        if let Some(directory) = std::env::var_os(SOCKETS) {
            options.socket_directory = directory.into();
        }
        kerntun_daemon::run(options)
    });
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("kerntun: {error}");
            1
        }
    };
    std::process::exit(code);
}
