//! A packet socket (packet(7)) that sends whatever it is given through an interface.

use super::{Offload, sys};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Sends through one interface, past everything that checks.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    index: i32,
}

impl PacketSocket {
    /// For an interface of this network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(interface: &str) -> io::Result<Self> {
        Ok(Self { socket: sys::packet_socket(interface)?, index: sys::index(interface)? })
    }

    /// Sends a packet of a protocol, such as 0x0800, with what is still to be done with it.
    ///
    /// # Errors
    /// What the kernel says; it refuses some nonsense by itself.
    pub fn send(&self, offload: Offload, protocol: u16, packet: &[u8]) -> io::Result<()> {
        sys::send_to(self.socket.as_fd(), self.index, protocol, &[&offload.bytes()[..], packet].concat())
    }
}
