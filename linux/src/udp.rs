//! The UDP sockets of a device: IPv4 and IPv6 on one port, once for each worker.
//!
//! Sources: ip(7), ipv6(7), udp(7), socket(7); `drivers/net/wireguard/socket.c` for the behaviour to match.

use std::ffi::c_int;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::address::{RawAddress, SOL_UDP, UDP_GRO, UDP_SEGMENT};
use crate::error::BindError;
use crate::sys;

/// Socket buffers asked for, in bytes (the kernel doubles it for its bookkeeping): some 30 ms at 1 Gbit/s.
pub const SOCKET_BUFFER: usize = 4 << 20;

/// Tries for a random port that is free in both families (`wg_socket_init` in Linux makes as many).
const PORT_TRIES: usize = 100;

/// Which batching the UDP sockets may use. What the kernel lacks is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOffload {
    /// Send many datagrams as one buffer (`UDP_SEGMENT`, Linux 4.18).
    pub gso: bool,
    /// Receive many datagrams as one buffer (`UDP_GRO`, Linux 5.0).
    pub gro: bool,
}

impl UdpOffload {
    /// Both.
    pub const ALL: Self = Self { gso: true, gro: true };
    /// One datagram at a time.
    pub const NONE: Self = Self { gso: false, gro: false };
}

/// How to bind.
#[derive(Clone, Copy, Debug)]
pub struct UdpConfig {
    /// Port for both families; zero for a random one.
    pub port: u16,
    /// `SO_MARK` of everything sent; zero for none.
    pub mark: u32,
    /// Number of socket pairs that share the port. The kernel spreads sources over them, each always to the same one.
    pub workers: usize,
    /// The most that may be used.
    pub offload: UdpOffload,
    /// Whether to have an IPv6 socket where the system can.
    pub ipv6: bool,
}

/// What [`bind`] made.
#[derive(Debug)]
pub struct Bound {
    /// The port, the same everywhere.
    pub port: u16,
    /// One for each worker.
    pub workers: Vec<Sockets>,
    /// Why there is no IPv6 although it was asked for; worth a line in the log, not an error.
    pub no_ipv6: Option<io::Error>,
}

/// The sockets of one worker.
#[derive(Debug)]
pub struct Sockets {
    /// IPv4.
    pub v4: UdpSocket,
    /// IPv6 only; none where the system has no IPv6.
    pub v6: Option<UdpSocket>,
}

/// One non-blocking UDP socket. Shared references suffice; several threads may send.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    v6: bool,
    gro: bool,
    gso: bool,
}

/// Binds sockets for all workers, or none.
///
/// # Errors
/// [`BindError::PortInUse`] also when the other socket would share its port: the first socket of ours insists on having
/// it alone, and only then opens it to its siblings.
pub fn bind(config: &UdpConfig) -> Result<Bound, BindError> {
    let tries = if config.port == 0 { PORT_TRIES } else { 1 };
    for _ in 0..tries {
        match bind_port(config) {
            Err(BindError::PortInUse(_)) if config.port == 0 => {}
            result => return result,
        }
    }
    Err(BindError::NoFreePort)
}

impl Sockets {
    /// The socket for this destination, if its family works here.
    #[must_use]
    pub fn for_destination(&self, destination: &SocketAddr) -> Option<&UdpSocket> {
        if destination.is_ipv6() { self.v6.as_ref() } else { Some(&self.v4) }
    }

    /// Changes `SO_MARK` of both; zero takes it off. Cached sources should be dropped afterwards: another mark may
    /// mean another route.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN` over the sockets' namespace.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        for socket in std::iter::once(&self.v4).chain(&self.v6) {
            sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MARK, mark as c_int)?;
        }
        Ok(())
    }
}

