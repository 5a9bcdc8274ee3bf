//! What the kernel hands out of a TUN queue, cut into the packets that go on the wire.
//!
//! With offloads on, one read may yield a packet whose checksum is not finished yet, or a TCP or UDP super-packet of up
//! to 64 KiB. [`Segments::parse`] checks the virtio header against the packet once; [`Segments::write`] then produces
//! any segment, payload copied once, straight to where it will be sealed. Pure: no I/O, no allocation; a malformed
//! header gives an error and never a panic or an access out of bounds.
//!
//! Sources: Virtual I/O Device 1.3, section 5.1.6.2 (meaning of the header); Linux `net/ipv4/tcp_offload.c`
//! (`tcp_gso_segment`) and `net/ipv4/udp_offload.c` (`__udp_gso_segment`) for what segmentation has to do.

use core::fmt;

use crate::bytes::{len_u16, put_u16, put_u32, u16_at, u32_at};
use crate::checksum::Sum;
use crate::vnet::{self, VnetHeader};

/// Longest packet accepted: an IPv6 header and 65,535 bytes behind it.
pub const MAX_PACKET: usize = 40 + 65_535;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Why the packet and its virtio header do not fit together.
///
/// All of these are the fault of the kernel (or of whoever else holds the other end of the file descriptor), not of the
/// operator: drop the packet and count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentError {
    /// No bytes at all, or more than [`MAX_PACKET`].
    Length,
    /// Segmentation of a kind that was not asked for (UFO, or a future one).
    UnknownGsoType(u8),
    /// The IP version, protocol or extension headers contradict the segmentation type.
    WrongProtocol,
    /// A header reaches beyond the packet, or is shorter than its own minimum.
    Truncated,
    /// The checksum position lies outside the packet, or is not where the transport header starts.
    ChecksumPosition,
    /// A super-packet without `NEEDS_CSUM`, or with a segment size of zero.
    Incomplete,
    /// The segment number is not below [`Segments::len`].
    NoSuchSegment,
    /// The output is shorter than [`Segments::segment_len`]. This one is the caller's fault.
    OutputTooShort,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the TUN device delivered an empty or oversized packet"),
            Self::UnknownGsoType(kind) => {
                write!(f, "the TUN device delivered segmentation type {kind}, never asked for")
            }
            Self::WrongProtocol => f.write_str("the super-packet is not of the protocol its virtio header names"),
            Self::Truncated => f.write_str("the packet ends inside its headers"),
            Self::ChecksumPosition => f.write_str("the virtio header puts the checksum outside the transport header"),
            Self::Incomplete => {
                f.write_str("the virtio header of a super-packet lacks its checksum flag or segment size")
            }
            Self::NoSuchSegment => f.write_str("segment number beyond the end of the super-packet"),
            Self::OutputTooShort => f.write_str("the output buffer is shorter than the segment"),
        }
    }
}

impl std::error::Error for SegmentError {}

/// A packet from a TUN queue, checked, ready to be cut into [`Segments::len`] packets.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    packet: &'a [u8],
    count: usize,
    plan: Plan,
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    /// Nothing to do but copy.
    Whole,
    /// One packet with an unfinished checksum.
    Finish { start: usize, field: usize },
    /// A super-packet.
    Split(Split),
}

#[derive(Clone, Copy, Debug)]
struct Split {
    v6: bool,
    tcp: bool,
    /// Where the transport header starts.
    l4: usize,
    /// Where the payload starts.
    payload: usize,
    /// Payload bytes per segment.
    size: usize,
    /// Pseudo-header sum without the length.
    pseudo: Sum,
}

