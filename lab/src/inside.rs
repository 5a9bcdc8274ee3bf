//! What the first process inside the namespaces does before anything else.

use crate::rights;
use crate::trouble::Trouble;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;

/// Binds this process to the one that started it: whatever becomes of that, this one does not outlive it.
///
/// # Errors
/// When the system refuses.
pub fn settle() -> Result<(), Trouble> {
    set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| Trouble::new(format!("cannot be bound to the process that started it: {}", error.desc())))
}

/// Puts an empty file system where run-time files go (`/run`), which only this process and its children see, and makes
/// `directory` for sockets in it.
///
/// # Errors
/// When the system refuses.
pub fn hide(directory: &Path) -> Result<(), Trouble> {
    let fail = |doing: &'static str| move |error| rights::explain(doing, error);
    unshare(CloneFlags::CLONE_NEWNS).map_err(fail("make a mount namespace"))?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(fail("keep its mounts to itself"))?;
    // Normally /var/run leads to /run. Where it does not, it is hidden as well.
    let elsewhere = fs::canonicalize("/var/run").is_ok_and(|path| !path.starts_with("/run"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for place in ["/run", "/var/run"].into_iter().take(if elsewhere { 2 } else { 1 }) {
        mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some("mode=0755,size=16m"))
            .map_err(fail("mount a file system of its own"))?;
    }
    fs::create_dir_all(directory).map_err(|error| Trouble::new(format!("cannot make {}: {error}", directory.display())))
}

/// Shows in `/proc` the processes of this process namespace, under the numbers that they have here. Needs [`hide`] first.
///
/// # Errors
/// When the system refuses.
pub fn show_own_processes() -> Result<(), Trouble> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
        .map_err(|error| rights::explain("mount a /proc of its own", error))
}
