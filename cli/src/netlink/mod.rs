//! Talking to the kernel's network configuration: one request, one answer, on a blocking socket.
//!
//! Formats are in <linux/netlink.h>, <linux/rtnetlink.h> and rtnetlink(7); the packets come from the `netlink-packet-*`
//! crates. One file per noun: what can be done with it and nothing else.

pub(crate) mod address;
pub(crate) mod link;
pub(crate) mod route;
pub(crate) mod rule;
pub(crate) mod table;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr, protocols};
use std::fmt;
use std::io;

/// How often a listing is begun again because the kernel says that it changed while it was read.
const DUMP_ATTEMPTS: usize = 8;

/// Bytes of a netlink message's header.
const HEADER: usize = 16;

/// The attribute of an error in which the kernel explains itself (`NLMSGERR_ATTR_MSG`).
const ERROR_TEXT: u16 = 1;

/// A netlink socket in the network namespace of the thread that made it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// Why the kernel did not do what it was asked.
#[derive(Debug)]
pub(crate) struct NetlinkError {
    /// Its error number.
    pub(crate) error: io::Error,
    /// Its explanation, when it has one.
    pub(crate) text: Option<String>,
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
        let mut answer = Answer { messages: Vec::new(), interrupted: false };
        loop {
            let (datagram, _) = retry(|| self.socket.recv_from_full())?;
            let datagram = zeroize::Zeroizing::new(datagram);
            let mut rest = datagram.as_slice();
            while rest.len() >= HEADER {
                let message = NetlinkMessage::<M>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                let length = (message.header.length as usize).next_multiple_of(4).max(HEADER);
                rest = rest.get(length..).unwrap_or_default();
                // What is left of an earlier exchange that was given up.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                answer.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answer.messages.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answer),
                    NetlinkPayload::Error(error) => return Err(NetlinkError::from_message(&error)),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_neg()).into());
                    }
                    NetlinkPayload::Done(_) => return Ok(answer),
                    NetlinkPayload::Overrun(_) => return Err(io::Error::other("the answer was cut").into()),
                    _ => {}
                }
            }
        }
    }
}

/// What can be sent and received.
pub(crate) trait Message: NetlinkSerializable + NetlinkDeserializable {}

impl<M: NetlinkSerializable + NetlinkDeserializable> Message for M {}

struct Answer<M> {
    messages: Vec<M>,
    interrupted: bool,
}

impl NetlinkError {
    /// Whether the kernel's error number is this one.
    pub(crate) fn is(&self, number: nix::errno::Errno) -> bool {
        self.error.raw_os_error() == Some(number as i32)
    }

    fn from_message(message: &ErrorMessage) -> Self {
        let attributes = NlasIterator::new(message.header.get(HEADER..).unwrap_or_default());
        let text = attributes.flatten().find(|nla| nla.kind() == ERROR_TEXT);
        let text = text.map(|nla| String::from_utf8_lossy(nla.value()).trim_end_matches(['\0', '.']).to_owned());
        Self { error: message.to_io(), text }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The number that the standard library appends helps nobody here.
        let error = self.error.to_string();
        f.write_str(error.split(" (os error").next().unwrap_or(&error))?;
        self.text.iter().try_for_each(|text| write!(f, " ({text})"))
    }
}

impl std::error::Error for NetlinkError {}

impl From<io::Error> for NetlinkError {
    fn from(error: io::Error) -> Self {
        Self { error, text: None }
    }
}

/// Does a system call again when a signal came in between.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
