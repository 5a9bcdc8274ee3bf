//! The header with which unfinished packets are handed over (linux/virtio_net.h), and the checksum that finishes one (RFC 1071).

/// What is still to be done with a packet. Nothing checks that it makes sense.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offload {
    /// 1: the checksum is unfinished; 2: it was checked.
    pub flags: u8,
    /// 0 none, 1 TCP over IPv4, 3 UDP fragments, 4 TCP over IPv6, 5 UDP segments; 0x80 with ECN.
    pub kind: u8,
    /// Bytes of headers, a hint.
    pub header_len: u16,
    /// Bytes of payload in each segment.
    pub segment_len: u16,
    /// Where the checksum starts to be computed.
    pub checksum_start: u16,
    /// Where it is to be written, from there.
    pub checksum_offset: u16,
}

impl Offload {
    /// Length of the header.
    pub const LEN: usize = 10;

    /// As it is handed over: numbers in the machine's order.
    #[must_use]
    pub fn bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [self.flags, self.kind, 0, 0, 0, 0, 0, 0, 0, 0];
        let numbers = [self.header_len, self.segment_len, self.checksum_start, self.checksum_offset];
        for (place, number) in bytes[2..].chunks_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }
}

/// The Internet checksum of pieces one behind the other, of which all but the last have an even length.
#[must_use]
pub fn checksum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0))).sum();
    let folded = (0..4).fold(sum, |sum, _| (sum & 0xffff) + (sum >> 16));
    !(folded as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_an_ipv4_header_is_that_of_the_books() {
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&[&header]), 0xb861);
        assert_eq!(checksum(&[&header[..10], &header[10..]]), 0xb861);
    }
}
