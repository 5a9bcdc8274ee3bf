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
            (Initiation::TYPE, Initiation::LEN) => Some(Self::Initiation),
            (Response::TYPE, Response::LEN) => Some(Self::Response),
            (CookieReply::TYPE, CookieReply::LEN) => Some(Self::CookieReply),
            (DataHeader::TYPE, DataHeader::OVERHEAD..) => Some(Self::Data),
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
    /// Type and reserved bytes.
    const TYPE: [u8; 4] = [4, 0, 0, 0];
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

/// `N` bytes sealed with ChaCha20-Poly1305, and their tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<const N: usize> {
    /// The ciphertext.
    pub text: [u8; N],
    /// The tag.
    pub tag: [u8; 16],
}

/// A handshake initiation (type 1), without its macs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initiation {
    /// Index the initiator chose for the session to come.
    pub sender: u32,
    /// Unencrypted ephemeral public key.
    pub ephemeral: [u8; 32],
    /// Static public key, sealed.
    pub encrypted_static: Sealed<32>,
    /// TAI64N timestamp, sealed.
    pub encrypted_timestamp: Sealed<12>,
}

impl Initiation {
    /// Type and reserved bytes.
    const TYPE: [u8; 4] = [1, 0, 0, 0];
    /// Bytes of the message.
    pub const LEN: usize = 148;
    /// Bytes that mac1 covers.
    pub const MAC1_AT: usize = 116;

    /// Reads a message; `None` if type or reserved bytes are another message's. The macs are
    /// [looked at](Macs::of) before, and elsewhere.
    #[must_use]
    pub fn parse(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut reader = Reader::after(Self::TYPE, bytes)?;
        Some(Self {
            sender: reader.number()?,
            ephemeral: reader.take()?,
            encrypted_static: reader.sealed()?,
            encrypted_timestamp: reader.sealed()?,
        })
    }

    /// The bytes on the wire, both macs zero.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        joined(&[
            &Self::TYPE,
            &self.sender.to_le_bytes(),
            &self.ephemeral,
            &self.encrypted_static.text,
            &self.encrypted_static.tag,
            &self.encrypted_timestamp.text,
            &self.encrypted_timestamp.tag,
        ])
    }
}

/// A handshake response (type 2), without its macs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Index the responder chose for the session.
    pub sender: u32,
    /// Index from the initiation.
    pub receiver: u32,
    /// Unencrypted ephemeral public key.
    pub ephemeral: [u8; 32],
    /// Nothing, sealed: a tag.
    pub encrypted_nothing: Sealed<0>,
}

impl Response {
    /// Type and reserved bytes.
    const TYPE: [u8; 4] = [2, 0, 0, 0];
    /// Bytes of the message.
    pub const LEN: usize = 92;
    /// Bytes that mac1 covers.
    pub const MAC1_AT: usize = 60;

    /// Reads a message; `None` if type or reserved bytes are another message's. The macs are
    /// [looked at](Macs::of) before, and elsewhere.
    #[must_use]
    pub fn parse(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut reader = Reader::after(Self::TYPE, bytes)?;
        Some(Self {
            sender: reader.number()?,
            receiver: reader.number()?,
            ephemeral: reader.take()?,
            encrypted_nothing: reader.sealed()?,
        })
    }

    /// The bytes on the wire, both macs zero.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        joined(&[
            &Self::TYPE,
            &self.sender.to_le_bytes(),
            &self.receiver.to_le_bytes(),
            &self.ephemeral,
            &self.encrypted_nothing.tag,
        ])
    }
}

/// A cookie reply (type 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieReply {
    /// Index from the message it answers.
    pub receiver: u32,
    /// Random nonce of XChaCha20-Poly1305.
    pub nonce: [u8; 24],
    /// Cookie, sealed.
    pub encrypted_cookie: Sealed<16>,
}

impl CookieReply {
    /// Type and reserved bytes.
    const TYPE: [u8; 4] = [3, 0, 0, 0];
    /// Bytes of the message.
    pub const LEN: usize = 64;

