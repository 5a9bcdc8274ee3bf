//! Requests at the wrong moment, or by the wrong person.

use crate::baseline::{INTERFACE, OTHER, PORT, THIRD, range4, with_peer};
use crate::expected::Outcome;
use crate::links::Links;
use crate::probe::Probe;
use kerntun_hostile::netlink::wireguard::{Family, device, name, peer};
use kerntun_hostile::netlink::{Answer, Attributes};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// All of them.
pub(crate) fn all(probe: &mut Probe, who: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    without_capability(probe, &mut outcomes);
    ports_in_use(probe, &mut outcomes);
    collisions(probe, &mut outcomes);
    mtu(probe, &mut outcomes);
    outcomes.push(listing_of_what_changes());
    outcomes.push(listing_of_what_goes(who));
    outcomes.push(change_of_what_goes());
    outcomes.push(port_changes_under_load(probe));
    outcomes.push(many_peers());
    let change = probe.undo();
    outcomes.push(said("afterwards/the-interface", "0", &change));
    outcomes
}

fn said(case: &str, error: &str, change: &str) -> Outcome {
    Outcome { case: case.to_owned(), error: error.to_owned(), change: change.to_owned(), words: String::new() }
}

/// The capability is looked at for the one who sends and for the one who opened the socket: without it in both.
fn without_capability(probe: &mut Probe, outcomes: &mut Vec<Outcome>) {
    let (get, set) = thread::spawn(|| {
        let mut sets = capabilities(None).expect("capabilities can be read");
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).expect("capabilities can be given up");
        let mut family = Family::new();
        (family.get(&name(INTERFACE)), family.set(&name(INTERFACE).put(device::FWMARK, &[9, 0, 0, 0])))
    })
    .join()
    .expect("no panic");
    outcomes.push(probe.outcome("no-capability/get", &get));
    outcomes.push(probe.outcome("no-capability/set", &set));
}

fn ports_in_use(probe: &mut Probe, outcomes: &mut Vec<Outcome>) {
    for (family, address) in [("v4", "0.0.0.0:4800"), ("v6", "[::]:4800"), ("loopback-only", "127.0.0.1:4800")] {
        for (what, with) in
            [("alone", Attributes::new()), ("with-a-key", Attributes::new().put(device::PRIVATE_KEY, &OTHER))]
        {
            let taken = UdpSocket::bind(address).expect("a free port");
            let request = name(INTERFACE).put(device::LISTEN_PORT, &4800_u16.to_ne_bytes()).with(&with);
            let answer = probe.family.set(&request);
            drop(taken);
            outcomes.push(probe.outcome(format!("port-in-use/{family}-{what}"), &answer));
        }
    }
    // Nothing is bound while an interface is down; it cannot come up then.
    let mut links = Links::new();
    assert_eq!(links.add(b"wg1\0", &Attributes::new()).error, 0);
    let set = probe.family.set(&name("wg1").put(device::LISTEN_PORT, &PORT.to_ne_bytes()));
    outcomes.push(probe.outcome("port-in-use/of-an-interface-that-is-down", &set));
    let up = links.up("wg1");
    outcomes.push(probe.outcome("port-in-use/coming-up", &up));
    assert_eq!(links.delete("wg1").error, 0);
}

fn collisions(probe: &mut Probe, outcomes: &mut Vec<Outcome>) {
    let mut links = Links::new();
    let none = Attributes::new;
    let answers = [
        ("own-name", links.add(b"wg0\0", &none())),
        ("name-of-another-kind", links.add(b"lo\0", &none())),
        ("name-with-a-slash", links.add(b"a/b\0", &none())),
        ("name-of-a-dot", links.add(b".\0", &none())),
        ("name-of-16", links.add(b"a234567890123456\0", &none())),
        ("mtu-below-all", links.add(b"wg1\0", &none().put(4, &(-1_i32).to_ne_bytes()))),
        ("removed-a-second-time", links.delete("wg9")),
    ];
    for (case, answer) in answers {
        outcomes.push(probe.outcome(format!("link/{case}"), &answer));
    }
    // What an interface of this kind does not have is not looked at.
    let answers = [
        ("address-of-6-bytes", links.add(b"wg1\0", &none().put(1, &[2, 0, 0, 0, 0, 1])), links.delete("wg1")),
        ("parameters-of-the-kind", links.add_with_data(b"wg1\0", &none().put(1, &[1, 2, 3])), links.delete("wg1")),
    ];
    for (case, answer, deleted) in answers {
        assert_eq!(deleted.error, answer.error);
        outcomes.push(probe.outcome(format!("link/{case}"), &answer));
    }
}

