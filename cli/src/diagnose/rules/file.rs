//! What the configuration file says, beside what is.

use super::super::facts::{Facts, FileFacts, Named};
use super::super::finding::Finding;
use super::count;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Some(file) = &facts.file else { return Vec::new() };
    if file.errors > 0 {
        let what = format!("{} has {} and could not be used again", file.path, count(file.errors as u64, "error"));
        return vec![
            Finding::problem("bad-file", what).whose("this side").next(format!("kerntun check {}", facts.interface)),
        ];
    }
    let mut findings = Vec::new();
    findings.extend(own_key(facts, file));
    findings.extend(twice(file));
    findings.extend(names(facts, file));
    findings.extend(changed(facts, file));
    findings
}

/// A classic of copying: our own key where the other's belongs.
fn own_key(facts: &Facts, file: &FileFacts) -> Option<Finding> {
    let own = facts.public_key.as_ref()?;
    file.peers.iter().any(|peer| peer.key == *own).then(|| {
        Finding::problem(
            "own-key",
            format!("a [Peer] of {} has this interface's own public key, and is ignored", file.path),
        )
        .whose("this side")
        .next("write the other side's public key there ('kerntun show' on that side tells it)")
    })
}

/// A prefix belongs to one peer: the last one that names it.
fn twice(file: &FileFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, first) in file.peers.iter().enumerate() {
        for second in file.peers.iter().skip(at + 1).filter(|second| second.key != first.key) {
            for prefix in first.allowed_ips.iter().filter(|prefix| second.allowed_ips.contains(prefix)) {
                findings.push(
                    Finding::problem(
                        "overlapping-allowed-ips",
                        format!(
                            "{prefix} stands at two peers of {}; only the later one has it: {}",
                            file.path, second.key
                        ),
                    )
                    .whose("this side")
                    .next(format!("give each peer its own prefixes; the one that goes without now is {}", first.key)),
                );
            }
        }
    }
    findings
}

fn names(facts: &Facts, file: &FileFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for peer in &file.peers {
        let Some(Named { endpoint, addresses }) = &peer.name else { continue };
        let live = facts.peers.iter().find(|live| live.key == peer.key);
        match addresses {
            Err(error) => findings.push(
                Finding::problem(
                    "name-does-not-resolve",
                    format!("the endpoint's name in '{endpoint}' has no address: {error}"),
                )
                .whose("the name's spelling, this machine's name servers, or its connection")
                .next("check the spelling, and the servers in /etc/resolv.conf; or write the address itself"),
            ),
            Ok(addresses) => {
                let Some(live) = live.filter(|live| !live.has_session(facts.now)) else { continue };
                if let Some(used) = live.endpoint.filter(|used| !addresses.contains(used)) {
                    let now = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    findings.push(
                        Finding::note(
                            "name-moved",
                            format!("'{endpoint}' means {now} now, but the tunnel uses {used}"),
                        )
                        .next(format!("wg set {} peer {} endpoint {endpoint}", facts.interface, peer.key)),
                    );
                }
            }
        }
    }
    findings
}

/// The file was changed since the interface came up, or somebody changed the interface.
fn changed(facts: &Facts, file: &FileFacts) -> Option<Finding> {
    let key = file.public_key.is_some() && file.public_key != facts.public_key;
    let missing = |one: &&super::super::facts::FilePeer| {
        Some(&one.key) != facts.public_key.as_ref() && facts.peers.iter().all(|peer| peer.key != one.key)
    };
    let missing = file.peers.iter().filter(missing).count();
    (key || missing > 0).then(|| {
        let what = if key {
            "another private key than the interface".to_owned()
        } else {
            count(missing as u64, "peer") + " that the interface has not"
        };
        Finding::note("file-differs", format!("{} has {what}", file.path))
            .next(format!("to use the file: kerntun down {0} && kerntun up {0}", facts.interface))
    })
}
