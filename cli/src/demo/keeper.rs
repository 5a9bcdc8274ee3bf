//! The process the user started: makes the namespaces' first process and outlives it.

use super::{Args, rights};
use crate::failure::Failure;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

/// Time for everything but the mass transfer, which normally takes two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the story in namespaces of its own and waits for its end.
pub(super) fn keep(args: &Args) -> Result<ExitCode, Failure> {
    rights::check_tun()?;
    let (mut wake, interrupted) =
        watch_signals().map_err(|error| Failure::new(format!("cannot watch for signals: {error}")))?;
    enter()?;
    let mut child = start().map_err(|error| Failure::new(format!("cannot start this program again: {error}")))?;
    let end = wait(&mut child, &mut wake, &interrupted, PATIENCE + Duration::from_secs(args.seconds));
    if !matches!(end, End::Ended(_)) {
        // Its end is the end of every process inside, and `wait` returns after the last one of them.
        let _ = child.kill();
        let _ = child.wait();
    }
    match end {
        End::Ended(status) => {
            Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
        }
        End::Interrupted => {
            eprintln!("Interrupted; everything is cleaned up.");
            Ok(ExitCode::from(130))
        }
        End::TooLate => {
            Err(Failure::new("the demo did not come to its end in time and was stopped; all is cleaned up")
                .help("on a very slow machine, try again with fewer --bytes"))
        }
        End::Lost(error) => Err(Failure::new(format!("lost sight of the demo, which was stopped: {error}"))),
    }
}

enum End {
    Ended(ExitStatus),
    Interrupted,
    TooLate,
    Lost(io::Error),
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
fn enter() -> Result<(), Failure> {
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
fn start() -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    // In a process group of its own, so that Ctrl-C comes to us alone.
    command.arg0("kerntun").args(std::env::args_os().skip(1)).arg("--inside").process_group(0);
    command.spawn()
}
