//! Names of interfaces, and which file a name stands for.

use core::fmt;
use core::str::FromStr;
use std::path::{Path, PathBuf};

/// Longest name of a network interface (`IFNAMSIZ` of the kernel is 16 with the final zero).
pub const INTERFACE_NAME_MAX: usize = 15;

/// Where wg-quick keeps its configurations.
pub const CONFIG_DIR: &str = "/etc/wireguard";

/// The name of a network interface as wg-quick allows it: 1 to 15 characters out of letters, digits and `_=+.-`, and not
/// `.` or `..`, which the kernel refuses (`dev_valid_name`). Unlike there it does not begin with `-`: `resolvectl dns --help ADDRESS` sets
/// no name server, and calls that a success.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(Box<str>);

impl InterfaceName {
    /// Takes a valid name.
    ///
    /// # Errors
    /// [`NameError`] says which rule the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if let Some((index, character)) = name.chars().enumerate().find(|(_, c)| !is_name_character(*c)) {
            return Err(NameError::Character { character, position: index + 1 });
        }
        match name {
            "" => Err(NameError::Empty),
            "." | ".." => Err(NameError::Dots),
            _ if name.starts_with('-') => Err(NameError::Hyphen),
            _ if name.len() > INTERFACE_NAME_MAX => Err(NameError::TooLong { length: name.len() }),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

/// Why a text is no name of an interface. Whoever chose the name is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing there.
    Empty,
    /// More than 15 characters.
    TooLong {
        /// How many characters the name has.
        length: usize,
    },
    /// A character no interface may have in its name.
    Character {
        /// The character.
        character: char,
        /// Its position, counted from 1.
        position: usize,
    },
    /// `.` or `..`.
    Dots,
    /// A `-` at the beginning.
    Hyphen,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("an interface's name needs at least one character"),
            Self::TooLong { length } => {
                write!(f, "this name has {length} characters, an interface's name has at most {INTERFACE_NAME_MAX}")
            }
            Self::Character { character, position } => write!(
                f,
                "character {position} of the name is '{}', but only letters, digits and _ = + . - are allowed",
                character.escape_debug()
            ),
            Self::Dots => f.write_str("'.' and '..' are directories and cannot name an interface"),
            Self::Hyphen => {
                f.write_str("a name that begins with '-' is taken for an option by programs that are told of it")
            }
        }
    }
}

impl core::error::Error for NameError {}

/// A configuration file and the interface it configures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPath {
    /// The file.
    pub path: PathBuf,
    /// The interface: the file's name without `.conf`.
    pub interface: InterfaceName,
}

impl ConfigPath {
    /// Finds the file that `argument` means, by wg-quick's rule: a valid interface name is `/etc/wireguard/NAME.conf`, all
    /// else is a path whose last part must be a valid interface name followed by `.conf`. The disk is not looked at.
    ///
    /// The rule has a trap that is kept, as scripts rely on it: `wg0.conf` without a slash is itself a valid name, and
    /// means `/etc/wireguard/wg0.conf.conf`. When that does not exist, tell the user of `./wg0.conf`: see
    /// [`ConfigPath::meant_instead`].
    ///
    /// # Errors
    /// [`ConfigPathError`] when no interface name can be had from the argument.
    pub fn locate(argument: &str) -> Result<Self, ConfigPathError> {
        match InterfaceName::new(argument) {
            Ok(interface) => Ok(Self { path: Path::new(CONFIG_DIR).join(format!("{interface}.conf")), interface }),
            Err(_) if argument.contains('/') || argument.ends_with(".conf") => {
                let file = argument.rsplit('/').next().unwrap_or(argument);
                let stem = file.strip_suffix(".conf").ok_or(ConfigPathError::NoConfSuffix)?;
                let interface = InterfaceName::new(stem).map_err(ConfigPathError::Name)?;
                Ok(Self { path: PathBuf::from(argument), interface })
            }
            Err(cause) => Err(ConfigPathError::Name(cause)),
        }
    }

