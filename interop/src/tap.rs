//! A look at the cable: a packet socket (packet(7)).

use crate::namespace::Namespace;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// Sees every packet of a namespace, sent or received, on any interface.
pub struct Tap(OwnedFd);

/// A UDP datagram in an IP packet.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// TOS byte or traffic class.
    pub tos: u8,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Tap {
    /// Begins to look.
    ///
    /// # Panics
    /// If the system refuses.
    #[must_use]
    pub fn new(namespace: &Namespace) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = || socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll);
        let socket = namespace.enter(open).expect("root may look");
        setsockopt(&socket, RcvBufForce, &(16 << 20)).expect("root may have a large buffer");
        Self(socket)
    }

    /// All UDP datagrams since the last time.
    ///
    /// # Panics
    /// If the socket fails.
    #[must_use]
    pub fn datagrams(&self) -> Vec<Datagram> {
        let mut found = Vec::new();
        let mut packet = vec![0; 70_000];
        loop {
            match recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(len) => found.extend(Datagram::parse(&packet[..len])),
                Err(nix::Error::EAGAIN) => return found,
                Err(nix::Error::EINTR | nix::Error::ENETDOWN) => {}
                Err(error) => panic!("cannot look at the cable: {error}"),
            }
        }
    }
}

impl Datagram {
    fn parse(packet: &[u8]) -> Option<Self> {
        const UDP: u8 = 17;
        let [source, destination]: [IpAddr; 2];
        let (tos, behind);
        match packet.first()? >> 4 {
            4 if *packet.get(9)? == UDP => {
                source = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?).into();
                destination = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?).into();
                (tos, behind) = (packet[1], packet.get(usize::from(packet[0] & 15) * 4..)?);
            }
            6 if *packet.get(6)? == UDP => {
                source = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?).into();
                destination = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?).into();
                (tos, behind) = (packet[0] << 4 | packet[1] >> 4, packet.get(40..)?);
            }
            _ => return None,
        }
        let port = |at: usize| Some(u16::from_be_bytes([*behind.get(at)?, *behind.get(at + 1)?]));
        let (source_port, destination_port) = (port(0)?, port(2)?);
        let payload = behind.get(8..)?.to_vec();
        Some(Self { source, destination, source_port, destination_port, tos, payload })
    }

    /// The type of WireGuard message it looks like, 1 to 4.
    #[must_use]
    pub fn message_type(&self) -> Option<u8> {
        match self.payload[..] {
            [kind @ 1..=4, 0, 0, 0, ..] => Some(kind),
            _ => None,
        }
    }
}
