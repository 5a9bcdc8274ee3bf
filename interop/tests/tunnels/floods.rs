//! Strangers who send 20,000 datagrams a second: the tunnel works, and a newcomer gets in.

use kerntun_interop::end::{End, Peer};
use kerntun_interop::flood::{Flood, Rubbish, SPOOFED};
use kerntun_interop::program::Program::Kerntun;
use kerntun_interop::requirements::met;
use kerntun_interop::site::Family;
use kerntun_interop::tap::{Datagram, Tap};
use kerntun_interop::traffic::echo::Pinger;
use kerntun_interop::tunnel::{PORT, Plan, Tunnel};
use kerntun_interop::uapi::Connection;
use kerntun_interop::wait::{ONE_RETRY, SOON, wait_until};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Datagrams a second.
const RATE: u32 = 20_000;

/// At least so many have to be sent.
const ENOUGH: u64 = 20_000;

/// Memory may grow by this much in each flood, in KiB.
const GROWTH: u64 = 1024;

/// The port of the newcomers.
const NEW_PORT: u16 = 51_900;

/// What passes between the newcomer and the left side, in both directions.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Datagram>>,
}

impl Watch {
    /// Begins to look, without rest: a flood fills every buffer in no time.
    fn begin(tap: Tap) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = spawn({
            let over = Arc::clone(&over);
            move || {
                let mut seen = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let ours =
                        |datagram: &Datagram| [datagram.source_port, datagram.destination_port].contains(&NEW_PORT);
                    seen.extend(tap.datagrams().into_iter().filter(ours));
                    sleep(Duration::from_millis(1));
                }
                seen
            }
        });
        Self { over, thread }
    }

    /// Cookies that came, and initiations that carry one.
    fn end(self) -> (usize, usize) {
        self.over.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        let cookies: Vec<_> = seen.iter().filter(|seen| seen.message_type() == Some(3)).collect();
        assert!(cookies.iter().all(|cookie| cookie.tos == 0), "no priority for what anybody may ask for");
        let initiations = seen.iter().filter(|seen| seen.message_type() == Some(1));
        (cookies.len(), initiations.filter(|seen| seen.payload[132..] != [0; 16]).count())
    }
}

/// How many messages were dropped for a reason.
fn drops(end: &End, reason: &str) -> u64 {
    let answer = Connection::open(&end.socket()).unwrap().ask(b"get_diagnostics=1\n\n").unwrap();
    let prefix = format!("drop.{reason}=");
    // Those of the device come first.
    answer.lines().find_map(|line| line.strip_prefix(&prefix)).map_or(0, |count| count.parse().unwrap())
}

/// Configures a peer that the left side has never heard, and waits until it has a session.
fn newcomer_connects(tunnel: &Tunnel, newcomer: &End) {
    let left = Peer {
        public_key: tunnel.left.keys.public_text(),
        endpoint: Some(SocketAddr::new(Family::V4.outer(1), PORT)),
        allowed_ips: format!("{}/32", Family::V4.inner(1)),
        keepalive: Some(1),
        ..Peer::default()
    };
    newcomer.namespace.ip(&format!("link set {} up", newcomer.interface));
    newcomer.configure(NEW_PORT, &[left]);
    wait_until("the newcomer has a session", ONE_RETRY, || tunnel.left.handshake_with(newcomer) > 0);
}

#[test]
fn floods_of_every_kind() {
    if !met("floods of every kind", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    tunnel.exchange();
    let IpAddr::V4(victim) = Family::V4.outer(1) else { unreachable!("asked for IPv4") };
    tunnel.site.left.ip(&format!("route add {SPOOFED} via {}", Family::V4.outer(2)));
    let mut pinger = Pinger::new(&tunnel.site.right, Family::V4.inner(1));
    for rubbish in Rubbish::ALL {
        // Another one each time.
        let newcomer = End::start(&tunnel.site.right, Kerntun);
        tunnel.left.set(&format!("peer {} allowed-ips {}/32", newcomer.keys.public_text(), Family::V4.inner(3)));
        let counted = |reason| drops(&tunnel.left, reason);
        let before = ["malformed", "bad-mac1", "bad-handshake", "cookie-required"].map(counted);
        let (watch, started) = (Watch::begin(Tap::new(&tunnel.site.right)), Instant::now());
        let target = SocketAddrV4::new(victim, PORT);
        let flood = Flood::start(&tunnel.site.right, target, rubbish, &tunnel.left.keys, RATE);
        wait_until("the flood begins", SOON, || flood.sent() > ENOUGH / 10);
        let memory = tunnel.left.resident();
        let begin = Instant::now();
        newcomer_connects(&tunnel, &newcomer);
        let connected = begin.elapsed().as_secs_f32();
        wait_until("the flood goes on", SOON, || flood.sent() > ENOUGH);
        assert!((0..20).any(|_| pinger.ping(100, Duration::from_millis(250))), "the tunnel works");
        let after = ["malformed", "bad-mac1", "bad-handshake", "cookie-required"].map(counted);
        let counts: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        let (received, shown) = watch.end();
        eprintln!(
            "{rubbish:?}: {} sent, dropped {counts:?}; a newcomer after {connected:.1} s, {received} cookies received, {shown} shown",
            flood.sent()
        );
        let grown = tunnel.left.resident().saturating_sub(memory);
        assert!(grown < GROWTH, "memory grew by {grown} KiB");
        // Each kind for its own reason.
        match (rubbish, &counts[..]) {
            (Rubbish::Junk, [junk, 0, 0, 0]) | (Rubbish::Shaped, [0, junk, 0, 0]) => assert!(*junk > ENOUGH / 10),
            (Rubbish::Signed | Rubbish::Spoofed, [0, 0, computed, refused]) => {
                // A thousand a second and 250 at once, and as many again for each second of load.
                let share = 1250 * (2 + started.elapsed().as_secs());
                assert!((1..share).contains(computed), "Diffie-Hellman for {computed} strangers, {share} are enough");
                assert!(*refused > ENOUGH / 10, "{refused} sent for a cookie");
                assert!(received > 0 && shown > 0, "the newcomer had to show a cookie");
            }
            _ => panic!("{rubbish:?} was dropped for another reason: {counts:?}"),
        }
        drop(flood);
        tunnel.left.set(&format!("peer {} remove", newcomer.keys.public_text()));
        // Load ends a second after the last message of the flood; nobody has to show a cookie to what comes next.
        sleep(Duration::from_millis(1500));
    }
}