impl<'a> Segments<'a> {
    /// Checks a packet against its virtio header.
    ///
    /// A packet that needs no work is not looked at further: whether it is IP at all is the engine's question.
    ///
    /// # Errors
    /// Any contradiction between header and packet; see [`SegmentError`].
    pub fn parse(header: &VnetHeader, packet: &'a [u8]) -> Result<Self, SegmentError> {
        if packet.is_empty() || packet.len() > MAX_PACKET {
            return Err(SegmentError::Length);
        }
        let kind = header.gso_type & !vnet::GSO_ECN;
        if kind != vnet::GSO_NONE {
            return Self::parse_super(kind, header, packet);
        }
        if header.flags & vnet::NEEDS_CSUM == 0 {
            return Ok(Self { packet, count: 1, plan: Plan::Whole });
        }
        let start = usize::from(header.csum_start);
        let field = start + usize::from(header.csum_offset);
        if field + 2 > packet.len() {
            return Err(SegmentError::ChecksumPosition);
        }
        Ok(Self { packet, count: 1, plan: Plan::Finish { start, field } })
    }

    fn parse_super(kind: u8, header: &VnetHeader, packet: &'a [u8]) -> Result<Self, SegmentError> {
        let first = *packet.first().ok_or(SegmentError::Length)?;
        let (v6, tcp) = match (kind, first >> 4) {
            (vnet::GSO_TCPV4, 4) => (false, true),
            (vnet::GSO_TCPV6, 6) => (true, true),
            (vnet::GSO_UDP_L4, 4) => (false, false),
            (vnet::GSO_UDP_L4, 6) => (true, false),
            (vnet::GSO_TCPV4 | vnet::GSO_TCPV6 | vnet::GSO_UDP_L4, _) => return Err(SegmentError::WrongProtocol),
            (other, _) => return Err(SegmentError::UnknownGsoType(other)),
        };
        let size = usize::from(header.gso_size);
        if header.flags & vnet::NEEDS_CSUM == 0 || size == 0 {
            return Err(SegmentError::Incomplete);
        }
        let l4 = transport_offset(packet, v6, if tcp { 6 } else { 17 })?;
        let (minimum, field) = if tcp { (20, 16) } else { (8, 6) };
        if usize::from(header.csum_start) != l4 || usize::from(header.csum_offset) != field {
            return Err(SegmentError::ChecksumPosition);
        }
        let transport =
            if tcp { usize::from(packet.get(l4 + 12).ok_or(SegmentError::Truncated)? >> 4) * 4 } else { minimum };
        let payload = l4 + transport;
        if transport < minimum || payload > packet.len() {
            return Err(SegmentError::Truncated);
        }
        // The kernel has put the pseudo-header sum of the whole super-packet into the checksum field. Taking its length
        // out again leaves what all segments share, and is right even behind a routing header, where the addresses in
        // the IPv6 header are not those of the pseudo header.
        let whole = u16::try_from(packet.len() - l4).map_err(|_| SegmentError::Length)?;
        let pseudo = u16_at(packet, l4 + field).ok_or(SegmentError::Truncated)?;
        let pseudo = Sum::ZERO.add_u16(pseudo).sub_u16(whole);
        let count = (packet.len() - payload).div_ceil(size).max(1);
        Ok(Self { packet, count, plan: Plan::Split(Split { v6, tcp, l4, payload, size, pseudo }) })
    }

    /// The packet as it came from the kernel. Its addresses are those of every segment.
    #[must_use]
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Number of packets this becomes: at least 1, at most 65,535 (a super-packet of one-byte segments).
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Length in bytes of segment `index`; zero when there is no such segment. All are equal but the last, which may
    /// be shorter.
    #[must_use]
    pub fn segment_len(&self, index: usize) -> usize {
        match &self.plan {
            _ if index >= self.count => 0,
            Plan::Split(split) => split.payload + self.payload(split, index).len(),
            Plan::Whole | Plan::Finish { .. } => self.packet.len(),
        }
    }

    /// Writes segment `index` to the start of `out` with all its checksums finished, and returns its length.
    ///
    /// Segments may be written in any order, and again.
    ///
    /// # Errors
    /// [`SegmentError::NoSuchSegment`] or [`SegmentError::OutputTooShort`]; nothing is promised about `out` then.
    pub fn write(&self, index: usize, out: &mut [u8]) -> Result<usize, SegmentError> {
        if index >= self.count {
            return Err(SegmentError::NoSuchSegment);
        }
        let length = self.segment_len(index);
        let out = out.get_mut(..length).ok_or(SegmentError::OutputTooShort)?;
        match &self.plan {
            Plan::Whole => out.copy_from_slice(self.packet),
            Plan::Finish { start, field } => {
                out.copy_from_slice(self.packet);
                let sum = Sum::ZERO.add_bytes(out.get(*start..).unwrap_or_default());
                put_u16(out, *field, sum.checksum_nonzero()).ok_or(SegmentError::ChecksumPosition)?;
            }
            Plan::Split(split) => self.write_split(split, index, out).ok_or(SegmentError::Truncated)?,
        }
        Ok(length)
    }

