//! What happens to single packets.

use kerntun_interop::namespace::{Namespace, check};
use kerntun_interop::program::Program::Kerntun;
use kerntun_interop::requirements::met;
use kerntun_interop::site::Family;
use kerntun_interop::tap::{Datagram, Tap};
use kerntun_interop::traffic::echo::{Pinger, is_unreachable, reach};
use kerntun_interop::traffic::flow::{Flow, Pace};
use kerntun_interop::tunnel::{Initiator, PORT, Plan, Tunnel};
use kerntun_interop::wait::{ONE_RETRY, SOON, wait_for, wait_until};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv4Tos, Ipv6RecvErr, Ipv6TClass};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

/// The datagrams of one flow come out in the order in which they went in, however fast they come and however many
/// workers carry them.
#[test]
fn order() {
    if !met("order", &[]) {
        return;
    }
    for (environment, paces) in [
        (&[][..], &[(1200, 1), (1200, 40), (64, 60)][..]),
        (&[("KERNTUN_WORKERS", "1")], &[(1200, 40)]),
        (&[("KERNTUN_WORKERS", "5")], &[(1200, 40), (64, 60)]),
        (&[("KERNTUN_WORKERS", "3"), ("KERNTUN_OFFLOAD", "off")], &[(1200, 40)]),
    ] {
        let tunnel = Tunnel::with_environment(Kerntun, Kerntun, environment);
        tunnel.configure(Plan::default());
        tunnel.exchange();
        for &(size, together) in paces {
            let pace = Pace { size, together, pause: Duration::ZERO };
            let flows = Family::BOTH.map(|family| {
                let there = Flow::start(&tunnel.site.left, &tunnel.site.right, family.inner(2), pace);
                let back = Flow::start(&tunnel.site.right, &tunnel.site.left, family.inner(1), pace);
                [there, back]
            });
            sleep(Duration::from_secs(2));
            for report in flows.into_iter().flatten().map(Flow::finish) {
                assert_eq!(report.disordered, 0, "{environment:?}, {pace:?}: {report:?}");
                assert!(report.received > 500, "{environment:?}, {pace:?}: {report:?}");
            }
        }
    }
}

/// The outer header shows the inner ECN bits and nothing else of the traffic class (RFC 6040); a mark of congestion
/// that a router puts on the outer header arrives on the inner one. Handshakes have a class of their own.
#[test]
fn congestion_marks() {
    if !met("congestion marks", &["nft"]) {
        return;
    }
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    const DSCP: u8 = 0x28;
    for outer in Family::BOTH {
        let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan { outer, ..Plan::default() });
        let tap = Tap::new(&tunnel.site.right);
        tunnel.exchange();
        let handshakes = |datagram: &&Datagram| matches!(datagram.message_type(), Some(1 | 2));
        let seen = tap.datagrams();
        assert!(seen.iter().filter(handshakes).count() >= 2);
        assert!(seen.iter().filter(handshakes).all(|datagram| datagram.tos == 0x88), "DSCP AF41 as the kernel's");
        for (ecn, marked) in
            [(NOT_ECT, false), (ECT_1, false), (ECT_0, false), (CE, false), (ECT_0, true), (ECT_1, true)]
        {
            if marked {
                mark_congestion(&tunnel, outer);
            }
            for family in Family::BOTH {
                let expected = if marked { CE } else { ecn };
                send_with_class(&tunnel, family, DSCP | ecn);
                let mut seen = Vec::new();
                wait_until("the datagram arrives", SOON, || {
                    seen.extend(tap.datagrams());
                    seen.iter().any(|datagram| datagram.destination == family.inner(2))
                });
                let inner = seen.iter().find(|datagram| datagram.destination == family.inner(2)).unwrap();
                assert_eq!(inner.tos, DSCP | expected, "inner {family:?} in {outer:?}, sent {ecn}, marked {marked}");
                // Neither a keepalive that happens to pass, which has 32 bytes, nor the last one's answer that nobody listens there.
                let is_it = |datagram: &&Datagram| {
                    datagram.message_type() == Some(4)
                        && datagram.payload.len() > 32
                        && datagram.destination == outer.outer(2)
                };
                // The tap looks before the router, which is a firewall rule, marks.
                assert_eq!(seen.iter().find(is_it).unwrap().tos, ecn, "outer of {family:?}");
            }
        }
    }
}

fn send_with_class(tunnel: &Tunnel, family: Family, class: u8) {
    let any: IpAddr = if family == Family::V4 { [0; 4].into() } else { [0; 16].into() };
    let socket = tunnel.site.left.enter(|| UdpSocket::bind((any, 0))).unwrap();
    match family {
        Family::V4 => setsockopt(&socket, Ipv4Tos, &i32::from(class)).unwrap(),
        Family::V6 => setsockopt(&socket, Ipv6TClass, &i32::from(class)).unwrap(),
    }
    socket.send_to(b"how are you marked?", SocketAddr::new(family.inner(2), 9)).unwrap();
}

