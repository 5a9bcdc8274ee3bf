//! Strangers who send rubbish to the network.

use kerntun_interop::attack::{Forged, Forger};
use kerntun_interop::end::End;
use kerntun_interop::namespace::Namespace;
use kerntun_interop::program::Program::Kerntun;
use kerntun_interop::requirements::met;
use kerntun_interop::site::Family;
use kerntun_interop::tap::Tap;
use kerntun_interop::traffic::bulk::bulk;
use kerntun_interop::traffic::echo::{Pinger, reach, reach_within};
use kerntun_interop::tunnel::{PORT, Plan, Tunnel};
use kerntun_interop::wait::{SOON, wait_for};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const SEED: u64 = 0x6b65_726e_7475_6e00;

/// At least this many messages have to reach the daemon.
const ENOUGH: u64 = 100_000;

/// Memory may grow by this much behind the first tenth, in KiB.
const GROWTH: u64 = 4096;

/// Somebody beside the right side, on a socket of each version of IP, who remembers what may be answered.
struct Attacker {
    sockets: [UdpSocket; 2],
    forger: Forger,
    sent: u64,
    /// Sender indices of messages with a right mac1.
    valid: HashSet<u32>,
    /// Messages with a right mac1.
    answerable: u64,
    cookies: Vec<Vec<u8>>,
}