    /// The payload of one segment of a super-packet.
    fn payload(&self, split: &Split, index: usize) -> &'a [u8] {
        let payload = self.packet.get(split.payload..).unwrap_or_default();
        let rest = payload.get(index * split.size..).unwrap_or_default();
        rest.get(..split.size).unwrap_or(rest)
    }

    fn write_split(&self, split: &Split, index: usize, out: &mut [u8]) -> Option<()> {
        let (headers, body) = out.split_at_mut_checked(split.payload)?;
        headers.copy_from_slice(self.packet.get(..split.payload)?);
        let payload = self.payload(split, index);
        body.copy_from_slice(payload);
        let (ip, transport) = headers.split_at_mut_checked(split.l4)?;
        let behind_ip = transport.len() + payload.len();
        if split.v6 {
            put_u16(ip, 4, len_u16(ip.len() - 40 + behind_ip))?;
        } else {
            let id = u16_at(ip, 4)?.wrapping_add(index as u16);
            put_u16(ip, 2, len_u16(ip.len() + behind_ip))?;
            put_u16(ip, 4, id)?;
            put_u16(ip, 10, 0)?;
            let sum = Sum::ZERO.add_bytes(ip).checksum();
            put_u16(ip, 10, sum)?;
        }
        let last = index + 1 == self.count;
        let field = if split.tcp {
            let sequence = u32_at(transport, 4)?.wrapping_add((index * split.size) as u32);
            put_u32(transport, 4, sequence)?;
            let flags = transport.get_mut(13)?;
            if !last {
                *flags &= !(FIN | PSH);
            }
            if index != 0 {
                *flags &= !CWR;
            }
            16
        } else {
            put_u16(transport, 4, len_u16(behind_ip))?;
            6
        };
        put_u16(transport, field, 0)?;
        let sum = split.pseudo.add_u16(len_u16(behind_ip)).add_bytes(transport).add_bytes(body);
        let sum = if split.tcp { sum.checksum() } else { sum.checksum_nonzero() };
        put_u16(transport, field, sum)
    }
}

/// Where the transport header of `protocol` starts: behind the IPv4 options, or behind a chain of IPv6 extension
/// headers. A fragment has no place in a super-packet.
fn transport_offset(packet: &[u8], v6: bool, protocol: u8) -> Result<usize, SegmentError> {
    /// Hop-by-hop options, routing, destination options: the extension headers that share one layout (RFC 8200, 4.2).
    const WITH_LENGTH: [u8; 3] = [0, 43, 60];
    let byte = |at: usize| packet.get(at).copied().ok_or(SegmentError::Truncated);
    if !v6 {
        let l4 = usize::from(byte(0)? & 0x0f) * 4;
        let fragment = u16_at(packet, 6).ok_or(SegmentError::Truncated)?;
        if byte(9)? != protocol || fragment & 0x3fff != 0 {
            return Err(SegmentError::WrongProtocol);
        }
        return if l4 < 20 || l4 > packet.len() { Err(SegmentError::Truncated) } else { Ok(l4) };
    }
    let mut next = byte(6)?;
    let mut at = 40;
    // Each header is at least 8 bytes, so this ends with the packet; no stack sends more than a handful.
    for _ in 0..8 {
        if next == protocol {
            return if at > packet.len() { Err(SegmentError::Truncated) } else { Ok(at) };
        }
        if !WITH_LENGTH.contains(&next) {
            break;
        }
        next = byte(at)?;
        at += (usize::from(byte(at + 1)?) + 1) * 8;
    }
    Err(SegmentError::WrongProtocol)
}