impl UdpSocket {
    /// Whether this is the IPv6 socket.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.v6
    }

    /// Whether the kernel joins received datagrams.
    #[must_use]
    pub fn gro(&self) -> bool {
        self.gro
    }

    /// Most datagrams of this size that the kernel takes as one message, if the way to their destination allows that; 1
    /// where it cannot cut messages or may not.
    #[must_use]
    pub fn segments(&self, stride: usize) -> usize {
        /// `UDP_MAX_SEGMENTS` of Linux before 6.9; later ones take 128.
        const MAX_SEGMENTS: usize = 64;
        if stride == 0 || !self.gso {
            return 1;
        }
        let bytes = if self.v6 { 65_527 } else { 65_507 };
        (bytes / stride).clamp(1, MAX_SEGMENTS)
    }

    fn open(v6: bool, offload: UdpOffload) -> io::Result<Self> {
        let domain = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let owned = sys::socket(domain, libc::SOCK_DGRAM, libc::IPPROTO_UDP)?;
        let fd = owned.as_fd();
        if v6 {
            let level = libc::IPPROTO_IPV6;
            sys::set_option(fd, level, libc::IPV6_V6ONLY, 1)?;
            sys::set_option(fd, level, libc::IPV6_RECVPKTINFO, 1)?;
            sys::set_option(fd, level, libc::IPV6_RECVTCLASS, 1)?;
            sys::set_option(fd, level, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
        } else {
            let level = libc::IPPROTO_IP;
            sys::set_option(fd, level, libc::IP_PKTINFO, 1)?;
            sys::set_option(fd, level, libc::IP_RECVTOS, 1)?;
            // Never DF: the kernel may fragment a datagram that does not fit, as it does for its own WireGuard.
            sys::set_option(fd, level, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
        }
        grow_buffer(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF);
        grow_buffer(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF);
        // From Linux 5.0 on. wireguard-go waits for 5.12 because it asks the socket later whether this is on, which earlier
        // kernels do not answer; here it is remembered. What was wrong with it (packets of some drivers came out of order)
        // was mended for 5.10 and carried back to older series, so that no version number shows it.
        let gro = offload.gro && sys::set_option(fd, SOL_UDP, UDP_GRO, 1).is_ok();
        let gso = offload.gso && sys::get_option(fd, SOL_UDP, UDP_SEGMENT).is_ok();
        Ok(Self { v6, gro, gso, fd: owned })
    }

    fn bind(&self, port: u16) -> io::Result<()> {
        let address = if self.v6 {
            SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))
        } else {
            SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
        };
        let raw = RawAddress::new(&address);
        // SAFETY: pointer and length are those of a live socket address.
        sys::check(unsafe { libc::bind(self.fd.as_raw_fd(), raw.as_ptr(), raw.len()) }).map(drop)
    }

    fn local_port(&self) -> io::Result<u16> {
        let mut raw = RawAddress::empty();
        let mut length = raw.len();
        // SAFETY: pointers to a live address buffer and its length.
        sys::check(unsafe { libc::getsockname(self.fd.as_raw_fd(), raw.as_mut_ptr(), &raw mut length) })?;
        raw.decode(length).map(|address| address.port()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn bind_port(config: &UdpConfig) -> Result<Bound, BindError> {
    let first = open_bound(false, config.port, false, config).map_err(|error| bind_error(config.port, error))?;
    let port = first.local_port().map_err(|error| BindError::Setup("reading its port", error))?;
    let mut no_ipv6 = None;
    let mut first6 = None;
    if config.ipv6 {
        match open_bound(true, port, false, config) {
            Ok(socket) => first6 = Some(socket),
            Err(error) if ipv6_is_missing(&error) => no_ipv6 = Some(error),
            Err(error) => return Err(bind_error(port, error)),
        }
    }
    let share = |socket: &UdpSocket| {
        sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
            .map_err(|error| BindError::Setup("sharing the port among workers", error))
    };
    let mut workers = Vec::with_capacity(config.workers.max(1));
    if config.workers > 1 {
        share(&first)?;
        first6.as_ref().map_or(Ok(()), share)?;
    }
    let has_v6 = first6.is_some();
    workers.push(Sockets { v4: first, v6: first6 });
    for _ in 1..config.workers {
        let open = |v6| open_bound(v6, port, true, config).map_err(|error| bind_error(port, error));
        let v4 = open(false)?;
        workers.push(Sockets { v4, v6: if has_v6 { Some(open(true)?) } else { None } });
    }
    if config.mark != 0 {
        for sockets in &workers {
            sockets.set_mark(config.mark).map_err(BindError::MarkPermission)?;
        }
    }
    Ok(Bound { port, workers, no_ipv6 })
}

fn open_bound(v6: bool, port: u16, shared: bool, config: &UdpConfig) -> io::Result<UdpSocket> {
    let socket = UdpSocket::open(v6, config.offload)?;
    if shared {
        sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    socket.bind(port)?;
    Ok(socket)
}

fn bind_error(port: u16, error: io::Error) -> BindError {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => BindError::PortInUse(port),
        Some(libc::EACCES | libc::EPERM) => BindError::Permission(port),
        _ => BindError::Setup("opening and binding it", error),
    }
}

/// Not compiled in, switched off at boot, or switched off by sysctl.
fn ipv6_is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EADDRNOTAVAIL | libc::ENOPROTOOPT)
    )
}

/// Past the system's limit with privilege, up to it without. A small buffer is no reason to fail.
fn grow_buffer(fd: BorrowedFd<'_>, force: c_int, plain: c_int) {
    let size = SOCKET_BUFFER as c_int;
    if sys::set_option(fd, libc::SOL_SOCKET, force, size).is_err() {
        let _ = sys::set_option(fd, libc::SOL_SOCKET, plain, size);
    }
}