fn mtu(probe: &mut Probe, outcomes: &mut Vec<Outcome>) {
    let mut links = Links::new();
    for (what, mtu) in [
        ("0", 0_u32),
        ("68", 68),
        ("1", 1),
        ("too-large", i32::MAX as u32),
        ("negative", u32::MAX),
        ("as-before", 1420),
    ] {
        let answer = links.change(INTERFACE, &Attributes::new().put(4, &mtu.to_ne_bytes()));
        outcomes.push(probe.outcome(format!("mtu/{what}"), &answer));
    }
}

/// Peers with consecutive keys, enough of them for several parts.
fn peers(from: u32, count: u32, interface: &str) -> Attributes {
    let list = (from..from + count).fold(Attributes::new(), |list, number| {
        let mut key = [0x33; 32];
        key[28..].copy_from_slice(&number.to_be_bytes());
        list.nest(0, &Attributes::new().put(peer::PUBLIC_KEY, &key))
    });
    name(interface).nest(device::PEERS, &list)
}

fn listing_of_what_changes() -> Outcome {
    let (mut links, mut changing, mut listing) = (Links::new(), Family::new(), Family::with_parts(4096));
    assert_eq!(links.add(b"wg1\0", &Attributes::new()).error, 0);
    assert_eq!(changing.set(&peers(0, 200, "wg1")).error, 0);
    let quiet = listing.get(&name("wg1"));
    assert!(!quiet.interrupted && quiet.messages.len() > 4, "{} parts", quiet.messages.len());
    listing.begin_listing(&name("wg1"));
    let mut answer = Answer { error: 0, words: String::new(), messages: Vec::new(), interrupted: false };
    listing.part(&mut answer);
    assert_eq!(changing.set(&with_name("wg1", &with_peer(&Attributes::new().put(peer::PUBLIC_KEY, &THIRD)))).error, 0);
    while !listing.part(&mut answer) {}
    assert_eq!(links.delete("wg1").error, 0);
    said(
        "listing/changed-underway",
        &answer.name(),
        if answer.interrupted { "marked as interrupted" } else { "not marked" },
    )
}

fn with_name(interface: &str, attributes: &Attributes) -> Attributes {
    name(interface).with(attributes)
}

/// The kernel's own driver keeps an interface that is being listed, so that its removal waits; a thread waits with it.
fn listing_of_what_goes(who: &str) -> Outcome {
    let (mut links, mut changing, mut listing) = (Links::new(), Family::new(), Family::with_parts(4096));
    assert_eq!(links.add(b"wg1\0", &Attributes::new()).error, 0);
    assert_eq!(changing.set(&peers(0, 200, "wg1")).error, 0);
    listing.begin_listing(&name("wg1"));
    let mut answer = Answer { error: 0, words: String::new(), messages: Vec::new(), interrupted: false };
    listing.part(&mut answer);
    let removal = thread::spawn(move || links.delete("wg1").error);
    if who == "intree" {
        thread::sleep(Duration::from_millis(500));
    } else {
        while !removal.is_finished() {
            thread::sleep(Duration::from_millis(10));
        }
    }
    while !listing.part(&mut answer) {}
    drop(listing);
    assert_eq!(removal.join().expect("no panic"), 0);
    said("listing/gone-underway", &answer.name(), "-")
}

