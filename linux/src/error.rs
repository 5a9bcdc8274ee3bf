//! What can go wrong, whose fault it is, and what to do.

use std::fmt;
use std::io;

/// Why a TUN device could not be made or used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TunError {
    /// The name is empty, longer than 15 bytes, or has a forbidden character. The operator's fault.
    InvalidName(String),
    /// The number of queues is not within 1 to 256. The caller's fault.
    QueueCount(usize),
    /// `/dev/net/tun` is missing: the kernel's driver is not loaded or not visible here.
    NoDriver(io::Error),
    /// Not enough rights: `CAP_NET_ADMIN` is missing.
    Permission(io::Error),
    /// An interface of that name exists.
    Exists(String),
    /// The device is held by another process.
    Busy(String),
    /// An interface of that name exists but cannot be attached to: no TUN device, or made with other queue settings.
    Mismatch(String),
    /// The descriptor handed over cannot be used; the text says why.
    NotTun(&'static str),
    /// The interface was deleted while in use. Final: every further call says the same.
    Gone,
    /// Any other failure while making the device.
    Setup(io::Error),
    /// One packet could not be read or written; the device works on.
    Io(io::Error),
}

impl TunError {
    /// Tells deletion from all other failures of a read or write (`tun_chr_read_iter`, `tun_chr_write_iter`).
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EBADFD | libc::ENODEV | libc::ENXIO) => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for TunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName(name) => write!(
                f,
                "'{}' cannot be an interface name: use 1 to 15 bytes without spaces, '/', ':' or '%'",
                name.escape_debug()
            ),
            Self::QueueCount(count) => write!(f, "a TUN device has 1 to 256 queues, not {count}"),
            Self::NoDriver(error) => {
                write!(
                    f,
                    "no TUN driver here ({error}): load it with 'modprobe tun', or pass /dev/net/tun into the container"
                )
            }
            Self::Permission(error) => {
                write!(f, "not allowed to make network interfaces ({error}): run as root or with CAP_NET_ADMIN")
            }
            Self::Exists(name) => {
                write!(
                    f,
                    "interface {name} exists already: delete it with 'ip link delete {name}', or choose another name"
                )
            }
            Self::Busy(name) => write!(f, "interface {name} is in use by another process: stop that one first"),
            Self::Mismatch(name) => write!(
                f,
                "interface {name} exists but cannot be attached to: it is no TUN device, or was made with another multi_queue setting"
            ),
            Self::NotTun(why) => write!(f, "the file descriptor handed over is no usable TUN queue: {why}"),
            Self::Gone => f.write_str("the TUN interface was deleted from outside"),
            Self::Setup(error) => write!(f, "the kernel did not set up the TUN device: {error}"),
            Self::Io(error) => write!(f, "a packet could not pass the TUN device: {error}"),
        }
    }
}

impl std::error::Error for TunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoDriver(error) | Self::Permission(error) | Self::Setup(error) | Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Why no UDP socket could be bound.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the port. The operator's choice: another port, or stop the other program.
    PortInUse(u16),
    /// No port was free for both IP versions in 100 random tries.
    NoFreePort,
    /// A firewall mark was asked for without `CAP_NET_ADMIN`.
    MarkPermission(io::Error),
    /// A port below 1024 without `CAP_NET_BIND_SERVICE`, or a security policy.
    Permission(u16),
    /// Any other failure; the text names the step.
    Setup(&'static str, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortInUse(port) => write!(
                f,
                "UDP port {port} is in use: find its owner with 'ss -ulpn sport = :{port}', or choose another ListenPort"
            ),
            Self::NoFreePort => f.write_str("no UDP port was free for both IPv4 and IPv6 in 100 tries: set ListenPort"),
            Self::MarkPermission(error) => {
                write!(f, "not allowed to set a firewall mark ({error}): run as root or with CAP_NET_ADMIN")
            }
            Self::Permission(port) => {
                write!(f, "not allowed to use UDP port {port}: run as root, or choose a port above 1023")
            }
            Self::Setup(step, error) => write!(f, "the kernel refused a UDP socket ({step}): {error}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::MarkPermission(error) | Self::Setup(_, error) => Some(error),
            _ => None,
        }
    }
}
