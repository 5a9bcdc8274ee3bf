//! From facts to findings. Pure: the same facts give the same findings.

mod defaults;
mod device;
mod file;
mod handshake;
mod path;
#[cfg(test)]
mod tests;
mod traffic;

use super::facts::{Facts, PeerFacts};
use super::finding::Finding;
use crate::show::{Paint, bytes, duration};

/// All there is to say: about the interface first, then peer by peer, the worst first.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = device::judge(facts);
    findings.extend(file::judge(facts));
    findings.sort_by_key(|finding| finding.severity);
    // What is wrong with the interface as a whole, nobody can blame on a peer.
    let broken =
        findings.iter().any(|finding| matches!(finding.cause, "no-private-key" | "interface-down" | "mark-changed"));
    for peer in &facts.peers {
        let mut about = path::judge(facts, peer);
        about.extend(defaults::judge(facts, peer));
        about.extend(traffic::judge(facts, peer));
        let way_is_known_bad = about.iter().any(|finding| matches!(finding.cause, "no-way" | "endpoint-in-tunnel"));
        let handshakes = handshake::judge(facts, peer, way_is_known_bad || broken);
        // With what was said of handshakes, only a session says more.
        let said = !handshakes.is_empty() && !peer.has_session(facts.now);
        about.extend(handshakes);
        if !broken && !said && !about.iter().any(Finding::is_problem) {
            about.push(well(facts, peer));
        }
        about.sort_by_key(|finding| finding.severity);
        findings.extend(about.into_iter().map(|finding| finding.about(&peer.key)));
    }
    findings
}

/// What to say of a peer of which nothing bad is known.
fn well(facts: &Facts, peer: &PeerFacts) -> Finding {
    let (received, sent) = (bytes(peer.received, Paint::PLAIN), bytes(peer.sent, Paint::PLAIN));
    let moved = format!("{received} received, {sent} sent");
    match peer.handshake_age(facts.now) {
        Some(age) if age < 180 => Finding::healthy(format!("nothing wrong: last handshake {} ago, {moved}", ago(age))),
        Some(age) => Finding::healthy(format!(
            "nothing wrong, only idle: last handshake {} ago, {moved}; the next packet starts a new one",
            ago(age)
        )),
        None if peer.endpoint.is_none() => {
            Finding::note("waits-for-call", "its endpoint is not known, so that it has to make the first handshake")
                .next("if this side should begin, set its Endpoint")
        }
        None if peer.sent > 0 || peer.received > 0 || traffic::lost_waiting(peer) > 0 => {
            Finding::note("no-handshake", format!("there was no handshake yet: {moved}"))
                .next("ask again in ten seconds")
        }
        None => Finding::note("nothing-sent", "there was no handshake yet, and nothing to be sent")
            .next("send something to one of its allowed ips, for example a ping"),
    }
}

/// Seconds in words.
fn ago(seconds: u64) -> String {
    duration(seconds, Paint::PLAIN)
}

/// `1 packet`, `2 packets`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
