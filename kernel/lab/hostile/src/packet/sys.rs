//! Everything `unsafe`.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Attaches an open `/dev/net/tun` to an interface.
pub(super) fn attach(tun: BorrowedFd<'_>, name: &str, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: all zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq, which lives until the call ends.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map(drop)
}

/// A packet socket of one interface, which may hand over unfinished packets.
pub(super) fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    const PACKET_VNET_HDR: libc::c_int = 15;
    // SAFETY: no pointer is passed.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a new descriptor, which nobody else knows.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let on: libc::c_int = 1;
    let len = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option's value is an int, which lives until the call ends.
    check(unsafe { libc::setsockopt(fd, libc::SOL_PACKET, PACKET_VNET_HDR, (&raw const on).cast(), len) })?;
    let address = address(index(interface)?, 0);
    let len = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is a sockaddr_ll of that length.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// The index of an interface in this network namespace.
pub(super) fn index(interface: &str) -> io::Result<libc::c_int> {
    let name = CString::new(interface)?;
    // SAFETY: a text with its end.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(io::Error::last_os_error()) } else { Ok(index as libc::c_int) }
}

fn address(index: libc::c_int, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: all zeros are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index;
    address
}

/// Sends bytes through an interface as a packet of a protocol.
pub(super) fn send_to(socket: BorrowedFd<'_>, index: libc::c_int, protocol: u16, bytes: &[u8]) -> io::Result<()> {
    let address = address(index, protocol);
    let len = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: bytes and address live until the call ends, and have the lengths that are given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            (&raw const address).cast(),
            len,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