/// Lets the right side's cable say of every datagram for the tunnel that it has met congestion.
fn mark_congestion(tunnel: &Tunnel, outer: Family) {
    let ip = if outer == Family::V4 { "ip" } else { "ip6" };
    let rules = format!(
        "flush ruleset\ntable inet kti {{\nchain marks {{\ntype filter hook prerouting priority 0\n\
         iifname cable udp dport {PORT} {ip} ecn set ce\n}}\n}}\n"
    );
    check(tunnel.site.right.command("nft").arg(rules));
}

/// Answers leave from the address that was asked, as long as it is there.
#[test]
fn source_addresses() {
    if !met("source addresses", &[]) {
        return;
    }
    for outer in Family::BOTH {
        let tunnel = Tunnel::new(Kerntun, Kerntun);
        let (prefix, nodad) = if outer == Family::V4 { (24, "") } else { (64, "nodad") };
        tunnel.site.right.ip(&format!("addr add {}/{prefix} dev cable {nodad}", outer.outer(22)));
        let plan = Plan { outer, initiator: Initiator::Left, ..Plan::default() };
        tunnel.configure(plan);
        let asked = SocketAddr::new(outer.outer(22), PORT);
        tunnel.left.set(&format!("peer {} endpoint {asked}", tunnel.right.keys.public_text()));
        tunnel.exchange();
        assert_eq!(tunnel.left.endpoint_of(&tunnel.right), Some(asked));
        // Sticky, but not too sticky.
        tunnel.site.right.ip(&format!("addr del {}/{prefix} dev cable", outer.outer(22)));
        reach(&tunnel.site.right, Family::V4.inner(1));
        let other = SocketAddr::new(outer.outer(2), PORT);
        assert_eq!(tunnel.left.endpoint_of(&tunnel.right), Some(other));
    }
}

/// Another way to the endpoint appears, and goes again with its cable: the source address follows at once, not only when a
/// handshake is tried because nobody answers. Without IPv6, of whose routes the kernel says more.
#[test]
fn route_moved() {
    if !met("route moved", &[]) {
        return;
    }
    let tunnel = Tunnel::without_ipv6(Kerntun, Kerntun);
    let (left, right) = (&tunnel.site.left, &tunnel.site.right);
    left.ip(&format!("link add second type veth peer name second netns {}", right.name()));
    for (namespace, host) in [(left, 1), (right, 2)] {
        namespace.ip(&format!("addr add 10.79.0.{host}/24 dev second"));
        namespace.ip("link set second up");
    }
    right.ip("addr add 10.80.0.2/32 dev lo");
    left.ip("route add 10.80.0.2 via 10.77.0.2 metric 100");
    tunnel.configure(Plan { initiator: Initiator::Left, ..Plan::default() });
    tunnel.left.set(&format!("peer {} endpoint 10.80.0.2:{PORT}", tunnel.right.keys.public_text()));
    tunnel.exchange();
    let tap = Tap::new(left);
    let mut pinger = Pinger::new(left, Family::V4.inner(2));
    let mut moves_to = |source: &str| {
        let source: IpAddr = source.parse().unwrap();
        let _ = tap.datagrams();
        let first = wait_for(&format!("datagrams leave from {source}"), ONE_RETRY, || {
            let _ = pinger.ping(56, Duration::from_millis(100));
            tap.datagrams().into_iter().find(|datagram| datagram.source == source && datagram.message_type().is_some())
        });
        // Not an initiation, before which the source is forgotten in any case.
        assert_eq!(first.message_type(), Some(4), "the first datagram from {source}");
        assert!((0..10).any(|_| pinger.ping(56, Duration::from_millis(500))), "{source} has answers");
    };
    moves_to("10.77.0.1");
    left.ip("route add 10.80.0.2 via 10.79.0.2 metric 50");
    moves_to("10.79.0.1");
    left.ip("link set second down");
    moves_to("10.77.0.1");
}

