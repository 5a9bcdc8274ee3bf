//! What all threads of the daemon share: the engine in its home, and the doors to the others.

use crate::control::Ends;
use crate::handshakes::Inbox;
use crate::sockets::Ports;
use crate::status::Status;
use kerntun_crypto::Fast;
use kerntun_engine::device::{Device, Followup};
use kerntun_engine::peer::{Endpoint, PeerRef, Source};
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{SystemEntropy, UserHost};
use kerntun_linux::{Placed, Route, VnetHeader, Waker};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The engine at home.
pub(crate) type Engine = Device<UserHost<Fast, SystemEntropy, TunPacket>>;

/// A packet that waits for a session: as it came from the TUN device, perhaps a super-packet.
pub(crate) struct TunPacket {
    pub(crate) header: VnetHeader,
    pub(crate) bytes: Box<[u8]>,
}

/// One interface, as all threads see it.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) ports: Ports,
    pub(crate) inbox: Inbox,
    pub(crate) ends: Ends,
    pub(crate) status: Status,
    /// MTU of the interface, for padding.
    mtu: AtomicUsize,
    /// To wake each worker.
    workers: Vec<Waker>,
    ending: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        engine: Engine,
        ports: Ports,
        inbox: Inbox,
        ends: Ends,
        status: Status,
        mtu: usize,
        workers: Vec<Waker>,
    ) -> Self {
        Self { engine, ports, inbox, ends, status, mtu: AtomicUsize::new(mtu), workers, ending: AtomicBool::new(false) }
    }

    pub(crate) fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    pub(crate) fn set_mtu(&self, mtu: usize) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }

    /// Does of `followup` what another thread has to do, and gives back what this one has to: flush that peer.
    #[must_use]
    pub(crate) fn follow(&self, followup: Followup) -> Option<PeerRef> {
        if followup.rearm {
            self.inbox.wake();
        }
        followup.flush
    }

    pub(crate) fn wake_workers(&self) {
        self.workers.iter().for_each(Waker::wake);
    }

    /// Makes all threads return soon.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.wake_workers();
        self.inbox.wake();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

/// The engine's clock.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(kerntun_linux::boottime())
}

/// The calendar.
pub(crate) fn wall() -> Wall {
    let time = kerntun_linux::realtime();
    Wall { seconds: time.as_secs(), nanos: time.subsec_nanos() }
}

/// Where a message came from, in the engine's words.
pub(crate) fn endpoint_of(message: &Placed) -> Endpoint {
    let source = message.local.map(|local| Source { address: local.address, interface: local.interface });
    Endpoint { remote: message.source, source }
}

/// Where to send to, in the sockets' words.
pub(crate) fn route_to(endpoint: &Endpoint, tos: u8) -> Route {
    let source =
        endpoint.source.map(|source| kerntun_linux::Source { address: source.address, interface: source.interface });
    Route { destination: endpoint.remote, source, tos }
}
