//! Attributes: length, type, payload, padding to four bytes (linux/netlink.h).

/// In a type: the payload consists of attributes.
pub const NESTED: u16 = 1 << 15;

/// Attributes one behind the other, well-formed or not.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a well-formed attribute.
    #[must_use]
    pub fn put(self, kind: u16, payload: &[u8]) -> Self {
        self.put_with_len(kind, payload.len() + 4, payload)
    }

    /// Appends a well-formed attribute that consists of others.
    #[must_use]
    pub fn nest(self, kind: u16, inside: &Self) -> Self {
        self.put(kind | NESTED, &inside.0)
    }

    /// Appends an attribute that says it has another length than it has.
    #[must_use]
    pub fn put_with_len(self, kind: u16, len: usize, payload: &[u8]) -> Self {
        let len = u16::try_from(len).expect("requests are made to fit");
        let all = self.raw(&len.to_ne_bytes()).raw(&kind.to_ne_bytes()).raw(payload);
        let padding = all.0.len().next_multiple_of(4) - all.0.len();
        all.raw(&[0; 3][..padding])
    }

    /// Appends bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends others.
    #[must_use]
    pub fn with(self, others: &Self) -> Self {
        self.raw(&others.0)
    }

    /// As they are sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in `bytes`, with their types, in order; what cannot be parsed ends it.
pub fn parse(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (len, kind) = (number(bytes.get(..2)?) as usize, number(bytes.get(2..4)?) as u16);
        let payload = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind & !NESTED, payload))
    })
}

/// A number of up to eight bytes in the machine's order.
#[must_use]
pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
