//! What a flood of rubbish takes from an established tunnel: one TCP stream through it while a stranger sends 20,000
//! datagrams a second to the daemon, as a share of that while they go to a socket that nobody reads.
//!
//! ```sh
//! cargo run --release -p kerntun-interop --example flood -- [ROUNDS [SECONDS [KIND...]]]    # as root
//! ```
//!
//! Says on the side what each thread of the daemon took. Kinds are `junk`, `shaped`, `signed` and `spoofed`; all of them if none is named.

use kerntun_interop::flood::{Flood, Rubbish, SPOOFED};
use kerntun_interop::program::Program::Kerntun;
use kerntun_interop::requirements::met;
use kerntun_interop::site::Family;
use kerntun_interop::tunnel::{PORT, Plan, Tunnel};
use std::env;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

const RATE: u32 = 20_000;
const SINK: u16 = 9;

fn main() {
    if !met("flood", &[]) {
        return;
    }
    let mut arguments = env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |argument| argument.parse().expect("a number"));
    let (rounds, seconds) = (number(5), number(3));
    let named: Vec<_> = arguments.collect();
    let name = |rubbish: &Rubbish| format!("{rubbish:?}").to_lowercase();
    assert!(named.iter().all(|named| Rubbish::ALL.iter().any(|rubbish| name(rubbish) == *named)), "no such kind");
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    tunnel.exchange();
    let IpAddr::V4(victim) = Family::V4.outer(1) else { unreachable!("asked for IPv4") };
    tunnel.site.left.ip(&format!("route add {SPOOFED} via {}", Family::V4.outer(2)));
    tunnel.site.left.sysctl("ipv4.conf.all.rp_filter", "0");
    let _sink = tunnel.site.left.enter(|| UdpSocket::bind((victim, SINK))).expect("nobody else has this port");
    for rubbish in Rubbish::ALL.into_iter().filter(|rubbish| named.is_empty() || named.contains(&name(rubbish))) {
        let mut shares = Vec::new();
        let mut most = (0.0, 0.0, 0, 0);
        for _ in 0..rounds {
            let [sink, daemon] = [SINK, PORT].map(|port| {
                let threads = tunnel.left.thread_times();
                let (left, right) = (tunnel.left.processor_time(), tunnel.right.processor_time());
                let flood =
                    Flood::start(&tunnel.site.right, SocketAddrV4::new(victim, port), rubbish, &tunnel.left.keys, RATE);
                sleep(Duration::from_millis(300));
                let rate = stream(&tunnel, Duration::from_secs(seconds));
                let sent = flood.sent();
                drop(flood);
                let used = tunnel.left.thread_times().into_iter().filter_map(|(name, time)| {
                    let before = threads.iter().find(|(other, _)| *other == name)?.1;
                    (time > before).then(|| format!(", {name} {} ms", 10 * (time - before)))
                });
                eprintln!("  port {port}: {rate:.2} Gb/s{}", used.collect::<String>());
                (rate, sent, tunnel.left.processor_time() - left, tunnel.right.processor_time() - right)
            });
            shares.push(daemon.0 / sink.0);
            eprintln!("{rubbish:?}: {:.2} Gb/s of {:.2}", daemon.0, sink.0);
            most = (sink.0, daemon.0, daemon.1, daemon.2 - sink.2.min(daemon.2));
        }
        shares.sort_by(f64::total_cmp);
        println!(
            "{rubbish:?}: median {:.1} % ({:.1} to {:.1}); last round {:.2} and {:.2} Gb/s, {} sent, {} ms more of the daemon, {} KiB resident",
            100.0 * shares[shares.len() / 2],
            100.0 * shares[0],
            100.0 * shares[shares.len() - 1],
            most.0,
            most.1,
            most.2,
            most.3 * 10,
            tunnel.left.resident(),
        );
    }
}

/// Gb/s of one TCP stream from right to left.
fn stream(tunnel: &Tunnel, time: Duration) -> f64 {
    let to = SocketAddr::new(Family::V4.inner(1), 0);
    let listener = tunnel.site.left.enter(|| TcpListener::bind(to)).expect("its address");
    let at = listener.local_addr().expect("it is bound");
    let mut sender = tunnel.site.right.enter(|| TcpStream::connect(at)).expect("through the tunnel");
    let (mut receiver, _) = listener.accept().expect("the connection");
    let (over, received) = (AtomicBool::new(false), AtomicU64::new(0));
    scope(|scope| {
        scope.spawn(|| {
            let block = vec![0; 1 << 17];
            while !over.load(Ordering::Relaxed) {
                sender.write_all(&block).expect("the tunnel takes data");
            }
            drop(sender);
        });
        scope.spawn(|| {
            let mut block = vec![0; 1 << 17];
            while let Ok(len @ 1..) = receiver.read(&mut block) {
                received.fetch_add(len as u64, Ordering::Relaxed);
            }
        });
        sleep(Duration::from_millis(300));
        let before = received.load(Ordering::Relaxed);
        sleep(time);
        let bytes = received.load(Ordering::Relaxed) - before;
        over.store(true, Ordering::Relaxed);
        bytes as f64 * 8e-9 / time.as_secs_f64()
    })
}
