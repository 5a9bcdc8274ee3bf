//! Socket addresses in the kernel's form, and the control messages beside a datagram.
//!
//! Sources: ip(7), ipv6(7), udp(7), cmsg(3); Linux `include/uapi/linux/udp.h`.

use std::ffi::c_int;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

use crate::sys;

/// The local side of a conversation: the address a datagram came to, and the interface it came in on.
///
/// Answers are sent from that address ("sticky source"). The interface is only used where an address means nothing
/// without it (IPv6 link-local): otherwise the answer follows the routing table, as the kernel's own implementation
/// does, so that a moved route is not overruled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Local address.
    pub address: IpAddr,
    /// Interface index; zero when unknown.
    pub interface: u32,
}

pub(crate) const SOL_UDP: c_int = 17;
pub(crate) const UDP_SEGMENT: c_int = 103;
pub(crate) const UDP_GRO: c_int = 104;

/// Room for the control messages of one datagram. On 64 bits the options we set take at most 88 bytes, sending and
/// receiving: packet info 40, traffic class 24, segment size 24.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Control([u8; 128]);

impl Control {
    pub(crate) const EMPTY: Self = Self([0; 128]);
    pub(crate) const LEN: usize = 128;

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// What came in control messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ancillary {
    pub(crate) local: Option<Source>,
    pub(crate) tos: u8,
    pub(crate) stride: Option<usize>,
}

/// Reads the control messages of a received header.
///
/// # Safety
/// `header` must have been filled by a receive call, and its control pointer and length still describe memory that is
/// readable.
pub(crate) unsafe fn read_control(header: &libc::msghdr) -> Ancillary {
    let mut found = Ancillary::default();
    // SAFETY: the header describes readable control memory by the caller's promise.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so CMSG_FIRSTHDR/NXTHDR have checked that a whole header lies inside the control memory.
        let (level, kind, length) = unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len) };
        // SAFETY: as above; only computes an address.
        let data: *const u8 = unsafe { libc::CMSG_DATA(message) };
        // SAFETY: computes a constant.
        #[allow(clippy::unnecessary_cast, reason = "the type of cmsg_len depends on the C library")]
        let data_len = (length as usize).saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        // SAFETY: each read is unaligned and guarded by the length the kernel gave for the data.
        unsafe {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if data_len >= size_of::<libc::in_pktinfo>() => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                    found.local = Some(Source { address: address.into(), interface: info.ipi_ifindex as u32 });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if data_len >= size_of::<libc::in6_pktinfo>() => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    found.local = Some(Source { address: address.into(), interface: info.ipi6_ifindex as u32 });
                }
                (libc::IPPROTO_IP, libc::IP_TOS) if data_len >= 1 => found.tos = *data,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) if data_len >= size_of::<c_int>() => {
                    found.tos = ptr::read_unaligned::<c_int>(data.cast()) as u8;
                }
                (SOL_UDP, UDP_GRO) if data_len >= size_of::<c_int>() => {
                    found.stride = usize::try_from(ptr::read_unaligned::<c_int>(data.cast())).ok().filter(|n| *n > 0);
                }
                _ => {}
            }
        }
        // SAFETY: `message` is inside the control memory of `header`.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    found
}

/// Writes the control messages for sending and returns their length in bytes.
pub(crate) fn write_control(
    control: &mut Control,
    v6: bool,
    source: Option<Source>,
    tos: u8,
    stride: Option<u16>,
) -> usize {
    let mut writer = Writer { control, used: 0 };
    match source.map(|source| (source.address, source.interface)) {
        Some((IpAddr::V4(address), _)) if !v6 => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(address).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            writer.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some((IpAddr::V6(address), interface)) if v6 => {
            let interface = if address.is_unicast_link_local() { interface } else { 0 };
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                ipi6_ifindex: interface as _,
            };
            writer.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        _ => {}
    }
    let (level, kind) = if v6 { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) } else { (libc::IPPROTO_IP, libc::IP_TOS) };
    writer.push(level, kind, c_int::from(tos));
    if let Some(stride) = stride {
        writer.push(SOL_UDP, UDP_SEGMENT, stride);
    }
    writer.used
}

struct Writer<'a> {
    control: &'a mut Control,
    used: usize,
}

