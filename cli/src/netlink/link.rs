//! Network interfaces.

use super::{Netlink, NetlinkError};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use nix::errno::Errno;

/// An interface as the kernel has it at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its number.
    pub(crate) index: u32,
    /// Bytes of the largest packet it carries.
    pub(crate) mtu: u32,
    /// What made it: "wireguard", "tun", ...; physical devices have none.
    pub(crate) kind: Option<String>,
}

impl Link {
    /// The interface of this name, if there is one.
    pub(crate) fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Self>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        Self::get(netlink, message)
    }

    /// The interface of this number, if there is one.
    pub(crate) fn of_index(netlink: &mut Netlink, index: u32) -> Result<Option<Self>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        Self::get(netlink, message)
    }

    /// Makes an interface that the kernel's own WireGuard serves. `EOPNOTSUPP` when the kernel has none.
    pub(crate) fn create_wireguard(netlink: &mut Netlink, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]));
        netlink.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sets the largest packet in bytes, and switches the interface on.
    pub(crate) fn set_up(&self, netlink: &mut Netlink, mtu: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        netlink.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes the interface, and with it its addresses and routes. One that is gone already is no error.
    pub(crate) fn delete(&self, netlink: &mut Netlink) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        match netlink.change(RouteNetlinkMessage::DelLink(message), 0) {
            Err(error) if error.is(Errno::ENODEV) => Ok(()),
            result => result,
        }
    }

    fn get(netlink: &mut Netlink, message: LinkMessage) -> Result<Option<Self>, NetlinkError> {
        match netlink.get(RouteNetlinkMessage::GetLink(message)) {
            Ok(Some(RouteNetlinkMessage::NewLink(message))) => Ok(Some(Self::read(message))),
            Ok(_) => Ok(None),
            Err(error) if error.is(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(message: LinkMessage) -> Self {
        let mut link = Self { index: message.header.index, mtu: 0, kind: None };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::LinkInfo(info) => {
                    link.kind = info.into_iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }
}
