//! What `up` leaves for `down`: a note that a tunnel came up, and in which network namespace. It outlives the daemon, however that
//! ends, but no reboot: it holds the boot's number, as not every /run is emptied. All else is found where it is.

use crate::say::say;
use kerntun_config::InterfaceName;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where the notes are. Nobody but root may look into it.
const DIRECTORY: &str = "/run/kerntun";

/// Notes that this tunnel comes up, and tells whether there was no such note yet. Whoever calls this has just made the interface, so
/// nobody else does at the same time. Where it cannot be noted, tunnels come up all the same.
pub(crate) fn make(name: &InterfaceName) -> bool {
    if exists(name) {
        say!(
            "warning: {name} came up before, and was not taken down by 'kerntun down': what its hooks did then may still be there"
        );
        return false;
    }
    let path = path(name);
    let directory = match DirBuilder::new().mode(0o700).create(DIRECTORY) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    // Of an earlier boot.
    let _ = fs::remove_file(&path);
    let noted = directory.and_then(|()| File::create_new(&path)?.write_all(boot().as_bytes()));
    match noted {
        Ok(()) => true,
        Err(error) => {
            say!("warning: nothing can be noted in {DIRECTORY} ({error}): if the daemon dies, 'down' may not clean up");
            false
        }
    }
}

/// Whether this tunnel came up in this network namespace, and was not taken down.
pub(crate) fn exists(name: &InterfaceName) -> bool {
    is_of_this_boot(&path(name))
}

/// Whether that is so in another one.
pub(crate) fn is_elsewhere(name: &InterfaceName) -> bool {
    let here = namespace_of("self");
    all().any(|(other, namespace)| other == *name && namespace != here)
}

/// The tunnels of this network namespace for which there is a note.
pub(crate) fn names() -> impl Iterator<Item = InterfaceName> {
    let here = namespace_of("self");
    all().filter(move |(_, namespace)| *namespace == here).map(|(name, _)| name)
}

/// Forgets it.
pub(crate) fn remove(name: &InterfaceName) {
    let _ = fs::remove_file(path(name));
}

fn all() -> impl Iterator<Item = (InterfaceName, u64)> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let file = entry.file_name().into_string().ok().filter(|_| is_of_this_boot(&entry.path()))?;
        // No name of an interface has this sign.
        let (name, namespace) = file.split_once('@')?;
        Some((InterfaceName::new(name).ok()?, namespace.parse().ok()?))
    })
}

fn is_of_this_boot(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text == boot())
}

/// What no other boot has; nothing where that is not told.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

fn path(name: &InterfaceName) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}@{}", namespace_of("self")))
}

/// The number of a process's network namespace, for as long as it exists; 0 where that cannot be known.
pub(crate) fn namespace_of(process: &str) -> u64 {
    fs::metadata(format!("/proc/{process}/ns/net")).map_or(0, |metadata| metadata.ino())
}
