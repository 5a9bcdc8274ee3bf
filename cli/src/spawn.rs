//! Running other programs, visibly.

use crate::failure::Failure;
use crate::say::say;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

/// Runs a program to its end and shows that on standard error as wg-quick(8) does. What it prints goes to standard
/// error too, as ours is for results.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<(), Failure> {
    let shown = std::iter::once(program).chain(arguments.iter().copied()).collect::<Vec<_>>().join(" ");
    say!("[#] {shown}");
    let mut command = command(program);
    command.args(arguments).stdout(heard(io::stderr()).unwrap_or_else(Stdio::null));
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let fail = |error: io::Error| Failure::new(format!("'{program}' cannot be run: {error}"));
    let mut child = command.spawn().map_err(fail)?;
    let mut written = Ok(());
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        written = pipe.write_all(text.as_bytes());
    }
    let status = child.wait().map_err(fail)?;
    succeeded(&shown, status)?;
    match written {
        // It has not read everything, and knows whether it needs to.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(fail),
    }
}

/// What a program prints to standard output, whatever it returns; none when it cannot be run. Not shown: for looking
/// only.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = command(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program to be run, in English, with our search path, which is also where it is looked for.
pub(crate) fn command(program: &str) -> Command {
    let path = search_path(env::var_os("PATH"));
    let file = find(program, &path).unwrap_or_else(|| program.into());
    prepare(file, program, &path)
}

/// As [`command`], if there is such a program.
pub(crate) fn installed(program: &str) -> Option<Command> {
    let path = search_path(env::var_os("PATH"));
    Some(prepare(find(program, &path)?, program, &path))
}

fn prepare(file: PathBuf, program: &str, path: &OsStr) -> Command {
    let mut command = Command::new(file);
    command.arg0(program).env("PATH", path).env("LC_ALL", "C");
    if heard(io::stdout()).is_none() {
        command.stdout(Stdio::null());
    }
    if heard(io::stderr()).is_none() {
        command.stderr(Stdio::null());
    }
    command
}

/// Where we print to, for another program: none where nobody reads it any more. That we can live with, but others end at the first
/// word that they print to such a pipe, with half of their work done.
fn heard<T: AsFd + Into<Stdio>>(output: T) -> Option<Stdio> {
    let mut state = [PollFd::new(output.as_fd(), PollFlags::empty())];
    let asked = poll(&mut state, PollTimeout::ZERO);
    // Of nothing that one can ask for: only what is always told, which is that the other end is gone.
    let gone = asked.is_ok_and(|count| count > 0);
    (!gone).then(|| output.into())
}

/// Whether there is a program of this name.
pub(crate) fn exists(program: &str) -> bool {
    find(program, &search_path(env::var_os("PATH"))).is_some()
}

/// `PATH`, and where programs of the administrator are in any case: cron and others leave that out. Nothing between two colons is
/// not the working directory, as it is to shells.
fn search_path(path: Option<OsString>) -> OsString {
    let path = path.unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut directories: Vec<PathBuf> = env::split_paths(&path).filter(|one| !one.as_os_str().is_empty()).collect();
    for directory in ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    // What was split can be joined.
    env::join_paths(directories).unwrap_or(path)
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|directory| directory.join(program)).find(is_executable)
}

/// Turns the way a program ended into a sentence.
///
/// # Errors
/// Unless it ended with 0.
pub(crate) fn succeeded(shown: &str, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(match status.code() {
        Some(code) => format!("'{shown}' failed with exit code {code}"),
        None => format!("'{shown}' was ended by a signal ({status})"),
    }))
}

fn is_executable(file: &PathBuf) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_programs_are() {
        let path = |text: &str| search_path(Some(text.into())).into_string().unwrap();
        assert_eq!(path("/usr/bin:/bin"), "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
        assert_eq!(path(""), "/usr/local/sbin:/usr/sbin:/sbin");
        assert_eq!(search_path(None), "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
        assert_eq!(path("/sbin:/usr/sbin:/usr/local/sbin:/opt"), "/sbin:/usr/sbin:/usr/local/sbin:/opt");
    }

    #[test]
    fn how_programs_end() {
        assert_eq!(run("true", &[], None), Ok(()));
        let failure = run("sh", &["-c", "exit 7"], None).unwrap_err().to_string();
        assert_eq!(failure, "error: 'sh -c exit 7' failed with exit code 7");
        assert!(run("sh", &["-c", "kill -9 $$"], None).unwrap_err().to_string().contains("signal"));
        assert!(run("/nonexistent/program", &[], None).unwrap_err().to_string().contains("cannot be run"));
        assert_eq!(run("sh", &["-c", "read line; test \"$line\" = hello"], Some("hello\n")), Ok(()));
        assert!(exists("sh") && !exists("no-such-program-anywhere"));
        // More than a pipe holds, and nobody who reads it.
        let much = "x".repeat(1 << 20);
        assert_eq!(run("true", &[], Some(&much)), Ok(()));
        assert!(run("false", &[], Some(&much)).unwrap_err().to_string().contains("exit code 1"));
    }
}
