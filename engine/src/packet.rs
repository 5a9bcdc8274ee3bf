//! Entries of a run of data packets: what the engine sees of a packet instead of the packet.

use crate::message::DataHeader;
use crate::reason::Reason;
use core::fmt;

/// How many bytes at the start of a decrypted packet the engine looks at: an IPv6 header.
pub const HEAD_LEN: usize = 40;

/// One received data packet on its way through `admit`, `open` and `commit`.
///
/// The host makes one for every datagram of type data, keeps it beside the packet's buffer, and does with the
/// packet what [`Incoming::verdict`] says after the commit.
#[derive(Clone, Copy)]
pub struct Incoming {
    pub(crate) receiver: u32,
    pub(crate) counter: u64,
    /// Length of the whole datagram.
    pub(crate) datagram_len: usize,
    pub(crate) ecn: u8,
    pub(crate) state: State,
    /// What becomes of it as far as is known: while it is wanted, that it does not authenticate.
    pub(crate) verdict: Verdict,
    pub(crate) head: [u8; HEAD_LEN],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Wanted,
    Authenticated,
    Dropped,
}

/// What becomes of a received data packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Deliver the first `len` bytes of the plaintext; if `rewritten`, put [`Incoming::head`] back over its start
    /// first (an ECN mark was carried over).
    Deliver {
        /// Length of the inner packet in bytes, padding removed.
        len: usize,
        /// Whether [`Incoming::head`] differs from what was decrypted.
        rewritten: bool,
    },
    /// A keepalive: nothing to deliver.
    Keepalive,
    /// Dropped and counted.
    Drop(Reason),
}

/// Without the plaintext.
impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("receiver", &self.receiver)
            .field("counter", &self.counter)
            .field("datagram_len", &self.datagram_len)
            .field("state", &self.state)
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

impl Incoming {
    /// The entry for a data message of `datagram_len` bytes whose ECN bits in the outer header were `ecn`.
    ///
    /// `None` if `header`, its first 16 bytes, and the length are not those of a data message.
    #[must_use]
    pub fn new(header: &[u8; 16], datagram_len: usize, ecn: u8) -> Option<Self> {
        let header = DataHeader::parse(header)?;
        if !DataHeader::fits(datagram_len) {
            return None;
        }
        Some(Self {
            receiver: header.receiver,
            counter: header.counter,
            datagram_len,
            ecn: ecn & 3,
            state: State::Wanted,
            verdict: Verdict::Drop(Reason::BadTag),
            head: [0; HEAD_LEN],
        })
    }

    /// The receiver index in the header. A run is made of packets that share it.
    #[must_use]
    pub const fn receiver(&self) -> u32 {
        self.receiver
    }

    /// The counter in the header: the nonce.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// Length of the plaintext in bytes, padding included.
    #[must_use]
    pub const fn plaintext_len(&self) -> usize {
        self.datagram_len.saturating_sub(DataHeader::OVERHEAD)
    }

    /// Whether the packet is to be decrypted.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.state == State::Wanted
    }

    /// To be called by the crypto when the packet passed, with its plaintext, of which the first
    /// [`HEAD_LEN`] bytes (fewer if it is shorter) are looked at.
    pub fn authenticated(&mut self, plaintext: &[u8]) {
        if self.state == State::Wanted {
            for (kept, byte) in self.head.iter_mut().zip(plaintext) {
                *kept = *byte;
            }
            self.state = State::Authenticated;
        }
    }

    /// The start of the inner packet, to be put back if the verdict says so.
    #[must_use]
    pub const fn head(&self) -> &[u8; HEAD_LEN] {
        &self.head
    }

    /// What becomes of the packet; meaningful after the commit.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(crate) fn drop_for(&mut self, reason: Reason) {
        self.state = State::Dropped;
        self.verdict = Verdict::Drop(reason);
    }
}
