//! The server: a socket file with its guards, and the loop that answers connections.
//!
//! The daemon gives one thread to [`Server::run`], which sleeps in `poll` and gives each connection a short-lived
//! thread of its own, at most [`MAX_CONNECTIONS`] at once; further ones wait in the kernel's queue. A daemon with an
//! event loop of its own uses the parts instead: [`UapiSocket::accept`], [`RemovalWatch`], [`serve`].

mod socket;
mod watch;

pub use socket::{Accepted, BindError, SocketFile, UapiSocket, listener_of};
pub(crate) use socket::{connect, knock};
pub use watch::RemovalWatch;

use crate::change::SetRequest;
use crate::errno::Errno;
use crate::request::{Parser, Request, RequestError};
use crate::response::{DiagnosticsWriter, GetWriter, answer_error, answer_set};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// Most connections served at once.
pub const MAX_CONNECTIONS: usize = 16;

/// A connection that is silent for so long is closed: it holds one of few places.
pub const CONNECTION_PATIENCE: Duration = Duration::from_secs(30);

/// So is one that takes nothing of its answer for so long: a change may be waiting for the answer to be complete.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// What the daemon does about requests. Called from several threads at once.
pub trait Handler: Sync {
    /// Writes the state. The server adds the end of the answer, also after an error.
    ///
    /// May hold a lock meanwhile: under [`Server::run`] writing fails once the reader has taken nothing for
    /// [`ANSWER_PATIENCE`].
    ///
    /// # Errors
    /// Those of the writer, or the handler's own, which are answered as their error number.
    fn get(&self, answer: &mut GetWriter<'_>) -> io::Result<()>;

    /// Applies a change as a whole, or not at all.
    ///
    /// # Errors
    /// What to answer; the device is then as it was.
    fn set(&self, request: SetRequest) -> Result<(), Errno>;

    /// Writes diagnostics. The server adds the end of the answer, also after an error.
    ///
    /// # Errors
    /// As for [`Self::get`].
    fn diagnostics(&self, answer: &mut DiagnosticsWriter<'_>) -> io::Result<()>;

    /// The number of a network interface, for scopes of addresses.
    fn interface_index(&self, name: &str) -> Option<u32> {
        interface_index(name)
    }

    /// Learns of something worth a line in the log. By default it is ignored.
    fn event(&self, _event: &Event<'_>) {}
}

/// Something worth a line in the log; none of them contains a key.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was wrong.
    RequestRefused(&'a RequestError),
    /// A connection ended or fell silent within a request, which was therefore ignored.
    CutOff,
    /// Somebody who is neither root nor the user who started us connected; the connection was closed.
    Stranger {
        /// Their user id.
        uid: u32,
    },
    /// A connection could not be accepted, served or answered.
    Failed(&'a io::Error),
}

impl std::fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RequestRefused(error) => error.fmt(f),
            Self::CutOff => f.write_str("a configuration request was cut off before its empty line, and ignored"),
            Self::Stranger { uid } => {
                write!(
                    f,
                    "user {uid} tried to configure the interface; only root and the user who started the daemon may"
                )
            }
            Self::Failed(error) => write!(f, "a configuration connection failed: {error}"),
        }
    }
}

/// Why [`Server::run`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The descriptor given for it became readable or was closed.
    Stopped,
    /// The socket file was removed or replaced, which by the protocol's rules asks the daemon to end.
    SocketRemoved,
}

/// A socket that is being served.
pub struct Server {
    socket: UapiSocket,
    watch: Option<RemovalWatch>,
    /// By which connections that end wake the loop.
    wake: (UnixStream, UnixStream),
}

