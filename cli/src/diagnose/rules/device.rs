//! The interface as a whole: its key, its state, the clock, and messages that no peer could be made out for.

use super::super::facts::Facts;
use super::super::finding::Finding;
use super::{ago, count};

/// 2025-01-01: the clock of a machine that runs this program cannot be before.
const THIS_PROGRAM: u64 = 1_735_689_600;

/// Seconds by which clocks differ without anything being wrong.
const CLOCK_TOLERANCE: u64 = 5;

/// Seconds that the daemon's stamps may be ahead of its clock: after a crash it goes on from a stamp that it had reserved
/// for the next ten minutes.
const STAMP_TOLERANCE: u64 = 660;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(identity(facts));
    findings.extend(state(facts));
    findings.extend(mark(facts));
    findings.extend(clock(facts));
    findings.extend(strangers(facts));
    findings.extend(load(facts));
    findings
}

fn identity(facts: &Facts) -> Option<Finding> {
    let name = &facts.interface;
    if facts.public_key.is_none() {
        let what = "the interface has no private key, so that no handshake is possible";
        return Some(
            Finding::problem("no-private-key", what)
                .whose("this side")
                .next(format!("set one: kerntun up {name}, or wg set {name} private-key FILE")),
        );
    }
    facts.peers.is_empty().then(|| {
        Finding::problem("no-peers", "the interface has no peers, so that it can talk to nobody")
            .whose("this side")
            .next(format!("add a [Peer] section to the configuration of {name}"))
    })
}

fn state(facts: &Facts) -> Vec<Finding> {
    let Some(link) = &facts.link else { return Vec::new() };
    let name = &facts.interface;
    let mut findings = Vec::new();
    if !link.up {
        let mut allowed = facts.peers.iter().flat_map(|peer| &peer.allowed_ips);
        let next = match facts.fwmark != 0 && allowed.any(|prefix| prefix.prefix() == 0) {
            true => {
                format!("kerntun down {name}, then kerntun up {name}: 'ip link set up' does not bring its routes back")
            }
            false => format!("ip link set up dev {name}"),
        };
        findings
            .push(Finding::problem("interface-down", "the interface is switched off").whose("this side").next(next));
    }
    if !link.has_address {
        findings.push(
            Finding::note("no-address", "the interface has no address: packets of this machine itself find no source")
                .next(format!("add 'Address = ...' to the configuration, or: ip address add ADDRESS dev {name}")),
        );
    }
    findings
}

/// Another mark than the one by which its own packets are told from those that go into it.
fn mark(facts: &Facts) -> Option<Finding> {
    let (name, now) = (&facts.interface, facts.fwmark);
    let mark = facts.leading_mark.filter(|mark| *mark != now)?;
    let what = format!(
        "everything is led into the tunnel but for packets with the mark {mark}, and its own have the mark {now} by now: they \
         are led into it again, and nothing leaves"
    );
    Some(
        Finding::problem("mark-changed", what)
            .whose("whatever changed it on this machine: 'wg setconf' and 'wg syncconf' do, with a file without FwMark")
            .next(format!("wg set {name} fwmark {mark}; or kerntun down {name}, then kerntun up {name}"))
            .next(format!("before it is changed like that again, write 'FwMark = {mark}' in the file")),
    )
}

fn clock(facts: &Facts) -> Option<Finding> {
    let stamp = facts.counters.number("clock.greatest_stamp");
    if facts.now < THIS_PROGRAM {
        let what =
            "this machine's clock is years behind: peers that have seen later handshakes from it refuse new ones";
        return Some(clock_behind(what.to_owned()));
    }
    if stamp > facts.now.saturating_add(STAMP_TOLERANCE) {
        return Some(clock_behind(format!(
            "this machine's clock was set back by {} or more since it last sent a handshake; kerntun goes on with later \
             timestamps, but after a restart peers refuse its handshakes until the clock has caught up",
            ago(stamp.saturating_sub(facts.now))
        )));
    }
    let latest = facts.peers.iter().filter_map(|peer| peer.last_handshake).max().unwrap_or(0);
    (latest > facts.now.saturating_add(CLOCK_TOLERANCE)).then(|| {
        let by = ago(latest.saturating_sub(facts.now));
        clock_behind(format!("this machine's clock was set back by {by} or more since the last handshake"))
    })
}

fn clock_behind(what: String) -> Finding {
    Finding::problem("clock-behind", what)
        .whose("this side")
        .next("set the clock, and keep it right: timedatectl set-ntp true")
        .next("without a battery-backed clock, set the time before tunnels come up")
}

/// Handshake messages that fit no peer.
fn strangers(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let key = facts.public_key.as_deref().unwrap_or("(none)");
    let over = !facts.peers.is_empty() && facts.peers.iter().all(|peer| peer.has_session(facts.now));
    let bad = facts.counters.drops("bad-mac1");
    if bad > 0 {
        findings.push(
            Finding::problem(
                "other-has-wrong-key",
                format!("{} came in that {} made for another public key than ours", messages(bad), were(bad)),
            )
            .whose("the other side: it has a wrong public key for this one (or the messages are a stranger's)")
            .next(format!("on the other side, this machine has to stand as: PublicKey = {key}"))
            .only_noted_if(over),
        );
    }
    let unknown = facts.counters.drops("unknown-peer");
    if unknown > 0 {
        let silent: Vec<_> =
            facts.peers.iter().filter(|peer| peer.last_handshake.is_none()).map(|peer| peer.key.as_str()).collect();
        let finding = Finding::problem(
            "unknown-peer",
            format!("{} came in from a public key that no peer here has", count(unknown, "handshake start")),
        )
        .whose("this side, if its list of peers should have that key; else a stranger")
        .next("compare the other side's public key ('kerntun show' there) with the peers here")
        .only_noted_if(over);
        findings.push(match silent.as_slice() {
            [] => finding,
            silent => finding.next(format!("never heard of, so perhaps written wrongly here: {}", silent.join(", "))),
        });
    }
    findings
}

fn load(facts: &Facts) -> Option<Finding> {
    let reasons = ["cookie-required", "rate-limited", "handshake-queue-full"];
    let dropped: u64 = reasons.into_iter().map(|reason| facts.counters.drops(reason)).sum();
    (dropped > 0).then(|| {
        Finding::note(
            "under-load",
            format!("{} put off because too many came at once; real peers try again", were_messages(dropped)),
        )
        .whose("whoever sends so many: a flood, or very many peers at once")
        .next("if it goes on, find the senders: tcpdump -n udp port PORT, and block those you do not know")
    })
}

fn messages(number: u64) -> String {
    count(number, "handshake message")
}

fn were_messages(number: u64) -> String {
    format!("{} {}", messages(number), were(number))
}

const fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}
