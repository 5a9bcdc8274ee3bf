//! The process the user started: makes the namespaces' first process and outlives it.

use crate::rights;
use crate::trouble::Trouble;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

/// Added to the arguments of the process inside.
pub const INSIDE: &str = "--inside";

/// How the process inside came to its end.
#[derive(Debug)]
pub enum End {
    /// By itself.
    Ended(ExitStatus),
    /// By Ctrl-C or another signal to this process.
    Interrupted,
    /// It was stopped because it took too long.
    TooLate,
    /// It was stopped because it could not be watched.
    Lost(io::Error),
}

/// Starts this program again with the same arguments and [`INSIDE`] as the first process of a new process namespace, under
/// the name `name`, and waits for its end, at most for `patience`. When this returns, every process inside has ended.
///
/// # Errors
/// When namespaces or processes cannot be had.
pub fn keep(name: &str, patience: Duration) -> Result<End, Trouble> {
    rights::check_tun()?;
    let (mut wake, interrupted) =
        watch_signals().map_err(|error| Trouble::new(format!("cannot watch for signals: {error}")))?;
    enter()?;
    let mut child = start(name).map_err(|error| Trouble::new(format!("cannot start this program again: {error}")))?;
    let end = wait(&mut child, &mut wake, &interrupted, patience);
    if !matches!(end, End::Ended(_)) {
        // Its end is the end of every process inside, and `wait` returns after the last one of them.
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok(end)
}

fn wait(child: &mut Child, wake: &mut UnixStream, interrupted: &AtomicBool, patience: Duration) -> End {
    let begin = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return End::Ended(status),
            Ok(None) => {}
            Err(error) => return End::Lost(error),
        }
        if interrupted.load(Ordering::Relaxed) {
            return End::Interrupted;
        }
        let Some(left) = patience.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) else {
            return End::TooLate;
        };
        // Every signal we heed, the end of the child among them, writes a byte.
        let slept = wake.set_read_timeout(Some(left)).and_then(|()| wake.read(&mut [0; 16]));
        match slept {
            Err(error) if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
                return End::Lost(error);
            }
            _ => {}
        }
    }
}

fn watch_signals() -> io::Result<(UnixStream, Arc<AtomicBool>)> {
    let (wake, signals) = UnixStream::pair()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // First the flag, then the byte: whoever sees the byte sees the flag.
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        pipe::register(signal, signals.try_clone()?)?;
    }
    pipe::register(SIGCHLD, signals)?;
    Ok((wake, interrupted))
}

/// Makes a process namespace for the children of this process; without the right to, a user namespace first, in which
/// we are root.
fn enter() -> Result<(), Trouble> {
    match unshare(CloneFlags::CLONE_NEWPID) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(error) => return Err(rights::explain("make a process namespace", error)),
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
        .map_err(|error| rights::explain("make a user namespace", error))?;
    // An ordinary user may map himself and nobody else, and must give up setgroups(2) first (user_namespaces(7)).
    let map = |file: &str, text: &str| {
        fs::write(format!("/proc/self/{file}"), text).map_err(|error| {
            let number = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
            rights::explain("become root in a user namespace", number)
        })
    };
    map("setgroups", "deny")?;
    map("uid_map", &format!("0 {user} 1"))?;
    map("gid_map", &format!("0 {group} 1"))
}

/// Runs this program again as the first process of the new process namespace.
fn start(name: &str) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    // In a process group of its own, so that Ctrl-C comes to us alone.
    command.arg0(name).args(std::env::args_os().skip(1)).arg(INSIDE).process_group(0);
    command.spawn()
}
