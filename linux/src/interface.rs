//! A network interface as the operating system sees it: name, MTU, up or down.

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys;

// <linux/sockios.h>
const SIOCGIFNAME: libc::Ioctl = 0x8910;
const SIOCGIFFLAGS: libc::Ioctl = 0x8913;
const SIOCSIFFLAGS: libc::Ioctl = 0x8914;
const SIOCGIFMTU: libc::Ioctl = 0x8921;
const SIOCSIFMTU: libc::Ioctl = 0x8922;
/// The one request of [`InterfaceNames`].
pub const SIOCGIFINDEX: u32 = 0x8933;

/// Longest interface name in bytes (`IFNAMSIZ` without its terminating zero).
pub const MAX_NAME: usize = 15;

/// Whether the kernel would take this as the name of a new interface (`dev_valid_name` in Linux `net/core/dev.c`), and
/// take it literally: `%`, with which a name becomes a template, is refused too.
#[must_use]
pub fn name_is_valid(name: &str) -> bool {
    let bad = |byte: u8| matches!(byte, b'/' | b':' | b'%') || byte <= b' ' || byte == 0x7f;
    !name.is_empty() && name.len() <= MAX_NAME && name != "." && name != ".." && !name.bytes().any(bad)
}

/// The index of the interface with this name in the namespace of the calling thread, if there is one.
#[must_use]
pub fn index_of(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a valid C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// A handle on one interface, held by its index: it survives a rename, and works in the network namespace the handle
/// was made in.
#[derive(Debug)]
pub struct Interface {
    control: OwnedFd,
    index: u32,
}

impl Interface {
    /// The interface with this index.
    ///
    /// # Errors
    /// Those of `socket(2)`.
    pub fn from_index(index: u32) -> io::Result<Self> {
        // Interface ioctls work on any socket; netlink is the one family that cannot be compiled out.
        Ok(Self { control: sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?, index })
    }

    /// The interface's number, stable while it exists.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its present name.
    ///
    /// # Errors
    /// `ENODEV` when the interface is gone or has moved to another namespace; so for all methods below.
    pub fn name(&self) -> io::Result<String> {
        Ok(request_name(&self.request()?))
    }

    /// Its MTU in bytes.
    ///
    /// # Errors
    /// See [`Interface::name`].
    pub fn mtu(&self) -> io::Result<u32> {
        let request = self.ask(SIOCGIFMTU, self.request()?)?;
        // SAFETY: the kernel has just filled in this member.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Sets its MTU in bytes.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `EINVAL` outside of what the driver takes (68 to 65,535 for TUN).
    pub fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut request = self.request()?;
        request.ifr_ifru.ifru_mtu = i32::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        self.ask(SIOCSIFMTU, request).map(drop)
    }

    /// Whether it is administratively up.
    ///
    /// # Errors
    /// See [`Interface::name`].
    pub fn is_up(&self) -> io::Result<bool> {
        Ok(i32::from(self.flags()?) & libc::IFF_UP != 0)
    }

    /// Switches it on or off.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`.
    pub fn set_up(&self, up: bool) -> io::Result<()> {
        let flags = self.flags()?;
        let bit = libc::IFF_UP as libc::c_short;
        let mut request = self.request()?;
        request.ifr_ifru.ifru_flags = if up { flags | bit } else { flags & !bit };
        self.ask(SIOCSIFFLAGS, request).map(drop)
    }

    fn flags(&self) -> io::Result<libc::c_short> {
        let request = self.ask(SIOCGIFFLAGS, self.request()?)?;
        // SAFETY: the kernel has just filled in this member.
        Ok(unsafe { request.ifr_ifru.ifru_flags })
    }

    /// A request that carries the present name.
    fn request(&self) -> io::Result<libc::ifreq> {
        let mut request = empty_request();
        request.ifr_ifru.ifru_ifindex = i32::try_from(self.index).unwrap_or_default();
        self.ask(SIOCGIFNAME, request)
    }

    fn ask(&self, code: libc::Ioctl, mut request: libc::ifreq) -> io::Result<libc::ifreq> {
        // SAFETY: all SIOC?IF* requests take a pointer to `ifreq` and fill it with integers.
        unsafe { sys::ioctl(self.control.as_fd(), code, &mut request) }?;
        Ok(request)
    }
}

/// A handle to look up interfaces by name, for a process that may not open anything later. It sees the network namespace it
/// was made in.
#[derive(Debug)]
pub struct InterfaceNames {
    socket: OwnedFd,
}

impl InterfaceNames {
    /// A handle for the namespace of the calling thread.
    ///
    /// # Errors
    /// Where there is neither IPv4 nor IPv6, or out of descriptors.
    pub fn new() -> io::Result<Self> {
        // Unlike a socket of another family, an unconnected UDP socket opens no way that its holder does not have anyway.
        let open = |domain| sys::socket(domain, libc::SOCK_DGRAM, libc::IPPROTO_UDP);
        Ok(Self { socket: open(libc::AF_INET).or_else(|_| open(libc::AF_INET6))? })
    }

    /// The number of the interface with this name, if there is one.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<u32> {
        if !name_is_valid(name) {
            return None;
        }
        let mut request = empty_request();
        set_request_name(&mut request, name);
        // SAFETY: SIOCGIFINDEX takes a pointer to `ifreq` and fills in an integer.
        unsafe { sys::ioctl(self.socket.as_fd(), SIOCGIFINDEX as libc::Ioctl, &mut request) }.ok()?;
        // SAFETY: the kernel has just filled in this member.
        u32::try_from(unsafe { request.ifr_ifru.ifru_ifindex }).ok().filter(|index| *index != 0)
    }
}

/// An `ifreq` of zeros.
pub(crate) fn empty_request() -> libc::ifreq {
    // SAFETY: integers and pointers in a union; zeros are valid.
    unsafe { sys::zeroed() }
}

/// Puts a name that was checked with [`name_is_valid`] into a request.
pub(crate) fn set_request_name(request: &mut libc::ifreq, name: &str) {
    for (to, from) in request.ifr_name.iter_mut().take(MAX_NAME).zip(name.bytes()) {
        *to = from as c_char;
    }
}

/// The name in a request the kernel has filled.
pub(crate) fn request_name(request: &libc::ifreq) -> String {
    #[allow(clippy::unnecessary_cast, reason = "c_char is signed on some architectures")]
    let bytes = request.ifr_name.map(|byte| byte as u8);
    CStr::from_bytes_until_nul(&bytes).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