impl Server {
    /// Begins to watch the socket's file. Everything that [`Self::run`] needs is opened here, so that a process may give up
    /// the right to open anything in between.
    ///
    /// # Errors
    /// When the system's limit of descriptors, or of inotify instances or watches (`fs.inotify.max_user_instances`), is reached.
    pub fn new(socket: UapiSocket) -> io::Result<Self> {
        let watch = socket.removal_watch()?;
        let wake = UnixStream::pair()?;
        wake.0.set_nonblocking(true)?;
        wake.1.set_nonblocking(true)?;
        Ok(Self { socket, watch, wake })
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &UapiSocket {
        &self.socket
    }

    /// Serves connections until `stop` becomes readable or the socket file is gone, then closes those still open and
    /// waits for their threads.
    ///
    /// # Errors
    /// Only when the loop itself cannot go on. Failures of single connections are events.
    pub fn run(&self, handler: &dyn Handler, stop: BorrowedFd<'_>) -> io::Result<Ended> {
        let (wake_receiver, wake_sender) = &self.wake;
        let connections = Connections { open: Mutex::default(), wake: wake_sender };
        thread::scope(|scope| {
            let result = self.turn_until_end(handler, stop, wake_receiver, &connections, scope);
            connections.close_all();
            result
        })
    }

    fn turn_until_end<'scope>(
        &'scope self,
        handler: &'scope dyn Handler,
        stop: BorrowedFd<'_>,
        mut wake: &UnixStream,
        connections: &'scope Connections<'_>,
        scope: &'scope thread::Scope<'scope, '_>,
    ) -> io::Result<Ended> {
        let mut next_id = 0_u64;
        loop {
            if self.watch.is_some() && !self.socket.is_in_place() {
                return Ok(Ended::SocketRemoved);
            }
            let has_room = connections.count() < MAX_CONNECTIONS;
            let watched = self.watch.as_ref().map(AsFd::as_fd);
            let accepting = has_room.then(|| self.socket.as_fd());
            let mut fds: Vec<_> = [Some(stop), Some(wake.as_fd()), watched, accepting]
                .into_iter()
                .flatten()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if fds.first().and_then(PollFd::any) != Some(false) {
                return Ok(Ended::Stopped);
            }
            // Each byte is a connection that ended; how many there were shows in the count. Emptying it is all.
            while matches!(wake.read(&mut [0; 64]), Ok(count) if count > 0) {}
            if let Some(watch) = &self.watch {
                watch.drain()?;
            }
            if has_room {
                self.accept_one(handler, connections, scope, next_id);
                next_id = next_id.wrapping_add(1);
            }
        }
    }

    fn accept_one<'scope>(
        &self,
        handler: &'scope dyn Handler,
        connections: &'scope Connections<'_>,
        scope: &'scope thread::Scope<'scope, '_>,
        id: u64,
    ) {
        let result = match self.socket.accept() {
            Ok(Accepted::Nothing) => return,
            Ok(Accepted::Stranger { uid }) => return handler.event(&Event::Stranger { uid }),
            Ok(Accepted::Connection(stream)) => connections.add(id, &stream).and_then(|place| {
                let serve = move || {
                    let _place = place;
                    serve_connection(stream, handler, ANSWER_PATIENCE);
                };
                thread::Builder::new().name("uapi".to_owned()).spawn_scoped(scope, serve).map(drop)
            }),
            Err(error) => {
                // Out of descriptors, most likely: the connection stays queued, so poll would return at once.
                thread::sleep(Duration::from_millis(100));
                Err(error)
            }
        };
        if let Err(error) = result {
            handler.event(&Event::Failed(&error));
        }
    }
}

/// Answers the requests of one connection until it ends.
///
/// # Errors
/// Those of the connection. `WouldBlock` and `TimedOut` mean that it was silent for too long.
pub fn serve<S: Read + Write>(stream: &mut S, handler: &dyn Handler) -> io::Result<()> {
    let mut parser = Parser::new(|name: &str| handler.interface_index(name));
    let mut buffer = Zeroizing::new([0; 16 * 1024]);
    loop {
        let count = match stream.read(buffer.as_mut_slice()) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                if parser.is_within_request() {
                    handler.event(&Event::CutOff);
                }
                return Err(error);
            }
        };
        if count == 0 {
            if parser.is_within_request() {
                handler.event(&Event::CutOff);
            }
            return Ok(());
        }
        let Some(arrived) = buffer.get_mut(..count) else { continue };
        let mut input = &*arrived;
        while let Some(request) = parser.feed(&mut input) {
            let fatal = matches!(&request, Err(error) if error.fatal);
            answer(request, stream, handler)?;
            if fatal {
                return Ok(());
            }
        }
        arrived.zeroize();
    }
}

