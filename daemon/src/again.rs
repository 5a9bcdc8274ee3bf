//! This program, started again: with the same arguments, and with descriptors by number in its environment.

use crate::error::{Error, system};
use rustix::io::{FdFlags, fcntl_setfd};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program file that runs, also when another one has taken its name.
const THIS: &str = "/proc/self/exe";

/// The command for it.
pub(crate) fn command() -> Command {
    let mut command = Command::new(THIS);
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Leaves descriptors open for the new process and tells it their numbers.
pub(crate) fn hand_over<T: AsFd>(command: &mut Command, variable: &str, descriptors: &[T]) -> Result<(), Error> {
    let mut numbers = Vec::new();
    for descriptor in descriptors {
        fcntl_setfd(descriptor, FdFlags::empty()).map_err(system("hand a descriptor over"))?;
        numbers.push(descriptor.as_fd().as_raw_fd().to_string());
    }
    if numbers.is_empty() {
        command.env_remove(variable);
    } else {
        command.env(variable, OsString::from(numbers.join(",")));
    }
    Ok(())
}

/// In the new process: puts its real name into lists of processes, where otherwise that of [`THIS`] would stand.
pub(crate) fn take_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().as_encoded_bytes();
    if let Ok(name) = CString::new(name.get(..name.len().min(15)).unwrap_or_default()) {
        // Without it all works as well.
        let _ = rustix::thread::set_name(&name);
    }
}
