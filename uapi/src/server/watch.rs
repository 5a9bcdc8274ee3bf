//! Noticing that the socket file was removed.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Becomes readable when something in the socket's directory was removed or replaced; whether it was the socket is then
/// for [`UapiSocket::is_in_place`](super::UapiSocket::is_in_place) to say.
///
/// In order: [`Self::drain`], then look, then poll. Looking first would miss a removal in between.
pub struct RemovalWatch {
    inotify: Inotify,
}

impl RemovalWatch {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // No IN_DELETE_SELF: a directory can only be deleted after the file in it.
        let removals = AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(directory, removals)?;
        Ok(Self { inotify })
    }

    /// Takes all pending notices, so that the descriptor is no longer readable.
    ///
    /// # Errors
    /// Those of reading.
    pub fn drain(&self) -> io::Result<()> {
        loop {
            match self.inotify.read_events() {
                Ok(events) if events.is_empty() => return Ok(()),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for RemovalWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