impl Writer<'_> {
    /// Appends one message; silently leaves it out if there is no room, which the size of [`Control`] rules out.
    fn push<T: Copy>(&mut self, level: c_int, kind: c_int, data: T) {
        // SAFETY: both compute constants.
        let (space, length) =
            unsafe { (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32)) };
        let Some(target) = self.control.0.get_mut(self.used..self.used + space) else { return };
        target.fill(0);
        let message: *mut libc::cmsghdr = target.as_mut_ptr().cast();
        // SAFETY: `target` has CMSG_SPACE bytes, which is the header, its padding and the data; `Control` is aligned to
        // 8 and CMSG_SPACE is a multiple of that header's alignment, and the data is written unaligned anyway.
        unsafe {
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = length as _;
            ptr::write_unaligned(libc::CMSG_DATA(message).cast(), data);
        }
        self.used += space;
    }
}

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    storage: libc::sockaddr_in6,
    length: libc::socklen_t,
}

impl RawAddress {
    /// Room for either family.
    pub(crate) fn empty() -> Self {
        // SAFETY: integers only.
        let storage = unsafe { sys::zeroed() };
        Self { storage, length: size_of::<libc::sockaddr_in6>() as libc::socklen_t }
    }

    pub(crate) fn new(address: &SocketAddr) -> Self {
        let mut raw = Self::empty();
        match address {
            SocketAddr::V4(address) => {
                // SAFETY: integers only.
                let mut name: libc::sockaddr_in = unsafe { sys::zeroed() };
                name.sin_family = libc::AF_INET as libc::sa_family_t;
                name.sin_port = address.port().to_be();
                name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
                // SAFETY: sockaddr_in is smaller than sockaddr_in6 and not more strictly aligned.
                unsafe { ptr::write((&raw mut raw.storage).cast(), name) };
                raw.length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(address) => {
                raw.storage.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.storage.sin6_port = address.port().to_be();
                raw.storage.sin6_addr.s6_addr = address.ip().octets();
                raw.storage.sin6_flowinfo = address.flowinfo();
                raw.storage.sin6_scope_id = address.scope_id();
            }
        }
        raw
    }

    /// The address, if it is of a family we know and as long as that family's.
    pub(crate) fn decode(&self, length: libc::socklen_t) -> Option<SocketAddr> {
        let length = length as usize;
        match c_int::from(self.storage.sin6_family) {
            libc::AF_INET if length >= offset_of!(libc::sockaddr_in, sin_zero) => {
                // SAFETY: sockaddr_in is smaller than sockaddr_in6, not more strictly aligned, and integers only.
                let name: libc::sockaddr_in = unsafe { ptr::read((&raw const self.storage).cast()) };
                let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                let name = &self.storage;
                let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(address, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }

    pub(crate) fn len(&self) -> libc::socklen_t {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `read_control` finds in the first `used` bytes.
    fn read(control: &mut Control, used: usize) -> Ancillary {
        // SAFETY: pointers and integers only.
        let mut header: libc::msghdr = unsafe { sys::zeroed() };
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = used as _;
        // SAFETY: the control memory is alive, and what stands in it was written as the kernel does.
        unsafe { read_control(&header) }
    }

    #[test]
    fn control_messages_are_read_as_they_were_written() {
        let v4 = Source { address: Ipv4Addr::new(192, 0, 2, 1).into(), interface: 0 };
        let v6 = Source { address: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(), interface: 7 };
        for (is_v6, source) in [(false, None), (false, Some(v4)), (true, None), (true, Some(v6))] {
            for stride in [None, Some(1420)] {
                let mut control = Control::EMPTY;
                let used = write_control(&mut control, is_v6, source, 0x8b, stride);
                // To send segments and to receive them have numbers of their own; what is joined is added as received.
                let mut writer = Writer { control: &mut control, used };
                writer.push(SOL_UDP, UDP_GRO, 1420 as c_int);
                let used = writer.used;
                let expected = Ancillary { local: source, tos: 0x8b, stride: Some(1420) };
                assert_eq!(read(&mut control, used), expected);
            }
        }
        assert_eq!(read(&mut { Control::EMPTY }, 0), Ancillary::default());
    }

    #[test]
    fn a_family_of_its_own_is_none_of_the_others() {
        let v6 = Source { address: Ipv6Addr::LOCALHOST.into(), interface: 7 };
        let mut control = Control::EMPTY;
        let used = write_control(&mut control, false, Some(v6), 1, None);
        assert_eq!(read(&mut control, used), Ancillary { local: None, tos: 1, stride: None });
    }

    #[test]
    fn addresses_are_read_as_they_were_written() {
        for text in ["192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let raw = RawAddress::new(&address);
            assert_eq!(raw.decode(raw.len()), Some(address), "{text}");
            assert_eq!(raw.decode(3), None, "cut");
        }
    }
}
