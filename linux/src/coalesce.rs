//! Packets out of the tunnel, gathered into super-packets for one write to the TUN queue.
//!
//! Writing forty TCP segments of one flow one by one costs forty walks through the network stack. The kernel takes them
//! as one TCP (or, where it offers USO, UDP) super-packet if they are what segmentation of that super-packet would
//! give back. [`Coalescer::next_run`] looks at packets in order and says how many of the first ones may go together,
//! with the virtio header and the rewritten first header; the payloads stay where they are and are gathered by `writev`.
//! Only neighbours are merged, so no packet ever overtakes another. Pure: no I/O, no allocation, never a panic.
//!
//! # Checksums
//! A super-packet carries no checksum of its own: the kernel makes new ones if it ever cuts it again. A packet that was
//! damaged *before* it entered the tunnel would thus arrive with a good checksum, and the end-to-end check would be
//! lost. The tunnel's authentication does not help: it protects what the sender read from its interface. Hence
//! [`ChecksumPolicy::Verify`] is the default: a packet with a wrong checksum is never merged but handed over alone and
//! unchanged, so that the receiver can drop and count it.
//!
//! Source of the rules: Linux `net/ipv4/tcp_offload.c` (`tcp_gro_receive`), `net/ipv4/af_inet.c`
//! (`inet_gro_receive`) and `net/ipv6/ip6_offload.c`, whose refusals are kept, plus stricter ones where noted.

use crate::bytes::{len_u16, put_u16, u16_at, u32_at};
use crate::checksum::{Sum, pseudo_header};
use crate::tun::TunOffload;
use crate::vnet::{self, VnetHeader};

/// Most packets in one run. Keeps the gather list of a write on the stack.
pub const MAX_RUN: usize = 128;

/// Most UDP packets in one run: `UDP_MAX_SEGMENTS` of Linux before 6.9, which refuses more; later ones take 128.
const MAX_UDP_RUN: usize = 64;

/// Longest super-packet in bytes, headers included.
const MAX_SUPER: usize = 65_535;

/// Longest header rewritten: IPv6 and TCP with all its options.
const MAX_HEAD: usize = 40 + 60;

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Whether inner checksums are looked at before packets are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// Packets with a wrong IP or transport checksum are never merged.
    #[default]
    Verify,
    /// Only the IPv4 header checksum is verified. Saves reading the payload once more, and hides damage that happened
    /// before the packet entered the tunnel; right only where the sender is known to verify.
    TrustSender,
}

/// What may be merged, learnt from the TUN device.
#[derive(Clone, Copy, Debug)]
pub struct Coalescer {
    offload: TunOffload,
    policy: ChecksumPolicy,
}

/// How many packets go into the next write, and what is written in front of their payloads.
#[derive(Clone, Debug)]
pub struct Run {
    count: usize,
    header: VnetHeader,
    head: [u8; MAX_HEAD],
    head_len: usize,
}

impl Coalescer {
    /// A coalescer for a device that took these offloads. With [`TunOffload::NONE`] nothing is merged.
    #[must_use]
    pub fn new(offload: TunOffload, policy: ChecksumPolicy) -> Self {
        Self { offload, policy }
    }

    /// Takes as many packets from the front of `packets` as may go into one write.
    ///
    /// Packets must be trimmed to the length in their IP header; others are passed on alone. The run has at least one
    /// packet unless `packets` is empty, at most [`MAX_RUN`] (of UDP 64), and at most 65,535 bytes.
    #[must_use]
    pub fn next_run<P: AsRef<[u8]>>(&self, packets: &[P]) -> Run {
        let mut run =
            Run { count: packets.len().min(1), header: VnetHeader::default(), head: [0; MAX_HEAD], head_len: 0 };
        let mut rest = packets.iter().map(AsRef::as_ref);
        let Some(first) = rest.next() else { return run };
        let Some(first) = Segment::parse(first).filter(|segment| self.allows(segment)) else { return run };
        let mut total = first.packet.len();
        let mut last = first;
        let most = if first.tcp { MAX_RUN } else { MAX_UDP_RUN };
        for packet in rest.take(most - 1) {
            let Some(next) = Segment::parse(packet) else { break };
            total += next.payload().len();
            if total > MAX_SUPER || !next.follows(&first, &last, run.count) {
                break;
            }
            if self.policy == ChecksumPolicy::Verify {
                let first_is_good = run.count > 1 || first.checksum_is_good();
                if !first_is_good || !next.checksum_is_good() {
                    break;
                }
            }
            run.count += 1;
            last = next;
        }
        // Writing the head cannot fail on a parsed segment; if it did, the packets would simply go one by one.
        if run.count > 1 && run.write_head(&first, &last).is_none() {
            run.count = 1;
            run.head_len = 0;
            run.header = VnetHeader::default();
        }
        run
    }