/// The index of a network interface, for scopes of addresses.
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

fn answer(request: Result<Request, RequestError>, out: &mut dyn Write, handler: &dyn Handler) -> io::Result<()> {
    let number = |result: io::Result<()>| {
        result.map_err(|error| {
            if !is_departure(&error) {
                handler.event(&Event::Failed(&error));
            }
            Errno::from(error)
        })
    };
    match request {
        Ok(Request::Get) => {
            let mut writer = GetWriter::new(out);
            let result = number(handler.get(&mut writer));
            writer.finish(result)
        }
        Ok(Request::Diagnostics) => {
            let mut writer = DiagnosticsWriter::new(out);
            let result = number(handler.diagnostics(&mut writer));
            writer.finish(result)
        }
        Ok(Request::Set(set)) => answer_set(out, handler.set(*set)),
        Err(error) => {
            handler.event(&Event::RequestRefused(&error));
            if error.in_set { answer_set(out, Err(error.errno)) } else { answer_error(out, error.errno) }
        }
    }
}

fn serve_connection(mut stream: UnixStream, handler: &dyn Handler, answer_patience: Duration) {
    let result = stream
        .set_read_timeout(Some(CONNECTION_PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(answer_patience)))
        .and_then(|()| serve(&mut stream, handler));
    match result {
        Ok(()) => {}
        Err(error) if is_departure(&error) => {}
        Err(error) => handler.event(&Event::Failed(&error)),
    }
}

/// Whether the other side went away or fell silent, which is its own business.
fn is_departure(error: &io::Error) -> bool {
    let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::WouldBlock, ErrorKind::TimedOut];
    kinds.contains(&error.kind())
}

/// The open connections. The mutex is held for a few instructions only, and never while the handler is called.
struct Connections<'a> {
    open: Mutex<Vec<(u64, UnixStream)>>,
    wake: &'a UnixStream,
}

/// A connection's place among the open ones, given up on drop.
struct Place<'a> {
    connections: &'a Connections<'a>,
    id: u64,
}

impl Connections<'_> {
    fn add(&self, id: u64, stream: &UnixStream) -> io::Result<Place<'_>> {
        let stream = stream.try_clone()?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push((id, stream));
        Ok(Place { connections: self, id })
    }

    fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn close_all(&self) {
        for (_, stream) in self.open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A connection that cannot be shut down has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(id, _)| *id != self.id);
        drop(open);
        // A full pipe means that the loop is going to wake up anyway.
        let mut wake = self.connections.wake;
        let _ = wake.write(&[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PublicKey;
    use crate::state::PeerState;
    use std::sync::RwLock;

    /// A device of endless peers, which may not be changed while they are listed.
    #[derive(Default)]
    struct Endless {
        whole: RwLock<()>,
        listed: Mutex<Option<ErrorKind>>,
    }

    impl Handler for Endless {
        fn get(&self, answer: &mut GetWriter<'_>) -> io::Result<()> {
            let _whole = self.whole.read().unwrap();
            let error = loop {
                if let Err(error) = answer.peer(&PeerState::new(PublicKey([7; 32]))) {
                    break error;
                }
            };
            *self.listed.lock().unwrap() = Some(error.kind());
            Err(error)
        }

        fn set(&self, _request: SetRequest) -> Result<(), Errno> {
            let _whole = self.whole.write().unwrap();
            Ok(())
        }

        fn diagnostics(&self, _answer: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_does_not_keep_others_from_changes() {
        let device = Endless::default();
        thread::scope(|scope| {
            let connect = || {
                let (ours, theirs) = UnixStream::pair().unwrap();
                scope.spawn(|| serve_connection(theirs, &device, Duration::from_millis(50)));
                ours
            };
            let mut stalled = connect();
            stalled.write_all(b"get=1\n\n").unwrap();
            stalled.read_exact(&mut [0]).unwrap();
            let mut other = connect();
            other.write_all(b"set=1\n\n").unwrap();
            other.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            other.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "errno=0\n\n");
            assert_eq!(*device.listed.lock().unwrap(), Some(ErrorKind::WouldBlock), "the answer was given up");
            drop(stalled);
        });
    }
}