/// Whoever began a handshake confirms it with a keepalive if it has nothing else to send: without that, the other side could
/// not send anything.
#[test]
fn confirmation() {
    if !met("confirmation", &[]) {
        return;
    }
    let tunnel = Tunnel::new(Kerntun, Kerntun);
    let tap = Tap::new(&tunnel.site.left);
    let plan = Plan { initiator: Initiator::Left, ..Plan::default() };
    tunnel.configure_right(plan);
    // Which makes it begin, and then nothing for hours.
    tunnel.configure_left(Plan { keepalive: Some(60_000), ..plan });
    let mut seen = Vec::new();
    wait_until("three kinds of messages", SOON, || {
        seen.extend(tap.datagrams().into_iter().filter(|datagram| datagram.message_type().is_some()));
        seen.dedup_by_key(|datagram| datagram.message_type());
        seen.len() >= 3
    });
    let types: Vec<_> = seen.iter().filter_map(Datagram::message_type).collect();
    assert_eq!(types, [1, 2, 4]);
    assert_eq!(
        (seen[2].source, seen[2].payload.len()),
        (Family::V4.outer(1), 32),
        "an empty packet from the left side"
    );
}

/// The way to the endpoint leads into the tunnel itself: nothing passes, nothing melts, and it works again when the
/// route is right again.
#[test]
fn endpoint_behind_the_tunnel() {
    if !met("endpoint behind the tunnel", &[]) {
        return;
    }
    for outer in Family::BOTH {
        let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan { outer, ..Plan::default() });
        tunnel.exchange();
        let (left, site) = (&tunnel.left, &tunnel.site);
        let key = tunnel.right.keys.public_text();
        left.set(&format!("peer {key} allowed-ips 0.0.0.0/0,::/0"));
        let prefix = if outer == Family::V4 { 32 } else { 128 };
        let route = format!("{}/{prefix} dev {}", outer.outer(2), left.interface);
        site.left.ip(&format!("route add {route}"));
        let packets = || {
            let text = site.left.ip(&format!("-s -s link show {}", left.interface));
            let line = text.lines().skip_while(|line| !line.contains("TX:")).nth(1).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = (packets(), left.processor_time());
        let mut pinger = Pinger::new(&site.left, Family::V4.inner(2));
        // The long ones come back as two fragments, of which the second one goes round once more.
        for len in [56, 1392].repeat(5) {
            let _ = pinger.ping(len, Duration::from_millis(100));
        }
        // A packet that goes round becomes longer each time, until it is too long. Once is as good as it gets: the
        // daemon knows its own datagrams only when they come back.
        sleep(Duration::from_secs(1));
        let [packets, work] = [packets() - before.0, left.processor_time() - before.1];
        assert!(packets < 50, "{packets} packets entered the tunnel, of which ten were meant to");
        assert!(work < 50, "{work} hundredths of a second of work on ten packets");
        assert!(left.show("").contains("peer: "), "it still answers");
        site.left.ip(&format!("route del {route}"));
        reach(&site.left, Family::V4.inner(2));
    }
}

/// Behind a gateway there is another WireGuard host, which has its tunnel to the same server, with the same ports, and
/// through ours: its datagrams are none of our own.
#[test]
fn another_host_with_the_same_ports() {
    const COUNT: usize = 20;
    if !met("another host with the same ports", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan { initiator: Initiator::Left, ..Plan::default() });
    tunnel.exchange();
    let (left, gateway, host) = (&tunnel.left, &tunnel.site.left, Namespace::new("host"));
    gateway.ip(&format!("link add lan type veth peer name lan netns {}", host.name()));
    for (namespace, number) in [(&**gateway, 1), (&host, 2)] {
        namespace.ip(&format!("addr add 10.79.0.{number}/24 dev lan"));
        namespace.ip("link set lan up");
    }
    host.ip("route add default via 10.79.0.1");
    gateway.sysctl("ipv4.ip_forward", "1");
    let server = Family::V4.outer(2);
    left.set(&format!("fwmark 0x1234 peer {} allowed-ips 0.0.0.0/0", tunnel.right.keys.public_text()));
    gateway.ip(&format!("route add {server} dev cable table 77"));
    gateway.ip("rule add fwmark 0x1234 table 77");
    gateway.ip(&format!("route add {server} dev {}", left.interface));
    let tap = Tap::new(gateway);
    let socket = host.enter(|| UdpSocket::bind(("0.0.0.0", PORT))).unwrap();
    // As a data message of a session of its own.
    let mut message = [7; 100];
    message[..4].copy_from_slice(&[4, 0, 0, 0]);
    let mut seen = 0;
    for _ in 0..COUNT {
        socket.send_to(&message, (server, PORT)).unwrap();
    }
    // Headers and padding inside, header and tag around.
    let len = (28 + message.len()).next_multiple_of(16) + 32;
    let ours =
        |datagram: &Datagram| datagram.source == Family::V4.outer(1) && datagram.payload.len().is_multiple_of(len);
    wait_until("all are on the cable", SOON, || {
        // Several may be one super-packet there.
        let lengths = tap.datagrams().into_iter().filter(ours).map(|datagram| datagram.payload.len());
        seen += lengths.sum::<usize>() / len;
        seen == COUNT
    });
}

