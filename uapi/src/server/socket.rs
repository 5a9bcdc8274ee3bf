//! The socket file: made safely, found stale or in use, removed only by its owner.

use super::watch::RemovalWatch;
use crate::SOCKET_DIRECTORY;
use crate::name::InterfaceName;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{self as sys, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Connections the kernel queues for us.
const BACKLOG: i32 = 64;

/// A listening configuration socket. Dropping it closes it, and removes its file if that is still the one it made.
#[derive(Debug)]
pub struct UapiSocket {
    listener: UnixListener,
    file: Option<SocketFile>,
    /// Whoever made or adopted it, whatever user this process becomes later.
    owner: u32,
}

/// The file of a socket, by path and identity. Dropping it removes the file if it is still the same one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Who was at the door.
#[derive(Debug)]
pub enum Accepted {
    /// Root or the user who made the socket. Reads and writes block.
    Connection(UnixStream),
    /// Somebody else; the connection is closed already.
    Stranger {
        /// Their user id.
        uid: u32,
    },
    /// Nobody.
    Nothing,
}

/// Why there is no socket. The text says what to do.
#[derive(Debug)]
pub enum BindError {
    /// Another daemon serves this interface and answers.
    AlreadyRunning {
        /// Its socket.
        path: PathBuf,
    },
    /// Something that is not a socket is in the way; it is left alone.
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The directory could be tampered with by others.
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// In which way.
        reason: &'static str,
    },
    /// The descriptor handed over is not a listening unix stream socket.
    NotListening,
    /// The operating system refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl UapiSocket {
    /// Makes the socket of an interface in the standard directory.
    ///
    /// # Errors
    /// See [`BindError`]; nothing new is left behind, except perhaps the empty directory.
    pub fn bind(name: &InterfaceName) -> Result<Self, BindError> {
        Self::bind_in(Path::new(SOCKET_DIRECTORY), name)
    }

    /// As [`Self::bind`], in another directory. It is created with mode 0700 if absent; its parent has to exist.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_in(directory: &Path, name: &InterfaceName) -> Result<Self, BindError> {
        let handle = open_directory(directory)?;
        // Two daemons that start together could each take the other's fresh socket for a stale one.
        lock_for_a_while(&handle);
        let path = directory.join(name.socket_file());
        remove_if_stale(&path)?;
        let io_error = |doing, error| BindError::Io { doing, path: path.clone(), error };
        let fd = listen_at(&path).map_err(|error| io_error("create the socket", error.into()))?;
        let metadata = fs::symlink_metadata(&path).map_err(|error| io_error("look at the new socket", error))?;
        let file = SocketFile { path: path.clone(), identity: identity(&metadata) };
        let socket = Self { listener: UnixListener::from(fd), file: Some(file), owner: geteuid().as_raw() };
        if metadata.mode() & 0o777 != 0o600 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
                .map_err(|error| io_error("protect the new socket", error))?;
        }
        Ok(socket)
    }

    /// Takes over a socket that listens already: the descriptor that `WG_UAPI_FD` names. If it has a file, that file is
    /// watched and at the end removed as if it were our own.
    ///
    /// # Errors
    /// [`BindError::NotListening`], or `Io` when it cannot be made non-blocking.
    pub fn adopt(fd: OwnedFd) -> Result<Self, BindError> {
        let listens = sys::getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false);
        let stream = matches!(sys::getsockopt(&fd, sockopt::SockType), Ok(SockType::Stream));
        let Ok(address) = sys::getsockname::<UnixAddr>(fd.as_raw_fd()) else { return Err(BindError::NotListening) };
        if !listens || !stream {
            return Err(BindError::NotListening);
        }
        let file = address.path().filter(|path| path.is_absolute()).and_then(|path| {
            let metadata = fs::symlink_metadata(path).ok()?;
            let identity = identity(&metadata);
            metadata.file_type().is_socket().then(|| SocketFile { path: path.to_owned(), identity })
        });
        let io_error =
            |error| BindError::Io { doing: "take over the socket", path: PathBuf::from("WG_UAPI_FD"), error };
        let flags = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(&fd, flags).map_err(|error| io_error(error.into()))?;
        let listener = UnixListener::from(fd);
        listener.set_nonblocking(true).map_err(io_error)?;
        Ok(Self { listener, file, owner: geteuid().as_raw() })
    }

    /// Takes descriptor and file apart: for handing the descriptor to another process, which [adopts](Self::adopt) it, and
    /// keeping the file here. Connections that come in the meantime wait.
    #[must_use]
    pub fn split(self) -> (OwnedFd, Option<SocketFile>) {
        (self.listener.into(), self.file)
    }

    /// Leaves the file, if there is one, to whoever else looks after it: it is neither watched nor removed.
    #[must_use]
    pub fn without_file(mut self) -> Self {
        if let Some(file) = self.file.take() {
            file.leave();
        }
        self
    }

    /// The socket's file; `None` for an adopted one without.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(SocketFile::path)
    }

    /// Takes the next waiting connection, never blocking. The descriptor is readable when there is one.
    ///
    /// # Errors
    /// Those of `accept`, for example having too many open files.
    pub fn accept(&self) -> io::Result<Accepted> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {
                        Ok(Accepted::Nothing)
                    }
                    _ => Err(error),
                };
            }
        };
        // The modes of file and directory say the same; this holds even where somebody has loosened them.
        let uid = sys::getsockopt(&stream, sockopt::PeerCredentials)?.uid();
        if uid == 0 || uid == self.owner { Ok(Accepted::Connection(stream)) } else { Ok(Accepted::Stranger { uid }) }
    }

    /// Whether the file is still there and still ours. Always true without a file.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_in_place)
    }

    /// Watches the file; `None` without a file.
    ///
    /// # Errors
    /// When inotify's limits are reached, or the directory is gone already.
    pub fn removal_watch(&self) -> io::Result<Option<RemovalWatch>> {
        self.file.as_ref().map(SocketFile::removal_watch).transpose()
    }
}

