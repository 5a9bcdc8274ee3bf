//! The background mode: this program again, detached from the terminal.
//!
//! As in wireguard-go, the first process starts itself with `WG_PROCESS_FOREGROUND=1`. Unlike there it then waits until the
//! second one is ready, so that a failure of that one is its own. `wg` works as soon as it returns.

use crate::again;
use crate::error::{Error, system};
use crate::options::{LogLevel, Options, READY_FD};
use kerntun_linux::take_inherited;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

/// What the second process says when it serves.
const READY: &[u8] = b"ready";

/// Starts the process that keeps the interface, and waits until that serves.
pub(crate) fn start(options: &Options) -> Result<(), Error> {
    let (mut ours, theirs) = UnixStream::pair().map_err(system("make a socket pair"))?;
    let mut command = again::command();
    command.current_dir("/").env("WG_PROCESS_FOREGROUND", "1");
    again::hand_over(&mut command, READY_FD, std::slice::from_ref(&theirs))?;
    // As in wireguard-go: whoever asked for a log gets it; whoever did not is not kept waiting for the end of our output.
    let wants_log = std::env::var_os("LOG_LEVEL").is_some() && options.log != LogLevel::Silent;
    if !wants_log {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let mut child = command.spawn().map_err(system("start this program again (is /proc mounted?)"))?;
    drop(theirs);
    let mut said = Vec::new();
    // An error here is as good as silence.
    let _ = ours.read_to_end(&mut said);
    if said == READY {
        return Ok(());
    }
    let _ = child.wait();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let silence = || "the background process ended without a word: run it in the foreground to see why".to_owned();
    Err(Error::Other(if said.is_empty() { silence() } else { said }))
}

/// The other end of the socket pair, in the second process.
pub(crate) struct Ready(Option<UnixStream>);

impl Ready {
    /// Takes it over, if there is one, and leaves the terminal's session.
    pub(crate) fn take(options: &Options) -> Result<Self, Error> {
        let Some(fd) = options.ready_fd else { return Ok(Self(None)) };
        let stream = take_inherited(fd).map_err(system("take over the pipe to the starting process"))?;
        // Fails only for the leader of a process group, whom nothing can detach but nothing needs to.
        let _ = rustix::process::setsid();
        Ok(Self(Some(UnixStream::from(stream))))
    }

    /// Tells the first process how it went; only the first call does.
    pub(crate) fn tell(&mut self, result: Result<(), &Error>) {
        let Some(mut stream) = self.0.take() else { return };
        // If nobody listens any more, nobody wants to know.
        let _ = match result {
            Ok(()) => stream.write_all(READY),
            Err(error) => stream.write_all(error.to_string().as_bytes()),
        };
    }
}
