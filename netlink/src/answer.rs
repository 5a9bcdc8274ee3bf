//! The kernel's answer to a request, read datagram by datagram.

use netlink_packet_core::{
    ErrorMessage, NLM_F_DUMP_INTR, NetlinkDeserializable, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use std::fmt;
use std::io;

/// Bytes of a netlink message's header.
const HEADER: usize = 16;

/// The attribute of an error in which the kernel explains itself (`NLMSGERR_ATTR_MSG`).
const ERROR_TEXT: u16 = 1;

/// What has come so far.
#[derive(Debug)]
pub struct Answer<M> {
    /// All that it told.
    pub messages: Vec<M>,
    /// Whether what it listed changed while it did (`NLM_F_DUMP_INTR`).
    pub interrupted: bool,
}

impl<M> Default for Answer<M> {
    fn default() -> Self {
        Self { messages: Vec::new(), interrupted: false }
    }
}

impl<M: NetlinkDeserializable> Answer<M> {
    /// Reads a datagram; `true` at the end of the answer to request number `sequence`. Messages of other numbers are what is
    /// left of an earlier exchange that was given up, and are passed over.
    ///
    /// # Errors
    /// The kernel's refusal, or a message that is none.
    pub fn read(&mut self, datagram: &[u8], sequence: u32) -> Result<bool, NetlinkError> {
        let mut rest = datagram;
        while rest.len() >= HEADER {
            let message = NetlinkMessage::<M>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let length = (message.header.length as usize).next_multiple_of(4).max(HEADER);
            rest = rest.get(length..).unwrap_or_default();
            if message.header.sequence_number != sequence {
                continue;
            }
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => return Err(NetlinkError::from_message(&error)),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(done.code.saturating_neg()).into());
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Overrun(_) => return Err(io::Error::other("the answer was cut").into()),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// Why the kernel did not do what it was asked.
#[derive(Debug)]
pub struct NetlinkError {
    /// Its error number.
    pub error: io::Error,
    /// Its explanation, when it has one.
    pub text: Option<String>,
}

impl NetlinkError {
    /// Whether the kernel's error number is this one.
    #[must_use]
    pub fn is(&self, number: nix::errno::Errno) -> bool {
        self.error.raw_os_error() == Some(number as i32)
    }

    fn from_message(message: &ErrorMessage) -> Self {
        let attributes = NlasIterator::new(message.header.get(HEADER..).unwrap_or_default());
        let text = attributes.flatten().find(|nla| nla.kind() == ERROR_TEXT);
        let text = text.map(|nla| String::from_utf8_lossy(nla.value()).trim_end_matches(['\0', '.']).to_owned());
        // Not `to_io`: it overflows on a number that has no opposite, which no kernel sends.
        Self { error: io::Error::from_raw_os_error(message.raw_code().saturating_abs()), text }
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
