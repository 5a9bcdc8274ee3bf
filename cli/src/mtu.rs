//! How large packets in the tunnel may be.

use crate::netlink::link::Link;
use crate::netlink::route::{self, MAIN, Route};
use crate::netlink::{Netlink, NetlinkError};
use std::net::{IpAddr, Ipv4Addr};

/// What WireGuard adds to a packet at most: IPv6 header 40, UDP 8, its own header 16 and tag 16.
const OVERHEAD: u32 = 80;

/// The MTU of Ethernet, for when there is no route to look at.
const ETHERNET: u32 = 1500;

/// The MTU of a tunnel to these endpoints, by wg-quick(8)'s rule: the largest MTU on the way to any of them; without
/// endpoints, that of the default route; and in any case less what WireGuard adds.
///
/// # Errors
/// When the kernel does not tell of its routes.
pub(crate) fn of_tunnel(netlink: &mut Netlink, endpoints: &[IpAddr]) -> Result<u32, NetlinkError> {
    let mut largest = 0;
    for endpoint in endpoints {
        if let Some(route) = route::to(netlink, *endpoint)? {
            largest = largest.max(of_route(netlink, &route)?.unwrap_or(0));
        }
    }
    if largest == 0 {
        let routes = route::list(netlink)?;
        if let Some(route) = default_route(&routes) {
            largest = of_route(netlink, route)?.unwrap_or(0);
        }
    }
    Ok(inside(largest))
}

/// What is left inside of a way with this MTU; 0 is unknown.
fn inside(outside: u32) -> u32 {
    if outside == 0 { ETHERNET - OVERHEAD } else { outside.saturating_sub(OVERHEAD) }
}

fn of_route(netlink: &mut Netlink, route: &Route) -> Result<Option<u32>, NetlinkError> {
    match (route.mtu, route.interface) {
        (Some(mtu), _) => Ok(Some(mtu)),
        (None, Some(index)) => Ok(Link::of_index(netlink, index)?.map(|link| link.mtu)),
        (None, None) => Ok(None),
    }
}

/// The default route of IPv4 that is used.
fn default_route(routes: &[Route]) -> Option<&Route> {
    let is_default = |route: &&Route| {
        route.table == MAIN && route.destination.prefix() == 0 && route.destination.ip() == Ipv4Addr::UNSPECIFIED
    };
    routes.iter().filter(is_default).min_by_key(|route| route.metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_bytes_less() {
        assert_eq!(inside(0), 1420);
        assert_eq!(inside(1500), 1420);
        assert_eq!(inside(9000), 8920);
        assert_eq!(inside(60), 0);
    }

    #[test]
    fn the_default_route_that_is_used() {
        let route = |destination: &str, table, metric| Route {
            destination: destination.parse().unwrap(),
            table,
            interface: Some(metric),
            mtu: None,
            metric,
        };
        let routes = [
            route("10.0.0.0/8", 254, 0),
            route("0.0.0.0/0", 254, 600),
            route("0.0.0.0/0", 254, 100),
            route("0.0.0.0/0", 51820, 0),
            route("::/0", 254, 1),
        ];
        assert_eq!(default_route(&routes).and_then(|route| route.interface), Some(100));
        assert_eq!(default_route(&[]), None);
    }
}
