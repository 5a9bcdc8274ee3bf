//! Waiting for one's turn to choose a routing table: two tunnels that come up at once must not both take the same for theirs.

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::say::say;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::thread::sleep;
use std::time::Duration;

/// The file whose lock is the turn. It stays, empty: one that is removed can be locked twice, under two identities. Nobody but root
/// may open it, for reading neither, or anybody could keep tunnels from coming up.
const FILE: &str = "/run/kerntun.lock";
const MODE: u32 = 0o600;

/// How long between attempts. The lock is not waited for in the kernel, where a signal would go unnoticed.
const PAUSE: Duration = Duration::from_millis(20);

/// The turn. It ends when this is dropped, and with the process, however that ends.
pub(crate) struct Turn {
    _lock: Option<Flock<File>>,
}

impl Turn {
    /// Waits for it. Where it cannot be had at all, tunnels come up all the same.
    ///
    /// # Errors
    /// When a signal comes meanwhile.
    pub(crate) fn wait(interrupt: &Interrupt) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(MODE).custom_flags(OFlag::O_NOFOLLOW.bits());
        let mut file = match options.open(FILE) {
            Ok(file) => file,
            Err(error) => return Ok(Self::without(&error)),
        };
        // A script that locked it first may have made it as others make their files.
        let _ = file.set_permissions(Permissions::from_mode(MODE));
        let mut told = false;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { _lock: Some(lock) }),
                Err((back, Errno::EWOULDBLOCK)) => file = back,
                Err((_, error)) => return Ok(Self::without(&error.into())),
            }
            if !told {
                say!("[#] waiting for another 'kerntun up', which is choosing its routing table");
                told = true;
            }
            sleep(PAUSE);
            interrupt.check()?;
        }
    }

    fn without(error: &io::Error) -> Self {
        say!("warning: {FILE} cannot be locked ({error}): let no two tunnels come up at once");
        Self { _lock: None }
    }
}