    /// Reads a message; `None` if type or reserved bytes are another message's.
    #[must_use]
    pub fn parse(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut reader = Reader::after(Self::TYPE, bytes)?;
        Some(Self { receiver: reader.number()?, nonce: reader.take()?, encrypted_cookie: reader.sealed()? })
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        joined(&[
            &Self::TYPE,
            &self.receiver.to_le_bytes(),
            &self.nonce,
            &self.encrypted_cookie.text,
            &self.encrypted_cookie.tag,
        ])
    }
}

/// The last 32 bytes of an initiation or a response.
#[derive(Clone, Copy, Debug)]
pub struct Macs<'a> {
    /// What mac1 covers: all that comes before it. mac2 covers this and mac1.
    pub covered: &'a [u8],
    /// Proof that the sender knows whom it writes to.
    pub mac1: &'a [u8; 16],
    /// Proof that the sender receives at its source address; zeros if it holds no cookie.
    pub mac2: &'a [u8; 16],
}

impl<'a> Macs<'a> {
    /// Bytes of both.
    pub const LEN: usize = 32;

    /// The macs of a whole message; `None` if it is shorter than they are.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Option<Self> {
        let (rest, mac2) = message.split_last_chunk()?;
        let (covered, mac1) = rest.split_last_chunk()?;
        Some(Self { covered, mac1, mac2 })
    }
}

/// The index its sender chose, of an initiation or a response.
pub(crate) fn sender_of(message: &[u8]) -> Option<u32> {
    let mut reader = Reader(message);
    let _type: [u8; 4] = reader.take()?;
    reader.number()
}

/// Takes fields off the front of a message, and runs dry where others would panic.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The fields behind `prefix`; `None` if the message starts differently.
    fn after(prefix: [u8; 4], message: &'a [u8]) -> Option<Self> {
        message.strip_prefix(&prefix).map(Self)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn sealed<const N: usize>(&mut self) -> Option<Sealed<N>> {
        Some(Sealed { text: self.take()?, tag: self.take()? })
    }
}

/// The fields one after the other, zeros behind them.
fn joined<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    let mut message = [0; N];
    for (place, byte) in message.iter_mut().zip(fields.iter().copied().flatten()) {
        *place = *byte;
    }
    message
}

