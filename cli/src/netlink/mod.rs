//! Talking to the kernel's network configuration: one request, one answer, on a blocking socket.
//!
//! Formats are in <linux/netlink.h>, <linux/rtnetlink.h> and rtnetlink(7); the packets come from the `netlink-packet-*`
//! crates. One file per noun: what can be done with it and nothing else.

pub(crate) mod address;
pub(crate) mod link;
pub(crate) mod route;
pub(crate) mod rule;
pub(crate) mod table;

pub(crate) use kerntun_netlink::NetlinkError;

use kerntun_netlink::Answer;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr, protocols};
use std::io;

/// How often a listing is begun again because the kernel says that it changed while it was read.
const DUMP_ATTEMPTS: usize = 8;

/// A netlink socket in the network namespace of the thread that made it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// A socket for links, addresses, routes and rules.
    ///
    /// # Errors
    /// Those of `socket(2)`.
    pub(crate) fn route() -> Result<Self, NetlinkError> {
        Self::of(protocols::NETLINK_ROUTE)
    }

    /// A socket for families such as "wireguard".
    ///
    /// # Errors
    /// Those of `socket(2)`.
    pub(crate) fn generic() -> Result<Self, NetlinkError> {
        Self::of(protocols::NETLINK_GENERIC)
    }

    fn of(protocol: isize) -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Explanations are a nicety of newer kernels.
        let _ = socket.set_ext_ack(true).and_then(|()| socket.set_cap_ack(true));
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a change, with `flags` such as `NLM_F_CREATE | NLM_F_EXCL`, and waits until it is made.
    pub(crate) fn change<M: Message>(&mut self, message: M, flags: u16) -> Result<(), NetlinkError> {
        self.exchange(message, flags | NLM_F_ACK).map(drop)
    }

    /// Asks for one thing.
    pub(crate) fn get<M: Message>(&mut self, message: M) -> Result<Option<M>, NetlinkError> {
        Ok(self.exchange(message, NLM_F_ACK)?.messages.pop())
    }

    /// Asks for all things of a kind, until the kernel gives a list that did not change in between.
    pub(crate) fn list<M: Message + Clone>(&mut self, message: M) -> Result<Vec<M>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self.exchange(message.clone(), NLM_F_DUMP)?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the list keeps changing while it is read").into())
    }

    fn exchange<M: Message>(&mut self, message: M, flags: u16) -> Result<Answer<M>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = zeroize::Zeroizing::new(vec![0; message.buffer_len()]);
        message.serialize(&mut bytes);
        retry(|| self.socket.send(&bytes, 0))?;
        self.receive()
    }

    fn receive<M: Message>(&self) -> Result<Answer<M>, NetlinkError> {
        let mut answer = Answer::default();
        loop {
            let (datagram, _) = retry(|| self.socket.recv_from_full())?;
            if answer.read(&zeroize::Zeroizing::new(datagram), self.sequence)? {
                return Ok(answer);
            }
        }
    }
}

/// What can be sent and received.
pub(crate) trait Message: NetlinkSerializable + NetlinkDeserializable {}

impl<M: NetlinkSerializable + NetlinkDeserializable> Message for M {}

/// Does a system call again when a signal came in between.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
