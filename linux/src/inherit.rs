//! Descriptors handed over by number in an environment variable.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use crate::sys;

/// Takes over an inherited descriptor: a close-on-exec duplicate is returned, and the number itself closed.
///
/// Meant for numbers that another program left open for this one. For TUN queues there is
/// [`Tun::adopt_raw`](crate::Tun::adopt_raw).
///
/// # Errors
/// `EBADF` when the number is not open, or is one of the three standard streams, which are never handed over so.
pub fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: no pointers. A number that is not open only gives an error.
    let copy = sys::owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the descriptor was handed to this process by number for this use, so nothing else here owns it.
    unsafe { libc::close(fd) };
    Ok(copy)
}
