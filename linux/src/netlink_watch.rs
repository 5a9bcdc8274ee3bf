//! What happens to the interface from outside: MTU, up and down, deletion, and changes of routes and addresses.
//!
//! Source: rtnetlink(7), netlink(7), Linux `include/uapi/linux/if_link.h`. Parsed by hand: of the whole protocol this
//! needs two fixed headers and two attributes, less than the glue for a netlink crate would take.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::sys;

// <linux/rtnetlink.h> and <linux/netlink.h>
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV4_ROUTE: u32 = 0x40;
const RTMGRP_IPV4_RULE: u32 = 0x80;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTMGRP_IPV6_ROUTE: u32 = 0x400;
/// Without a name of the old kind: group 19, `RTNLGRP_IPV6_RULE`.
const RTMGRP_IPV6_RULE: u32 = 1 << (19 - 1);
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const IFLA_MTU: u16 = 4;
const IFLA_NEW_NETNSID: u16 = 45;
/// Datagrams per [`NetlinkWatch::read`].
const MAX_READS: usize = 4096;
/// Message header and `struct ifinfomsg`, both aligned.
const HEADER: usize = 16;
const IFINFO: usize = 16;

/// Something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// The interface has this MTU now.
    Mtu(u32),
    /// The interface is up.
    Up,
    /// The interface is down.
    Down,
    /// The interface is gone. Final.
    Deleted,
    /// The interface lives on in another network namespace; nothing more will be heard of it here.
    Moved,
    /// A route, rule or address of this namespace changed, or another interface went up, down or away: cached source
    /// addresses may be wrong.
    RoutesChanged,
}

/// A subscription for one interface, in the network namespace of the thread that opened it. Non-blocking.
#[derive(Debug)]
pub struct NetlinkWatch {
    fd: OwnedFd,
    interface: u32,
    link: LinkState,
    /// Messages were lost; to be made good for once the queue is empty.
    lost: bool,
    buffer: Box<[u8]>,
}

/// What was reported last, so that only changes are reported.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkState {
    mtu: Option<u32>,
    up: Option<bool>,
}

