//! Packets past the stack: what a network card or a virtual machine could hand the kernel.

mod datagram;
mod header;
mod socket;
mod sys;
mod tap;

pub use datagram::Datagram;
pub use header::{Offload, checksum};
pub use socket::PacketSocket;
pub use tap::Tap;
