//! The UDP sockets of all workers, and how they are replaced while packets flow.

use kerntun_linux::{BindError, Bound, Sockets, UdpConfig, UdpOffload};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The sockets in use. Workers hold on to a set until they see that the generation has changed; a set is closed when
/// the last of them has let go.
pub(crate) struct Ports {
    workers: usize,
    offload: UdpOffload,
    ipv6: bool,
    current: Mutex<Current>,
    generation: AtomicU64,
}

struct Current {
    set: Option<Arc<Bound>>,
    mark: u32,
}

/// Sockets that are bound and not used yet. Dropping them closes them.
#[must_use]
pub(crate) struct NewPorts(Bound);

impl NewPorts {
    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }
}

impl Ports {
    pub(crate) fn new(workers: usize, offload: UdpOffload, ipv6: bool) -> Self {
        let current = Mutex::new(Current { set: None, mark: 0 });
        Self { workers, offload, ipv6, current, generation: AtomicU64::new(0) }
    }

    /// Changes whenever [`Ports::current`] does.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The sockets to use now; none before the first port is bound.
    pub(crate) fn current(&self) -> Option<Arc<Bound>> {
        self.current.lock().set.clone()
    }

    /// The port, zero if none is bound.
    pub(crate) fn port(&self) -> u16 {
        self.current.lock().set.as_ref().map_or(0, |set| set.port)
    }

    pub(crate) fn mark(&self) -> u32 {
        self.current.lock().mark
    }

    /// Binds `port` for all workers, zero for a random one, beside the sockets in use.
    pub(crate) fn bind(&self, port: u16, mark: u32) -> Result<NewPorts, BindError> {
        let (workers, offload, ipv6) = (self.workers, self.offload, self.ipv6);
        kerntun_linux::bind(&UdpConfig { port, mark, workers, offload, ipv6 }).map(NewPorts)
    }

    /// Puts new sockets in the place of the old ones, which are given back: see [`release`]. The workers have to be
    /// woken.
    pub(crate) fn replace(&self, new: NewPorts, mark: u32) -> Option<Arc<Bound>> {
        let mut current = self.current.lock();
        current.mark = mark;
        let old = current.set.replace(Arc::new(new.0));
        self.generation.fetch_add(1, Ordering::AcqRel);
        old
    }

    /// Marks everything sent from now on; zero for no mark. On error all is as it was.
    pub(crate) fn set_mark(&self, mark: u32) -> io::Result<()> {
        let mut current = self.current.lock();
        if let Some(set) = &current.set {
            for sockets in &set.workers {
                if let Err(error) = sockets.set_mark(mark) {
                    set.workers.iter().for_each(|sockets| restore_mark(sockets, current.mark));
                    return Err(error);
                }
            }
        }
        current.mark = mark;
        Ok(())
    }
}

/// Waits a moment until nobody uses the old sockets any more and they are closed, so that their port is free when the
/// change has been answered. The workers were woken, and let go after the batch they are at.
pub(crate) fn release(old: Option<Arc<Bound>>) {
    let Some(old) = old else { return };
    let started = Instant::now();
    while Arc::strong_count(&old) > 1 && started.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Taking a mark off or putting back one that was allowed before does not fail in practice; if it does, the change that
/// failed is reported anyway.
fn restore_mark(sockets: &Sockets, mark: u32) {
    let _ = sockets.set_mark(mark);
}
