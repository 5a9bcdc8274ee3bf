//! Every pairing of implementations, in both roles.

use kerntun_interop::program::Program::{self, Kerntun, WireguardGo};
use kerntun_interop::requirements::met;
use kerntun_interop::site::Family;
use kerntun_interop::traffic::bulk::bulk;
use kerntun_interop::traffic::echo::reach;
use kerntun_interop::tunnel::{Initiator, PORT, Plan, Tunnel};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

const MIB: usize = 1 << 20;

/// Both versions of IP inside and outside, with and without a preshared key, started by either side.
fn matrix(left: Program, right: Program) {
    let tunnel = Tunnel::new(left, right);
    for outer in Family::BOTH {
        for initiator in [Initiator::Left, Initiator::Right] {
            for preshared in [false, true] {
                let plan = Plan { outer, initiator, preshared, ..Plan::default() };
                eprintln!("{left:?} and {right:?}: {plan:?}");
                tunnel.configure(plan);
                handshake(&tunnel, plan);
                for family in Family::BOTH {
                    bulk(&tunnel.site.left, &tunnel.site.right, family.inner(2), MIB);
                    bulk(&tunnel.site.right, &tunnel.site.left, family.inner(1), MIB);
                }
            }
        }
    }
}

/// Lets the one who can start do so, and looks at what both sides say of it.
fn handshake(tunnel: &Tunnel, plan: Plan) {
    let (starter, waiter) = match plan.initiator {
        Initiator::Right => ((&tunnel.right, 2), (&tunnel.left, 1)),
        _ => ((&tunnel.left, 1), (&tunnel.right, 2)),
    };
    assert_eq!(waiter.0.endpoint_of(starter.0), None, "who waits does not know yet where the other one is");
    assert_eq!((starter.0.handshake_with(waiter.0), waiter.0.handshake_with(starter.0)), (0, 0));
    reach(&starter.0.namespace, Family::V4.inner(waiter.1));
    reach(&waiter.0.namespace, Family::V6.inner(starter.1));
    let learnt = SocketAddr::new(plan.outer.outer(starter.1), PORT);
    assert_eq!(waiter.0.endpoint_of(starter.0), Some(learnt), "who waits learns where the other one is");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (end, other) in [(starter.0, waiter.0), (waiter.0, starter.0)] {
        let age = now - end.handshake_with(other);
        assert!(age < 60, "{:?}: the handshake is {age} s old", end.program);
        let [received, sent] = end.transfer_with(other);
        assert!(received > 92 && sent > 92, "{:?}: {received} received, {sent} sent", end.program);
    }
}

/// 64 MiB each way, at each MTU.
fn volume(right: Program, environment: &[(&'static str, &'static str)]) {
    let tunnel = Tunnel::with_environment(Kerntun, right, environment);
    for (mtu, outer) in [(1420, Family::V6), (9000, Family::V4), (576, Family::V4)] {
        tunnel.configure(Plan { mtu, outer, ..Plan::default() });
        let families: &[Family] = if mtu < 1280 { &[Family::V4] } else { &Family::BOTH };
        for family in families {
            reach(&tunnel.site.left, family.inner(2));
            let bytes = if mtu < 1280 { 4 * MIB } else { 32 * MIB };
            bulk(&tunnel.site.left, &tunnel.site.right, family.inner(2), bytes);
        }
        let [received, sent] = tunnel.left.transfer_with(&tunnel.right);
        let carried = 4 * MIB as u64;
        assert!(received > carried && sent > carried, "{received} received, {sent} sent");
    }
}

#[test]
fn roles_with_wireguard_go() {
    if met("roles with wireguard-go", &["wireguard-go"]) {
        matrix(Kerntun, WireguardGo);
    }
}

#[test]
fn roles_with_itself() {
    if met("roles with itself", &[]) {
        matrix(Kerntun, Kerntun);
    }
}

#[test]
fn volume_with_wireguard_go() {
    if met("volume with wireguard-go", &["wireguard-go"]) {
        volume(WireguardGo, &[]);
    }
}

#[test]
fn volume_with_itself() {
    if met("volume with itself", &[]) {
        volume(Kerntun, &[]);
    }
}

/// Where the kernel can or may do nothing for us.
#[test]
fn volume_without_offloads() {
    if met("volume without offloads", &["wireguard-go"]) {
        volume(WireguardGo, &[("KERNTUN_OFFLOAD", "off")]);
    }
}

#[test]
fn without_ipv6() {
    if !met("without IPv6", &["wireguard-go"]) {
        return;
    }
    for right in [Kerntun, WireguardGo] {
        let tunnel = Tunnel::without_ipv6(Kerntun, right);
        tunnel.configure(Plan::default());
        tunnel.exchange();
        bulk(&tunnel.site.left, &tunnel.site.right, Family::V4.inner(2), 4 * MIB);
    }
}
