//! Which routes a tunnel gets, decided without touching anything.

use crate::netlink::route::{MAIN, Route};
use crate::netlink::rule::Family;
use kerntun_config::{AllowedIp, InterfaceName, Table};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The first number tried for a table and mark of one's own, as in wg-quick(8): WireGuard's usual port.
const FIRST_TABLE: u32 = 51820;

/// Something to be done about routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Add this route to this table.
    Route(AllowedIp, u32),
    /// Send everything of a family through the tunnel, by policy rules: a route of length 0 would catch the tunnel's
    /// own packets too.
    Default(AllowedIp, Family),
}

/// Where routes go, once the name of a table is known to be a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// `Table = auto`.
    Auto,
    /// `Table = off`.
    Nowhere,
    /// `Table = NUMBER`.
    Table(u32),
}

impl Destination {
    /// Understands the configuration's `Table`, with a function that knows names of tables. The name that is not known
    /// is the error.
    pub(crate) fn of(
        table: &Table,
        number_of: impl Fn(&kerntun_config::TableName) -> Option<u32>,
    ) -> Result<Self, kerntun_config::TableName> {
        Ok(match table {
            Table::Auto => Self::Auto,
            Table::Off => Self::Nowhere,
            Table::Id(number) => Self::Table(*number),
            Table::Name(name) => Self::Table(number_of(name).ok_or_else(|| name.clone())?),
        })
    }
}

/// The steps for these allowed IPs, given the interface's number and all routes there are.
///
/// As in wg-quick: the most specific first; with `Table = auto`, what a route through the same interface covers already
/// is left out.
pub(crate) fn plan(allowed: &[AllowedIp], destination: Destination, index: u32, existing: &[Route]) -> Vec<Step> {
    let mut unique: Vec<AllowedIp> = allowed.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    unique.sort_by_key(|prefix| std::cmp::Reverse(prefix.prefix()));
    let ours = |route: &&Route| route.interface == Some(index) && route.table == MAIN;
    let mut covered: Vec<AllowedIp> = existing.iter().filter(ours).map(|route| route.destination).collect();
    let mut steps = Vec::new();
    for prefix in unique {
        match destination {
            Destination::Nowhere => {}
            Destination::Table(table) => steps.push(Step::Route(prefix, table)),
            Destination::Auto if prefix.prefix() == 0 => steps.push(Step::Default(prefix, family(prefix.ip()))),
            Destination::Auto => {
                if !covered.iter().any(|route| covers(*route, prefix)) {
                    covered.push(prefix);
                    steps.push(Step::Route(prefix, MAIN));
                }
            }
        }
    }
    steps
}

/// The number of a table in which there are no routes.
pub(crate) fn free_table(existing: &[Route]) -> u32 {
    let used: BTreeSet<u32> = existing.iter().map(|route| route.table).collect();
    (FIRST_TABLE..).find(|number| !used.contains(number)).unwrap_or(FIRST_TABLE)
}

/// Whether every address of `inner` lies in `outer`.
pub(crate) fn covers(outer: AllowedIp, inner: AllowedIp) -> bool {
    outer.ip().is_ipv4() == inner.ip().is_ipv4()
        && outer.prefix() <= inner.prefix()
        && AllowedIp::new(inner.ip(), outer.prefix()).is_some_and(|wider| wider == outer)
}

/// A peer whose endpoint is reached through its own tunnel: with routes in the main table the tunnel's packets would run
/// in a circle. A default route does not do that, as policy rules keep the tunnel's own packets out of it.
pub(crate) fn swallowed(endpoint: IpAddr, steps: &[Step]) -> Option<AllowedIp> {
    let bits = if endpoint.is_ipv4() { 32 } else { 128 };
    let endpoint = AllowedIp::new(endpoint, bits)?;
    steps.iter().find_map(|step| match step {
        Step::Route(prefix, MAIN) if covers(*prefix, endpoint) => Some(*prefix),
        _ => None,
    })
}

/// A sentence on a peer's endpoint that its own tunnel swallows.
pub(crate) fn circle(interface: &InterfaceName, endpoint: IpAddr, prefix: AllowedIp) -> String {
    format!(
        "warning: the endpoint {endpoint} lies within {prefix}, which is routed into {interface} itself: \
         the tunnel's own packets will not get out unless there is a more specific route to {endpoint}"
    )
}

