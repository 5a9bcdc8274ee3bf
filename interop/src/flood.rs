//! Strangers who send as fast as they are told to.

use crate::attack::Forger;
use crate::keys::Keys;
use crate::namespace::Namespace;
use crate::random::Random;
use nix::libc::in_pktinfo;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rubbish {
    /// Random bytes, as many as a handshake message has.
    Junk,
    /// The head and length of an initiation, and a wrong mac1.
    Shaped,
    /// Initiations with a right mac1 from nobody, all from one address.
    Signed,
    /// The same, each from another address.
    Spoofed,
}

impl Rubbish {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Junk, Self::Shaped, Self::Signed, Self::Spoofed];
}

/// The network from which [`Rubbish::Spoofed`] seems to come (RFC 2544's for measurements), with its prefix length.
pub const SPOOFED: &str = "198.18.0.0/15";

/// Different messages; they repeat.
const MESSAGES: usize = 4096;
/// How often a batch is due.
const PACE: Duration = Duration::from_micros(500);

/// A flood under way, ended when dropped.
pub struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Begins to send `rate` datagrams a second from `namespace` to `target`, made for the owner of `victim`. For
    /// [`Rubbish::Spoofed`] the way back from `target` to [`SPOOFED`] has to lead to `namespace`.
    ///
    /// # Panics
    /// If no socket can be had.
    #[must_use]
    pub fn start(namespace: &Namespace, target: SocketAddrV4, rubbish: Rubbish, victim: &Keys, rate: u32) -> Self {
        if rubbish == Rubbish::Spoofed {
            // Whoever owns all of them may send from each of them.
            namespace.ip(&format!("route replace local {SPOOFED} dev lo"));
        }
        let socket = namespace.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("a socket");
        let mut forger = Forger::new(u64::from(rate), victim.clone(), Vec::new());
        let messages: Vec<_> = (0..MESSAGES).map(|_| message(&mut forger, rubbish)).collect();
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = spawn({
            let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
            move || send(&socket, target, rubbish == Rubbish::Spoofed, &messages, rate, &over, &sent)
        });
        Self { over, sent, thread: Some(thread) }
    }

    /// Datagrams sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it has panicked, the count tells.
            let _ = thread.join();
        }
    }
}

fn message(forger: &mut Forger, rubbish: Rubbish) -> Vec<u8> {
    let mut bytes = forger.start().bytes;
    match rubbish {
        Rubbish::Junk => bytes[0] = 0xff,
        Rubbish::Shaped => bytes[116] ^= 1,
        Rubbish::Signed | Rubbish::Spoofed => {}
    }
    bytes
}

fn send(
    socket: &UdpSocket,
    target: SocketAddrV4,
    spoof: bool,
    messages: &[Vec<u8>],
    rate: u32,
    over: &AtomicBool,
    sent: &AtomicU64,
) {
    let (mut random, started, mut count) = (Random::new(1), Instant::now(), 0_u64);
    let target = SockaddrIn::from(target);
    while !over.load(Ordering::Relaxed) {
        let due = started.elapsed().as_micros() as u64 * u64::from(rate) / 1_000_000;
        // Whoever was kept from sending for long does not make up for all of it.
        count = count.max(due.saturating_sub(u64::from(rate) / 50));
        for _ in count..due {
            let message = random.pick(messages);
            let host = if spoof { 0xc612_0000 | random.bits() as u32 & 0x1_ffff } else { 0 };
            let source = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: nix::libc::in_addr { s_addr: host.to_be() },
                ipi_addr: nix::libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&source)];
            let control = if spoof { &control[..] } else { &[] };
            let parts = [IoSlice::new(message)];
            // A full buffer is a message less.
            let result = sendmsg(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_DONTWAIT, Some(&target));
            sent.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
        }
        count = due;
        sleep(PACE);
    }
}
