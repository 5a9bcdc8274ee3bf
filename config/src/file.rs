//! Reads a configuration file, and tells when too many people can read it.

use crate::diagnostic::{Diagnostic, Severity};
use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest file that is read, in bytes: more than 2^20 peers of ordinary size.
pub const FILE_MAX: u64 = 512 << 20;

/// Reads a configuration file whole. The text holds secrets and is wiped when dropped.
///
/// # Errors
/// [`LoadError`] when the file cannot be read or is larger than [`FILE_MAX`].
pub fn load(path: &Path) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let fail = |cause| LoadError { path: path.to_owned(), cause };
    let read = || -> io::Result<Zeroizing<Vec<u8>>> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // Room for the whole and one more byte: growing would leave copies of secrets behind. A pipe has no length.
        let expected = usize::try_from(metadata.len().min(FILE_MAX)).unwrap_or(0).max(64 << 10);
        let mut text = Zeroizing::new(Vec::with_capacity(expected + 1));
        file.take(FILE_MAX + 1).read_to_end(&mut text)?;
        if text.len() as u64 > FILE_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    };
    read().map_err(fail)
}

/// Why a configuration file could not be read. The message says what to do.
#[derive(Debug)]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.cause.kind() {
            io::ErrorKind::NotFound => write!(f, "the configuration '{path}' does not exist"),
            io::ErrorKind::PermissionDenied => {
                write!(f, "no permission to read '{path}': configurations hold secrets, so this is done as root")
            }
            io::ErrorKind::IsADirectory => write!(f, "'{path}' is a directory, not a configuration"),
            io::ErrorKind::FileTooLarge => write!(f, "'{path}' is larger than 512 MiB and no configuration"),
            _ => write!(f, "cannot read '{path}': {}", self.cause),
        }
    }
}

impl core::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Warns when every user of the machine can get at the file: when both the file and its directory allow others something,
/// which is when wg-quick warns. Links are followed first.
///
/// # Errors
/// What the system says when it cannot look at the file.
pub fn check_permissions(path: &Path) -> io::Result<Option<Diagnostic>> {
    const OTHERS: u32 = 0o007;
    let real = path.canonicalize()?;
    let file = real.metadata()?.permissions().mode();
    let directory = match real.parent() {
        Some(directory) => directory.metadata()?.permissions().mode(),
        None => file,
    };
    let open = file & directory & OTHERS != 0;
    Ok(open.then(|| Diagnostic {
        severity: Severity::Warning,
        message: "this file holds secrets and every user of this machine can get at it".to_owned(),
        file: real.display().to_string(),
        snippet: None,
        help: Some(format!("run: chmod 600 {}", shell_word(&real.display().to_string()))),
    }))
}

/// The text as one word of a shell command.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | '=');
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("kerntun-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn permissions_as_wg_quick_judges_them() {
        let directory = scratch("permissions");
        let file = directory.join("it's.conf");
        fs::write(&file, "").unwrap();
        // File, directory, and whether others get at it: only bits that both have count.
        for (file_mode, directory_mode, warns) in [
            (0o600, 0o755, false),
            (0o644, 0o700, false),
            (0o644, 0o755, true),
            (0o640, 0o755, false),
            (0o642, 0o755, false),
        ] {
            mode(&directory, directory_mode);
            mode(&file, file_mode);
            let found = check_permissions(&file).unwrap();
            assert_eq!(found.is_some(), warns, "{file_mode:o} {directory_mode:o}");
            if let Some(warning) = found {
                let real = file.canonicalize().unwrap().display().to_string();
                assert_eq!(
                    warning.to_string(),
                    format!(
                        "warning: this file holds secrets and every user of this machine can get at it\n  --> {real}\n   = help: run: chmod 600 '{}'",
                        real.replace('\'', r"'\''")
                    )
                );
            }
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn loading() {
        let directory = scratch("loading");
        let file = directory.join("wg0.conf");
        let missing = load(&file).unwrap_err().to_string();
        assert_eq!(missing, format!("the configuration '{}' does not exist", file.display()));
        fs::write(&file, "[Interface]\n").unwrap();
        assert_eq!(load(&file).unwrap().as_slice(), b"[Interface]\n");
        assert!(load(&directory).unwrap_err().to_string().ends_with("is a directory, not a configuration"));
        fs::remove_dir_all(directory).unwrap();
    }
}
