//! Routes.

use super::address::family;
use super::{Netlink, NetlinkError};
use kerntun_config::AllowedIp;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The table that is looked in without further ado (`RT_TABLE_MAIN`).
pub(crate) const MAIN: u32 = 254;

/// A route as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// Where it leads.
    pub(crate) destination: AllowedIp,
    /// The table it stands in.
    pub(crate) table: u32,
    /// The interface it leads through, if it is one.
    pub(crate) interface: Option<u32>,
    /// Its own limit of the size of packets in bytes, if it has one.
    pub(crate) mtu: Option<u32>,
    /// Smaller is preferred.
    pub(crate) metric: u32,
}

/// Adds a route through the interface of this number.
pub(crate) fn add(netlink: &mut Netlink, destination: AllowedIp, index: u32, table: u32) -> Result<(), NetlinkError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination.ip());
    message.header.destination_prefix_length = destination.prefix();
    message.header.table = u8::try_from(table).unwrap_or(0);
    message.header.protocol = RouteProtocol::Boot;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match destination.ip() {
        IpAddr::V4(_) => RouteScope::Link,
        IpAddr::V6(_) => RouteScope::Universe,
    };
    if destination.prefix() > 0 {
        message.attributes.push(RouteAttribute::Destination(destination.ip().into()));
    }
    message.attributes.push(RouteAttribute::Table(table));
    message.attributes.push(RouteAttribute::Oif(index));
    netlink.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// All routes of both families.
pub(crate) fn list(netlink: &mut Netlink) -> Result<Vec<Route>, NetlinkError> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let answers = match netlink.list(RouteNetlinkMessage::GetRoute(message)) {
            // A kernel without IPv6 has no routes of it.
            Err(error) if family == AddressFamily::Inet6 && error.is(Errno::EOPNOTSUPP) => continue,
            answers => answers?,
        };
        routes.extend(answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(message) => read(&message),
            _ => None,
        }));
    }
    Ok(routes)
}

/// The route a packet to this address would take now; none when there is no way.
pub(crate) fn to(netlink: &mut Netlink, ip: IpAddr) -> Result<Option<Route>, NetlinkError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(ip);
    message.header.destination_prefix_length = if ip.is_ipv4() { 32 } else { 128 };
    message.attributes.push(RouteAttribute::Destination(ip.into()));
    match netlink.get(RouteNetlinkMessage::GetRoute(message)) {
        Ok(Some(RouteNetlinkMessage::NewRoute(message))) => Ok(read(&message)),
        Ok(_) => Ok(None),
        Err(error)
            if [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EACCES, Errno::EINVAL, Errno::EOPNOTSUPP]
                .iter()
                .any(|number| error.is(*number)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn read(message: &RouteMessage) -> Option<Route> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut destination = unspecified;
    let mut route = Route {
        destination: AllowedIp::new(unspecified, 0)?,
        table: message.header.table.into(),
        interface: None,
        mtu: None,
        metric: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = (*ip).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => destination = (*ip).into(),
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Oif(index) => route.interface = Some(*index),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::MultiPath(hops) => {
                route.interface = route.interface.or_else(|| hops.first().map(|hop| hop.interface_index));
            }
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    route.destination = AllowedIp::new(destination, message.header.destination_prefix_length)?;
    Some(route)
}
