//! Addresses of an interface.

use super::{Netlink, NetlinkError};
use kerntun_config::Address;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// Gives an address to the interface of this number.
pub(crate) fn add(netlink: &mut Netlink, index: u32, address: Address) -> Result<(), NetlinkError> {
    let mut message = AddressMessage::default();
    message.header.family = family(address.ip());
    message.header.prefix_len = address.prefix();
    message.header.index = index;
    message.header.scope = match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => AddressScope::Host,
        _ => AddressScope::Universe,
    };
    // Local is this end, Address the other end of a link between two; they differ only when the user says so.
    message.attributes = vec![AddressAttribute::Local(address.ip()), AddressAttribute::Address(address.ip())];
    netlink.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// The addresses of the interface of this number, in the order it has them.
pub(crate) fn list(netlink: &mut Netlink, index: u32) -> Result<Vec<Address>, NetlinkError> {
    let answers = netlink.list(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let addresses = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewAddress(message) if message.header.index == index => read(&message),
        _ => None,
    });
    Ok(addresses.collect())
}

/// The family of an address in the kernel's terms.
pub(crate) const fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn read(message: &AddressMessage) -> Option<Address> {
    let attributes = || message.attributes.iter();
    let local = attributes().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    // IPv6 has no Local attribute unless there is another end.
    let ip = local.or_else(|| {
        attributes().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })?;
    Address::new(ip, message.header.prefix_len)
}
