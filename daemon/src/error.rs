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
    /// Another process of the daemon's ended, and this is what it said.
    Other(String),
    /// The process that served was killed.
    Killed {
        /// By which signal.
        signal: i32,
    },
    /// The sandbox is required to be whole, and is not.
    Sandbox {
        /// Its missing layers, each with the reason.
        missing: String,
    },
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
            Self::Other(said) => f.write_str(said),
            Self::Killed { signal: libc::SIGSYS } => f.write_str(
                "the server was killed by the system because it made a system call that it never makes: it may have been taken \
                 over by an attacker, or this is a fault of kerntun. Please report it",
            ),
            Self::Killed { signal } => {
                write!(f, "the server was killed by signal {signal}; the interface and its socket are gone")
            }
            Self::Sandbox { missing } => {
                write!(f, "the sandbox is required and not whole, so nothing is served: {missing}")
            }
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
            Self::Environment { .. } | Self::Other(_) | Self::Killed { .. } | Self::Sandbox { .. } => None,
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
