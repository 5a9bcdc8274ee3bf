//! What the UDP tests share.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use kerntun_linux::{
    Bound, Poller, RecvBatch, Route, SendEvent, SendQueue, Sockets, Source, UdpConfig, UdpOffload, UdpSocket, boottime,
};

/// A random port, everything on.
pub const CONFIG: UdpConfig = UdpConfig { port: 0, mark: 0, workers: 1, offload: UdpOffload::ALL, ipv6: true };

/// A datagram as received, its message's facts beside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Got {
    pub source: SocketAddr,
    pub local: Option<Source>,
    pub tos: u8,
    pub data: Vec<u8>,
}

/// Waits until `count` datagrams are there, and returns them with the number of messages they came in.
pub fn receive(socket: &UdpSocket, batch: &mut RecvBatch, count: usize) -> (Vec<Got>, usize) {
    let mut poller = Poller::new().unwrap();
    poller.add(socket.as_fd(), 1).unwrap();
    let deadline = boottime() + 10_000_000_000;
    let (mut got, mut messages) = (Vec::new(), 0);
    while got.len() < count {
        let ready = poller.wait(Some(deadline)).unwrap();
        assert!(!ready.expired, "{} of {count} datagrams came", got.len());
        batch.recv(socket).unwrap();
        for message in batch.messages() {
            messages += 1;
            let (source, local, tos) = (message.source, message.local, message.tos);
            got.extend(message.datagrams().map(|data| Got { source, local, tos, data: data.to_vec() }));
        }
    }
    (got, messages)
}

/// To there, from anywhere.
pub fn route(destination: SocketAddr) -> Route {
    Route { destination, source: None, tos: 0 }
}

/// Puts a run of datagrams of `stride` bytes into the queue.
pub fn queue_run(queue: &mut SendQueue, data: &[u8], stride: usize, route: Route) {
    queue.reserve(data.len()).unwrap().copy_from_slice(data);
    queue.commit(data.len(), stride, route);
}

/// What the last flush had to tell.
pub fn events(queue: &mut SendQueue) -> Vec<SendEvent> {
    queue.events().collect()
}

/// The port and the first worker's sockets.
pub fn only(bound: Bound) -> (u16, Sockets) {
    let Bound { port, mut workers, .. } = bound;
    (port, workers.remove(0))
}

/// The socket of one family.
pub fn pick(sockets: &Sockets, v6: bool) -> &UdpSocket {
    if v6 { sockets.v6.as_ref().unwrap() } else { &sockets.v4 }
}
