//! Packets through a tunnel between two daemons.

use crate::lab::{Daemon, INNER, Lab, Namespace, OUTER, is_root, peer, unique, wait_until};
use kerntun_uapi::{AllowedIp, AllowedIpChange, PeerChange, SetRequest};
use std::net::UdpSocket;
use std::time::Duration;

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
    // At least: the system sends multicast of its own, which is never answered.
    let drops = |side: usize, reason| lab.daemons[side].diagnostic(reason).unwrap().parse::<u32>().unwrap();
    assert!(drops(0, "drop.no-route") >= 2 && drops(1, "drop.no-endpoint") >= 2);
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

#[test]
fn a_flow_keeps_its_order() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[("KERNTUN_WORKERS", "4")]);
    lab.connect(0);
    // One flow whose first packets wait for the handshake while the next ones come; then several at once, so that several
    // workers meet at one peer.
    let first = flow(&lab, 7000).join().unwrap();
    assert!(first.1 > 200, "{first:?}");
    let flows: Vec<_> = (7001..7005).map(|port| flow(&lab, port)).collect();
    for flow in flows {
        let (sent, received) = flow.join().unwrap();
        // How many get through depends on the machine; that it was enough to be out of order, does not.
        assert!(received > 200, "{received} of {sent}");
    }
}

/// Sends numbered datagrams of all sizes from the first side to the second and sees that they come in order.
fn flow(lab: &Lab, port: u16) -> std::thread::JoinHandle<(u32, u32)> {
    let [from, to] = INNER[0];
    let receiver = lab.namespaces[1].inside(move || UdpSocket::bind((to, port)).unwrap()).join().unwrap();
    let sender = lab.namespaces[0].inside(move || UdpSocket::bind((from, port)).unwrap()).join().unwrap();
    sender.connect((to, port)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut last, mut count, mut buffer) = (None, 0, [0; 2000]);
        while let Ok(len) = receiver.recv(&mut buffer) {
            let number = u64::from_be_bytes(buffer[..8].try_into().unwrap());
            assert!(last < Some(number), "{number} after {last:?}");
            assert_eq!(len as u64, 8 + number % 1300);
            (last, count) = (Some(number), count + 1);
        }
        count
    });
    std::thread::spawn(move || {
        let mut sent = 0;
        for number in 0..20_000_u64 {
            let mut datagram = vec![0; 8 + (number % 1300) as usize];
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            sent += u32::from(sender.send(&datagram).is_ok());
            if number % 64 == 63 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        (sent, reader.join().unwrap())
    })
}

#[test]
fn the_interface_may_move_to_another_namespace() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::new(1420, &[]);
    lab.connect(0);
    lab.ping(0, 56);
    let (inner, name) = (Namespace::new(), lab.daemons[0].name.clone());
    lab.namespaces[0].ip(&format!("link set {name} netns {}", inner.0));
    inner.ip(&format!("addr add {}/24 dev {name}", INNER[0][0]));
    inner.ip(&format!("link set {name} up"));
    let line = format!("ping -n -c 3 -i 0.1 -w 10 {}", INNER[0][1]);
    inner.exec(&line).unwrap_or_else(|text| panic!("{line}: {text}"));
    // With the namespace goes the interface, and with that the daemon.
    drop(inner);
    assert_eq!(lab.daemons[0].end().code(), Some(0));
    assert!(!lab.daemons[0].socket().exists());
}

#[test]
fn an_idle_daemon_sleeps() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    // A directory of its own, in which no other test's socket is removed.
    let directory = std::env::temp_dir().join(unique());
    let daemon = Daemon::start(&namespace, &[(crate::SOCKETS, directory.to_str().unwrap())]);
    namespace.exec(&format!("sysctl -qw net.ipv6.conf.{}.disable_ipv6=1", daemon.name)).unwrap();
    namespace.ip(&format!("link set {} up", daemon.name));
    wait_until("the interface to be seen up", || daemon.diagnostic("up").as_deref() == Some("yes"));
    // How often any of its threads has gone to sleep, so far.
    let sleeps = || -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap();
        let status = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
        status
            .flat_map(|text| text.lines().filter(|line| line.contains("ctxt")).map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    // A device that another test makes wakes the keeper, which waits for word of a copied machine: not in each of five windows.
    let rests = || {
        let before = sleeps();
        std::thread::sleep(Duration::from_secs(2));
        sleeps() == before
    };
    assert!((0..5).any(|_| rests()));
    drop(daemon);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_endpoint_routed_into_its_own_tunnel_does_not_melt() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[]);
    lab.connect(0);
    lab.ping(0, 56);
    // The peer may now also be reached at its outer address, inside the tunnel: the classic mistake of a default route.
    let prefix = AllowedIp { address: OUTER[0][1].parse().unwrap(), prefix: 32 };
    let peers = vec![PeerChange { allowed_ips: vec![AllowedIpChange { remove: false, prefix }], ..peer(1) }];
    lab.daemons[0].client().set(&SetRequest { peers, ..SetRequest::default() }).unwrap();
    let name = &lab.daemons[0].name;
    lab.namespaces[0].ip(&format!("route add {}/32 dev {name} src {}", OUTER[0][1], OUTER[0][0]));
    let before = lab.daemons[0].client().get().unwrap().peers[0].tx_bytes;
    let _ = lab.namespaces[0].exec(&format!("ping -n -c 5 -i 0.1 -w 2 {}", INNER[0][1])).unwrap_err();
    let sent = lab.daemons[0].client().get().unwrap().peers[0].tx_bytes - before;
    // Each packet was sealed twice: on its way out, and when it came back to be dropped.
    assert!(sent < 10_000, "{sent} bytes for five pings");
    assert!(lab.daemons[0].diagnostic("send.error").unwrap().contains("into the tunnel itself"));
    lab.namespaces[0].ip(&format!("route del {}/32 dev {name}", OUTER[0][1]));
    lab.ping(0, 56);
}