impl AsFd for UapiSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl SocketFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still there and still the same.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity)
    }

    /// Watches it.
    ///
    /// # Errors
    /// When inotify's limits are reached, or the directory is gone already.
    pub fn removal_watch(&self) -> io::Result<RemovalWatch> {
        RemovalWatch::new(self.path.parent().unwrap_or(&self.path))
    }

    /// Does not remove it.
    fn leave(mut self) {
        // No file has this number.
        self.identity = (0, 0);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_in_place() {
            // If it cannot be removed, the next start finds it stale and removes it then.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn open_directory(path: &Path) -> Result<File, BindError> {
    let io_error = |doing, error| BindError::Io { doing, path: path.to_owned(), error };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_error("create the directory", error)),
    }
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    let unsafe_for = |reason| Err(BindError::UnsafeDirectory { path: path.to_owned(), reason });
    let handle = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(handle) => handle,
        Err(error) if matches!(error.raw_os_error(), Some(code) if [Errno::ELOOP as i32, Errno::ENOTDIR as i32].contains(&code)) =>
        {
            return unsafe_for("is a symbolic link or no directory");
        }
        Err(error) => return Err(io_error("open the directory", error)),
    };
    let metadata = handle.metadata().map_err(|error| io_error("look at the directory", error))?;
    if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        return unsafe_for("belongs to another user");
    }
    if metadata.mode() & 0o022 != 0 {
        return unsafe_for("can be written to by others");
    }
    Ok(handle)
}

