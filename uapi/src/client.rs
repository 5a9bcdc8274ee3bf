//! The client: asks a running daemon.

use crate::SOCKET_DIRECTORY;
use crate::answer::{AnswerError, AnswerParser, Collect, Diagnostics};
use crate::change::SetRequest;
use crate::errno::Errno;
use crate::name::InterfaceName;
use crate::server::{connect, knock};
use crate::state::{DeviceState, DiagnosticEntry};
use nix::errno::Errno as OsErrno;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// How long a daemon may be silent before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the reason stands that a daemon does not give.
const WHY: &str = "why, its log says, which it has when it is started with LOG_LEVEL=info";

/// Talks to the daemon of one interface. Each call makes its own connection: some daemons lose their place after an
/// error.
#[derive(Debug, Clone)]
pub struct Client {
    name: InterfaceName,
    path: PathBuf,
}

/// Why a daemon could not be asked, or what it answered. The text says what to do.
#[derive(Debug)]
pub enum ClientError {
    /// There is no socket for the interface: the name is wrong, no daemon runs for it, or the kernel serves it.
    NoSuchInterface {
        /// Which interface.
        name: InterfaceName,
        /// Where the socket was expected.
        path: PathBuf,
    },
    /// The caller may not use the socket.
    PermissionDenied {
        /// Which interface.
        name: InterfaceName,
        /// The socket.
        path: PathBuf,
    },
    /// The socket is there but nobody listens: the daemon died without cleaning up.
    DaemonGone {
        /// Which interface.
        name: InterfaceName,
        /// The socket left behind.
        path: PathBuf,
    },
    /// The daemon answered with an error: the request was wrong, or it could not do it.
    Refused {
        /// Which interface.
        name: InterfaceName,
        /// What it answered.
        errno: Errno,
    },
    /// The daemon closed the connection before its answer was complete.
    HungUp {
        /// Which interface.
        name: InterfaceName,
        /// Whether nothing at all had arrived.
        unanswered: bool,
    },
    /// The answer does not follow the protocol: a bug in the daemon.
    BadAnswer {
        /// Which interface.
        name: InterfaceName,
        /// Where and what.
        error: AnswerError,
    },
    /// The daemon is silent: it hangs, or is stopped.
    TimedOut {
        /// Which interface.
        name: InterfaceName,
    },
    /// Any other failure of the operating system.
    Io {
        /// Which interface.
        name: InterfaceName,
        /// What it said.
        error: io::Error,
    },
}

impl Client {
    /// For the interface's socket in the standard directory. Nothing is opened yet.
    #[must_use]
    pub fn new(name: InterfaceName) -> Self {
        Self::in_directory(Path::new(SOCKET_DIRECTORY), name)
    }

    /// As [`Self::new`], with the sockets in another directory.
    #[must_use]
    pub fn in_directory(directory: &Path, name: InterfaceName) -> Self {
        let path = directory.join(name.socket_file());
        Self { name, path }
    }