    /// What the user probably meant when the located file does not exist: `./wg0.conf` for `wg0.conf`.
    pub fn meant_instead(&self) -> Option<PathBuf> {
        let name = self.interface.as_str();
        let in_config_dir = self.path.parent() == Some(Path::new(CONFIG_DIR));
        (in_config_dir && name.ends_with(".conf")).then(|| Path::new(".").join(name))
    }
}

/// Why an argument names no configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigPathError {
    /// A path that does not end in `.conf`.
    NoConfSuffix,
    /// What stands before `.conf` cannot name an interface.
    Name(NameError),
}

impl fmt::Display for ConfigPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConfSuffix => f.write_str(
                "a configuration file must be named after its interface and end in '.conf', as in 'wg0.conf'",
            ),
            Self::Name(cause) => cause.fmt(f),
        }
    }
}

impl core::error::Error for ConfigPathError {}

const fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '=' | '+' | '.' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["wg0", "a", "abcdefghijklmno", "wg_=+.-9"] {
            assert_eq!(InterfaceName::new(good).unwrap().as_str(), good);
        }
        assert_eq!(InterfaceName::new(""), Err(NameError::Empty));
        assert_eq!(InterfaceName::new("abcdefghijklmnop"), Err(NameError::TooLong { length: 16 }));
        assert_eq!(InterfaceName::new(".."), Err(NameError::Dots));
        let error = InterfaceName::new("wg é").unwrap_err();
        assert_eq!(
            error.to_string(),
            "character 3 of the name is ' ', but only letters, digits and _ = + . - are allowed"
        );
        assert!(InterfaceName::new("a\u{1b}[31m").unwrap_err().to_string().contains(r"\u{1b}"));
    }

    #[test]
    fn no_name_looks_like_an_option() {
        for bad in ["-", "-h", "--help"] {
            assert_eq!(InterfaceName::new(bad), Err(NameError::Hyphen), "{bad}");
        }
        assert_eq!(ConfigPath::locate("./-h.conf"), Err(ConfigPathError::Name(NameError::Hyphen)));
        assert!(InterfaceName::new("w-h-").is_ok());
    }

    #[test]
    fn locating() {
        let at = |text: &str| ConfigPath::locate(text).map(|l| (l.path.display().to_string(), l.interface.to_string()));
        let ok = |path: &str, name: &str| Ok((path.to_string(), name.to_string()));
        assert_eq!(at("wg0"), ok("/etc/wireguard/wg0.conf", "wg0"));
        assert_eq!(at("./wg0.conf"), ok("./wg0.conf", "wg0"));
        assert_eq!(at("/tmp/x y/home.conf"), ok("/tmp/x y/home.conf", "home"));
        assert_eq!(at("wg0.conf"), ok("/etc/wireguard/wg0.conf.conf", "wg0.conf"));
        assert_eq!(ConfigPath::locate("wg0.conf").unwrap().meant_instead(), Some("./wg0.conf".into()));
        assert_eq!(ConfigPath::locate("wg0").unwrap().meant_instead(), None);
        assert_eq!(at("abcdefghijklmno.conf"), ok("abcdefghijklmno.conf", "abcdefghijklmno"));
        assert_eq!(at("./wg0.txt"), Err(ConfigPathError::NoConfSuffix));
        assert_eq!(at("/etc/wireguard/"), Err(ConfigPathError::NoConfSuffix));
        assert_eq!(at("./.conf"), Err(ConfigPathError::Name(NameError::Empty)));
        assert!(matches!(at("wg 0"), Err(ConfigPathError::Name(NameError::Character { position: 3, .. }))));
        assert!(matches!(at("/x/abcdefghijklmnop.conf"), Err(ConfigPathError::Name(NameError::TooLong { .. }))));
    }
}
