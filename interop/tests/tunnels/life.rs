//! Sessions that outlive something, and tunnels that recover.

use kerntun_interop::end::End;
use kerntun_interop::program::Program::{self, Kerntun, WireguardGo};
use kerntun_interop::requirements::met;
use kerntun_interop::site::Family;
use kerntun_interop::traffic::echo::{reach, reach_within};
use kerntun_interop::traffic::flow::{Flow, Pace};
use kerntun_interop::tunnel::{Initiator, PORT, Plan, Tunnel};
use kerntun_interop::wait::{ONE_RETRY, SOON, wait_until};
use nix::sys::signal::Signal::{self, SIGKILL, SIGTERM};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// Both sides move to other addresses and ports while packets flow in both directions. There is no new handshake.
fn roam(left: Program, right: Program, outer: Family) {
    let tunnel = Tunnel::planned(left, right, Plan { outer, ..Plan::default() });
    tunnel.exchange();
    let (one, two) = (&tunnel.left, &tunnel.right);
    let handshakes = || [one.handshake_with(two), two.handshake_with(one)];
    let before = handshakes();
    let there = Flow::start(&tunnel.site.left, &tunnel.site.right, Family::V4.inner(2), Pace::GENTLE);
    let back = Flow::start(&tunnel.site.right, &tunnel.site.left, Family::V6.inner(1), Pace::GENTLE);
    for (mover, other, old, new, port) in [(one, two, 1, 11, 40_001), (two, one, 2, 12, 40_002)] {
        move_address(mover, outer, old, new);
        // wireguard-go drops a source address that has gone only where the kernel says EINVAL; new kernels say ENETUNREACH for
        // IPv4. Another port makes it forget all of them.
        if (mover.program, outer) != (WireguardGo, Family::V4) {
            expect_at(other, mover, SocketAddr::new(outer.outer(new), PORT));
        }
        mover.set(&format!("listen-port {port}"));
        expect_at(other, mover, SocketAddr::new(outer.outer(new), port));
    }
    let arrived = [there.arrived(), back.arrived()];
    wait_until("packets arrive at the new places", SOON, || {
        there.arrived() > arrived[0] + 20 && back.arrived() > arrived[1] + 20
    });
    assert_eq!(handshakes(), before, "the session goes on: there was no new handshake");
    for report in [there.finish(), back.finish()] {
        assert_eq!(report.disordered, 0, "{report:?}");
    }
}

fn move_address(end: &End, outer: Family, old: u8, new: u8) {
    let (prefix, nodad) = if outer == Family::V4 { (24, "") } else { (64, "nodad") };
    end.namespace.ip(&format!("addr add {}/{prefix} dev cable {nodad}", outer.outer(new)));
    end.namespace.ip(&format!("addr del {}/{prefix} dev cable", outer.outer(old)));
}

fn expect_at(observer: &End, mover: &End, place: SocketAddr) {
    wait_until(&format!("{:?} moves to {place}", mover.program), SOON, || observer.endpoint_of(mover) == Some(place));
}

#[test]
fn roaming() {
    if !met("roaming", &["wireguard-go"]) {
        return;
    }
    thread::scope(|scope| {
        for right in [Kerntun, WireguardGo] {
            for outer in Family::BOTH {
                scope.spawn(move || roam(Kerntun, right, outer));
            }
        }
    });
}

/// One side restarts and forgets its sessions. The tunnel works again after at most one retry of either side.
struct Restart {
    right: Program,
    restarts: Initiator,
    signal: Signal,
    /// Whether the one that restarts knows where the other one is and speaks first. If not, the other one has to notice
    /// by itself.
    speaks: bool,
}

impl Restart {
    fn run(&self) {
        let mut tunnel = Tunnel::planned(Kerntun, self.right, Plan::default());
        tunnel.exchange();
        let is_left = self.restarts == Initiator::Left;
        let end = if is_left { &mut tunnel.left } else { &mut tunnel.right };
        end.end(self.signal);
        end.restart();
        let initiator = if self.speaks == is_left { Initiator::Left } else { Initiator::Right };
        let plan = Plan { initiator, ..Plan::default() };
        if is_left {
            tunnel.configure_left(plan);
        } else {
            tunnel.configure_right(plan);
        }
        let (left, right) = (&tunnel.site.left, &tunnel.site.right);
        let (restarted, other) = if is_left { ((left, 1), (right, 2)) } else { ((right, 2), (left, 1)) };
        if self.speaks {
            reach(restarted.0, Family::V4.inner(other.1));
        } else {
            reach_within(other.0, Family::V4.inner(restarted.1), ONE_RETRY);
        }
        tunnel.exchange();
    }
}

