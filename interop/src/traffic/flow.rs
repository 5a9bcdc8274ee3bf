//! One UDP flow with numbered datagrams: what got lost, and whether the order was kept.

use crate::namespace::Namespace;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, UdpGsoSegment};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Says that nothing follows.
const LAST: u64 = u64::MAX;

/// A flow in motion.
pub struct Flow {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<[u64; 2]>,
}

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams that came after one that was sent later, or twice.
    pub disordered: u64,
}

/// How a flow goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes in a datagram, at least 8.
    pub size: u16,
    /// Datagrams given to the kernel at once (`UDP_SEGMENT`).
    pub together: u16,
    /// Between two calls.
    pub pause: Duration,
}

impl Pace {
    /// Fifty small datagrams a second.
    pub const GENTLE: Self = Self { size: 100, together: 1, pause: Duration::from_millis(20) };
}

impl Flow {
    /// Begins to send to the address `to` of `server`.
    ///
    /// # Panics
    /// If the system refuses.
    #[must_use]
    pub fn start(client: &Namespace, server: &Namespace, to: IpAddr, pace: Pace) -> Self {
        let receiver = server.enter(|| UdpSocket::bind(SocketAddr::new(to, 0))).expect("the address is the server's");
        setsockopt(&receiver, RcvBufForce, &(64 << 20)).expect("root may have a large buffer");
        let at = receiver.local_addr().expect("it is bound");
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let sender = client.enter(|| UdpSocket::bind((any, 0))).expect("any port");
        if pace.together > 1 {
            setsockopt(&sender, UdpGsoSegment, &i32::from(pace.size)).expect("a kernel with UDP_SEGMENT");
        }
        sender.connect(at).map_err(|error| format!("{at}: {error}")).expect("a route into the tunnel");
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&arrived));
        let sender = thread::spawn(move || send(&sender, pace, &stopped));
        let receiver = thread::spawn(move || receive(&receiver, &counter));
        Self { stop, arrived, sender, receiver }
    }

    /// Datagrams that have arrived so far.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Stops it and waits until everything has arrived or is lost.
    ///
    /// # Panics
    /// If one side has failed.
    #[must_use]
    pub fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender");
        let [received, disordered] = self.receiver.join().expect("the receiver");
        Report { sent, received, disordered }
    }
}

fn send(socket: &UdpSocket, pace: Pace, stop: &AtomicBool) -> u64 {
    let size = usize::from(pace.size);
    let mut datagrams = vec![0; size * usize::from(pace.together)];
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for datagram in datagrams.chunks_mut(size) {
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            number += 1;
        }
        // Full queues and unreachable messages: a loss, which is counted at the other side.
        let _ = socket.send(&datagrams);
        if !pace.pause.is_zero() {
            thread::sleep(pace.pause);
        }
    }
    // It may get lost as well.
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        let _ = socket.send(&LAST.to_be_bytes());
    }
    number
}

fn receive(socket: &UdpSocket, counter: &AtomicU64) -> [u64; 2] {
    let (mut received, mut disordered, mut expected) = (0, 0, 0);
    let mut datagram = [0; 9000];
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("an ordinary option");
    loop {
        let len = match socket.recv(&mut datagram) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Nothing for a long time: what is said to be the last one is lost.
            Err(_) => break,
        };
        let number = datagram[..len].first_chunk().map_or(LAST, |bytes| u64::from_be_bytes(*bytes));
        if number == LAST {
            break;
        }
        received += 1;
        counter.store(received, Ordering::Relaxed);
        disordered += u64::from(number < expected);
        expected = expected.max(number + 1);
    }
    [received, disordered]
}