/// Everything the daemon sends bears the mark, and only marked packets find their way here.
#[test]
fn firewall_mark() {
    if !met("firewall mark", &[]) {
        return;
    }
    for outer in Family::BOTH {
        let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan { outer, initiator: Initiator::Left, ..Plan::default() });
        tunnel.exchange();
        let (version, prefix) = if outer == Family::V4 { ("-4", 32) } else { ("-6", 128) };
        let namespace = &tunnel.site.left;
        let to = format!("{}/{prefix}", outer.outer(2));
        namespace.ip(&format!("{version} route add {to} dev cable table 77"));
        namespace.ip(&format!("{version} rule add fwmark 0x1234 table 77"));
        namespace.ip(&format!("{version} route add unreachable {to}"));
        assert!(is_unreachable(namespace, Family::V4.inner(2)), "no way without the mark");
        tunnel.left.set("fwmark 0x1234");
        assert_eq!(tunnel.left.show("fwmark").trim(), "0x1234");
        reach(namespace, Family::V4.inner(2));
        // Another socket bears it too.
        tunnel.left.set("listen-port 40003");
        reach(namespace, Family::V4.inner(2));
        tunnel.left.set("fwmark 0");
        assert!(is_unreachable(namespace, Family::V4.inner(2)), "no way without the mark");
    }
}

/// Who sends into the tunnel where nobody is, or to a peer of whom nobody knows where it is, is told so at once.
#[test]
fn unreachable() {
    if !met("unreachable", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan { initiator: Initiator::Right, ..Plan::default() });
    for (host, what) in [(2, "no endpoint"), (99, "no peer")] {
        for family in Family::BOTH {
            let any: IpAddr = if family == Family::V4 { [0; 4].into() } else { [0; 16].into() };
            let socket = tunnel.site.left.enter(|| UdpSocket::bind((any, 0))).unwrap();
            tunnel.site.left.enter(|| socket.connect(SocketAddr::new(family.inner(host), 9))).unwrap();
            // Without this, Linux keeps such news from UDP sockets.
            match family {
                Family::V4 => setsockopt(&socket, Ipv4RecvErr, &true).unwrap(),
                Family::V6 => setsockopt(&socket, Ipv6RecvErr, &true).unwrap(),
            }
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket.send(b"is there anybody?").unwrap();
            let error = loop {
                let error = socket.recv(&mut [0; 9]).unwrap_err();
                if error.kind() != ErrorKind::Interrupted {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{what}, {family:?}: {error}");
        }
    }
}

/// Whoever sends much to nobody is told so, but not each time.
#[test]
fn unreachable_is_said_in_moderation() {
    if !met("unreachable is said in moderation", &[]) {
        return;
    }
    const MANY: u64 = 5_000;
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    let told = || {
        tunnel.site.left.enter(|| {
            let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
            let mut icmp = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
            let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
            let mut pairs = names.split(' ').zip(values.split(' '));
            pairs.find(|(name, _)| *name == "InDestUnreachs").unwrap().1.parse::<u64>().unwrap()
        })
    };
    let before = told();
    let socket = tunnel.site.left.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    for _ in 0..MANY {
        let _ = socket.send_to(b"is there anybody?", SocketAddr::new(Family::V4.inner(99), 9));
    }
    wait_until("it is said", SOON, || told() > before);
    sleep(Duration::from_millis(500));
    let told = told() - before;
    assert!(told < MANY / 4, "{told} messages about {MANY} packets");
}

/// Who may use one inner address does not get through with another one.
#[test]
fn inner_source_addresses() {
    if !met("inner source addresses", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    tunnel.exchange();
    let tap = Tap::new(&tunnel.site.left);
    for (family, prefix) in [(Family::V4, 24), (Family::V6, 64)] {
        let nodad = if family == Family::V6 { "nodad" } else { "" };
        let interface = &tunnel.right.interface;
        tunnel.site.right.ip(&format!("addr add {}/{prefix} dev {interface} {nodad}", family.inner(55)));
        // First the false one, then the true one. When that is there, the other one would be too.
        for host in [55, 2] {
            let bind = || UdpSocket::bind(SocketAddr::new(family.inner(host), 0));
            let socket = tunnel.site.right.enter(bind).unwrap();
            socket.send_to(b"it is me", SocketAddr::new(family.inner(1), 9)).unwrap();
        }
        let mut seen = Vec::new();
        wait_until("the true one arrives", SOON, || {
            seen.extend(tap.datagrams().into_iter().map(|datagram| datagram.source));
            seen.contains(&family.inner(2))
        });
        assert!(!seen.contains(&family.inner(55)), "{seen:?}");
    }
}
