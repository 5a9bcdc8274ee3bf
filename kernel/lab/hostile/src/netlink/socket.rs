//! A netlink socket that sends any bytes and tells what the kernel says to them.

use super::{number, parse};
use netlink_sys::SocketAddr;
use nix::errno::Errno;

/// Flag of a message: it is a request.
pub const REQUEST: u16 = 0x1;
/// Flag of a message: an acknowledgement is wanted.
pub const ACK: u16 = 0x4;
/// Flag of a message: everything is to be listed.
pub const DUMP: u16 = 0x300;
/// Flag of a message: what it names must not be there yet.
pub const EXCLUSIVE: u16 = 0x200;
/// Flag of a message: what it names is to be made.
pub const CREATE: u16 = 0x400;

const INTERRUPTED: u16 = 0x10;
const CAPPED: u16 = 0x100;
const HAS_WORDS: u16 = 0x200;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER_LEN: usize = 16;

/// A netlink socket.
pub struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
    part_len: usize,
}

/// What the kernel said to a request.
#[derive(Debug)]
pub struct Answer {
    /// Zero, or why it was refused.
    pub error: i32,
    /// The extended acknowledgement's sentence.
    pub words: String,
    /// Payloads of the messages of a listing.
    pub messages: Vec<Vec<u8>>,
    /// The kernel marked the listing as one that changed underway.
    pub interrupted: bool,
}

impl Answer {
    /// The name of the error, such as `EINVAL`, or `0`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.error == 0 { "0".to_owned() } else { format!("{:?}", Errno::from_raw(self.error)) }
    }
}

impl Socket {
    /// A socket of a netlink protocol, such as 16 for generic netlink.
    ///
    /// # Panics
    /// If there is no such protocol: nothing can be tested then.
    #[must_use]
    pub fn new(protocol: isize) -> Self {
        Self::with_parts(protocol, 65536)
    }

    /// As [`Self::new`], but listings come in parts of `part_len` bytes.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn with_parts(protocol: isize, part_len: usize) -> Self {
        let mut socket = netlink_sys::Socket::new(protocol).expect("a netlink socket");
        socket.bind_auto().expect("an address");
        socket.connect(&SocketAddr::new(0, 0)).expect("the kernel is there");
        socket.set_ext_ack(true).expect("extended acknowledgements");
        Self { socket, sequence: 0, part_len }
    }

    /// Sends a request and reads the answer to its end. A request is `kind`, `flags`, and what follows the header.
    ///
    /// # Panics
    /// If the kernel does not answer as netlink does.
    pub fn ask(&mut self, kind: u16, flags: u16, payload: &[u8]) -> Answer {
        self.send(kind, flags, payload);
        self.rest()
    }

    /// Sends a request.
    ///
    /// # Panics
    /// If the kernel does not even take the bytes.
    pub fn send(&mut self, kind: u16, flags: u16, payload: &[u8]) {
        self.sequence += 1;
        let mut message = u32::try_from(HEADER_LEN + payload.len()).expect("a message").to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(payload);
        self.socket.send(&message, 0).expect("the kernel takes any bytes");
    }

    /// Reads what is left of the answer.
    ///
    /// # Panics
    /// If the kernel does not answer as netlink does.
    pub fn rest(&mut self) -> Answer {
        let mut answer = Answer { error: 0, words: String::new(), messages: Vec::new(), interrupted: false };
        while !self.part(&mut answer) {}
        answer
    }

    /// Reads one part; true if it was the last.
    ///
    /// # Panics
    /// If the kernel does not answer as netlink does.
    pub fn part(&mut self, answer: &mut Answer) -> bool {
        let mut buffer = Vec::with_capacity(self.part_len);
        self.socket.recv(&mut buffer, 0).expect("an answer");
        let mut rest = &buffer[..];
        while rest.len() >= HEADER_LEN {
            let len = number(&rest[..4]) as usize;
            let (kind, flags) = (number(&rest[4..6]) as u16, number(&rest[6..8]) as u16);
            let sequence = number(&rest[8..12]) as u32;
            let payload = &rest[HEADER_LEN..len];
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
            if sequence != self.sequence {
                continue;
            }
            answer.interrupted |= flags & INTERRUPTED != 0;
            if kind == ERROR || kind == DONE {
                answer.error = (number(&payload[..4]) as u32 as i32).wrapping_neg();
                answer.words = if flags & HAS_WORDS != 0 { words(kind, flags, payload) } else { String::new() };
                return true;
            }
            answer.messages.push(payload.to_vec());
        }
        false
    }
}

/// The sentence of an acknowledgement: behind the error and, unless it was capped, the whole request.
fn words(kind: u16, flags: u16, payload: &[u8]) -> String {
    const MESSAGE: u16 = 1;
    let skipped = match kind {
        DONE => 4,
        _ if flags & CAPPED != 0 => 4 + HEADER_LEN,
        _ => 4 + (number(&payload[4..8]) as usize).next_multiple_of(4),
    };
    let attributes = payload.get(skipped..).unwrap_or(&[]);
    parse(attributes)
        .find(|(kind, _)| *kind == MESSAGE)
        .map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
        .unwrap_or_default()
}
