//! The four messages of the protocol (paper, section 5.4.2 to 5.4.7): lengths, fields, and the check that comes
//! before anything else.
//!
//! All integers are little endian. The first byte is the type, the next three are reserved and must be zero.

/// What a datagram claims to be. Nothing is authenticated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A handshake initiation, 148 bytes.
    Initiation,
    /// A handshake response, 92 bytes.
    Response,
    /// A cookie reply, 64 bytes.
    CookieReply,
    /// A data message, 32 bytes or more.
    Data,
}

impl Kind {
    /// The kind of a datagram of `len` bytes that starts with `prefix`; `None` unless type, reserved bytes and
    /// length all fit one message.
    #[must_use]
    pub const fn of(prefix: [u8; 4], len: usize) -> Option<Self> {
        match (prefix, len) {
            ([1, 0, 0, 0], Initiation::LEN) => Some(Self::Initiation),
            ([2, 0, 0, 0], Response::LEN) => Some(Self::Response),
            ([3, 0, 0, 0], CookieReply::LEN) => Some(Self::CookieReply),
            ([4, 0, 0, 0], DataHeader::OVERHEAD..) => Some(Self::Data),
            _ => None,
        }
    }
}

/// The header of a data message: type, receiver index, counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// Index the receiver chose for the session.
    pub receiver: u32,
    /// Counter of the packet under the session's key.
    pub counter: u64,
}

impl DataHeader {
    /// Bytes of the header.
    pub const LEN: usize = 16;
    /// Bytes a data message is longer than its padded plaintext: the header and the tag.
    pub const OVERHEAD: usize = 32;

    /// Reads a header; `None` if type or reserved bytes are another message's.
    #[must_use]
    pub fn parse(bytes: &[u8; 16]) -> Option<Self> {
        let [4, 0, 0, 0, a, b, c, d, e, f, g, h, i, j, k, l] = *bytes else { return None };
        Some(Self { receiver: u32::from_le_bytes([a, b, c, d]), counter: u64::from_le_bytes([e, f, g, h, i, j, k, l]) })
    }

    /// The sixteen bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        let [a, b, c, d] = self.receiver.to_le_bytes();
        let [e, f, g, h, i, j, k, l] = self.counter.to_le_bytes();
        [4, 0, 0, 0, a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// Whether a data message can have this length: the plaintext is padded to 16 bytes only as far as the
    /// sender's MTU allows, so any length from the overhead on is possible.
    #[must_use]
    pub const fn fits(len: usize) -> bool {
        len >= Self::OVERHEAD
    }
}

/// A handshake initiation (type 1).
#[derive(Clone, Copy, Debug)]
pub struct Initiation {
    /// Index the initiator chose for the session to come.
    pub sender: u32,
    /// Unencrypted ephemeral public key.
    pub ephemeral: [u8; 32],
    /// Static public key, sealed: 32 bytes and a tag.
    pub encrypted_static: [u8; 48],
    /// TAI64N timestamp, sealed: 12 bytes and a tag.
    pub encrypted_timestamp: [u8; 28],
}

impl Initiation {
    /// Bytes of the message.
    pub const LEN: usize = 148;
    /// Bytes that mac1 covers.
    pub const MAC1_AT: usize = 116;
}

/// A handshake response (type 2).
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// Index the responder chose for the session.
    pub sender: u32,
    /// Index from the initiation.
    pub receiver: u32,
    /// Unencrypted ephemeral public key.
    pub ephemeral: [u8; 32],
    /// Nothing, sealed: a tag.
    pub encrypted_nothing: [u8; 16],
}

impl Response {
    /// Bytes of the message.
    pub const LEN: usize = 92;
    /// Bytes that mac1 covers.
    pub const MAC1_AT: usize = 60;
}

/// A cookie reply (type 3).
#[derive(Clone, Copy, Debug)]
pub struct CookieReply {
    /// Index from the message it answers.
    pub receiver: u32,
    /// Random nonce of XChaCha20-Poly1305.
    pub nonce: [u8; 24],
    /// Cookie, sealed: 16 bytes and a tag.
    pub encrypted_cookie: [u8; 32],
}

impl CookieReply {
    /// Bytes of the message.
    pub const LEN: usize = 64;
}
