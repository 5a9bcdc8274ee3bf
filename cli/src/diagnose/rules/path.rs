//! The way to a peer: its endpoint, the route there, and the size of packets on it.

use super::super::facts::{Facts, PeerFacts, Way};
use super::super::finding::Finding;
use super::count;

/// What WireGuard adds to a packet: outer IP header, UDP 8, header 16, tag 16.
const OVERHEAD_V4: u32 = 60;
const OVERHEAD_V6: u32 = 80;

/// The least MTU of IPv6 (RFC 8200, section 5).
const IPV6_MTU: u32 = 1280;

pub(super) fn judge(facts: &Facts, peer: &PeerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(endpoint(facts, peer));
    findings.extend(way(facts, peer));
    findings.extend(mtu(facts, peer));
    findings.extend(ipv6_mtu(facts, peer));
    findings.extend(refused(facts, peer));
    findings
}

fn endpoint(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let drops = peer.counters.drops("no-endpoint");
    (peer.endpoint.is_none() && drops > 0).then(|| {
        Finding::problem(
            "no-endpoint",
            format!("{} could not be sent to it: its endpoint is not known, and it has not called yet", packets(drops)),
        )
        .whose("this side")
        .next(format!(
            "add 'Endpoint = ADDRESS:PORT' to this peer's section of the configuration of {}, if it has a fixed address",
            facts.interface
        ))
        .next("if it has none, it has to begin: set PersistentKeepalive = 25 on its side")
    })
}

fn way(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let endpoint = peer.endpoint?;
    match peer.way.as_ref()? {
        Way::None => Some(
            Finding::problem("no-way", format!("this machine has no route to the endpoint {endpoint}"))
                .whose("this side's network")
                .next(
                    "check the connection and the routes of this machine: ip route get ".to_owned()
                        + &endpoint.ip().to_string(),
                ),
        ),
        // A mark sends the tunnel's own packets past such a route: that is how default routes work.
        Way::Through { interface, .. }
            if *interface == facts.interface && (facts.fwmark, facts.leading_mark) == (0, None) =>
        {
            Some(
                Finding::problem(
                    "endpoint-in-tunnel",
                    format!(
                        "the route to the endpoint {endpoint} leads into this very tunnel, so that nothing ever leaves"
                    ),
                )
                .whose("this side's routes")
                .next(format!(
                    "let 'kerntun up {}' make the routes: it keeps the endpoint out of the tunnel",
                    facts.interface
                ))
                .next(format!("or add a route to {} through the real network", endpoint.ip())),
            )
        }
        Way::Through { .. } => None,
    }
}

fn mtu(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let endpoint = peer.endpoint?;
    let link = facts.link.as_ref()?;
    let Way::Through { interface, mtu } = peer.way.as_ref()? else { return None };
    let overhead = if endpoint.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
    let right = mtu.saturating_sub(overhead);
    let too_big = facts.counters.number("send.too_big");
    if link.mtu <= right && too_big == 0 || *interface == facts.interface {
        return None;
    }
    let name = &facts.interface;
    let what = if link.mtu > right {
        let lost = if too_big > 0 { format!("; {} too large to be sent", were(too_big)) } else { String::new() };
        format!(
            "the way to {endpoint} carries packets of {mtu} bytes ({interface}), which leaves {right} in the tunnel, but its MTU \
             is {}: large packets are cut in pieces or vanish while small ones pass{lost}",
            link.mtu
        )
    } else {
        format!("{} too large for the way to be sent, though not for the first hop of it", were(too_big))
    };
    Some(
        Finding::problem("path-mtu", what)
            .whose("this side's MTU")
            .next(format!("write 'MTU = {right}' in the configuration, or: ip link set mtu {right} dev {name}"))
            .next("if only large transfers hang, try smaller ones still: 1280 works nearly everywhere"),
    )
}

fn ipv6_mtu(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let mtu = facts.link.as_ref()?.mtu;
    let ipv6 = peer.allowed_ips.iter().any(|prefix| prefix.ip().is_ipv6());
    (ipv6 && mtu < IPV6_MTU).then(|| {
        Finding::problem(
            "mtu-below-ipv6",
            format!("the peer has IPv6 prefixes, but the tunnel's MTU is {mtu}: Linux does no IPv6 below 1280"),
        )
        .whose("this side's MTU")
        .next("set the MTU to 1280 or more")
    })
}

/// The system would not send.
fn refused(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    // The device's counters do not tell whose datagrams they were; the peer's do.
    if peer.counters.drops("send-failed") == 0 && !(peer.unanswered() > 0 && peer.sent == 0) {
        return None;
    }
    let forbidden = facts.counters.number("send.forbidden");
    let unreachable = facts.counters.number("send.unreachable");
    let last = facts.counters.text("send.error").map_or_else(String::new, |error| format!(" (last: {error})"));
    if forbidden > 0 {
        return Some(
            Finding::problem(
                "firewall-here",
                format!("{} refused by this machine's own firewall{last}", were(forbidden)),
            )
            .whose("this side's firewall")
            .next("let outgoing UDP through: nft list ruleset, or iptables -S OUTPUT"),
        );
    }
    (unreachable > 0 && !matches!(peer.way, Some(Way::None))).then(|| {
        Finding::problem("unreachable", format!("{} not sent because there was no way{last}", were(unreachable)))
            .whose("this side's network")
            .next("check the connection and the routes of this machine")
    })
}

fn were(number: u64) -> String {
    format!("{} {}", count(number, "datagram"), if number == 1 { "was" } else { "were" })
}

fn packets(number: u64) -> String {
    count(number, "packet")
}
