//! What the machine has to have, and saying so where it has not.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};

/// Whether the test called `test` can run: as root, with `/dev/net/tun`, and with the programs it needs (`ip` and `wg` besides
/// `programs`). If not, says why.
#[must_use]
pub fn met(test: &str, programs: &[&str]) -> bool {
    match missing(programs) {
        None => true,
        Some(reason) => {
            // Not through `println!`, which the test harness swallows.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
            false
        }
    }
}

/// Whether a program can be run.
#[must_use]
pub fn is_there(program: &str) -> bool {
    // All programs know this, and those that do not end all the same.
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

fn missing(programs: &[&str]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root, for network namespaces".to_owned());
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        return Some(format!("needs /dev/net/tun: {error}"));
    }
    let absent = ["ip", "wg"].iter().chain(programs).find(|program| !is_there(program))?;
    Some(format!("needs the program '{absent}'"))
}
