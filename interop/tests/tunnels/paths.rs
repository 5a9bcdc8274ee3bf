//! What the network under the tunnel can be like, and the interface on top of it.

use kerntun_interop::namespace::{check, said};
use kerntun_interop::program::Program::{Kerntun, WireguardGo};
use kerntun_interop::requirements::met;
use kerntun_interop::site::Family;
use kerntun_interop::tap::Tap;
use kerntun_interop::traffic::bulk::bulk;
use kerntun_interop::traffic::echo::{Pinger, is_unreachable, reach, reach_within};
use kerntun_interop::traffic::flow::{Flow, Pace};
use kerntun_interop::tunnel::{PORT, Plan, Tunnel};
use kerntun_interop::uapi::Connection;
use kerntun_interop::wait::{ONE_RETRY, SOON, wait_until};
use std::io::{Write, stderr};
use std::thread::{scope, sleep};
use std::time::Duration;

/// The MTU of both interfaces changes while the tunnel is up, and the largest packets still pass.
#[test]
fn another_mtu() {
    if !met("another MTU", &["wireguard-go"]) {
        return;
    }
    for right in [Kerntun, WireguardGo] {
        let tunnel = Tunnel::planned(Kerntun, right, Plan::default());
        tunnel.exchange();
        for mtu in [1300, 9000, 576, 1420] {
            for end in [&tunnel.left, &tunnel.right] {
                end.namespace.ip(&format!("link set {} mtu {mtu}", end.interface));
            }
            let mut pinger = Pinger::new(&tunnel.site.left, Family::V4.inner(2));
            for len in [mtu - 28, mtu - 29, 2 * mtu] {
                let passes = (0..10).any(|_| pinger.ping(len, Duration::from_millis(300)));
                assert!(passes, "{right:?}: {len} bytes of data at an MTU of {mtu}");
            }
        }
    }
}

/// Packets of every length pass: they are filled up to sixteen bytes, but not beyond the MTU, which shows on the cable, and
/// what was added is taken off again.
#[test]
fn every_length() {
    if !met("every length", &["wireguard-go"]) {
        return;
    }
    const MTU: usize = 1420;
    let tunnel = Tunnel::planned(Kerntun, WireguardGo, Plan { mtu: 1420, ..Plan::default() });
    tunnel.exchange();
    let (tap, ours) = (Tap::new(&tunnel.site.left), Family::V4.outer(1));
    for (family, headers) in [(Family::V4, 28), (Family::V6, 48)] {
        for (from, to) in [(&tunnel.site.left, 2), (&tunnel.site.right, 1)] {
            let mut pinger = Pinger::new(from, family.inner(to));
            for len in (0..70).chain(1350..1400) {
                let passes = (0..10).any(|_| pinger.ping(len, Duration::from_millis(300)));
                assert!(passes, "{len} bytes of data from {}", from.name());
                let sent: Vec<_> = tap.datagrams().into_iter().filter(|datagram| datagram.source == ours).collect();
                // Longer ones are fragments inside, several of which may show on the cable as one.
                if len + headers <= MTU {
                    let expected = 32 + (len + headers).next_multiple_of(16).min(MTU);
                    let lengths: Vec<_> = sent.iter().map(|datagram| datagram.payload.len()).collect();
                    assert!(lengths.contains(&expected), "{len} bytes of data: {lengths:?}, not {expected}");
                }
            }
        }
    }
}

/// The cable takes less than a full packet of the tunnel: datagrams are fragmented, and nothing is stuck.
#[test]
fn small_cable() {
    if !met("small cable", &["wireguard-go"]) {
        return;
    }
    for right in [Kerntun, WireguardGo] {
        for outer in Family::BOTH {
            let tunnel = Tunnel::planned(Kerntun, right, Plan { outer, ..Plan::default() });
            tunnel.exchange();
            // In the middle of the session, so that what was learnt before is wrong now.
            for namespace in [&tunnel.site.left, &tunnel.site.right] {
                namespace.ip("link set cable mtu 1300");
            }
            for family in Family::BOTH {
                bulk(&tunnel.site.left, &tunnel.site.right, family.inner(2), 1 << 20);
            }
        }
    }
}

/// The cable is pulled while packets flow, and plugged in again.
#[test]
fn pulled_cable() {
    if !met("pulled cable", &["wireguard-go"]) {
        return;
    }
    for right in [Kerntun, WireguardGo] {
        let mut tunnel = Tunnel::planned(Kerntun, right, Plan::default());
        tunnel.exchange();
        let flow = Flow::start(&tunnel.site.left, &tunnel.site.right, Family::V4.inner(2), Pace::GENTLE);
        for _ in 0..3 {
            tunnel.site.left.ip("link set cable down");
            assert!(is_unreachable(&tunnel.site.left, Family::V4.inner(2)));
            tunnel.site.left.ip("link set cable up");
            reach_within(&tunnel.site.left, Family::V4.inner(2), ONE_RETRY);
        }
        assert!(tunnel.left.is_running() && tunnel.right.is_running());
        let report = flow.finish();
        assert_eq!(report.disordered, 0, "{report:?}");
        assert!(report.received > 0, "{report:?}");
    }
}

