//! Handshakes with a peer that do not come about.

use super::super::facts::{Facts, PeerFacts};
use super::super::finding::Finding;
use super::{ago, count};
use kerntun_config::PublicKey;

/// Sizes of a handshake start and of its answer in bytes (paper, section 5.4).
const START: u64 = 148;
const ANSWER: u64 = 92;

/// Seconds between handshake starts.
const RETRY: u64 = 5;

pub(super) fn judge(facts: &Facts, peer: &PeerFacts, explained: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(old_timestamp(facts, peer));
    findings.extend(preshared_key(facts, peer));
    findings.extend(weak_key(facts, peer));
    let known = explained || !findings.is_empty();
    if !known {
        findings.extend(no_answer(facts, peer));
        findings.extend(unconfirmed(facts, peer));
    }
    findings
}

/// Its starts carry timestamps that are not later than those already seen.
fn old_timestamp(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let drops = peer.counters.drops("old-timestamp");
    (drops > 0).then(|| {
        let what = format!(
            "{} from it had timestamps not later than one already seen: its clock was set back, or somebody repeats its \
             old messages",
            count(drops, "handshake start")
        );
        Finding::problem("peer-clock-behind", what)
            .whose("the other side's clock")
            .next("set the clock there (timedatectl set-ntp true)")
            .next(
                "if its key was used with boringtun or one of its descendants before: their timestamps are 27 s ahead of \
                 everybody else's; wait half a minute",
            )
            .next("if its clock was far ahead for a while, remove the peer here and add it again, which forgets the stamp")
            .only_noted_if(peer.has_session(facts.now))
    })
}

/// Its messages do not decrypt although its keys are the right ones.
fn preshared_key(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let drops = peer.counters.drops("bad-handshake");
    (drops > 0 && !peer.has_session(facts.now)).then(|| {
        let here = if peer.has_preshared_key { "there is one here" } else { "there is none here" };
        Finding::problem(
            "preshared-key",
            format!(
                "{} from it did not decrypt although the public keys fit: the preshared keys differ ({here})",
                count(drops, "handshake answer")
            ),
        )
        .whose("one of the two sides")
        .next("set the same PresharedKey on both sides, or on neither")
    })
}

/// Its key, or one in a message, is a point of low order, with which nothing can be agreed on.
fn weak_key(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    if peer.key.parse::<PublicKey>().is_ok_and(|key| key.is_low_order()) {
        let what = "its public key is a point of low order, which no private key has: every handshake with it fails";
        return Some(
            Finding::problem("weak-key", what)
                .whose("this side, where that key is configured")
                .next("write the key that 'kerntun pubkey' prints on the peer's machine"),
        );
    }
    let drops = peer.counters.drops("weak-key");
    (drops > 0).then(|| {
        let what = format!("{} had a key of low order inside: dropped", count(drops, "handshake message"));
        Finding::problem("weak-key", what)
            .whose("a stranger on the way, or a broken implementation on the other side")
            .next("find out which program runs there, and bring it up to date")
            .only_noted_if(peer.has_session(facts.now))
    })
}

fn no_answer(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let endpoint = peer.endpoint?;
    let starts = starts(peer);
    if starts == 0 || peer.has_session(facts.now) && peer.counters.deadline("no-response-to-initiation").is_none() {
        return None;
    }
    if starts == 1 {
        return Some(
            Finding::note("waits-for-answer", format!("a handshake start was sent to {endpoint}; no answer yet"))
                .next("ask again in ten seconds"),
        );
    }
    let seconds = (starts - 1) * RETRY + since_last(peer);
    let before = match peer.handshake_age(facts.now) {
        Some(age) => format!(" (the last handshake was {} ago: it did work)", ago(age)),
        None => String::new(),
    };
    let own = facts.public_key.as_deref().unwrap_or("(none)");
    Some(
        Finding::problem(
            "no-answer",
            format!(
                "{starts} handshake starts sent to {endpoint} in {seconds} s and nothing came back: a firewall, a wrong \
                 address or port, or the other side does not know this key{before}"
            ),
        )
        .whose("the way to the other side, or the other side")
        .next(format!("let UDP to port {} through the firewalls there and on the way", endpoint.port()))
        .next(format!("check that the other side listens on that port, and that its address is {}", endpoint.ip()))
        .next(format!("its own public key has to be {}, and it has to know this one: {own}", peer.key))
        .next("run 'kerntun diagnose' there: it tells whether the handshake starts arrive, and what is wrong with them"),
    )
}

/// We answered, and the other side never used the keys.
fn unconfirmed(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    if peer.last_handshake.is_some() || peer.sent == 0 || !peer.sent.is_multiple_of(ANSWER) || starts(peer) > 0 {
        return None;
    }
    let answers = peer.sent / ANSWER;
    (answers > 1).then(|| {
        let here = if peer.has_preshared_key { "there is one here" } else { "there is none here" };
        Finding::problem(
            "answer-unconfirmed",
            format!(
                "{answers} handshake starts came in and were answered, but the other side never went on: the preshared keys \
                 differ ({here}), or the answers do not reach it"
            ),
        )
        .whose("one of the two sides, or a firewall there")
        .next("set the same PresharedKey on both sides, or on neither")
        .next(format!("let UDP from port {} of this machine through the firewalls there", facts.listen_port))
    })
}

/// Handshake starts in a row without an answer.
fn starts(peer: &PeerFacts) -> u64 {
    // New packets of the user begin a new count of attempts, but before the first handshake nothing else is sent.
    let first = peer.last_handshake.is_none() && peer.received == 0 && peer.sent.is_multiple_of(START);
    if first { peer.sent / START } else { peer.unanswered() }
}

/// Seconds since the last start, as far as the deadline tells.
fn since_last(peer: &PeerFacts) -> u64 {
    let left = peer.counters.deadline("no-response-to-initiation").and_then(|ms| u64::try_from(ms / 1000).ok());
    left.map_or(0, |left| RETRY.saturating_sub(left))
}
