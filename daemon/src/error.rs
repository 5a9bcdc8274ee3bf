//! Why an interface cannot be served, in sentences for the person who wanted it.

use kerntun_engine::config::ConfigError;
use kerntun_linux::TunError;
use std::path::PathBuf;
use std::{fmt, io};

/// Why the daemon did not start, or ended badly.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An environment variable has a value that cannot be. Whoever set it has to change it.
    Environment {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The interface's name cannot be one.
    Name(kerntun_uapi::NameError),
    /// There is no TUN device.
    Tun(TunError),
    /// There is no configuration socket.
    Socket(kerntun_uapi::BindError),
    /// The engine cannot be made.
    Engine(ConfigError),
    /// The file of the greatest timestamp cannot be used.
    StampFile {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The process in the background ended before it was ready, and this is what it said.
    Background(String),
    /// The operating system refused something it refuses only when it is out of resources or broken.
    System {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { name, value } => {
                write!(
                    f,
                    "the environment variable {name} is '{}', which is no number that can be used: unset or correct it",
                    value.escape_debug()
                )
            }
            Self::Name(error) => error.fmt(f),
            Self::Tun(error) => error.fmt(f),
            Self::Socket(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::StampFile { path, error } => {
                write!(f, "the file for the greatest timestamp sent, {}, cannot be used: {error}", path.display())
            }
            Self::Background(said) => f.write_str(said),
            Self::System { doing, error } => write!(f, "cannot {doing}: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            Self::Tun(error) => Some(error),
            Self::Socket(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::StampFile { error, .. } | Self::System { error, .. } => Some(error),
            Self::Environment { .. } | Self::Background(_) => None,
        }
    }
}

impl From<TunError> for Error {
    fn from(error: TunError) -> Self {
        Self::Tun(error)
    }
}

impl From<kerntun_uapi::BindError> for Error {
    fn from(error: kerntun_uapi::BindError) -> Self {
        Self::Socket(error)
    }
}

/// Makes an operating system's error one of ours.
pub(crate) fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::System { doing, error: error.into() }
}