/// An interface that comes and goes a hundred times while others change and list it.
fn change_of_what_goes() -> Outcome {
    static END: AtomicBool = AtomicBool::new(false);
    let others: Vec<_> = (0..2)
        .map(|number: u32| {
            thread::spawn(move || {
                let mut family = Family::new();
                let mut seen = BTreeSet::new();
                while !END.load(Ordering::Relaxed) {
                    let request = peers(number * 8, 8, "wg1").put(device::LISTEN_PORT, &4900_u16.to_ne_bytes());
                    seen.insert(family.set(&request.put(device::PRIVATE_KEY, &OTHER)).name());
                    seen.insert(family.get(&name("wg1")).name());
                }
                seen
            })
        })
        .collect();
    let mut links = Links::new();
    for _ in 0..100 {
        assert_eq!(links.add(b"wg1\0", &Attributes::new()).error, 0);
        let up = links.up("wg1");
        assert_eq!(up.error, 0, "{}", up.name());
        assert_eq!(links.delete("wg1").error, 0);
    }
    END.store(true, Ordering::Relaxed);
    let seen: BTreeSet<String> = others.into_iter().flat_map(|other| other.join().expect("no panic")).collect();
    let unexpected: Vec<_> = seen.iter().filter(|name| !["0", "ENODEV"].contains(&name.as_str())).cloned().collect();
    said("set-while-deleting/100-times", if seen.contains("0") { "0" } else { "never" }, &unexpected.join(" "))
}

fn port_changes_under_load(probe: &mut Probe) -> Outcome {
    static END: AtomicBool = AtomicBool::new(false);
    let loads: Vec<_> = ["127.0.0.1", "::1"]
        .map(|address| {
            thread::spawn(move || {
                let socket = UdpSocket::bind((address, 0)).expect("a port");
                let mut number = 0_u64;
                while !END.load(Ordering::Relaxed) {
                    number += 1;
                    let datagram = [&[4, 0, 0, 0][..], &number.to_le_bytes(), &[0; 52]].concat();
                    // A port that is gone at the moment answers with an error.
                    let _ = socket.send_to(&datagram, (address, 4901 + (number % 2) as u16));
                }
                number
            })
        })
        .into();
    let mut errors = BTreeSet::new();
    for number in 0..100_u16 {
        errors.insert(
            probe.family.set(&name(INTERFACE).put(device::LISTEN_PORT, &(4901 + number % 2).to_ne_bytes())).name(),
        );
    }
    END.store(true, Ordering::Relaxed);
    for load in loads {
        assert!(load.join().expect("no panic") > 0);
    }
    let errors: Vec<String> = errors.into_iter().collect();
    said("port-change-under-load/100-times", &errors.join(" "), &probe.undo())
}

/// 2^16 peers by messages of 256, twice the same; then all of them listed and replaced by one.
fn many_peers() -> Outcome {
    const PEERS: u32 = 1 << 16;
    let (mut links, mut family) = (Links::new(), Family::new());
    assert_eq!(links.add(b"wg1\0", &Attributes::new()).error, 0);
    let mut errors = BTreeSet::new();
    for from in (0..PEERS).step_by(256) {
        errors.insert(family.set(&peers(from, 256, "wg1")).name());
    }
    let listed = family.state("wg1").iter().filter(|line| line.starts_with("peer")).count();
    let range = Attributes::new().nest(0, &range4([0, 0, 0, 0], 0));
    let one = Attributes::new().put(peer::PUBLIC_KEY, &THIRD).nest(peer::ALLOWED_IPS, &range);
    let replace = name("wg1").put(device::FLAGS, &device::REPLACE_PEERS.to_ne_bytes()).with(&with_peer(&one));
    errors.insert(family.set(&replace).name());
    let left = family.state("wg1").iter().filter(|line| line.starts_with("peer")).count();
    assert_eq!(links.delete("wg1").error, 0);
    let errors: Vec<String> = errors.into_iter().collect();
    said("many-peers/65536", &errors.join(" "), &format!("{listed} lines about peers, then {left}"))
}