impl Attacker {
    fn new(tunnel: &Tunnel, recorded: Vec<Vec<u8>>) -> Self {
        let sockets = Family::BOTH.map(|family| {
            let (prefix, nodad) = if family == Family::V4 { (24, "") } else { (64, "nodad") };
            tunnel.site.right.ip(&format!("addr replace {}/{prefix} dev cable {nodad}", family.outer(66)));
            let bind = || UdpSocket::bind(SocketAddr::new(family.outer(66), 0));
            let socket = tunnel.site.right.enter(bind).unwrap();
            setsockopt(&socket, RcvBufForce, &(16 << 20)).unwrap();
            socket.connect(SocketAddr::new(family.outer(1), PORT)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let forger = Forger::new(SEED, tunnel.left.keys.clone(), recorded);
        Self { sockets, forger, sent: 0, valid: HashSet::new(), answerable: 0, cookies: Vec::new() }
    }

    fn send(&mut self, forged: &Forged) {
        if let Some(index) = forged.valid {
            self.valid.insert(index);
            self.answerable += 1;
        }
        // A full buffer is a message less.
        let socket = &self.sockets[usize::from(self.sent % 4 == 3)];
        self.sent += u64::from(socket.send(&forged.bytes).is_ok());
    }

    /// Looks at what came back. There may be nothing but cookie replies (type 3, 64 bytes, less than any message that has
    /// a mac1) to messages whose mac1 was right, and at most one for each of them.
    fn judge(&mut self) {
        let mut answer = [0; 2000];
        for socket in &self.sockets {
            loop {
                match socket.recv(&mut answer) {
                    Ok(len) => {
                        let answer = &answer[..len];
                        assert_eq!((len, answer.get(..4)), (64, Some(&[3, 0, 0, 0][..])), "no cookie: {answer:?}");
                        let receiver = u32::from_le_bytes([answer[4], answer[5], answer[6], answer[7]]);
                        assert!(self.valid.contains(&receiver), "a cookie for a message that was not right");
                        self.cookies.push(answer.to_vec());
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("the daemon's port is not open: {error}"),
                }
            }
        }
        let cookies = self.cookies.len() as u64;
        assert!(cookies <= self.answerable, "{cookies} cookies for {} messages", self.answerable);
    }

    /// Sends beginnings of handshakes with a right mac1, many at once, until there are cookies.
    fn provoke(&mut self) {
        wait_for("cookies under load", SOON, || {
            for _ in 0..2000 {
                let forged = self.forger.start();
                self.send(&forged);
            }
            self.judge();
            (!self.cookies.is_empty()).then_some(())
        });
    }

    /// Sends all kinds of messages, and sees that the session's traffic flows meanwhile.
    fn attack(&mut self, messages: u64, tunnel: &Tunnel) {
        let mut pinger = Pinger::new(&tunnel.site.right, Family::V4.inner(1));
        for number in 1..=messages {
            let forged = self.forger.forge();
            self.send(&forged);
            // So few at once that they fit into the daemon's receive buffers.
            if number % 64 == 0 {
                self.judge();
                let passes = (0..20).any(|_| pinger.ping(100, Duration::from_millis(250)));
                assert!(passes, "the session's traffic flows, after {} messages", self.sent);
            }
        }
    }
}

/// What the network has to show of real messages to and from the left side.
fn record(tunnel: &Tunnel) -> Vec<Vec<u8>> {
    let tap = Tap::new(&tunnel.site.right);
    tunnel.configure(Plan { preshared: true, ..Plan::default() });
    tunnel.exchange();
    // Now with the other one as the one who starts.
    tunnel.configure(Plan { preshared: true, ..Plan::default() });
    reach(&tunnel.site.right, Family::V4.inner(1));
    tunnel.exchange();
    bulk(&tunnel.site.left, &tunnel.site.right, Family::V4.inner(2), 10_000);
    let messages: Vec<Vec<u8>> =
        tap.datagrams().into_iter().filter(|seen| seen.message_type().is_some()).map(|seen| seen.payload).collect();
    for kind in [1, 2, 4] {
        assert!(messages.iter().any(|message| message[0] == kind), "no message of type {kind}");
    }
    messages
}

/// Datagrams for which the daemon's receive buffer had no room.
fn overflows(namespace: &Namespace) -> u64 {
    namespace.enter(|| {
        let v4 = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let mut udp = v4.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (udp.next().unwrap(), udp.next().unwrap());
        let mut pairs = names.split(' ').zip(values.split(' '));
        let v4: u64 = pairs.find(|(name, _)| *name == "RcvbufErrors").unwrap().1.parse().unwrap();
        let v6 = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
        let v6 = v6.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors")).unwrap();
        v4 + v6.trim().parse::<u64>().unwrap()
    })
}

fn place(observer: &End, other: &End) -> (Option<SocketAddr>, u64) {
    (observer.endpoint_of(other), observer.handshake_with(other))
}

#[test]
fn rubbish_from_the_network() {
    if !met("rubbish from the network", &[]) {
        return;
    }
    let mut tunnel = Tunnel::new(Kerntun, Kerntun);
    let recorded = record(&tunnel);
    let (begun, before) = (Instant::now(), (place(&tunnel.left, &tunnel.right), tunnel.left.show("allowed-ips")));
    // Without load there is no answer at all.
    let mut attacker = Attacker::new(&tunnel, recorded.clone());
    for _ in 0..200 {
        let forged = attacker.forger.start();
        attacker.send(&forged);
        sleep(Duration::from_millis(2));
    }
    attacker.judge();
    assert_eq!(attacker.cookies.len(), 0, "no cookies without load");
    // With load there are cookies, which are worth recording.
    attacker.provoke();
    let cookies = attacker.cookies.iter().take(8).cloned();
    attacker.forger = Forger::new(SEED, tunnel.left.keys.clone(), recorded.into_iter().chain(cookies).collect());
    attacker.attack(ENOUGH / 10, &tunnel);
    let (warm, lost, sent) = (tunnel.left.resident(), overflows(&tunnel.site.left), attacker.sent);
    attacker.attack(ENOUGH + ENOUGH / 20, &tunnel);
    let (lost, sent) = (overflows(&tunnel.site.left) - lost, attacker.sent - sent);
    assert!(sent - lost >= ENOUGH, "{sent} messages sent, {lost} did not reach the daemon");
    let after = tunnel.left.resident();
    assert!(after < warm + GROWTH, "memory grew from {warm} KiB to {after} KiB");
    attacker.judge();
    let mut now = (place(&tunnel.left, &tunnel.right), tunnel.left.show("allowed-ips"));
    // A session that grew old meanwhile, on a slow machine, has made room for another.
    if begun.elapsed() > Duration::from_secs(110) {
        now.0.1 = before.0.1;
    }
    assert_eq!(now, before);
    assert!(tunnel.left.is_running());
    // And a new handshake, begun by either side.
    let plan = Plan { preshared: true, ..Plan::default() };
    for (end, to) in [(&tunnel.site.left, 2), (&tunnel.site.right, 1)] {
        tunnel.configure(plan);
        reach(end, Family::V4.inner(to));
    }
    eprintln!("{} messages, {} cookies, {warm} KiB, {after} KiB", attacker.sent, attacker.cookies.len());
}

/// While a stranger floods it with beginnings of handshakes, an honest peer still gets through: it learns its cookie.
#[test]
fn handshake_during_a_flood() {
    if !met("handshake during a flood", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    tunnel.exchange();
    let mut attacker = Attacker::new(&tunnel, Vec::new());
    let stop = AtomicBool::new(false);
    let tap = Tap::new(&tunnel.site.right);
    scope(|scope| {
        let flood = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..64 {
                    let forged = attacker.forger.start();
                    attacker.send(&forged);
                }
                attacker.judge();
                sleep(Duration::from_millis(1));
            }
            attacker
        });
        sleep(Duration::from_millis(300));
        let honest = std::panic::catch_unwind(|| {
            for _ in 0..2 {
                tunnel.configure_right(Plan::default());
                reach_within(&tunnel.site.right, Family::V4.inner(1), Duration::from_secs(30));
            }
        });
        stop.store(true, Ordering::Relaxed);
        let attacker = flood.join().unwrap();
        assert!(!attacker.cookies.is_empty(), "it was a flood");
        let cookies = tap
            .datagrams()
            .iter()
            .filter(|seen| seen.message_type() == Some(3) && seen.destination == Family::V4.outer(2))
            .count();
        eprintln!(
            "{} messages, {} cookies, {cookies} of them for the honest peer",
            attacker.sent,
            attacker.cookies.len()
        );
        assert!(honest.is_ok(), "the honest peer gets through");
    });
}
