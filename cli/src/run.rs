//! `kerntun run`, `kerntun IFNAME`, `kerntun -f IFNAME`: being the daemon.

use crate::args::COMMANDS;
use crate::failure::Failure;
use crate::say::say;
use kerntun_config::InterfaceName;
use kerntun_daemon::{Mode, Options};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::env;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `kerntun run` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends on Ctrl-C, SIGTERM, or when the interface is deleted, and leaves nothing behind.

Environment:
  LOG_LEVEL                verbose, info, error or silent [info]
  WG_TUN_FD                number of an open TUN queue to use instead of making one
  WG_UAPI_FD               number of a listening configuration socket to use instead of making one
  KERNTUN_WORKERS          number of data workers [one per processor, at most 8]
  KERNTUN_OFFLOAD          off: no segmentation offloads, in case a device lies about them
  KERNTUN_STAMP_FILE       where to remember the greatest timestamp sent, in case the clock is set back
                           [/var/lib/kerntun/INTERFACE.stamp]; empty for nowhere
  KERNTUN_REQUIRE_SANDBOX  1: as --require-sandbox")]
pub(crate) struct Args {
    /// The interface to make and serve
    pub(crate) interface: String,

    /// Refuse to serve where a layer of the sandbox is missing
    #[arg(long)]
    pub(crate) require_sandbox: bool,
}

/// Where the daemon remembers the greatest timestamp it sent, so that a clock that was set back does not lock it out.
const STAMPS: &str = "/var/lib/kerntun";

/// `kerntun run`: serves an interface in the foreground until it is told to end.
///
/// # Errors
/// See [`serve`].
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    serve(&args.interface, true, args.require_sandbox)
}

/// `kerntun [-f] IFNAME`: what wireguard-go does when called so.
///
/// # Errors
/// When the name is none, or the daemon cannot start.
pub(crate) fn serve(interface: &str, foreground: bool, require_sandbox: bool) -> Result<ExitCode, Failure> {
    let interface = InterfaceName::new(interface).map_err(|error| {
        Failure::usage(format!("'{}' is neither a command nor an interface: {error}", interface.escape_debug()))
            .help("see 'kerntun --help' for the commands")
    })?;
    let mode = if foreground { Mode::Foreground } else { Mode::Background };
    let fail = |error: kerntun_daemon::Error| Failure::new(error.to_string());
    let mut options = Options::from_environment(interface.as_str(), mode).map_err(fail)?;
    options.require_sandbox |= require_sandbox;
    if env::var_os("KERNTUN_STAMP_FILE").is_none() {
        options.stamp_file = stamp_file(interface.as_str());
    }
    kerntun_daemon::run(options).map_err(fail)?;
    if let Some(command) = meant(interface.as_str()).filter(|_| !foreground) {
        say!("note: this serves an interface called '{interface}'. If you meant the command '{command}':");
        say!("      ip link delete {interface}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The file for an interface's greatest timestamp; `None` for who may not have one, and where there is no place for it. What else is
/// wrong with it the daemon says when it opens the file.
fn stamp_file(interface: &str) -> Option<PathBuf> {
    let directory = Path::new(STAMPS);
    match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => {
            say!(
                "warning: there is no {STAMPS} to remember timestamps in ({error}): if the clock is set back later, peers do not \
                 answer until it has caught up"
            );
            return None;
        }
        Ok(()) => {}
    }
    let is_forbidden = matches!(access(directory, AccessFlags::W_OK), Err(Errno::EACCES | Errno::EPERM));
    (!is_forbidden).then(|| directory.join(format!("{interface}.stamp")))
}

/// The command that a mistyped one was perhaps meant to be. As with wireguard-go, any word is an interface's name.
fn meant(word: &str) -> Option<&'static str> {
    COMMANDS.into_iter().find(|command| command.len() > 3 && distance(command, word) <= 2)
}

/// How many letters must be put in, taken out or changed to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, a) in one.bytes().enumerate() {
        let mut left = above + 1;
        let mut next = vec![left];
        for (pair, b) in row.windows(2).zip(other.bytes()) {
            let &[diagonal, up] = pair else { continue };
            left = (diagonal + usize::from(a != b)).min(up + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("show", "shwo", 2), ("check", "chek", 1)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn mistyped_commands() {
        assert_eq!(meant("shwo"), Some("show"));
        assert_eq!(meant("dwn"), Some("down"));
        for interface in ["wg0", "tun0", "office", "vpn", "w"] {
            assert_eq!(meant(interface), None, "{interface}");
        }
    }
}
