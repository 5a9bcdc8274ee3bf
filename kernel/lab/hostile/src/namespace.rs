//! Network namespaces that `ip netns` has named.

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::thread;

/// Calls a function on a thread that is in a namespace.
///
/// # Panics
/// If there is no such namespace, or the function panics.
pub fn inside<T: Send + 'static>(namespace: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap_or_else(|error| panic!("{namespace}: {error}"));
    let enter = move || {
        setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter");
        call()
    };
    thread::spawn(enter).join().expect("no panic")
}