/// Waits half a second at most: whoever may read the directory could hold the lock forever, and going on without it
/// only reopens the small race that it closes. Closing the handle unlocks.
fn lock_for_a_while(directory: &File) {
    for _ in 0..50 {
        if directory.try_lock().is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn remove_if_stale(path: &Path) -> Result<(), BindError> {
    let io_error = |doing, error| Err(BindError::Io { doing, path: path.to_owned(), error });
    let before = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return io_error("look at the old socket", error),
    };
    if !before.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match knock(path) {
        // EAGAIN: its queue is full, so somebody listens.
        Ok(()) | Err(Errno::EAGAIN) => return Err(BindError::AlreadyRunning { path: path.to_owned() }),
        Err(Errno::ECONNREFUSED) => {}
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return io_error("find out whether somebody uses the old socket", error.into()),
    }
    match fs::symlink_metadata(path) {
        Ok(now) if identity(&now) != identity(&before) => Err(BindError::AlreadyRunning { path: path.to_owned() }),
        _ => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => io_error("remove the stale socket", error),
            _ => Ok(()),
        },
    }
}

fn listen_at(path: &Path) -> nix::Result<OwnedFd> {
    let fd = unix_socket(SockFlag::SOCK_NONBLOCK)?;
    // On Linux the file gets the mode of the socket's inode less the umask. Setting it beforehand leaves no moment in
    // which the file is open to others, and does not touch the umask, which belongs to the whole process.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    sys::bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let listening = Backlog::new(BACKLOG).and_then(|backlog| sys::listen(&fd, backlog));
    if listening.is_err() {
        // The listen error is the one to report; a file left behind is found stale next time.
        let _ = fs::remove_file(path);
    }
    listening.map(|()| fd)
}

fn unix_socket(flags: SockFlag) -> nix::Result<OwnedFd> {
    sys::socket(AddressFamily::Unix, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None)
}

/// Connects and hangs up, without ever blocking. `EAGAIN`: the queue is full, so somebody listens.
pub(crate) fn knock(path: &Path) -> nix::Result<()> {
    connect_at_once(path).map(drop)
}

/// The process that made the socket at this path, without ever blocking: `None` if somebody listens whose number cannot be
/// known, being in a pid namespace that this one does not see, or too busy to be asked.
///
/// # Errors
/// As of connecting; [`ErrorKind::ConnectionRefused`] if nobody listens.
pub fn listener_of(path: &Path) -> io::Result<Option<i32>> {
    match connect_at_once(path) {
        Ok(fd) => Ok(Some(sys::getsockopt(&fd, sockopt::PeerCredentials)?.pid()).filter(|process| *process != 0)),
        Err(Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn connect_at_once(path: &Path) -> nix::Result<OwnedFd> {
    let fd = unix_socket(SockFlag::SOCK_NONBLOCK)?;
    sys::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// Connects; `patience` limits connecting, each read and each write. Unlike `UnixStream::connect`, which waits forever
/// for a daemon that is stopped and whose queue is full.
pub(crate) fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::from(unix_socket(SockFlag::empty())?);
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let address = UnixAddr::new(path)?;
    loop {
        match sys::connect(stream.as_raw_fd(), &address) {
            Err(Errno::EINTR) => {}
            result => return Ok(result.map(|()| stream)?),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning { path } => write!(
                f,
                "a daemon for this interface is already running and answers at {}: stop it first, or use another name",
                path.display()
            ),
            Self::NotASocket { path } => {
                write!(f, "{} is in the way and is not a socket: move it away", path.display())
            }
            Self::UnsafeDirectory { path, reason } => write!(
                f,
                "{} {reason}: it has to be a directory of root or the daemon's user that only its owner can write to",
                path.display()
            ),
            Self::NotListening => {
                f.write_str("the descriptor in WG_UAPI_FD is not a listening unix stream socket: unset it, or pass one")
            }
            Self::Io { doing, path, error } => write!(f, "cannot {doing} ({}): {error}", path.display()),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_private_from_its_first_moment() {
        let path = std::env::temp_dir().join(format!("kuapi-{}-private.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        let listener = listen_at(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().mode() & 0o777;
        fs::remove_file(&path).unwrap();
        drop(listener);
        assert_eq!(mode, 0o600, "before anything was repaired");
    }
}
