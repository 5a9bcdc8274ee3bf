//! Noticing that this virtual machine is a copy: restored from a snapshot, or cloned.
//!
//! The hypervisor changes the machine's generation id, and the kernel's driver for that (`drivers/virt/vmgenid.c`) tells
//! user space with an event of its device that has `NEW_VMGENID=1` in it (newer kernels). Events of the kernel come by
//! netlink as lists of zero-terminated words. An older kernel, or a hypervisor without a generation id, tells nothing.
//!
//! Source: Linux `lib/kobject_uevent.c`, netlink(7).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::sys;

/// Events of the kernel, as opposed to those that udev passes on.
const KERNEL_EVENTS: u32 = 1;
/// Longer events than `UEVENT_BUFFER_SIZE` with their header do not come.
const LONGEST: usize = 8 << 10;
/// Events per [`VmWatch::read`].
const MAX_READS: usize = 4096;

/// Becomes readable with every event of any device. Non-blocking; sees the network namespace of the thread that opened it,
/// to which the kernel tells such things if it belongs to the machine's own user namespace.
#[derive(Debug)]
pub struct VmWatch {
    socket: OwnedFd,
    buffer: Box<[u8]>,
}

impl VmWatch {
    /// Watches from now on.
    ///
    /// # Errors
    /// Those of `socket` and `bind`; needs no privilege.
    pub fn open() -> io::Result<Self> {
        let socket = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT)?;
        // SAFETY: integers only.
        let mut address: libc::sockaddr_nl = unsafe { sys::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = KERNEL_EVENTS;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: pointer and length are those of a live socket address.
        sys::check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(Self { socket, buffer: vec![0; LONGEST].into_boxed_slice() })
    }

    /// Reads what is there (a bounded number of events; `poll` tells of the rest) and says whether this machine has become
    /// another one. When the kernel had to drop events because nobody read, it may have, so the answer is yes.
    ///
    /// # Errors
    /// Those of a broken descriptor.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut changed = false;
        for _ in 0..MAX_READS {
            match self.receive() {
                Ok((len, true)) => changed |= is_new_generation(self.buffer.get(..len).unwrap_or_default()),
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(changed),
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS) => changed = true,
                    _ => return Err(error),
                },
            }
        }
        Ok(changed)
    }

    /// One event, and whether it is the kernel's: other processes may send here too.
    fn receive(&mut self) -> io::Result<(usize, bool)> {
        // SAFETY: integers only.
        let mut sender: libc::sockaddr_nl = unsafe { sys::zeroed() };
        let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        let (pointer, capacity) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
        let (fd, flags) = (self.socket.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: pointers and lengths describe our buffer and a live socket address.
        let received =
            unsafe { libc::recvfrom(fd, pointer, capacity, flags, (&raw mut sender).cast(), &raw mut length) };
        Ok((sys::check_len(received)?, sender.nl_pid == 0))
    }
}

impl AsFd for VmWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether an event (`ACTION@PATH`, then `KEY=VALUE` words) says so. What a person writes to a `uevent` file cannot: the kernel puts
/// `SYNTH_ARG_` before the names in it.
fn is_new_generation(event: &[u8]) -> bool {
    event.split(|byte| *byte == 0).skip(1).any(|word| word == b"NEW_VMGENID=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        let yes: [&[u8]; 2] = [
            b"change@/devices/platform/QEMUVGID:00\0ACTION=change\0SUBSYSTEM=platform\0NEW_VMGENID=1\0SEQNUM=7\0",
            b"change@/x\0NEW_VMGENID=1",
        ];
        let no: [&[u8]; 6] = [
            b"",
            b"\0",
            b"NEW_VMGENID=1\0",
            b"change@/x\0SYNTH_UUID=0\0SYNTH_ARG_NEW_VMGENID=1\0",
            b"change@/x\0NEW_VMGENID=10\0",
            b"add@/devices/virtual/net/wg0\0ACTION=add\0INTERFACE=wg0\0",
        ];
        for (events, expected) in [(&yes[..], true), (&no[..], false)] {
            for event in events {
                assert_eq!(is_new_generation(event), expected, "{}", String::from_utf8_lossy(event));
            }
        }
    }

    #[test]
    fn silence_is_no_change() {
        assert!(!VmWatch::open().unwrap().read().unwrap());
    }
}