#[test]
fn restarts() {
    if !met("restarts", &["wireguard-go"]) {
        return;
    }
    thread::scope(|scope| {
        for right in [Kerntun, WireguardGo] {
            for restarts in [Initiator::Left, Initiator::Right] {
                for (signal, speaks) in [(SIGKILL, false), (SIGKILL, true), (SIGTERM, true)] {
                    scope.spawn(move || Restart { right, restarts, signal, speaks }.run());
                }
            }
        }
    });
}

/// Longer than the 120 s after which the one who started a session starts the next one.
fn rekey(right: Program, initiator: Initiator) {
    let tunnel = Tunnel::planned(Kerntun, right, Plan { initiator, ..Plan::default() });
    if initiator == Initiator::Right {
        reach(&tunnel.site.right, Family::V4.inner(1));
    }
    tunnel.exchange();
    let (one, two) = (&tunnel.left, &tunnel.right);
    let handshakes = || [one.handshake_with(two), two.handshake_with(one)];
    let before = handshakes();
    let there = Flow::start(&tunnel.site.left, &tunnel.site.right, Family::V4.inner(2), Pace::GENTLE);
    let back = Flow::start(&tunnel.site.right, &tunnel.site.left, Family::V6.inner(1), Pace::GENTLE);
    wait_until("the next session", Duration::from_secs(150), || {
        thread::sleep(Duration::from_millis(500));
        handshakes().iter().zip(before).all(|(now, before)| *now > before)
    });
    // Packets under the new keys too.
    let arrived = [there.arrived(), back.arrived()];
    wait_until("packets under the new keys", SOON, || {
        there.arrived() > arrived[0] + 50 && back.arrived() > arrived[1] + 50
    });
    for (direction, report) in [("there", there.finish()), ("back", back.finish())] {
        let lost = report.sent - report.received;
        assert_eq!((lost, report.disordered), (0, 0), "{right:?}, {initiator:?}, {direction}: {report:?}");
        assert!(report.sent > 1000, "{report:?}");
    }
}

#[test]
fn new_keys_without_loss() {
    if !met("new keys without loss", &["wireguard-go"]) {
        return;
    }
    thread::scope(|scope| {
        for (right, initiator) in
            [(WireguardGo, Initiator::Left), (WireguardGo, Initiator::Right), (Kerntun, Initiator::Left)]
        {
            scope.spawn(move || rekey(right, initiator));
        }
    });
}

/// Nobody sends anything, and still packets pass and the endpoint is learnt.
#[test]
fn persistent_keepalive() {
    if !met("persistent keepalive", &["wireguard-go"]) {
        return;
    }
    for (right, initiator) in
        [(Kerntun, Initiator::Left), (WireguardGo, Initiator::Left), (WireguardGo, Initiator::Right)]
    {
        let tunnel = Tunnel::planned(Kerntun, right, Plan { initiator, keepalive: Some(1), ..Plan::default() });
        let received = || [tunnel.left.transfer_with(&tunnel.right)[0], tunnel.right.transfer_with(&tunnel.left)[0]];
        wait_until("the first keepalives", SOON, || received().iter().all(|bytes| *bytes > 0));
        let before = received();
        wait_until("three more", SOON, || received().iter().zip(before).all(|(now, before)| *now >= before + 3 * 32));
        let interval = tunnel.left.show_peer("persistent-keepalive", &tunnel.right.keys.public_text());
        assert_eq!(interval.as_deref(), Some("1"));
    }
}

/// Both sides start at the same moment, again and again. They always come to terms, but not always at the second try: when
/// initiations cross, what parts the next ones is a random third of a second, and on a busy machine they may cross again.
#[test]
fn both_at_once() {
    if !met("both at once", &["wireguard-go"]) {
        return;
    }
    thread::scope(|scope| {
        for right in [Kerntun, WireguardGo] {
            scope.spawn(move || {
                let tunnel = Tunnel::new(Kerntun, right);
                for _ in 0..10 {
                    tunnel.configure(Plan::default());
                    thread::scope(|scope| {
                        scope.spawn(|| reach_within(&tunnel.site.left, Family::V4.inner(2), SOON * 4));
                        scope.spawn(|| reach_within(&tunnel.site.right, Family::V4.inner(1), SOON * 4));
                    });
                }
            });
        }
    });
}
