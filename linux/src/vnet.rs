//! The header in front of every packet on a TUN queue: `struct virtio_net_hdr`.
//!
//! Source: Virtual I/O Device 1.3, section 5.1.6, and Linux `include/uapi/linux/virtio_net.h`. A TUN device speaks the
//! legacy form: 10 bytes, numbers in the machine's own byte order (`tun_is_little_endian` in `drivers/net/tun.c`).

/// Length of the header on the TUN file descriptor, set with `TUNSETVNETHDRSZ`.
pub const VNET_HEADER_LEN: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the transport checksum holds only the pseudo-header sum and is to be finished.
pub const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksum has been verified.
pub const DATA_VALID: u8 = 2;

/// `VIRTIO_NET_HDR_GSO_NONE`: one packet, not a super-packet.
pub const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`: TCP segments over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`: TCP segments over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: UDP datagrams (USO), both IP versions.
pub const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: bit beside the type; the TCP super-packet has CWR set.
pub const GSO_ECN: u8 = 0x80;

/// `struct virtio_net_hdr`, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`NEEDS_CSUM`] and [`DATA_VALID`].
    pub flags: u8,
    /// One of the `GSO_` types, perhaps with [`GSO_ECN`].
    pub gso_type: u8,
    /// Length of all headers in bytes. A hint only; never trusted on reading.
    pub hdr_len: u16,
    /// Payload bytes per segment.
    pub gso_size: u16,
    /// Where the checksummed part begins, from the start of the packet.
    pub csum_start: u16,
    /// Where the checksum field lies, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Decodes the bytes read from a TUN queue.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; VNET_HEADER_LEN]) -> Self {
        let [flags, gso_type, a0, a1, b0, b1, c0, c1, d0, d1] = *bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a0, a1]),
            gso_size: u16::from_ne_bytes([b0, b1]),
            csum_start: u16::from_ne_bytes([c0, c1]),
            csum_offset: u16::from_ne_bytes([d0, d1]),
        }
    }

    /// Encodes for writing to a TUN queue.
    #[must_use]
    pub fn to_bytes(self) -> [u8; VNET_HEADER_LEN] {
        let [a0, a1] = self.hdr_len.to_ne_bytes();
        let [b0, b1] = self.gso_size.to_ne_bytes();
        let [c0, c1] = self.csum_start.to_ne_bytes();
        let [d0, d1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a0, a1, b0, b1, c0, c1, d0, d1]
    }
}
