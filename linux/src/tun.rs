//! TUN devices: made, attached to or inherited, one or several queues, with offloads learnt at run time.
//!
//! Source: Linux `Documentation/networking/tuntap.rst`, `drivers/net/tun.c`, `include/uapi/linux/if_tun.h`.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::error::TunError;
use crate::interface::{self, Interface};
use crate::queue::TunQueue;
use crate::sys;
use crate::vnet::VNET_HEADER_LEN;

const TUN_PATH: &str = "/dev/net/tun";

const F_CSUM: u32 = 0x01;
const F_TSO4: u32 = 0x02;
const F_TSO6: u32 = 0x04;
const F_USO4: u32 = 0x20;
const F_USO6: u32 = 0x40;

/// Which kinds of unfinished packets the TUN device gives and takes.
///
/// TSO with ECN is never asked for: the kernel then clears CWR up itself before the packet comes to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunOffload {
    /// Packets with an unfinished transport checksum (`TUN_F_CSUM`). All others need this one.
    pub checksum: bool,
    /// TCP super-packets over IPv4 (`TUN_F_TSO4`).
    pub tso4: bool,
    /// TCP super-packets over IPv6 (`TUN_F_TSO6`).
    pub tso6: bool,
    /// UDP super-packets, both versions (`TUN_F_USO4`, `TUN_F_USO6`; Linux 6.2).
    pub uso: bool,
}

impl TunOffload {
    /// Everything; what the kernel lacks is found out.
    pub const ALL: Self = Self { checksum: true, tso4: true, tso6: true, uso: true };
    /// One finished packet at a time.
    pub const NONE: Self = Self { checksum: false, tso4: false, tso6: false, uso: false };

    /// Only what both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            checksum: self.checksum && other.checksum,
            tso4: self.tso4 && other.tso4,
            tso6: self.tso6 && other.tso6,
            uso: self.uso && other.uso,
        }
    }

    fn bits(self) -> u32 {
        if !self.checksum {
            return 0;
        }
        let bit = |on: bool, bits: u32| if on { bits } else { 0 };
        F_CSUM | bit(self.tso4, F_TSO4) | bit(self.tso6, F_TSO6) | bit(self.uso, F_USO4 | F_USO6)
    }

    /// From the most to the least that may be asked for.
    fn steps(self) -> [Self; 4] {
        let whole = if self.checksum { self } else { Self::NONE };
        let without_uso = Self { uso: false, ..whole };
        [whole, without_uso, Self { tso4: false, tso6: false, ..without_uso }, Self::NONE]
    }
}

/// What to do when an interface of that name is already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfExists {
    /// Fail with [`TunError::Exists`].
    #[default]
    Refuse,
    /// Take it over if it is a TUN device that nobody holds (made with `ip tuntap add`).
    Attach,
}

/// How to make a TUN device.
#[derive(Clone, Copy, Debug)]
pub struct TunConfig<'a> {
    /// Interface name, 1 to 15 bytes.
    pub name: &'a str,
    /// Number of queues, 1 to 256. More than one makes a multi-queue device.
    pub queues: usize,
    /// The most that may be asked for; [`TunOffload::ALL`] unless something is forced off.
    pub offload: TunOffload,
    /// What to do when the name is taken.
    pub exists: IfExists,
}

/// A TUN device: its interface and its queues. Both fields may be moved out; the device lives until the last queue is
/// dropped (unless it is persistent).
#[derive(Debug)]
pub struct Tun {
    /// Name, MTU, up and down.
    pub interface: Interface,
    /// One for each worker.
    pub queues: Vec<TunQueue>,
}

impl Tun {
    /// Makes a device, or attaches to one. On error nothing is left behind. The interface is down.
    ///
    /// # Errors
    /// Every reason that a person can do something about has its own variant of [`TunError`].
    pub fn create(config: &TunConfig<'_>) -> Result<Self, TunError> {
        if !interface::name_is_valid(config.name) {
            return Err(TunError::InvalidName(config.name.to_owned()));
        }
        if !(1..=256).contains(&config.queues) {
            return Err(TunError::QueueCount(config.queues));
        }
        let multi = if config.queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let exclusive = if config.exists == IfExists::Refuse { libc::IFF_TUN_EXCL } else { 0 };
        let mut queues = Vec::with_capacity(config.queues);
        let mut offload = config.offload;
        for number in 0..config.queues {
            let exclusive = if number == 0 { exclusive } else { 0 };
            let fd = open_queue(config.name, multi | exclusive)?;
            if number == 0 {
                // Offloads belong to the device, not to the queue.
                offload = learn_offload(fd.as_fd(), config.offload).map_err(TunError::Setup)?;
            }
            queues.push(TunQueue::new(fd, true, offload));
        }
        let index = interface::index_of(config.name).ok_or(TunError::Gone)?;
        let interface = Interface::from_index(index).map_err(TunError::Setup)?;
        Ok(Self { interface, queues })
    }