/// The family of an address.
pub(crate) fn family(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> AllowedIp {
        text.parse().unwrap()
    }

    fn nets(text: &str) -> Vec<AllowedIp> {
        text.split_whitespace().map(net).collect()
    }

    fn route(destination: &str, table: u32, interface: u32) -> Route {
        Route { destination: net(destination), table, interface: Some(interface), mtu: None, metric: 0 }
    }

    #[test]
    fn most_specific_first_and_each_once() {
        let steps = plan(&nets("10.0.0.0/8 fd00::/64 10.1.0.0/16 192.0.2.1/32 10.1.0.0/16"), Destination::Auto, 5, &[]);
        assert_eq!(
            steps,
            [
                Step::Route(net("fd00::/64"), 254),
                Step::Route(net("192.0.2.1/32"), 254),
                Step::Route(net("10.1.0.0/16"), 254),
                Step::Route(net("10.0.0.0/8"), 254),
            ]
        );
    }

    #[test]
    fn what_the_interface_has_already_is_left_out() {
        let existing = [
            // The network of the interface's own address.
            route("10.0.0.0/24", 254, 5),
            // These are somebody else's, or elsewhere.
            route("10.9.0.0/24", 254, 6),
            route("0.0.0.0/0", 254, 6),
            route("10.8.0.0/24", 100, 5),
        ];
        let steps = plan(&nets("10.0.0.7/32 10.0.0.0/24 10.9.0.1/32 10.8.0.1/32"), Destination::Auto, 5, &existing);
        assert_eq!(steps, [Step::Route(net("10.8.0.1/32"), 254), Step::Route(net("10.9.0.1/32"), 254)]);
    }

    #[test]
    fn default_routes_need_policy_only_in_auto() {
        let both = nets("0.0.0.0/0 ::/0 10.0.0.0/8");
        assert_eq!(
            plan(&both, Destination::Auto, 5, &[]),
            [
                Step::Route(net("10.0.0.0/8"), 254),
                Step::Default(net("0.0.0.0/0"), Family::V4),
                Step::Default(net("::/0"), Family::V6),
            ]
        );
        assert_eq!(plan(&both, Destination::Nowhere, 5, &[]), []);
        let steps = plan(&both, Destination::Table(100), 5, &[route("10.0.0.0/8", 254, 5)]);
        assert_eq!(
            steps,
            [Step::Route(net("10.0.0.0/8"), 100), Step::Route(net("0.0.0.0/0"), 100), Step::Route(net("::/0"), 100),]
        );
        // Two halves are ordinary routes, as some people mean them.
        assert_eq!(plan(&nets("0.0.0.0/1 128.0.0.0/1"), Destination::Auto, 5, &[]).len(), 2);
    }

    #[test]
    fn the_first_free_table() {
        assert_eq!(free_table(&[]), 51820);
        assert_eq!(free_table(&[route("10.0.0.0/8", 51820, 1), route("::/0", 51821, 1)]), 51822);
        assert_eq!(free_table(&[route("10.0.0.0/8", 51821, 1)]), 51820);
    }

    #[test]
    fn covering_against_a_bitwise_model() {
        // All prefixes over the top 4 bits of an address; a prefix is the set of the 16 values it contains.
        let all: Vec<(u8, u8)> = (0..=4).flat_map(|length| (0..16).map(move |bits| (bits, length))).collect();
        let contains = |(bits, length): (u8, u8), value: u8| (bits ^ value) >> (4 - length) == 0;
        let prefix = |(bits, length): (u8, u8)| AllowedIp::new(IpAddr::from([bits << 4, 0, 0, 0]), length).unwrap();
        for outer in &all {
            for inner in &all {
                let model =
                    inner.1 >= outer.1 && (0..16).all(|value| !contains(*inner, value) || contains(*outer, value));
                assert_eq!(covers(prefix(*outer), prefix(*inner)), model, "{outer:?} {inner:?}");
            }
        }
        assert!(!covers(net("0.0.0.0/0"), net("::/0")));
    }

    #[test]
    fn endpoints_within_their_own_routes() {
        let steps = plan(&nets("192.0.2.0/24 ::/0"), Destination::Auto, 5, &[]);
        assert_eq!(swallowed("192.0.2.9".parse().unwrap(), &steps), Some(net("192.0.2.0/24")));
        assert_eq!(swallowed("198.51.100.9".parse().unwrap(), &steps), None);
        assert_eq!(swallowed("2001:db8::1".parse().unwrap(), &steps), None);
    }

    #[test]
    fn tables_by_name() {
        let known = |name: &kerntun_config::TableName| (name.as_str() == "work").then_some(100);
        let of = |text: &str| Destination::of(&Table::Name(text.parse().unwrap()), known);
        assert_eq!(of("work"), Ok(Destination::Table(100)));
        assert_eq!(of("play").unwrap_err().as_str(), "play");
        assert_eq!(Destination::of(&Table::Off, known), Ok(Destination::Nowhere));
    }
}