    /// Stops merging the kind of super-packet that the kernel has just refused to take.
    pub fn refuse(&mut self, gso_type: u8) {
        match gso_type & !vnet::GSO_ECN {
            vnet::GSO_TCPV4 => self.offload.tso4 = false,
            vnet::GSO_TCPV6 => self.offload.tso6 = false,
            vnet::GSO_UDP_L4 => self.offload.uso = false,
            _ => {}
        }
    }

    fn allows(&self, segment: &Segment<'_>) -> bool {
        match (segment.tcp, segment.v6) {
            (true, false) => self.offload.tso4,
            (true, true) => self.offload.tso6,
            (false, _) => self.offload.uso,
        }
    }
}

impl Run {
    /// Packets in this run; zero only if there were none.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The virtio header for the write.
    #[must_use]
    pub fn header(&self) -> &VnetHeader {
        &self.header
    }

    /// What follows the virtio header in the write: the rewritten head if there is one, then the packets' payloads (or
    /// the one packet as it is). At most [`MAX_RUN`] + 1 slices.
    ///
    /// `packets` are those given to [`Coalescer::next_run`]; they have not been changed.
    pub fn slices<'a, P: AsRef<[u8]>>(&'a self, packets: &'a [P]) -> impl Iterator<Item = &'a [u8]> {
        let head = self.head.get(..self.head_len).filter(|head| !head.is_empty());
        let payloads = packets.iter().take(self.count).filter_map(|packet| packet.as_ref().get(self.head_len..));
        head.into_iter().chain(payloads)
    }

    fn write_head(&mut self, first: &Segment<'_>, last: &Segment<'_>) -> Option<()> {
        let head_len = first.payload;
        let head = self.head.get_mut(..head_len)?;
        head.copy_from_slice(first.packet.get(..head_len)?);
        let size = first.payload().len();
        let payload = size * (self.count - 1) + last.payload().len();
        let (ip, transport) = head.split_at_mut_checked(first.l4)?;
        let behind_ip = len_u16(transport.len() + payload);
        if first.v6 {
            put_u16(ip, 4, behind_ip)?;
        } else {
            put_u16(ip, 2, len_u16(head_len + payload))?;
            put_u16(ip, 10, 0)?;
            let sum = Sum::ZERO.add_bytes(ip).checksum();
            put_u16(ip, 10, sum)?;
        }
        let (field, gso_type) = match (first.tcp, first.v6) {
            (true, false) => (16, vnet::GSO_TCPV4),
            (true, true) => (16, vnet::GSO_TCPV6),
            (false, _) => (6, vnet::GSO_UDP_L4),
        };
        if first.tcp {
            // Segmentation gives PSH to the last segment, which is the only one that may have had it.
            *transport.get_mut(13)? |= last.flags() & PSH;
        } else {
            put_u16(transport, 4, behind_ip)?;
        }
        let protocol = if first.tcp { 6 } else { 17 };
        put_u16(transport, field, pseudo_header(first.addresses(), protocol, behind_ip).fold())?;
        self.head_len = head_len;
        self.header = VnetHeader {
            flags: vnet::NEEDS_CSUM,
            gso_type,
            hdr_len: len_u16(head_len),
            gso_size: len_u16(size),
            csum_start: len_u16(first.l4),
            csum_offset: len_u16(field),
        };
        Some(())
    }
}

/// A packet that could be part of a super-packet, by itself.
#[derive(Clone, Copy)]
struct Segment<'a> {
    packet: &'a [u8],
    v6: bool,
    tcp: bool,
    /// Where the transport header starts: no IP options, no extension headers.
    l4: usize,
    /// Where the payload starts; there is at least one byte of it.
    payload: usize,
}

