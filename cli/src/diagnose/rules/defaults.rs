//! Default routes into the tunnel, of which somebody removed something.

use super::super::facts::{Facts, Gone, Ipv6, PeerFacts, Undone};
use super::super::finding::Finding;
use crate::netlink::rule::{Family, Rule};
use crate::plan::family;

pub(super) fn judge(facts: &Facts, peer: &PeerFacts) -> Vec<Finding> {
    peer.undone.iter().filter_map(|undone| finding(facts, undone)).collect()
}

fn finding(facts: &Facts, undone: &Undone) -> Option<Finding> {
    let (name, link) = (&facts.interface, facts.link.as_ref());
    let Undone { prefix, gone, certain } = undone;
    let family = family(prefix.ip());
    let ipv6 = link.filter(|_| family == Family::V6).map_or(Ipv6::On, |link| link.ipv6);
    // Nothing gets past the tunnel by a family that there is not.
    if ipv6 == Ipv6::Off {
        return None;
    }
    let words: Vec<String> = gone
        .iter()
        .map(|gone| match gone {
            Gone::Route(table) => format!("the route '{prefix} dev {name} table {table}'"),
            Gone::Rule(rule) => format!("the rule '{rule}'"),
        })
        .collect();
    let (are, words) = (if words.len() == 1 { "is" } else { "are" }, words.join(" and "));
    let only_exception = *gone == [Gone::Rule(Rule::MainWithoutDefault)];
    let effect = match certain {
        _ if only_exception => "packets to networks that this machine reaches by itself go into the tunnel too",
        true => "packets leave by the ordinary routes, past the tunnel and in clear",
        false => "unless packets are led into the tunnel in another way, they leave past it and in clear",
    };
    let what = format!("{prefix} is in the peer's allowed ips, but for {family} {words} {are} gone: {effect}");
    let finding = Finding::problem("policy-routing-gone", what).only_noted_if(only_exception || !certain);
    let again = format!("put it back: kerntun down {name}, then kerntun up {name}");
    // The kernel itself removes routes, never rules.
    if gone.iter().all(|gone| matches!(gone, Gone::Route(_))) {
        if ipv6 == Ipv6::OffHere {
            return Some(
                finding
                    .whose("whatever switched IPv6 off on this interface only: with it go its routes")
                    .next(format!("find out what sets net.ipv6.conf.{name}.disable_ipv6, or an MTU below 1280"))
                    .next(again),
            );
        }
        if link.is_some_and(|link| !link.up) {
            return Some(finding.whose("whatever switched the interface off: with that go its routes").next(again));
        }
    }
    let whose = if only_exception {
        "whatever removed that on this machine: wg-quick(8) does when it takes down another tunnel for everything, and \
         systemd-networkd by default removes what it did not make itself"
    } else {
        "whatever removed that on this machine: systemd-networkd by default removes what it did not make itself"
    };
    Some(finding.whose(whose).next(again).next(
        "where systemd-networkd runs, write 'ManageForeignRoutingPolicyRules=no' and 'ManageForeignRoutes=no' under [Network] in \
         /etc/systemd/networkd.conf.d/tunnels.conf, so that it does not happen again",
    ))
}
