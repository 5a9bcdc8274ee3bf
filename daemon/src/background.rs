//! The background mode: this program again, detached, with the interface and the socket in its hands.
//!
//! As in wireguard-go: the first process makes both, so that what goes wrong is said where a person sees it, and
//! starts itself with `WG_TUN_FD`, `WG_UAPI_FD` and `WG_PROCESS_FOREGROUND=1`. Unlike there it then waits until the second one
//! is ready, so that a failure of that one is its own. `wg` works as soon as it returns.

use crate::error::{Error, system};
use crate::opening::Opened;
use crate::options::{LogLevel, Options, QUEUE_FDS, READY_FD};
use kerntun_linux::take_inherited;
use rustix::io::{FdFlags, fcntl_setfd};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// What the second process says when it serves.
const READY: &[u8] = b"ready";

/// Makes the interface and its socket, and starts the process that serves them.
pub(crate) fn start(options: &Options) -> Result<(), Error> {
    let opened = Opened::open(options)?;
    let program = std::env::current_exe().map_err(system("find this program to start it again"))?;
    let (mut ours, theirs) = UnixStream::pair().map_err(system("make a socket pair"))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).current_dir("/").stdin(Stdio::null());
    command.env("WG_PROCESS_FOREGROUND", "1");
    let (first, others) = opened.tun.queues.split_first().ok_or_else(no_queue)?;
    hand_over(&mut command, "WG_TUN_FD", std::slice::from_ref(first))?;
    hand_over(&mut command, QUEUE_FDS, others)?;
    hand_over(&mut command, "WG_UAPI_FD", std::slice::from_ref(&opened.socket))?;
    hand_over(&mut command, READY_FD, std::slice::from_ref(&theirs))?;
    // As in wireguard-go: whoever asked for a log gets it; whoever did not is not kept waiting for the end of our output.
    let wants_log = std::env::var_os("LOG_LEVEL").is_some() && options.log != LogLevel::Silent;
    if !wants_log {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let mut child = command.spawn().map_err(system("start this program again"))?;
    drop(theirs);
    let mut said = Vec::new();
    // An error here is as good as silence.
    let _ = ours.read_to_end(&mut said);
    if said == READY {
        // The file belongs to the other process now; here it must not be removed.
        std::mem::forget(opened.socket);
        return Ok(());
    }
    let _ = child.wait();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let silence = || "the background process ended without a word: run it in the foreground to see why".to_owned();
    Err(Error::Background(if said.is_empty() { silence() } else { said }))
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

    /// Tells the first process how it went.
    pub(crate) fn tell<T>(&mut self, result: &Result<T, Error>) {
        let Some(mut stream) = self.0.take() else { return };
        // If nobody listens any more, nobody wants to know.
        let _ = match result {
            Ok(_) => stream.write_all(READY),
            Err(error) => stream.write_all(error.to_string().as_bytes()),
        };
    }
}

/// Leaves descriptors open for the new process and tells it their numbers.
fn hand_over<T: AsFd>(command: &mut Command, variable: &str, descriptors: &[T]) -> Result<(), Error> {
    let mut numbers = Vec::new();
    for descriptor in descriptors {
        fcntl_setfd(descriptor, FdFlags::empty()).map_err(system("hand a descriptor over"))?;
        numbers.push(descriptor.as_fd().as_raw_fd().to_string());
    }
    if !numbers.is_empty() {
        command.env(variable, OsString::from(numbers.join(",")));
    }
    Ok(())
}

fn no_queue() -> Error {
    Error::System { doing: "make the TUN device", error: io::ErrorKind::NotFound.into() }
}
