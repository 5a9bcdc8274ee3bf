//! `kerntun demo --kernel`: the kernel module in a virtual machine. The laboratory beside the module's sources does it; this finds it.

use crate::failure::Failure;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The laboratory's program, from the top of the project's sources.
const DEMO: &str = "kernel/lab/demo";

/// Its exit status when something is missing on this machine, which it has said.
const MISSING: i32 = 77;

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
    let status = command.env("LAB_SKIPS_AS", "error").status();
    let status =
        status.map_err(|error| Failure::new(format!("'bash {}' cannot be started: {error}", demo.display())))?;
    match status.code() {
        Some(0) => Ok(ExitCode::SUCCESS),
        Some(MISSING) => {
            eprintln!("help: see to that first; kernel/lab/README.md says what the demo needs");
            Ok(ExitCode::FAILURE)
        }
        Some(130) | None => Ok(ExitCode::from(130)),
        Some(_) => Ok(ExitCode::FAILURE),
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
}
