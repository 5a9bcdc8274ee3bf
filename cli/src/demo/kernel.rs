//! `kerntun demo --kernel`: the kernel module in a virtual machine. The laboratory beside the module's sources does it; this finds it.

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::say::say;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::thread::sleep;
use std::time::Duration;

/// The laboratory's program, from the top of the project's sources.
const DEMO: &str = "kernel/lab/demo";

/// Its exit status when something is missing on this machine, which it has said.
const MISSING: i32 = 77;

/// Longest time for which an interrupt or the end goes unnoticed.
const PAUSE: Duration = Duration::from_millis(50);

/// Boots a kernel of the series and shows the module in it: this one, or one built from the sources.
///
/// # Errors
/// When the sources are not found or their program cannot be started. What fails in it is said by it.
pub(super) fn show(series: &str, module: Option<&Path>) -> Result<ExitCode, Failure> {
    let program = env::current_exe().ok();
    let places = [env::current_dir().ok(), program.clone()];
    let demo = places.iter().flatten().find_map(|place| find(place)).ok_or_else(|| {
        Failure::new("the sources of the kernel module are neither here nor where this program was built")
            .help("run it in a working copy of the project, which has a folder 'kernel'")
    })?;
    let mut command = Command::new("bash");
    command.arg(&demo).args(module.iter().flat_map(|module| [Path::new("--module"), module])).arg(series);
    if let Some(program) = program {
        command.env("KERNTUN", program);
    }
    let interrupt = Interrupt::install()?;
    let status = wait_for(command.env("LAB_SKIPS_AS", "error"), &interrupt);
    let status =
        status.map_err(|error| Failure::new(format!("'bash {}' cannot be started: {error}", demo.display())))?;
    if interrupt.check().is_err() {
        say!("Interrupted; nothing of it runs any more. What was fetched and built stays for the next time.");
        return Ok(ExitCode::from(130));
    }
    match status.code() {
        Some(0) => Ok(ExitCode::SUCCESS),
        Some(MISSING) => {
            say!("help: see to that first; kernel/lab/README.md says what the demo needs");
            Ok(ExitCode::FAILURE)
        }
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Runs a command in a process group of its own, so that an interrupt ends all that it has started, and waits for its end in any case.
fn wait_for(command: &mut Command, interrupt: &Interrupt) -> io::Result<ExitStatus> {
    let mut child = command.process_group(0).spawn()?;
    let group = i32::try_from(child.id()).ok().map(Pid::from_raw);
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if !told && interrupt.check().is_err() {
            told = true;
            // It may have come to its end by itself meanwhile.
            let _ = group.map(|group| killpg(group, Signal::SIGTERM));
        }
        sleep(PAUSE);
    }
}

/// The laboratory's program in a folder above a place.
fn find(place: &Path) -> Option<PathBuf> {
    place.ancestors().map(|folder| folder.join(DEMO)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_from_within_the_sources_and_nowhere_else() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(find(&sources.join("src/demo")), Some(sources.parent().unwrap().join(DEMO)));
        assert_eq!(find(Path::new("/usr/bin")), None);
    }

    #[test]
    fn an_interrupt_ends_all_that_was_started_and_waits_for_the_cleaning_up() {
        let folder = env::temp_dir().join(format!("kerntun-demo-test-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let place = |name: &str| folder.join(name);
        // A program in the background and one in front, as the laboratory has them, and something to put away at the end.
        let script = r#"touch mess; trap 'rm mess; exit 130' INT TERM; sleep 1000 & echo $! >behind; bash -c 'echo $$ >before; exec sleep 1000'"#;
        let interrupt = Interrupt::default();
        let status = std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                wait_for(Command::new("bash").args(["-c", script]).current_dir(&folder), &interrupt).unwrap()
            });
            let written = |name| std::fs::read_to_string(place(name)).is_ok_and(|text| text.ends_with('\n'));
            while !(written("behind") && written("before")) {
                sleep(PAUSE);
            }
            interrupt.remember();
            run.join().unwrap()
        });
        assert_eq!(status.code(), Some(130));
        assert!(!place("mess").exists());
        for name in ["behind", "before"] {
            let id = std::fs::read_to_string(place(name)).unwrap();
            let state = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
            assert!(state.is_empty() || state.contains(") Z "), "{name} still runs: {state}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
