//! Keys stay in memory: not in dumps, not in swap, not for other processes to look at.

use crate::error::{Error, system};
use rustix::fs::Mode;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
use std::fs;

/// At the very beginning: new files are private, and there are no core dumps.
pub(crate) fn keep_private() -> Result<(), Error> {
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(system("switch core dumps off"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(system("switch core dumps off"))
}

/// Whatever makes a dump all the same, finds no memory to put in. For what is mapped later this holds too, unlike
/// `MADV_DONTDUMP` (core(5)).
pub(super) fn keep_out_of_dumps() -> Result<(), String> {
    fs::write("/proc/self/coredump_filter", "0").map_err(|error| format!("/proc/self/coredump_filter: {error}"))
}

/// No dumps, and no looking into this process for others of its user (`PR_SET_DUMPABLE`). A limit of size, as
/// [`keep_private`] sets too, does not keep a dump from being piped into a program.
pub(super) fn keep_closed() -> Result<(), String> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| format!("PR_SET_DUMPABLE: {error}"))
}

/// Locks every page into memory once it is used. With a limit that could not be raised it is not even tried: later memory
/// would be refused.
pub(super) fn lock() -> Result<(), String> {
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .map_err(|error| format!("the limit of locked memory cannot be raised: {error}"))?;
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|error| format!("mlockall: {error}"))
}
