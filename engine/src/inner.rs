//! The inner packet: an IPv4 or IPv6 packet on its way through the tunnel, known by its first 40 bytes.

use crate::packet::HEAD_LEN;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Padding goes up to a multiple of this (paper, section 5.4.6).
const PADDING: usize = 16;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// The bits of a TOS byte or traffic class that are ECN (RFC 3168, section 5), and their four values.
const ECN: u8 = 3;
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// What the header of an inner packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inner {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Length of the packet in bytes by its own length field, header included.
    pub(crate) len: usize,
    /// TOS byte (IPv4) or traffic class (IPv6).
    pub(crate) tos: u8,
}

/// Reads the header of a packet of which `available` bytes are there and `head` is the start, 40 bytes if it has as
/// many. Bytes of `head` past `available` do not matter.
///
/// `None` if it is neither IPv4 nor IPv6, or if its length field is shorter than its header or longer than
/// `available`. It may be shorter than `available`: the rest is padding. An IPv6 payload length of zero is taken at
/// its word, so a jumbogram (RFC 2675), which no link of ours can carry, is cut to its header like in the kernel.
pub(crate) fn parse(head: &[u8], available: usize) -> Option<Inner> {
    let inner = match head.first()? >> 4 {
        4 => parse_v4(head.first_chunk()?)?,
        6 => parse_v6(head.first_chunk()?),
        _ => return None,
    };
    (inner.len <= available).then_some(inner)
}

fn parse_v4(header: &[u8; V4_HEADER]) -> Option<Inner> {
    let [first, tos, len_high, len_low, _, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h] = *header;
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let header_len = usize::from(first & 0xf) * 4;
    if header_len < V4_HEADER || len < header_len {
        return None;
    }
    Some(Inner { source: Ipv4Addr::new(a, b, c, d).into(), destination: Ipv4Addr::new(e, f, g, h).into(), len, tos })
}

fn parse_v6(header: &[u8; V6_HEADER]) -> Inner {
    let [first, second, _, _, len_high, len_low, _, _, addresses @ ..] = header;
    let (source, destination) = split_addresses(addresses);
    Inner {
        source: Ipv6Addr::from(source).into(),
        destination: Ipv6Addr::from(destination).into(),
        // Up to 65,575: more than the 16 bits of the field hold.
        len: usize::from(u16::from_be_bytes([*len_high, *len_low])) + V6_HEADER,
        tos: first << 4 | second >> 4,
    }
}

fn split_addresses(addresses: &[u8; 32]) -> ([u8; 16], [u8; 16]) {
    let source = addresses.first_chunk().copied().unwrap_or_default();
    let destination = addresses.last_chunk().copied().unwrap_or_default();
    (source, destination)
}

/// Length in bytes that an inner packet of `len` bytes is padded to with zeros: the next multiple of 16, but not
/// past the MTU of the tunnel. For packets above the MTU (super-packets, or an MTU that just shrank) the rule is
/// applied to what exceeds the last full multiple of the MTU. An MTU of 0 is none. (Kernel, `send.c`,
/// `calculate_skb_padding`.)
#[must_use]
pub fn padded_len(len: usize, mtu: usize) -> usize {
    let last = if len > mtu { len.checked_rem(mtu).unwrap_or(len) } else { len };
    let padded = last.checked_next_multiple_of(PADDING).unwrap_or(last);
    let padded = if mtu == 0 { padded } else { padded.min(mtu) };
    len.saturating_add(padded.saturating_sub(last))
}

/// The TOS byte or traffic class of a datagram around an inner packet with `inner_tos`: its ECN is copied (RFC 6040,
/// section 4.1, normal mode), its DSCP is nobody's business outside.
///
/// The kernel differs for one value: around a packet marked CE it sends ECT(0) (RFC 3168, section 9.1.1). Both ways
/// the other end delivers CE.
#[must_use]
pub const fn encapsulated_tos(inner_tos: u8) -> u8 {
    inner_tos & ECN
}

/// What a mark of congestion on a received datagram means for the packet within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ecn {
    /// Deliver it as it is.
    Keep,
    /// Deliver it with these ECN bits.
    Mark(u8),
    /// Drop it: it was marked and cannot say so to its receiver, so only the loss can.
    Drop,
}

/// The rule for leaving a tunnel (RFC 6040, section 4.2, figure 4); of both arguments only the two bits of ECN count.
pub(crate) const fn decapsulate(outer_ecn: u8, inner_ecn: u8) -> Ecn {
    match (outer_ecn & ECN, inner_ecn & ECN) {
        (CE, NOT_ECT) => Ecn::Drop,
        (_, NOT_ECT | CE) | (NOT_ECT | ECT_0, _) | (ECT_1, ECT_1) => Ecn::Keep,
        (outer, _) => Ecn::Mark(outer),
    }
}

