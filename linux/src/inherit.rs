//! Descriptors handed over by number in an environment variable.

use std::fs;
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

/// Sees to it that no program started from here gets a descriptor by accident: what this process was itself given open beyond
/// the three standard streams, by whoever started it, is closed there. Call it before choosing those that are to be handed over.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn keep_from_children() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if fd > libc::STDERR_FILENO {
            // SAFETY: no pointers, and whoever owns the descriptor still does. The directory's own, which is listed too, may
            // be gone later, which nobody asks about.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    #[test]
    fn children_get_nothing_by_accident() {
        let file = fs::File::open("/proc/version").unwrap();
        // SAFETY: no pointers, and the descriptor is open.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
        let listed = || {
            let output = Command::new("ls").args(["-l", "/proc/self/fd"]).stdin(Stdio::null()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().contains("/proc/version")
        };
        assert!(listed(), "otherwise the rest would show nothing");
        keep_from_children().unwrap();
        assert!(!listed());
    }
}
