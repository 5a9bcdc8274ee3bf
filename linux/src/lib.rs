//! TUN devices and UDP sockets in batches, with every Linux offload learnt at run time.
//!
//! This crate is the daemon's only door to the operating system's packets. It knows IP, TCP and UDP headers as far as
//! offloads need them, and nothing of WireGuard. It has no threads, no async runtime and no logging: what happened comes
//! back as values and counters.
//!
//! # The way of a packet
//!
//! **Out**, from the TUN device to the network. One copy of the payload:
//!
//! 1. [`TunQueue::recv`] reads a packet or a super-packet of up to 64 KiB into the worker's buffer; [`TunBatch::recv`] reads
//!    all that are there, up to a bound.
//! 2. [`Segments::parse`] checks it; [`Segments::len`] and [`Segments::segment_len`] say what it becomes.
//! 3. [`SendQueue::reserve`] gives room for all of them, sealed. For each, [`Segments::write`] puts the packet, with
//!    rebuilt headers and finished checksums, to the place where it will be sealed.
//! 4. [`SendQueue::commit`] queues the run of equal datagrams; a shorter last one is allowed.
//! 5. After some rounds, [`SendQueue::flush`] sends all runs with `sendmmsg`, each as one `UDP_SEGMENT` message.
//!
//! **In**, from the network to the TUN device. No copy:
//!
//! 1. [`RecvBatch::recv`] takes several `UDP_GRO` messages with one `recvmmsg`.
//! 2. [`RecvBatch::messages`] gives each as a mutable run of datagrams of one stride from one source, to be opened in
//!    place; slices of all messages may be held at once. [`RecvBatch::placed`] gives them as places in one piece of memory,
//!    for who opens datagrams of several messages together.
//! 3. [`TunQueue::deliver`] writes the inner packets in order, neighbours of a flow merged into one `writev`.
//!
//! ```no_run
//! use kerntun_linux::*;
//! # fn seal(_: &mut [u8]) {}
//! # fn open(datagram: &mut [u8]) -> Option<&[u8]> { datagram.get(16..) }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = TunConfig { name: "wg0", queues: 1, offload: TunOffload::ALL, exists: IfExists::Refuse };
//! let mut tun = Tun::create(&config)?;
//! tun.interface.set_mtu(1420)?;
//! let queue = tun.queues.remove(0);
//! let bound = bind(&UdpConfig { port: 0, mark: 0, workers: 1, offload: UdpOffload::ALL, ipv6: true })?;
//! let sockets = &bound.workers[0];
//! let mut poller = Poller::new()?;
//! poller.add(std::os::fd::AsFd::as_fd(&queue), 0)?;
//! poller.add(std::os::fd::AsFd::as_fd(&sockets.v4), 1)?;
//!
//! let (mut buffer, mut out) = (vec![0; TUN_BUFFER], SendQueue::new());
//! let mut batch = RecvBatch::new(8);
//! let mut coalescer = Coalescer::new(queue.offload(), ChecksumPolicy::Verify);
//! let mut report = DeliveryReport::default();
//! let route = Route { destination: "192.0.2.1:51820".parse()?, source: None, tos: 0 };
//! loop {
//!     let ready = poller.wait(None)?;
//!     if ready.has(0) {
//!         while let Some((header, packet)) = queue.recv(&mut buffer)? {
//!             let Ok(segments) = Segments::parse(&header, packet) else { continue };
//!             let sealed = |i| 16 + segments.segment_len(i).next_multiple_of(16) + 16;
//!             let (stride, last) = (sealed(0), sealed(segments.len() - 1));
//!             let total = stride * (segments.len() - 1) + last;
//!             if out.reserve(total).is_none() {
//!                 out.flush(sockets, boottime());
//!             }
//!             let Some(room) = out.reserve(total) else { continue };
//!             for (i, datagram) in room.chunks_mut(stride).enumerate() {
//!                 segments.write(i, &mut datagram[16..])?;
//!                 seal(datagram);
//!             }
//!             out.commit(total, stride, route);
//!         }
//!         out.flush(sockets, boottime());
//!     }
//!     if ready.has(1) {
//!         batch.recv(&sockets.v4)?;
//!         for message in batch.messages() {
//!             let inner: Vec<&[u8]> = message.datagrams().filter_map(open).collect();
//!             queue.deliver(&mut coalescer, &inner, &mut report)?;
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! # What the caller must know
//!
//! - **Ends.** [`TunError::Gone`] from any queue is final: the interface was deleted. No other error ends a worker.
//! - **Order.** One worker per queue and socket pair keeps order. With several queues the kernel picks the queue of a
//!   flow by where packets of the opposite direction were written last, so a flow may change queues when its worker
//!   changes; packets of one peer then need the engine's job order.
//! - **Time.** All times are [`boottime`] nanoseconds. [`Poller::wait`] sleeps on that clock.
//! - **Memory.** Per worker: [`RecvBatch`] messages × 64 KiB (touched as far as the batch asks), [`SEND_BUFFER`],
//!   [`TUN_BUFFER`]; allocated once.
//! - **Sticky source.** [`Received::local`] goes into [`Route::source`] of the answers. Drop cached sources on
//!   [`SendEvent::SourceLost`], on [`LinkEvent::RoutesChanged`], and when the mark changes.
//! - **Offloads** are found out: the TUN device's when it is made, `UDP_SEGMENT` on each refusal, for the address
//!   concerned (and tried again after a minute). [`TunConfig::offload`] and [`UdpConfig::offload`] force them off.
//! - **Namespaces.** Everything belongs to the network namespace of the thread that opened it.
//!
//! `unsafe` is confined to `sys`, `address` and single calls with their argument beside them. `libc` is the only
//! dependency: most of what happens here (message headers, TUN requests) is not covered by safer crates.

#![cfg(target_os = "linux")]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]

mod address;
mod bytes;
pub mod checksum;
pub mod clock;
pub mod coalesce;
pub mod error;
pub mod inherit;
pub mod interface;
mod lessons;
pub mod netlink_watch;
pub mod poll;
pub mod queue;
pub mod recv;
pub mod reuse;
pub mod scheduling;
pub mod seccomp;
pub mod segment;
pub mod send;
mod sys;
pub mod time_watch;
pub mod tun;
pub mod tun_batch;
pub mod udp;
pub mod vm_watch;
pub mod vnet;

pub use address::Source;
pub use clock::{boottime, realtime};
pub use coalesce::{ChecksumPolicy, Coalescer, Run};
pub use error::{BindError, TunError};
pub use inherit::{keep_from_children, take_inherited};
pub use interface::{Interface, InterfaceNames};
pub use netlink_watch::{LinkEvent, NetlinkWatch};
pub use poll::{Poller, Ready, Waker};
pub use queue::{DeliveryReport, TUN_BUFFER, TunQueue};
pub use recv::{MAX_MESSAGES, Placed, RECV_BUFFER, Received, RecvBatch, RecvStats};
pub use reuse::emptied;
pub use scheduling::run_in_batches;
pub use segment::{SegmentError, Segments};
pub use send::{Route, SEND_BUFFER, SendEvent, SendQueue, SendStats};
pub use time_watch::TimeWatch;
pub use tun::{IfExists, Tun, TunConfig, TunOffload};
pub use tun_batch::{MAX_PACKETS, TunBatch};
pub use udp::{Bound, Sockets, UdpConfig, UdpOffload, UdpSocket, bind};
pub use vm_watch::VmWatch;
pub use vnet::VnetHeader;
