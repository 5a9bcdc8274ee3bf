//! Packets through a tunnel between two daemons.

use crate::lab::{INNER, Lab, is_root, wait_until};

const MIB: u64 = 1 << 20;

#[test]
fn both_families_in_both_families() {
    if !is_root() {
        return;
    }
    for outer in [0, 1] {
        let lab = Lab::new(1420, &[]);
        lab.connect(outer);
        for inner in [0, 1] {
            lab.ping(inner, 56);
            lab.ping(inner, 1380);
            for from in [0, 1] {
                lab.bulk(inner, from, 16 * MIB);
            }
        }
        let peer = lab.daemons[0].client().get().unwrap().peers.remove(0);
        assert!(peer.last_handshake.is_some());
        assert!(peer.tx_bytes > 32 * MIB && peer.rx_bytes > 32 * MIB, "{peer:?}");
    }
}

#[test]
fn every_mtu() {
    if !is_root() {
        return;
    }
    for mtu in [576, 9000, 65_000] {
        let lab = Lab::new(mtu, &[]);
        lab.connect(0);
        wait_until("the MTU to be noticed", || lab.daemons[0].diagnostic("mtu").unwrap() == mtu.to_string());
        lab.ping(0, mtu as usize - 28);
        lab.bulk(0, 0, 4 * MIB);
        if mtu >= 1280 {
            lab.bulk(1, 1, 4 * MIB);
        }
    }
}

#[test]
fn without_offloads_and_with_one_worker() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[("KERNTUN_OFFLOAD", "off"), ("KERNTUN_WORKERS", "1")]);
    lab.connect(0);
    assert_eq!(lab.daemons[0].diagnostic("offload.tun").unwrap(), "none");
    assert_eq!(lab.daemons[0].diagnostic("workers").unwrap(), "1");
    lab.ping(0, 1380);
    for from in [0, 1] {
        lab.bulk(0, from, 4 * MIB);
        lab.bulk(1, from, 4 * MIB);
    }
}

#[test]
fn without_ipv6() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[]);
    for namespace in &lab.namespaces {
        namespace.exec("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1").unwrap();
    }
    lab.connect(0);
    lab.ping(0, 56);
    lab.bulk(0, 1, 4 * MIB);
}

#[test]
fn packets_with_nowhere_to_go_come_back_as_icmp() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[]);
    lab.connect(0);
    for (address, what) in [("10.77.0.99", "Destination Host Unreachable"), ("fd77::99", "Address unreachable")] {
        let said = lab.namespaces[0].exec(&format!("ping -n -c 1 -w 5 {address}")).unwrap_err();
        assert!(said.contains(what), "{said}");
    }
    // The second side knows no endpoint before it has heard from the first.
    for family in [0, 1] {
        let said = lab.namespaces[1].exec(&format!("ping -n -c 1 -w 5 {}", INNER[family][0])).unwrap_err();
        assert!(said.contains("nreachable"), "{said}");
    }
    assert_eq!(lab.daemons[0].diagnostic("drop.no-route").unwrap(), "2");
    assert_eq!(lab.daemons[1].diagnostic("drop.no-endpoint").unwrap(), "2");
}

#[test]
fn going_down_and_up_again() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[]);
    lab.connect(0);
    lab.ping(0, 56);
    let name = &lab.daemons[0].name;
    lab.namespaces[0].ip(&format!("link set {name} down"));
    wait_until("the interface to be seen down", || lab.daemons[0].diagnostic("up").unwrap() == "no");
    lab.namespaces[0].ip(&format!("link set {name} up"));
    wait_until("the interface to be seen up", || lab.daemons[0].diagnostic("up").unwrap() == "yes");
    // The other side takes no second initiation within 20 ms, and the first one may be lost to that.
    lab.ping(0, 56);
}
