//! ICMP echo (RFC 792, RFC 4443), answered by the kernel on the other side.

use crate::namespace::Namespace;
use crate::wait::SOON;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Sends echo requests to one address.
pub struct Pinger {
    socket: OwnedFd,
    to: IpAddr,
    sequence: u16,
}

impl Pinger {
    /// From a namespace to an address.
    ///
    /// # Panics
    /// If the system refuses.
    #[must_use]
    pub fn new(from: &Namespace, to: IpAddr) -> Self {
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let socket = from.enter(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol));
        Self { socket: socket.expect("root may have raw sockets"), to, sequence: 0 }
    }

    /// Sends a request with `len` bytes of data and waits at most `limit` for its answer, which has to say the same.
    pub fn ping(&mut self, len: usize, limit: Duration) -> bool {
        let started = Instant::now();
        self.sequence = self.sequence.wrapping_add(1);
        let request = self.request(len);
        let to = SockaddrStorage::from(SocketAddr::new(self.to, 0));
        if sendto(self.socket.as_raw_fd(), &request, &to, MsgFlags::empty()).is_err() {
            // No route, or nobody to send it to. The limit still holds, so that nobody asks too often.
            std::thread::sleep(limit);
            return false;
        }
        let mut packet = vec![0; 70_000];
        loop {
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return false;
            }
            let timeout = TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1));
            setsockopt(&self.socket, ReceiveTimeout, &timeout).expect("an ordinary option");
            let Ok(received) = recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty()) else { continue };
            let message = match self.to {
                // Raw IPv4 sockets get the header as well.
                IpAddr::V4(_) => packet.get(usize::from(packet[0] & 15) * 4..received),
                IpAddr::V6(_) => packet.get(..received),
            };
            if message.is_some_and(|message| self.is_answer(message, &request)) {
                return true;
            }
        }
    }

    fn request(&self, len: usize) -> Vec<u8> {
        let kind = if self.to.is_ipv4() { 8 } else { 128 };
        let mut message = vec![kind, 0, 0, 0];
        // The identifier tells us from others in the same namespace.
        message.extend((self.socket.as_raw_fd() as u16).to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend((0..len).map(|at| at as u8));
        // The kernel fills in the checksum of ICMPv6 only.
        if self.to.is_ipv4() {
            let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            let mut sum: u32 = message.chunks(2).map(word).sum();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
        message
    }

    fn is_answer(&self, message: &[u8], request: &[u8]) -> bool {
        let kind = if self.to.is_ipv4() { 0 } else { 129 };
        message.len() == request.len() && message[0] == kind && message[4..] == request[4..]
    }
}

/// Pings until there is an answer.
///
/// # Panics
/// If there is none for as long as a handshake may take.
pub fn reach(from: &Namespace, to: IpAddr) {
    reach_within(from, to, SOON);
}

/// As [`reach`], with another limit.
///
/// # Panics
/// If there is no answer.
pub fn reach_within(from: &Namespace, to: IpAddr, limit: Duration) {
    let mut pinger = Pinger::new(from, to);
    let started = Instant::now();
    while !pinger.ping(56, Duration::from_millis(200)) {
        assert!(started.elapsed() < limit, "{} has no answer from {to} within {limit:?}", from.name());
    }
}

/// Whether not one of some pings is answered.
#[must_use]
pub fn is_unreachable(from: &Namespace, to: IpAddr) -> bool {
    let mut pinger = Pinger::new(from, to);
    !(0..5).any(|_| pinger.ping(56, Duration::from_millis(200)))
}
