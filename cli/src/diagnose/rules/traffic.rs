//! Packets in the tunnel: which peer they belong to, and what was wrong with those that came.

use super::super::facts::{Facts, PeerFacts};
use super::super::finding::Finding;
use super::count;

/// So many of these are more than the odd stray packet.
const MANY: u64 = 10;

pub(super) fn judge(facts: &Facts, peer: &PeerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(no_allowed_ips(facts, peer));
    findings.extend(astray(facts, peer));
    findings.extend(wrong_source(facts, peer));
    findings.extend(damaged(peer));
    findings.extend(staged(peer));
    findings
}

fn no_allowed_ips(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    peer.allowed_ips.is_empty().then(|| {
        let lost = match facts.counters.drops("no-route") {
            0 => String::new(),
            drops => format!(" ({} of this machine found no peer)", count(drops, "packet")),
        };
        Finding::problem(
            "no-allowed-ips",
            format!("the peer has no allowed ips: nothing is sent to it and nothing accepted from it{lost}"),
        )
        .whose("this side")
        .next("add 'AllowedIPs = ...' to its section: the addresses it has in the tunnel")
        .next("if there are some in the file, another peer was given the same ones later: each prefix belongs to one peer")
    })
}

/// Its prefixes are routed elsewhere, or nowhere.
fn astray(facts: &Facts, peer: &PeerFacts) -> Vec<Finding> {
    let finding = |(prefix, through): &(_, Option<String>)| match through {
        Some(other) => Finding::problem(
            "overlapping-route",
            format!("{prefix} is in the peer's allowed ips, but this machine sends it through {other}"),
        )
        .whose("this side: two networks use the same addresses, or a route is missing")
        .next(format!("see which: ip route get an address of {prefix}"))
        .next(format!("if it shall go into the tunnel: ip route add {prefix} dev {}", facts.interface)),
        None => Finding::problem(
            "route-missing",
            format!("{prefix} is in the peer's allowed ips, but this machine has no route for it"),
        )
        .whose("this side")
        .next(format!("ip route add {prefix} dev {}, or 'kerntun up', which adds the routes", facts.interface)),
    };
    peer.astray.iter().map(finding).collect()
}

fn wrong_source(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let drops = peer.counters.drops("wrong-source");
    let narrower = facts.peers.iter().filter(|other| other.key != peer.key).find_map(|other| {
        let inside = |inner: &&_| peer.allowed_ips.iter().any(|outer| contains(*outer, **inner));
        Some((other.allowed_ips.iter().find(inside)?, &other.key))
    });
    (drops > 0).then(|| {
        let finding = Finding::problem(
            "wrong-source",
            format!(
                "{} from it had source addresses that are not in its allowed ips, and were dropped",
                count(drops, "packet")
            ),
        )
        .whose("this side's AllowedIPs for the peer, or an address the other side should not use")
        .next("compare the addresses of the other side's interface with the allowed ips here");
        match narrower {
            Some((prefix, key)) => finding.next(format!("{prefix} within them belongs to another peer: {key}")),
            None => finding,
        }
    })
}

fn contains(outer: kerntun_config::AllowedIp, inner: kerntun_config::AllowedIp) -> bool {
    outer.prefix() <= inner.prefix()
        && kerntun_config::AllowedIp::new(inner.ip(), outer.prefix()).is_some_and(|masked| masked.ip() == outer.ip())
}

fn damaged(peer: &PeerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bad = peer.counters.drops("bad-tag");
    if bad > 0 {
        findings.push(
            Finding::note(
                "damaged",
                format!("{} from it did not authenticate: damaged on the way, or forged", count(bad, "packet")),
            )
            .whose("the way, or a stranger"),
        );
    }
    let replayed = peer.counters.drops("replayed");
    if replayed >= MANY {
        findings.push(
            Finding::note("replayed", format!("{} from it came twice or far too late", count(replayed, "packet")))
                .whose("the way: it doubles or delays packets"),
        );
    }
    let expired = peer.counters.drops("session-expired");
    if expired >= MANY {
        findings.push(
            Finding::note(
                "session-expired",
                format!("{} came under keys older than 3 minutes", count(expired, "packet")),
            )
            .whose("the other side, whose new handshakes do not get through"),
        );
    }
    findings
}

/// Packets that were given up while they waited for a handshake.
pub(super) fn lost_waiting(peer: &PeerFacts) -> u64 {
    peer.counters.drops("staged-overflow") + peer.counters.drops("handshake-timeout")
}

fn staged(peer: &PeerFacts) -> Option<Finding> {
    let lost = lost_waiting(peer);
    (lost > 0).then(|| {
        Finding::note(
            "waited-in-vain",
            format!("{} waited for a handshake that did not come about", count(lost, "packet")),
        )
        .whose("whatever keeps the handshakes from coming about")
    })
}