impl<'a> Segment<'a> {
    /// `None` for everything that has to travel alone.
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        let (v6, l4, protocol, length) = match first >> 4 {
            4 => (false, 20, *packet.get(9)?, usize::from(u16_at(packet, 2)?)),
            6 => (true, 40, *packet.get(6)?, usize::from(u16_at(packet, 4)?) + 40),
            _ => return None,
        };
        if length != packet.len() {
            return None;
        }
        if !v6 {
            // Options, a fragment (or the reserved bit), or a damaged header.
            let header = packet.get(..20)?;
            if first != 0x45 || u16_at(packet, 6)? & 0xbfff != 0 || Sum::ZERO.add_bytes(header).fold() != 0xffff {
                return None;
            }
        }
        let payload = match protocol {
            6 => {
                // ACK, perhaps PSH; SYN, FIN, RST, URG, ECE, CWR and the reserved bits travel alone.
                let offset = *packet.get(l4 + 12)?;
                let flags = *packet.get(l4 + 13)?;
                if flags & !PSH != ACK || offset & 0x0f != 0 || offset < 0x50 {
                    return None;
                }
                l4 + usize::from(offset >> 4) * 4
            }
            17 => {
                if usize::from(u16_at(packet, l4 + 4)?) != packet.len() - l4 || u16_at(packet, l4 + 6)? == 0 {
                    return None;
                }
                l4 + 8
            }
            _ => return None,
        };
        // An empty segment carries nothing to merge.
        (payload < packet.len()).then_some(Self { packet, v6, tcp: protocol == 6, l4, payload })
    }

    /// Whether this is the packet that segmentation would produce behind `last`, in a run of `count` begun by `first`.
    fn follows(&self, first: &Self, last: &Self, count: usize) -> bool {
        let size = first.payload().len();
        self.v6 == first.v6
            && self.tcp == first.tcp
            && self.payload == first.payload
            && last.payload().len() == size
            && self.payload().len() <= size
            && last.flags() & PSH == 0
            && self.same_ip(first, count) == Some(true)
            && self.same_transport(first, size * count) == Some(true)
    }

    /// Same version, traffic class, flow label, TTL, DF and addresses; for packets that may be fragmented, the next
    /// identification. (With DF set the identification means nothing, RFC 6864, and segmentation may number anew.)
    fn same_ip(&self, first: &Self, count: usize) -> Option<bool> {
        let (a, b) = (self.packet, first.packet);
        if self.v6 {
            return Some(a.get(..4)? == b.get(..4)? && a.get(6..40)? == b.get(6..40)?);
        }
        let dont_fragment = *a.get(6)? & 0x40 != 0;
        let next_id = u16_at(b, 4)?.wrapping_add(count as u16);
        Some(
            a.get(1)? == b.get(1)?
                && a.get(6..10)? == b.get(6..10)?
                && a.get(12..20)? == b.get(12..20)?
                && (dont_fragment || u16_at(a, 4)? == next_id),
        )
    }

    /// Same ports; for TCP the next sequence number, and the same acknowledgement, window and options.
    fn same_transport(&self, first: &Self, offset: usize) -> Option<bool> {
        let (a, b) = (self.packet.get(self.l4..self.payload)?, first.packet.get(first.l4..first.payload)?);
        let ports = a.get(..4)? == b.get(..4)?;
        if !self.tcp {
            return Some(ports);
        }
        let sequence = u32_at(b, 4)?.wrapping_add(offset as u32);
        Some(
            ports
                && u32_at(a, 4)? == sequence
                && a.get(8..13)? == b.get(8..13)?
                && a.get(14..16)? == b.get(14..16)?
                && a.get(18..)? == b.get(18..)?,
        )
    }

    fn checksum_is_good(&self) -> bool {
        let transport = self.packet.get(self.l4..).unwrap_or_default();
        let protocol = if self.tcp { 6 } else { 17 };
        pseudo_header(self.addresses(), protocol, len_u16(transport.len())).add_bytes(transport).fold() == 0xffff
    }

    fn addresses(&self) -> &'a [u8] {
        let range = if self.v6 { 8..40 } else { 12..20 };
        self.packet.get(range).unwrap_or_default()
    }

    fn payload(&self) -> &'a [u8] {
        self.packet.get(self.payload..).unwrap_or_default()
    }

    /// TCP flags; zero for UDP.
    fn flags(&self) -> u8 {
        if self.tcp { self.packet.get(self.l4 + 13).copied().unwrap_or_default() } else { 0 }
    }
}