    /// The whole state, the private key included.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get(&self) -> Result<DeviceState, ClientError> {
        self.ask(|out| out.write_all(b"get=1\n\n"))
    }

    /// Makes changes.
    ///
    /// # Errors
    /// See [`ClientError`]. After [`ClientError::Refused`], a kerntun daemon is unchanged; others may have applied a part.
    pub fn set(&self, request: &SetRequest) -> Result<(), ClientError> {
        self.ask(|out| request.write_to(out))
    }

    /// Counters, deadlines and so on; `None` if the daemon does not know this request (it is not kerntun).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn diagnostics(&self) -> Result<Option<Vec<DiagnosticEntry>>, ClientError> {
        match self.ask::<Diagnostics>(|out| out.write_all(b"get_diagnostics=1\n\n")) {
            Ok(diagnostics) => Ok(Some(diagnostics.entries)),
            Err(ClientError::Refused { .. } | ClientError::HungUp { unanswered: true, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask<C: Collect>(&self, send: impl Fn(&mut dyn Write) -> io::Result<()>) -> Result<C, ClientError> {
        let mut stream = connect(&self.path, PATIENCE).map_err(|error| self.explain(error))?;
        let sent = send(&mut stream);
        // A daemon that refuses early closes its end while we still write: its answer is then more telling than EPIPE.
        match (sent, self.receive(&mut stream)) {
            (Err(error), Err(_)) if error.kind() != ErrorKind::BrokenPipe => Err(self.explain(error)),
            (_, result) => result,
        }
    }

    fn receive<C: Collect>(&self, stream: &mut UnixStream) -> Result<C, ClientError> {
        let name = self.name.clone();
        let mut parser = AnswerParser::<C>::default();
        let mut buffer = Zeroizing::new([0; 16 * 1024]);
        loop {
            let count = match stream.read(buffer.as_mut_slice()) {
                Ok(0) => return Err(ClientError::HungUp { name, unanswered: parser.is_empty() }),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(ClientError::HungUp { name, unanswered: parser.is_empty() });
                }
                Err(error) => return Err(self.explain(error)),
            };
            let Some(arrived) = buffer.get_mut(..count) else { continue };
            let answer = parser.feed(&mut &*arrived);
            arrived.zeroize();
            match answer {
                Ok(None) => {}
                Ok(Some(Ok(collected))) => {
                    // The answer is complete; whether the farewell succeeds does not matter.
                    let _ = stream.shutdown(Shutdown::Both);
                    return Ok(collected);
                }
                Ok(Some(Err(errno))) => return Err(ClientError::Refused { name, errno }),
                Err(error) => return Err(ClientError::BadAnswer { name, error }),
            }
        }
    }

    fn explain(&self, error: io::Error) -> ClientError {
        let (name, path) = (self.name.clone(), self.path.clone());
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => ClientError::NoSuchInterface { name, path },
            ErrorKind::PermissionDenied => ClientError::PermissionDenied { name, path },
            ErrorKind::ConnectionRefused => ClientError::DaemonGone { name, path },
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::TimedOut { name },
            _ => ClientError::Io { name, error },
        }
    }
}

/// The interfaces whose daemons are alive, sorted by name. Dead sockets are skipped, and left where they are.
///
/// # Errors
/// When the directory exists but cannot be read.
pub fn interfaces() -> io::Result<Vec<InterfaceName>> {
    interfaces_in(Path::new(SOCKET_DIRECTORY))
}

/// As [`interfaces`], with the sockets in another directory.
///
/// # Errors
/// As [`interfaces`].
pub fn interfaces_in(directory: &Path) -> io::Result<Vec<InterfaceName>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name();
        let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".sock")) else { continue };
        let Ok(name) = InterfaceName::new(name) else { continue };
        // Whatever else happens (no permission, a full queue), there is somebody behind it.
        if !matches!(knock(&entry.path()), Err(OsErrno::ECONNREFUSED | OsErrno::ENOENT)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchInterface { name, path } => write!(
                f,
                "no user-space WireGuard serves {name} (there is no {}): check the name, or start its daemon",
                path.display()
            ),
            Self::PermissionDenied { name, path } => {
                write!(f, "no permission to configure {name} through {}: run this as root", path.display())
            }
            Self::DaemonGone { name, path } => write!(
                f,
                "the daemon of {name} is gone but left {} behind: start it again, which cleans up",
                path.display()
            ),
            Self::Refused { name, errno } => write!(f, "the daemon of {name} refused the request: {errno}; {WHY}"),
            Self::HungUp { name, .. } => {
                write!(f, "the daemon of {name} closed the connection before answering; {WHY}")
            }
            Self::BadAnswer { name, error } => write!(f, "the daemon of {name} does not follow the protocol: {error}"),
            Self::TimedOut { name } => {
                write!(f, "the daemon of {name} does not answer for {} s: it hangs or is stopped", PATIENCE.as_secs())
            }
            Self::Io { name, error } => write!(f, "cannot talk to the daemon of {name}: {error}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::BadAnswer { error, .. } => Some(error),
            Self::Io { error, .. } => Some(error),
            Self::Refused { errno, .. } => Some(errno),
            _ => None,
        }
    }
}