/// Writes the ECN bits of an IPv4 packet, whose checksum follows and stays as right or wrong as it was (RFC 1624,
/// equation 3), or of an IPv6 packet. Anything else stays as it is.
pub(crate) fn set_ecn(head: &mut [u8; HEAD_LEN], ecn: u8) {
    let [first, second, _, _, _, _, _, _, _, _, sum_high, sum_low, ..] = head;
    let ecn = ecn & ECN;
    match *first >> 4 {
        4 => {
            let old = u16::from_be_bytes([*first, *second]);
            *second = *second & !ECN | ecn;
            let new = u16::from_be_bytes([*first, *second]);
            let sum = u16::from_be_bytes([*sum_high, *sum_low]);
            [*sum_high, *sum_low] = (!add(add(!sum, !old), new)).to_be_bytes();
        }
        6 => *second = *second & !(ECN << 4) | ecn << 4,
        _ => {}
    }
}

/// Addition in ones' complement: the carry comes back in at the bottom.
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use std::vec::Vec;

    fn v4(ihl: u8, len: u16, tos: u8) -> [u8; 40] {
        let mut head = [0; 40];
        head[0] = 0x40 | ihl;
        head[1] = tos;
        head[2..4].copy_from_slice(&len.to_be_bytes());
        head[12..20].copy_from_slice(&[10, 0, 0, 1, 192, 0, 2, 7]);
        head
    }

    fn v6(payload: u16, class: u8) -> [u8; 40] {
        let mut head = [0; 40];
        head[..4].copy_from_slice(&(6 << 28 | u32::from(class) << 20 | 0xa_bcde).to_be_bytes());
        head[4..6].copy_from_slice(&payload.to_be_bytes());
        head[8..24].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        head[24..].copy_from_slice(&"fe80::2".parse::<Ipv6Addr>().unwrap().octets());
        head
    }

    fn len_of(head: &[u8], available: usize) -> Option<usize> {
        parse(head, available).map(|inner| inner.len)
    }

    #[test]
    fn the_header_says_who_and_how_long() {
        let inner = parse(&v4(5, 21, 0xb9), 64).unwrap();
        assert_eq!(inner.source, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(inner.destination, Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!((inner.len, inner.tos), (21, 0xb9));
        let inner = parse(&v6(1, 0xb9), 64).unwrap();
        assert_eq!(inner.source, "2001:db8::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(inner.destination, "fe80::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!((inner.len, inner.tos), (41, 0xb9));
    }

    #[test]
    fn ipv4_length_is_at_least_the_header_and_at_most_what_is_there() {
        assert_eq!(len_of(&v4(5, 20, 0), 20), Some(20));
        assert_eq!(len_of(&v4(5, 20, 0)[..20], 20), Some(20));
        assert_eq!(len_of(&v4(5, 20, 0), 19), None);
        assert_eq!(len_of(&v4(5, 20, 0)[..19], 20), None);
        assert_eq!(len_of(&v4(5, 19, 0), 32), None);
        assert_eq!(len_of(&v4(5, 0, 0), 32), None);
        assert_eq!(len_of(&v4(5, 33, 0), 32), None);
        assert_eq!(len_of(&v4(5, 65_535, 0), 65_534), None);
        assert_eq!(len_of(&v4(5, 65_535, 0), 65_536), Some(65_535));
        assert_eq!(len_of(&v4(4, 40, 0), 48), None, "a header of 16 bytes");
        assert_eq!(len_of(&v4(15, 59, 0), 64), None, "a header of 60 bytes");
        assert_eq!(len_of(&v4(15, 60, 0), 64), Some(60));
    }

    #[test]
    fn ipv6_length_is_counted_in_more_than_16_bits() {
        assert_eq!(len_of(&v6(0, 0), 40), Some(40));
        assert_eq!(len_of(&v6(0, 0), 39), None);
        assert_eq!(len_of(&v6(0, 0)[..39], 48), None);
        assert_eq!(len_of(&v6(1, 0), 40), None);
        assert_eq!(len_of(&v6(8, 0), 48), Some(48));
        // 65,535 + 40 is 39 in 16 bits, which would be "shorter than available".
        assert_eq!(len_of(&v6(65_535, 0), 1420), None);
        assert_eq!(len_of(&v6(65_535, 0), 65_574), None);
        assert_eq!(len_of(&v6(65_535, 0), 65_575), Some(65_575));
        assert_eq!(len_of(&v6(0, 0), 70_000), Some(40), "a jumbogram");
    }

    #[test]
    fn nothing_else_is_a_packet() {
        assert_eq!(len_of(&[], 0), None);
        assert_eq!(len_of(&[], 100), None);
        assert_eq!(len_of(&[0x45], 1), None);
        assert_eq!(len_of(&v4(5, 20, 0), 0), None);
        for version in (0..16).filter(|version| ![4, 6].contains(version)) {
            let mut head = v4(5, 40, 0);
            head[0] = version << 4 | 5;
            assert_eq!(len_of(&head, 40), None);
        }
    }

    /// Grows the packet byte by byte while it is not a multiple of 16, and never past the MTU.
    fn slow_padded_len(len: usize, mtu: usize) -> usize {
        let mut last = len;
        while mtu != 0 && last > mtu {
            last -= mtu;
        }
        if last == mtu && len != mtu {
            return len; // a whole number of MTUs is full
        }
        let mut padded = len;
        while !last.is_multiple_of(16) && (mtu == 0 || last < mtu) {
            last += 1;
            padded += 1;
        }
        padded
    }

    #[test]
    fn padding_is_to_16_but_not_past_the_mtu() {
        for mtu in [0, 1, 15, 16, 17, 576, 1280, 1400, 1412, 1420, 1423, 1424, 9000, 65_535] {
            for len in 0..=4000 {
                assert_eq!(padded_len(len, mtu), slow_padded_len(len, mtu), "{len} bytes, MTU {mtu}");
            }
        }
        assert_eq!(padded_len(0, 1420), 0);
        assert_eq!(padded_len(1, 1420), 16);
        assert_eq!(padded_len(1409, 1420), 1420);
        assert_eq!(padded_len(1420, 1420), 1420);
        assert_eq!(padded_len(1421, 1420), 1436);
        assert_eq!(padded_len(usize::MAX, 0), usize::MAX);
        assert_eq!(padded_len(usize::MAX, 1420), usize::MAX);
    }

    /// RFC 6040, figure 4. Rows: inner header; columns: outer header Not-ECT, ECT(0), ECT(1), CE.
    #[test]
    fn leaving_the_tunnel_is_figure_4() {
        const DROP: u8 = 255;
        let (not, ect1, ect0, ce) = (0, 1, 2, 3);
        let figure = [
            (not, [not, not, not, DROP]),
            (ect0, [ect0, ect0, ect1, ce]),
            (ect1, [ect1, ect1, ect1, ce]),
            (ce, [ce, ce, ce, ce]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in [not, ect0, ect1, ce].into_iter().zip(row) {
                // DSCP bits around them change nothing.
                for dscp in [0, 0x88, 0xfc] {
                    let (result, delivered) = match decapsulate(outer | dscp, inner | dscp) {
                        Ecn::Keep => (Ecn::Keep, inner),
                        Ecn::Mark(ecn) => (Ecn::Mark(ecn), ecn),
                        Ecn::Drop => (Ecn::Drop, DROP),
                    };
                    assert_eq!(delivered, expected, "outer {outer}, inner {inner}");
                    assert_ne!(result, Ecn::Mark(inner), "a mark is a change");
                }
            }
        }
    }

    #[test]
    fn entering_the_tunnel_copies_ecn_and_hides_dscp() {
        for tos in 0..=255 {
            assert_eq!(encapsulated_tos(tos), tos % 4);
        }
    }

    /// RFC 791: the ones' complement of the ones' complement sum of all words.
    fn checksum(header: &[u8]) -> u16 {
        let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) * 256 + u32::from(word[1])).sum();
        let sum = sum % 65_535;
        !(if sum == 0 { 65_535 } else { sum as u16 })
    }

    fn with_checksum(mut head: [u8; 40], header_len: usize) -> [u8; 40] {
        head[10..12].fill(0);
        let sum = checksum(&head[..header_len]);
        head[10..12].copy_from_slice(&sum.to_be_bytes());
        head
    }

    #[test]
    fn the_checksum_follows_the_mark() {
        let mut random = Random::new(9);
        for _ in 0..50_000 {
            let words: Vec<u8> = (0..5).flat_map(|_| random.next().to_be_bytes()).collect();
            let mut head: [u8; 40] = words.try_into().unwrap();
            let ihl = 5 + random.below(6) as u8;
            head[0] = 0x40 | ihl;
            let before = with_checksum(head, usize::from(ihl) * 4);
            for ecn in 0..4 {
                let mut after = before;
                set_ecn(&mut after, ecn);
                let mut expected = before;
                expected[1] = before[1] / 4 * 4 + ecn;
                assert_eq!(after, with_checksum(expected, usize::from(ihl) * 4));
            }
            // A wrong checksum stays wrong, so that the receiver sees it.
            let mut damaged = before;
            damaged[10] ^= 1;
            let wrong = damaged;
            set_ecn(&mut damaged, !wrong[1]);
            assert_ne!(damaged, with_checksum(damaged, usize::from(ihl) * 4));
        }
    }

    #[test]
    fn the_traffic_class_alone_changes() {
        for class in 0..=255 {
            for ecn in 0..4 {
                let mut head = v6(1234, class);
                set_ecn(&mut head, ecn | 0xf4);
                assert_eq!(head, v6(1234, class / 4 * 4 + ecn));
            }
        }
        let mut other = [0x77; 40];
        set_ecn(&mut other, 1);
        assert_eq!(other, [0x77; 40]);
    }
}