    /// Takes over an open descriptor of a TUN device (`WG_TUN_FD`), whatever it was made with: without `IFF_VNET_HDR`
    /// it works one packet at a time. It becomes non-blocking and close-on-exec.
    ///
    /// # Errors
    /// [`TunError::NotTun`] when it is no TUN queue, or one with packet information in front (made without `IFF_NO_PI`;
    /// noticed where sysfs is mounted).
    pub fn adopt(fd: OwnedFd, limit: TunOffload) -> Result<Self, TunError> {
        let mut request = interface::empty_request();
        // SAFETY: TUNGETIFF fills an `ifreq`.
        unsafe { sys::ioctl(fd.as_fd(), libc::TUNGETIFF, &mut request) }
            .map_err(|_| TunError::NotTun("it is no TUN device"))?;
        // SAFETY: the kernel has just filled in this member.
        let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
        if flags & libc::IFF_TUN == 0 {
            return Err(TunError::NotTun("it is a TAP device"));
        }
        let name = interface::request_name(&request);
        let elsewhere = TunError::NotTun("its interface is in another network namespace");
        let index = interface::index_of(&name).ok_or(elsewhere)?;
        if has_packet_information(&name, index) {
            return Err(TunError::NotTun("it was made without IFF_NO_PI"));
        }
        sys::set_nonblocking(fd.as_fd()).map_err(TunError::Setup)?;
        sys::set_cloexec(fd.as_fd()).map_err(TunError::Setup)?;
        let vnet = flags & libc::IFF_VNET_HDR != 0;
        let offload = if vnet { learn_offload(fd.as_fd(), limit).map_err(TunError::Setup)? } else { TunOffload::NONE };
        let interface = Interface::from_index(index).map_err(TunError::Setup)?;
        Ok(Self { interface, queues: vec![TunQueue::new(fd, vnet, offload)] })
    }

    /// As [`Tun::adopt`], from the number in an environment variable.
    ///
    /// # Errors
    /// As [`Tun::adopt`], and when the number is not an open descriptor or is one of the standard three.
    pub fn adopt_raw(fd: RawFd, limit: TunOffload) -> Result<Self, TunError> {
        if fd <= libc::STDERR_FILENO {
            return Err(TunError::NotTun("it is a standard stream"));
        }
        // SAFETY: no pointers. The duplicate is ours whatever the original is; the original is then closed so that the
        // device does not outlive its queue.
        let copy = sys::owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })
            .map_err(|_| TunError::NotTun("it is not open"))?;
        let tun = Self::adopt(copy, limit)?;
        // SAFETY: the descriptor was handed to this process by number for this use and nothing else here owns it; only
        // a TUN queue gets this far.
        unsafe { libc::close(fd) };
        Ok(tun)
    }
}

fn open_queue(name: &str, extra: i32) -> Result<OwnedFd, TunError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(TUN_PATH)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => TunError::NoDriver(error),
            Some(libc::EACCES | libc::EPERM) => TunError::Permission(error),
            _ => TunError::Setup(error),
        })?;
    let mut request = interface::empty_request();
    interface::set_request_name(&mut request, name);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | extra;
    // The flags fill all 16 bits of the field: IFF_TUN_EXCL is its sign.
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF takes an `ifreq`.
    unsafe { sys::ioctl(file.as_fd(), libc::TUNSETIFF, &mut request) }
        .map_err(|error| setiff_error(name, extra, error))?;
    Ok(file.into())
}

/// Whether each packet has four bytes of packet information in front. `TUNGETIFF` cannot tell: `IFF_NO_PI` shares its
/// bit with `IFF_NOFILTER`, which is always set there for TUN. sysfs can, if it shows this namespace's interfaces.
fn has_packet_information(name: &str, index: u32) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/class/net/{name}/{file}")).ok();
    let Some(flags) = read("ifindex").filter(|found| found.trim() == index.to_string()).and_then(|_| read("tun_flags"))
    else {
        return false;
    };
    let flags = i32::from_str_radix(flags.trim().trim_start_matches("0x"), 16);
    flags.is_ok_and(|flags| flags & libc::IFF_NO_PI == 0)
}

/// The kernel says `EBUSY` and `EINVAL` for several things; find out which.
fn setiff_error(name: &str, extra: i32, error: io::Error) -> TunError {
    let exists = interface::index_of(name).is_some();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TunError::Permission(error),
        _ if exists && extra & libc::IFF_TUN_EXCL != 0 => TunError::Exists(name.to_owned()),
        Some(libc::EBUSY | libc::E2BIG) => TunError::Busy(name.to_owned()),
        Some(libc::EINVAL) if exists => TunError::Mismatch(name.to_owned()),
        _ => TunError::Setup(error),
    }
}

fn learn_offload(fd: BorrowedFd<'_>, limit: TunOffload) -> io::Result<TunOffload> {
    let mut size = VNET_HEADER_LEN as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads an int.
    unsafe { sys::ioctl(fd, libc::TUNSETVNETHDRSZ, &mut size) }?;
    let mut result = Ok(TunOffload::NONE);
    for step in limit.steps() {
        // SAFETY: TUNSETOFFLOAD takes its bits by value.
        match unsafe { sys::ioctl_value(fd, libc::TUNSETOFFLOAD, step.bits().into()) } {
            Ok(()) => return Ok(step),
            Err(error) => result = Err(error),
        }
    }
    result
}

impl AsRawFd for TunQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