impl NetlinkWatch {
    /// Subscribes, and asks for the present state: the first events say MTU and up or down.
    ///
    /// # Errors
    /// Those of `socket`, `bind` and `send`; needs no privilege.
    pub fn open(interface: u32) -> io::Result<Self> {
        let fd = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        // SAFETY: integers only.
        let mut address: libc::sockaddr_nl = unsafe { sys::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = RTMGRP_LINK
            | RTMGRP_IPV4_IFADDR
            | RTMGRP_IPV4_ROUTE
            | RTMGRP_IPV4_RULE
            | RTMGRP_IPV6_IFADDR
            | RTMGRP_IPV6_ROUTE
            | RTMGRP_IPV6_RULE;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: pointer and length are those of a live socket address.
        sys::check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        let buffer = vec![0; 32 << 10].into_boxed_slice();
        let watch = Self { fd, interface, link: LinkState::default(), lost: false, buffer };
        watch.ask()?;
        Ok(watch)
    }

    /// Reads what is there (a bounded number of messages; `poll` tells of the rest) and passes on each change, without
    /// waiting.
    ///
    /// When the kernel had to drop messages because nobody read, the state is asked for anew and
    /// [`LinkEvent::RoutesChanged`] assumed.
    ///
    /// # Errors
    /// Only those of a broken descriptor.
    pub fn read(&mut self, mut event: impl FnMut(LinkEvent)) -> io::Result<()> {
        for _ in 0..MAX_READS {
            let (fd, flags) = (self.fd.as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_TRUNC);
            let (pointer, capacity) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
            // SAFETY: pointer and length describe our buffer.
            match sys::check_len(unsafe { libc::recv(fd, pointer, capacity, flags) }) {
                Ok(length) => {
                    self.lost |= length > capacity;
                    let datagram = self.buffer.get(..length.min(capacity)).unwrap_or_default();
                    self.link.parse(datagram, self.interface, &mut event);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS) => self.lost = true,
                    // Only with the queue empty is there room for the answer.
                    Some(libc::EAGAIN) if self.lost => {
                        self.lost = false;
                        event(LinkEvent::RoutesChanged);
                        self.ask()?;
                    }
                    Some(libc::EAGAIN) => return Ok(()),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Requests the state of the interface; the answer comes like any other message.
    fn ask(&self) -> io::Result<()> {
        let mut request = [0u8; HEADER + IFINFO];
        let length = (HEADER + IFINFO) as u32;
        const NLM_F_REQUEST: u16 = 1;
        let parts: [(usize, &[u8]); 4] = [
            (0, &length.to_ne_bytes()),
            (4, &RTM_GETLINK.to_ne_bytes()),
            (6, &NLM_F_REQUEST.to_ne_bytes()),
            (HEADER + 4, &self.interface.to_ne_bytes()),
        ];
        for (at, bytes) in parts {
            for (to, from) in request.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        }
        sys::write(self.fd.as_fd(), &request).map(drop)
    }
}

impl AsFd for NetlinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl LinkState {
    /// Goes through one datagram of rtnetlink messages and passes on what is new about `interface`. Ends quietly at the
    /// first length that does not fit.
    pub fn parse(&mut self, mut datagram: &[u8], interface: u32, event: &mut impl FnMut(LinkEvent)) {
        let mut routes = false;
        while let Some((length, kind)) = u32_at(datagram, 0).zip(u16_at(datagram, 4)) {
            let length = length as usize;
            let Some(body) = datagram.get(HEADER..length) else { break };
            match kind {
                RTM_NEWLINK | RTM_DELLINK if u32_at(body, 4) == Some(interface) => self.link(kind, body, event),
                // Of the IPv4 routes that vanish when an interface goes down, the kernel says nothing else.
                RTM_NEWLINK if u32_at(body, 12).is_some_and(|changed| changed & libc::IFF_UP as u32 != 0) => {
                    routes = true;
                }
                RTM_DELLINK => routes = true,
                // The answer to `ask` when the interface is gone: ENODEV.
                NLMSG_ERROR if u32_at(body, 0) == Some((-libc::ENODEV) as u32) => event(LinkEvent::Deleted),
                RTM_NEWADDR | RTM_DELADDR | RTM_NEWROUTE | RTM_DELROUTE | RTM_NEWRULE | RTM_DELRULE => routes = true,
                _ => {}
            }
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if routes {
            event(LinkEvent::RoutesChanged);
        }
    }

    fn link(&mut self, kind: u16, body: &[u8], event: &mut impl FnMut(LinkEvent)) {
        let mut mtu = None;
        let mut moved = false;
        let mut rest = body.get(IFINFO..).unwrap_or_default();
        while let Some((length, name)) = u16_at(rest, 0).zip(u16_at(rest, 2)) {
            let length = usize::from(length);
            let Some(value) = rest.get(4..length) else { break };
            match name & 0x3fff {
                IFLA_MTU => mtu = u32_at(value, 0),
                IFLA_NEW_NETNSID => moved = true,
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if kind == RTM_DELLINK {
            event(if moved { LinkEvent::Moved } else { LinkEvent::Deleted });
            return;
        }
        if let Some(mtu) = mtu.filter(|mtu| self.mtu != Some(*mtu)) {
            self.mtu = Some(mtu);
            event(LinkEvent::Mtu(mtu));
        }
        let Some(flags) = u32_at(body, 8) else { return };
        let up = flags & libc::IFF_UP as u32 != 0;
        if self.up != Some(up) {
            self.up = Some(up);
            event(if up { LinkEvent::Up } else { LinkEvent::Down });
        }
    }
}

/// Netlink numbers are in the machine's byte order.
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_ne_bytes(*field))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_ne_bytes(*field))
}