const _: () = {
    assert!(size_of::<Sealed<32>>() == 48 && size_of::<Sealed<12>>() == 28);
    assert!(size_of::<Sealed<0>>() == 16 && size_of::<Sealed<16>>() == 32);
    assert!(Initiation::MAC1_AT == 4 + 4 + 32 + size_of::<Sealed<32>>() + size_of::<Sealed<12>>());
    assert!(Initiation::LEN == Initiation::MAC1_AT + Macs::LEN);
    assert!(Response::MAC1_AT == 4 + 4 + 4 + 32 + size_of::<Sealed<0>>());
    assert!(Response::LEN == Response::MAC1_AT + Macs::LEN);
    assert!(CookieReply::LEN == 4 + 4 + 24 + size_of::<Sealed<16>>());
    assert!(DataHeader::LEN == 4 + 4 + 8 && DataHeader::OVERHEAD == DataHeader::LEN + 16);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// The number that four of `bytes` spell, least significant first.
    fn number(bytes: &[u8]) -> u32 {
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    #[test]
    fn the_fields_of_an_initiation_are_where_the_paper_puts_them() {
        let mut bytes = Random::new(1).bytes::<148>();
        bytes[..4].copy_from_slice(&[1, 0, 0, 0]);
        let message = Initiation::parse(&bytes).unwrap();
        assert_eq!(message.sender, number(&bytes[4..8]));
        assert_eq!(message.ephemeral, bytes[8..40]);
        assert_eq!([&message.encrypted_static.text[..], &message.encrypted_static.tag].concat(), bytes[40..88]);
        assert_eq!([&message.encrypted_timestamp.text[..], &message.encrypted_timestamp.tag].concat(), bytes[88..116]);
        assert_eq!(sender_of(&bytes), Some(message.sender));
        assert_eq!(message.to_bytes()[..116], bytes[..116]);
        assert_eq!(message.to_bytes()[116..], [0; 32]);
    }

    #[test]
    fn the_fields_of_a_response_are_where_the_paper_puts_them() {
        let mut bytes = Random::new(2).bytes::<92>();
        bytes[..4].copy_from_slice(&[2, 0, 0, 0]);
        let message = Response::parse(&bytes).unwrap();
        assert_eq!((message.sender, message.receiver), (number(&bytes[4..8]), number(&bytes[8..12])));
        assert_eq!(message.ephemeral, bytes[12..44]);
        assert_eq!(message.encrypted_nothing.tag, bytes[44..60]);
        assert_eq!(sender_of(&bytes), Some(message.sender));
        assert_eq!(message.to_bytes()[..60], bytes[..60]);
        assert_eq!(message.to_bytes()[60..], [0; 32]);
    }

    #[test]
    fn the_fields_of_a_cookie_reply_are_where_the_paper_puts_them() {
        let mut bytes = Random::new(3).bytes::<64>();
        bytes[..4].copy_from_slice(&[3, 0, 0, 0]);
        let message = CookieReply::parse(&bytes).unwrap();
        assert_eq!(message.receiver, number(&bytes[4..8]));
        assert_eq!(message.nonce, bytes[8..32]);
        assert_eq!([message.encrypted_cookie.text, message.encrypted_cookie.tag].concat(), bytes[32..64]);
        assert_eq!(message.to_bytes(), bytes);
    }

    #[test]
    fn the_fields_of_a_data_header_are_where_the_paper_puts_them() {
        let mut bytes = Random::new(4).bytes::<16>();
        bytes[..4].copy_from_slice(&[4, 0, 0, 0]);
        let header = DataHeader::parse(&bytes).unwrap();
        assert_eq!(header.receiver, number(&bytes[4..8]));
        assert_eq!(header.counter, u64::from(number(&bytes[12..16])) << 32 | u64::from(number(&bytes[8..12])));
        assert_eq!(header.to_bytes(), bytes);
    }

    #[test]
    fn a_message_is_what_type_reserved_bytes_and_length_all_say() {
        for prefix in (0..8).flat_map(|kind| {
            [[kind, 0, 0, 0], [kind, 1, 0, 0], [kind, 0, 1, 0], [kind, 0, 0, 1], [0, kind, 0, 0], [0, 0, 0, kind]]
        }) {
            for len in 0..2000 {
                let expected = match (prefix, len) {
                    ([1, 0, 0, 0], 148) => Some(Kind::Initiation),
                    ([2, 0, 0, 0], 92) => Some(Kind::Response),
                    ([3, 0, 0, 0], 64) => Some(Kind::CookieReply),
                    ([4, 0, 0, 0], 32..) => Some(Kind::Data),
                    _ => None,
                };
                assert_eq!(Kind::of(prefix, len), expected, "{prefix:?}, {len} bytes");
            }
            fn starting<const N: usize>(prefix: [u8; 4]) -> [u8; N] {
                core::array::from_fn(|at| prefix.get(at).copied().unwrap_or(0))
            }
            assert_eq!(Initiation::parse(&starting(prefix)).is_some(), prefix == [1, 0, 0, 0]);
            assert_eq!(Response::parse(&starting(prefix)).is_some(), prefix == [2, 0, 0, 0]);
            assert_eq!(CookieReply::parse(&starting(prefix)).is_some(), prefix == [3, 0, 0, 0]);
            assert_eq!(DataHeader::parse(&starting(prefix)).is_some(), prefix == [4, 0, 0, 0]);
        }
    }

    #[test]
    fn macs_are_the_last_32_bytes() {
        let bytes = Random::new(5).bytes::<92>();
        let macs = Macs::of(&bytes).unwrap();
        assert_eq!(macs.covered, &bytes[..60]);
        assert_eq!((&macs.mac1[..], &macs.mac2[..]), (&bytes[60..76], &bytes[76..]));
        assert!(Macs::of(&bytes[..31]).is_none());
        assert!(Macs::of(&bytes[..32]).is_some_and(|macs| macs.covered.is_empty()));
    }
}
