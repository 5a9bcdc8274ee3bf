//! How the system lets the threads of a forwarder run.
//!
//! Source: sched(7), Linux `kernel/sched/fair.c` (`check_preempt_wakeup_fair`).

use std::io;

use crate::sys;

/// Lets this thread, and those that it starts from here on, run to the end of a batch and wait for the end of others' (`SCHED_BATCH`):
/// being woken does not push aside whoever is running, with the same share of the processor as before.
///
/// Who wakes a worker is mostly the thread whose packet it is, in the middle of sending and a few microseconds from going to
/// sleep by itself. Pushing it aside for that costs two changes of threads, and often moves one to another processor.
///
/// # Errors
/// Those of sched_setscheduler(2): `EPERM` where a filter forbids it.
pub fn run_in_batches() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live structure, which is only read; zero means this thread.
    sys::check(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_inherit_it() {
        // On a thread of its own: the policy is a thread's.
        let policy = || {
            // SAFETY: no pointers.
            unsafe { libc::sched_getscheduler(0) }
        };
        let inherited = std::thread::spawn(move || {
            run_in_batches().unwrap();
            std::thread::spawn(policy).join().unwrap()
        });
        assert_eq!(inherited.join().unwrap(), libc::SCHED_BATCH);
    }
}
