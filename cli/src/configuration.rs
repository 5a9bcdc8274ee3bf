//! From an argument to a configuration: find the file, read it, judge it, and say what is wrong with it.

use crate::failure::Failure;
use crate::say::say;
use kerntun_config::{Config, ConfigPath, Diagnostic, InterfaceName, Parser, check_permissions, load};
use std::io::ErrorKind;
use std::path::PathBuf;

/// A configuration that can be used.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// Its file.
    pub(crate) path: PathBuf,
    /// The interface it is for, which is the file's name.
    pub(crate) interface: InterfaceName,
    /// What it says.
    pub(crate) config: Config,
}

/// Reads the configuration that `argument` means, a path or the name of an interface. Warnings go to standard error.
///
/// # Errors
/// When there is no such file, it cannot be read, or it has errors, all of which are then shown too.
pub(crate) fn read(argument: &str) -> Result<Configuration, Failure> {
    let judged = judge(argument)?;
    judged.diagnostics.iter().for_each(|diagnostic| say!("{diagnostic}\n"));
    let path = judged.location.path;
    let Some(config) = judged.config else {
        return Err(Failure::new(format!("'{}' cannot be used as it is; nothing was changed", path.display()))
            .help("mend what is shown above"));
    };
    Ok(Configuration { path, interface: judged.location.interface, config })
}

/// A file and the verdict on it.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The file and its interface.
    pub(crate) location: ConfigPath,
    /// What it says, if it has no errors.
    pub(crate) config: Option<Config>,
    /// What could be read of it, if it has errors.
    pub(crate) partial: Option<Config>,
    /// All errors and warnings, that of the file's permissions first.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Reads the configuration that `argument` means and finds all that is wrong with it.
///
/// # Errors
/// When there is no such file or it cannot be read.
pub(crate) fn judge(argument: &str) -> Result<Judged, Failure> {
    let location = ConfigPath::locate(argument)
        .map_err(|error| Failure::usage(format!("'{}' names no configuration: {error}", argument.escape_debug())))?;
    let text = load(&location.path).map_err(|error| {
        let missing = error.cause.kind() == ErrorKind::NotFound;
        let meant = location.meant_instead().filter(|path| missing && path.exists());
        let help = match meant {
            Some(path) => Some(format!("for the file in this directory write '{}'", path.display())),
            None if missing => Some("give the path of a configuration, as in './wg0.conf'".to_owned()),
            None => None,
        };
        Failure::new(error.to_string()).maybe_help(help)
    })?;
    // Whoever could read the file can look at its permissions; if not, there is nothing to warn of.
    let permissions = check_permissions(&location.path).ok().flatten();
    let name = location.path.display().to_string();
    let parsed = Parser::new(&name).public_key_of(&crate::keys::public_key_of).parse(&text);
    let diagnostics = permissions.into_iter().chain(parsed.diagnostics).collect();
    Ok(Judged { location, config: parsed.config, partial: parsed.partial, diagnostics })
}
