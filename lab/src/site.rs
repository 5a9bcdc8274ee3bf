//! A network namespace as a thread that works in it.
//!
//! Network namespaces belong to threads, and what a thread starts (threads, processes, sockets) starts in its own. So
//! one process can be at both ends of a wire.

use crate::rights;
use crate::trouble::Trouble;
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// One end. It is gone when this is dropped and everything that was started in it has ended.
pub struct Site {
    jobs: Sender<Job>,
    namespace: File,
}

impl Site {
    /// Makes a network namespace, and a thread of this name in it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(name: &str) -> Result<Self, Trouble> {
        let (jobs, todo) = channel::<Job>();
        let (made, outcome) = channel();
        let enter = || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|error| rights::explain("make a network namespace", error))?;
            File::open("/proc/thread-self/ns/net")
                .map_err(|error| Trouble::new(format!("cannot open the new network namespace: {error}")))
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ = made.send(enter());
                todo.into_iter().for_each(|job| job());
            })
            .map_err(|error| Trouble::new(format!("cannot start a thread: {error}")))?;
        let namespace = outcome.recv().map_err(|_| lost())??;
        Ok(Self { jobs, namespace })
    }

    /// Does something there and waits for it.
    ///
    /// # Errors
    /// What `job` fails with; or that the thread is gone.
    pub fn run<T: Send + 'static, E: From<Trouble> + Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (done, outcome) = channel();
        let job = move || {
            let _ = done.send(job());
        };
        self.jobs.send(Box::new(job)).map_err(|_| lost())?;
        outcome.recv().map_err(|_| lost())?
    }

    /// The namespace, for as long as this is alive.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.namespace.as_raw_fd()
    }
}

fn lost() -> Trouble {
    Trouble::new("a thread at work in a namespace ended unexpectedly: this is a fault of kerntun")
}