/// More is sent than the cable takes, until the socket's buffer is full and stays so. What comes the other way passes all
/// the same: nobody waits for room.
#[test]
fn full_uplink() {
    if !met("full uplink", &["tc"]) {
        return;
    }
    // One worker has both directions; packets one by one, so that few of them fill a batch.
    let alone = &[("KERNTUN_WORKERS", "1"), ("KERNTUN_OFFLOAD", "off")];
    let tunnel = Tunnel::with_environment(Kerntun, Kerntun, alone);
    for (namespace, other, host) in
        [(&tunnel.site.left, &tunnel.site.right, 2), (&tunnel.site.right, &tunnel.site.left, 1)]
    {
        // Questions and answers about neighbours would stand in the same queue.
        let link = other.ip("link show cable");
        let address = link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
        namespace.ip(&format!("neigh replace {} lladdr {address} dev cable nud permanent", Family::V4.outer(host)));
    }
    tunnel.configure(Plan::default());
    tunnel.exchange();
    let (left, right) = (&tunnel.site.left, &tunnel.site.right);
    // A queue that holds more than the buffer, as otherwise the queue drops first.
    let qdisc = |arguments: &str| left.command("tc").arg("qdisc").args(arguments.split(' ')).output().unwrap();
    let limited = qdisc("add dev cable root tbf rate 4mbit burst 20kb limit 100mb");
    if !limited.status.success() {
        let _ = writeln!(stderr(), "SKIPPED: full uplink: tc: {}", said(&limited));
        return;
    }
    let dropped = || {
        let answer = Connection::open(&tunnel.left.socket()).unwrap().ask(b"get_diagnostics=1\n\n").unwrap();
        answer.lines().find_map(|line| line.strip_prefix("send.no_room=")).unwrap().parse::<u64>().unwrap()
    };
    let pace = |together, micros| Pace { size: 1200, together, pause: Duration::from_micros(micros) };
    let up = Flow::start(left, right, Family::V4.inner(2), pace(10, 5000));
    wait_until("the buffer is full", SOON, || dropped() > 0);
    let before = dropped();
    let down = Flow::start(right, left, Family::V4.inner(1), pace(6, 1000));
    sleep(Duration::from_secs(5));
    let (down, dropped) = (down.finish(), dropped() - before);
    assert!(qdisc("del dev cable root").status.success());
    let up = up.finish();
    eprintln!("down {down:?}, up {up:?}, {dropped} dropped meanwhile");
    assert!(dropped > 0, "the buffer was full all the time");
    assert!(down.received * 2 > down.sent, "{down:?}");
}

/// The interface goes down and comes up again, on either side.
#[test]
fn interface_down_and_up() {
    if !met("interface down and up", &["wireguard-go"]) {
        return;
    }
    scope(|scope| {
        for right in [Kerntun, WireguardGo] {
            scope.spawn(move || {
                let tunnel = Tunnel::planned(Kerntun, right, Plan::default());
                tunnel.exchange();
                for (end, host, other) in [(&tunnel.left, 1, 2), (&tunnel.right, 2, 1)] {
                    let (namespace, interface) = (&end.namespace, &end.interface);
                    namespace.ip(&format!("link set {interface} down"));
                    sleep(Duration::from_millis(300));
                    namespace.ip(&format!("link set {interface} up"));
                    // The kernel takes IPv6 addresses away with the link.
                    namespace.ip(&format!("addr replace {}/64 dev {interface} nodad", Family::V6.inner(host)));
                    reach(namespace, Family::V4.inner(other));
                    tunnel.exchange();
                }
            });
        }
    });
}

/// An address that means something only together with a link keeps its link.
#[test]
fn link_local_endpoint() {
    if !met("link-local endpoint", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    let [left, right] = [(&tunnel.site.left, 0x11), (&tunnel.site.right, 0x22)];
    for (namespace, host) in [left, right] {
        namespace.ip(&format!("addr add fe80::{host:x}/64 dev cable nodad"));
        // Who forgets the link goes astray.
        namespace.ip("link add astray type veth peer name ghost");
        namespace.ip("link set ghost up");
        namespace.ip("link set astray up");
        namespace.ip("-6 route add fe80::/64 dev astray metric 1");
    }
    let endpoint = format!("[fe80::22%cable]:{PORT}");
    let key = tunnel.right.keys.public_text();
    let mut wg = left.0.command("wg");
    check(wg.args(["set", &tunnel.left.interface, "peer", &key, "endpoint", &endpoint]));
    reach(left.0, Family::V4.inner(2));
    // The other side has learnt where we are, and can begin on its own.
    let shown = check(right.0.command("wg").args(["show", &tunnel.right.interface, "endpoints"]));
    assert!(shown.contains("%cable]:51820"), "{shown}");
    tunnel.exchange();
}
