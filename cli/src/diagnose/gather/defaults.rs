//! Default routes: what is gone of that by which `up` leads everything of a family into a tunnel.

use crate::diagnose::facts::{Gone, PeerFacts, Undone};
use crate::netlink::route::{self, Route};
use crate::netlink::rule::{self, Family, Rule};
use crate::netlink::{Netlink, link::Link};
use crate::plan::family;
use kerntun_config::AllowedIp;

/// A tunnel, as far as it matters here.
pub(super) struct Tunnel<'a> {
    pub(super) link: &'a Link,
    pub(super) fwmark: u32,
    /// The marks of its firewall, by family.
    pub(super) walled: &'a [(Family, u32)],
    /// Whether its file says `Table = auto`, if that is known.
    pub(super) is_auto: Option<bool>,
}

/// Looks at the default routes among the peers' allowed IPs.
pub(super) fn look(netlink: &mut Netlink, tunnel: &Tunnel<'_>, peers: &mut [PeerFacts]) {
    let mut routes: Option<Vec<Route>> = None;
    for peer in peers {
        for prefix in peer.allowed_ips.iter().filter(|prefix| prefix.prefix() == 0) {
            if routes.is_none() {
                routes = route::list(netlink).ok();
            }
            let Some(routes) = &routes else { return };
            peer.undone.extend(undone(netlink, tunnel, *prefix, routes));
        }
    }
}

fn undone(netlink: &mut Netlink, tunnel: &Tunnel<'_>, prefix: AllowedIp, routes: &[Route]) -> Option<Undone> {
    let index = Some(tunnel.link.index);
    let has_route = |table: u32| {
        routes.iter().any(|route| (route.destination, route.table, route.interface) == (prefix, table, index))
    };
    let family = family(prefix.ip());
    let walled = tunnel.walled.iter().find(|(of, _)| *of == family).map(|(_, mark)| *mark);
    let routed = Some(tunnel.fwmark).filter(|mark| *mark != 0 && has_route(*mark));
    let (mark, certain) = evidence(walled, routed, tunnel.is_auto)?;
    let mut rules = rule::missing(netlink, family, mark).ok()?;
    rules.retain(|rule| certain || *rule != Rule::MainWithoutDefault);
    let route = (!has_route(mark)).then_some(Gone::Route(mark));
    let gone: Vec<Gone> = route.into_iter().chain(rules.into_iter().map(Gone::Rule)).collect();
    (!gone.is_empty()).then_some(Undone { prefix, gone, certain })
}

/// The mark with which `up` led everything into the tunnel, if it did, and whether that is certain. It is seen from its firewall or
/// from its route: whoever removes one kind of thing leaves the others. But a route alone may also be there by `Table = NUMBER`, with
/// somebody's own way of leading packets to it.
fn evidence(walled: Option<u32>, routed: Option<u32>, is_auto: Option<bool>) -> Option<(u32, bool)> {
    match (walled, is_auto) {
        (Some(mark), _) => Some((mark, true)),
        (None, Some(true)) => Some((routed?, true)),
        (None, Some(false)) => None,
        (None, None) => Some((routed?, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_route_alone_proves() {
        // The firewall proves it, whatever the file says by now.
        for is_auto in [None, Some(true), Some(false)] {
            assert_eq!(evidence(Some(7), None, is_auto), Some((7, true)));
            assert_eq!(evidence(None, None, is_auto), None);
        }
        assert_eq!(evidence(None, Some(7), Some(true)), Some((7, true)));
        assert_eq!(evidence(None, Some(7), Some(false)), None, "Table = 7 with FwMark = 7");
        assert_eq!(evidence(None, Some(7), None), Some((7, false)), "a file that lies elsewhere");
    }
}
