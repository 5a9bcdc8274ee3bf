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
/// many (more bytes in `head` than `available` do not count).
///
/// `None` if it is neither IPv4 nor IPv6, or if its length field is shorter than its header or longer than
/// `available`. It may be shorter than `available`: the rest is padding. An IPv6 payload length of zero is taken at
/// its word, so a jumbogram (RFC 2675), which no link of ours can carry, is cut to its header like in the kernel.
pub(crate) fn parse(head: &[u8], available: usize) -> Option<Inner> {
    let head = head.get(..available).unwrap_or(head);
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
